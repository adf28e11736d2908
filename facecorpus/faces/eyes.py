"""The `eyes` alignment: rotate by the eyes, detect again, cut a square (MAE-Face, section 4.1)."""

from __future__ import annotations

import math

import numpy as np

from facecorpus.faces.detector import Detector, detect
from facecorpus.faces.face import Face, Image
from facecorpus.faces.warp import Matrix, inverse, matrix_for_scale, warp

_LOOK_PX = 320
"""Side of the upright picture for the second look."""
_ROOM = 2.2
"""Side of that picture in sides of the first box: the upright box fits whatever the rotation was."""


def upright_square(face: Face, rgb: Image, scale: float, detector: Detector, size_px: int) -> Matrix:
    """Matrix (2, 3) from source pixels to a square crop about the face, eyes level.

    The second detection runs on an upright picture of the face's surroundings; the crop itself is cut from
    the source in one resample, by the composed matrix. The square has the longer side of the second box and
    its centre. (The paper states neither size nor margin.) Where the second look finds no face near the
    middle, the first box stands in.

    Args:
        face: the face in source pixels.
        rgb: the decoded picture.
        scale: its linear scale (decoded / source).
        detector: looks again.
        size_px: side of the crop.

    Raises:
        ValueError: the eyes coincide or the box is empty.
    """
    x0, y0, x1, y1 = face.box_xyxy_px
    longer = max(x1 - x0, y1 - y0)
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    right = (face.points_px[1] - face.points_px[0]).astype(np.float64)
    if not (np.isfinite(right).all() and math.hypot(*right) > 0 and longer > 0):
        raise ValueError("a face whose eyes coincide or whose box is empty cannot be rotated upright")
    turn = right / math.hypot(*right)
    # Never enlarged much: that would only slow the second look down.
    look_px = int(np.clip(round(_ROOM * longer * scale), 64, _LOOK_PX))
    upright = _square(turn, middle, _ROOM * longer, look_px)
    picture = warp(rgb, matrix_for_scale(upright, scale), look_px)
    again = [f for f in detect(detector, picture, pyramid=(look_px,)) if _in_the_middle(f, look_px)]
    if again:
        a0, b0, a1, b1 = again[0].box_xyxy_px
        centre = np.array([(a0 + a1) / 2, (b0 + b1) / 2])
        back = inverse(upright)
        middle = back[:, 0] * centre[0] + back[:, 1] * centre[1] + back[:, 2]
        longer = max(a1 - a0, b1 - b0) * _ROOM * longer / look_px
    return _square(turn, middle, longer, size_px)


def _square(turn: np.ndarray, middle: np.ndarray, side: float, size_px: int) -> Matrix:
    """The matrix that fills the crop with a square of that centre and side whose x axis is the unit vector
    `turn`."""
    linear = np.array([[turn[0], turn[1]], [-turn[1], turn[0]]]) * (size_px / side)
    shift = (size_px - 1) / 2 - (linear[:, 0] * middle[0] + linear[:, 1] * middle[1])
    return np.column_stack([linear, shift])


def _in_the_middle(face: Face, look_px: int) -> bool:
    x0, y0, x1, y1 = face.box_xyxy_px
    half = look_px / 2
    return max(abs((x0 + x1) / 2 - half), abs((y0 + y1) / 2 - half)) < 0.25 * look_px
