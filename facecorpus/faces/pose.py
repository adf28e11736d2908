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


def _fit() -> list[list[float]]:
    """The pseudo-inverse (3, 5) of the centred model; its x is uncorrelated with y and z, by symmetry."""
    rows: list[list[float]] = MODEL_MM.tolist()
    x, y, z = ([v - sum(column) / 5 for v in column] for column in zip(*rows, strict=True))
    xx, yy, yz, zz = (
        sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((x, x), (y, y), (y, z), (z, z))
    )
    det = yy * zz - yz * yz
    return [
        [v / xx for v in x],
        [(zz * a - yz * b) / det for a, b in zip(y, z, strict=True)],
        [(yy * b - yz * a) / det for a, b in zip(y, z, strict=True)],
    ]


_FIT = _fit()


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
    # In Python's own floats: the last bit of a BLAS or LAPACK result depends on the processor.
    image: list[list[float]] = np.asarray(points, np.float64).reshape(5, 2).tolist()
    xs, ys = ([v - sum(column) / 5 for v in column] for column in zip(*image, strict=True))
    a, b = ([sum(f * v for f, v in zip(row, vs, strict=True)) for row in _FIT] for vs in (xs, ys))
    aa, ab, bb = (sum(p * q for p, q in zip(*pair, strict=True)) for pair in ((a, a), (a, b), (b, b)))
    area = math.sqrt(max(aa * bb - ab * ab, 0.0))  # product of the singular values of the rows a, b
    # The smaller one is area / larger; the larger one squared lies between (aa + bb) / 2 and aa + bb.
    if not area > 1e-9 * max(aa + bb, 1e-18):
        return math.nan, math.nan, math.nan
    # The nearest orthonormal rows are (A A^T)^(-1/2) A, and the root of a 2x2 matrix is closed.
    scale = area * math.sqrt(aa + bb + 2 * area)
    first = [((bb + area) * p - ab * q) / scale for p, q in zip(a, b, strict=True)]
    second = [((aa + area) * q - ab * p) / scale for p, q in zip(a, b, strict=True)]
    third = (
        first[1] * second[2] - first[2] * second[1],
        first[2] * second[0] - first[0] * second[2],
        first[0] * second[1] - first[1] * second[0],
    )
    # R = Rz(roll) Ry(-yaw) Rx(-pitch)
    yaw = math.asin(min(1.0, max(-1.0, third[0])))
    pitch = -math.atan2(third[1], third[2])
    roll = math.atan2(second[0], first[0])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
