"""A detected face, and what every detector promises about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB (H, W, 3), upright."""

SCORE_FLOOR = 0.3
"""Detectors report faces down to this score: weak ones tell `pyramid` that a closer look is due."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face, in pixels of the image it was found in (centre of the top-left pixel at (0, 0))."""

    box_xyxy_px: tuple[float, float, float, float]
    """May reach beyond the image."""
    points_px: NDArray[np.float32]
    """(5, 2): left eye (image-left), right eye, nose tip, left mouth corner, right mouth corner."""
    score: float
    """0 to 1."""

    def scaled(self, x: float, y: float) -> Face:
        """The face in pixels of the image resized by factors `x` and `y`."""
        x0, y0, x1, y1 = self.box_xyxy_px
        box = ((x0 + 0.5) * x - 0.5, (y0 + 0.5) * y - 0.5, (x1 + 0.5) * x - 0.5, (y1 + 0.5) * y - 0.5)
        half = np.float32(0.5)
        return Face(box, (self.points_px + half) * np.array([x, y], np.float32) - half, self.score)


def iou(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes xyxy; 0 where they do not meet."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def plausible(face: Face) -> bool:
    """Whether box and points can be those of a face, at any rotation in the image plane, frontal to profile.

    Lengths are fractions of the box's side (the root of its area), measured along the axis from the eyes to
    the mouth and across it. The limits leave all of 3,000 real faces in and put out points that collapse, are
    mirrored or lie beside the box; they are no substitute for the score.
    """
    x0, y0, x1, y1 = face.box_xyxy_px
    points = face.points_px.astype(np.float64)
    if not (np.isfinite(points).all() and math.isfinite(x0 + y0 + x1 + y1) and x1 > x0 and y1 > y0):
        return False
    side = math.sqrt((x1 - x0) * (y1 - y0))
    left_eye, right_eye, nose, left_mouth, right_mouth = points / side
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    length = math.hypot(*(mouth - eyes).tolist())
    if not 0.2 <= length <= 0.75:
        return False
    down = (mouth - eyes) / length
    across = np.array([down[1], -down[0]])
    outside = max((np.array([x0, y0]) - points).max(), (points - np.array([x1, y1])).max()) / side
    return bool(
        0.4 <= (x1 - x0) / (y1 - y0) <= 2.0
        and outside <= 0.1
        and 0.05 <= _along(right_eye - left_eye, across) <= 0.7
        and 0.03 <= _along(right_mouth - left_mouth, across) <= 0.7
        and abs(_along(right_eye - left_eye, down)) <= 0.2
        and 0.1 <= _along(nose - eyes, down) / length <= 1.1
        and abs(_along(nose - eyes, across)) <= 0.35
    )


def _along(step: NDArray[np.float64], axis: NDArray[np.float64]) -> float:
    """Length of a step along a unit vector, without BLAS, whose last bit depends on the processor."""
    return float(step[0] * axis[0] + step[1] * axis[1])
