"""Measures of a face's five points: inter-ocular distance and head pose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

MODEL_MM: NDArray[np.float64] = np.array(
    [[-31.5, 0.0, 0.0], [31.5, 0.0, 0.0], [0.0, 37.2, -30.0], [-27.5, 62.0, -4.0], [27.5, 62.0, -4.0]]
)
"""Generic head, millimetres: x to image-right, y down, z away from the camera; points as in `Face.points_px`.

Seen from the front it has the median proportions of 175 frontal faces in ordinary photographs, as RetinaFace
marks them (eyes 63 mm apart); depths are generic anthropometry. The ArcFace template is 18 % longer from eyes
to mouth.
"""

_CENTRED = MODEL_MM - MODEL_MM.mean(axis=0)
_FIT: NDArray[np.float64] = np.asarray(np.linalg.pinv(_CENTRED), np.float64)


def interocular_px(points: ArrayLike) -> float:
    """Distance between the eye points in pixels; `points` is (5, 2) or the same ten numbers flat."""
    eyes = np.asarray(points, np.float64).reshape(5, 2)[:2]
    return math.dist(eyes[0], eyes[1])


def pose_degrees(points: ArrayLike) -> tuple[float, float, float]:
    """Head pose (yaw, pitch, roll) in degrees from five points, by scaled orthography on a generic head.

    The least-squares affine camera of `MODEL_MM` is turned into the nearest rotation (DeMenthon & Davis,
    "POS", IJCV 1995), so there is one closed answer and no start value. Good for sorting and filtering; a
    person's own proportions cost some degrees, mostly of pitch.

    Args:
        points: (5, 2) pixels, or the same ten numbers flat.

    Returns:
        yaw in [-90, 90], positive when the nose turns to image-right; pitch in [-180, 180], positive up; roll
        in [-180, 180], positive clockwise in the image. NaN for all three when the points coincide.
    """
    image = np.asarray(points, np.float64).reshape(5, 2)
    axes = np.asarray(_FIT @ (image - image.mean(axis=0)), np.float64).T
    left, sizes, right = np.linalg.svd(axes, full_matrices=False)
    if not sizes[1] > 1e-9 * max(sizes[0], 1e-9):
        return math.nan, math.nan, math.nan
    first, second = left @ right
    third = np.cross(first, second)
    # R = Rz(roll) Ry(-yaw) Rx(-pitch)
    yaw = math.asin(min(1.0, max(-1.0, third[0])))
    pitch = -math.atan2(third[1], third[2])
    roll = math.atan2(second[0], first[0])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
