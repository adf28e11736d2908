"""Where a crop is cut: matrices from source pixels to crop pixels, by named recipe.

`similarity` puts five points on a template, `eyes` rotates by the eyes and looks again, `box` takes the
detector's box with a margin, `none` squashes the whole image. `warp` does the cutting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facecorpus.errors import UserError
from facecorpus.faces.detector import Detector
from facecorpus.faces.face import Face, Image
from facecorpus.faces.pyramid import detect
from facecorpus.faces.warp import Matrix, inverse, matrix_for_scale, warp
from facecorpus.plugins import nearest

_TEMPLATE_PX = 224
_LOOK_PX = 320
"""Side of the upright picture for the second look of `align_eyes`."""
_ROOM = 2.2
"""Side of that picture in sides of the first box: the upright box fits whatever the rotation was."""
_ARCFACE_112 = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """How a crop is cut."""

    matrix: Matrix
    """(2, 3) float64: source pixels to crop pixels."""
    name: str
    """Recipe and template, for example "similarity/arcface-224"."""


def _frontal(interocular: float, eye_line: float) -> NDArray[np.float64]:
    """A symmetric template with the proportions of `pose.MODEL_MM`; arguments are fractions of the crop's
    side."""
    nose, mouth, half_mouth = (np.array([37.2, 62.0, 27.5]) / 63 * interocular).tolist()
    x = np.array([-interocular / 2, interocular / 2, 0.0, -half_mouth, half_mouth]) + 0.5
    y = np.array([0.0, 0.0, nose, mouth, mouth]) + eye_line
    return np.stack([x, y], axis=1) * _TEMPLATE_PX - 0.5


TEMPLATES: Mapping[str, NDArray[np.float64]] = {
    "arcface-224": 2.0 * np.array(_ARCFACE_112),
    "wide-224": _frontal(interocular=0.27, eye_line=0.41),
    "ffhq-224": _frontal(interocular=0.25, eye_line=0.4754),
}
"""Target positions (5, 2) of the five points in a 224 px crop.

`arcface-224` is InsightFace's 112 px template doubled: eyes, nose and mouth fill the crop, the chin is cut at
its edge. `wide-224` leaves 1.5 inter-ocular distances above the eyes (brows and forehead: AU1, 2, 4) and 2.2
below (the chin sits at about 1.7, and a dropped jaw needs room: AU17, 25 to 27). `ffhq-224` follows FFHQ's
rule (Karras et al., CVPR 2019): the side is four inter-ocular distances, and the centre lies a tenth of the
way from the eyes to the mouth.
"""


def align_similarity(points: ArrayLike, size_px: int, template: str = "arcface-224") -> Alignment:
    """Rotate, scale and shift five points onto a template, by least squares (Umeyama, PAMI 1991).

    The result never mirrors.

    Args:
        points: (5, 2) source pixels, or the same ten numbers flat.
        size_px: side of the crop; the template is scaled to it.
        template: a key of `TEMPLATES`.

    Raises:
        UserError: there is no such template.
        ValueError: the points coincide or are not finite.
    """
    target = template_px(template, size_px)
    return Alignment(similarity(points, target), f"similarity/{template}")


def template_px(template: str, size_px: int) -> NDArray[np.float64]:
    """(5, 2) pixels of the template's points in a crop of that side.

    Raises:
        UserError: there is no such template.
    """
    if template not in TEMPLATES:
        hint = nearest(template, TEMPLATES)
        raise UserError(f"recipe value template is {template!r}, and there is no such template; {hint}")
    return (TEMPLATES[template] + 0.5) * (size_px / _TEMPLATE_PX) - 0.5


def align_eyes(face: Face, rgb: Image, scale: float, detector: Detector, size_px: int) -> Alignment:
    """Rotated by the eyes, detected again, cut square (MAE-Face, section 4.1).

    The second detection runs on an upright picture of the face's surroundings; the crop itself is cut from
    the source in one resample, by the composed matrix. The square has the longer side of the second box and
    its centre. (The paper states neither size nor margin.) Where the second look finds no face near the
    middle, the first box stands in.

    Args:
        face: the face in source pixels.
        rgb: the decoded picture, uint8 (H, W, 3).
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
    return Alignment(_square(turn, middle, longer, size_px), "eyes/square")


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


def align_box(
    box_xyxy_px: Sequence[float], size_px: int, margin: float = 0.05, *, square: bool = True
) -> Alignment:
    """The detector's box with a margin of 5 % of its size on each side (the FMAE-IAT authors' answer in
    forever208/FMAE-IAT#9).

    Args:
        box_xyxy_px: the box in source pixels.
        size_px: side of the crop.
        margin: fraction of the box's width and height that is added on each side.
        square: cut a square about the box's centre with its longer side; else squash the box itself.

    Raises:
        ValueError: the box is empty or not finite.
    """
    x0, y0, x1, y1 = box_xyxy_px
    wide, high = (x1 - x0) * (1 + 2 * margin), (y1 - y0) * (1 + 2 * margin)
    if not (np.isfinite(wide + high) and wide > 0 and high > 0):
        raise ValueError(f"the box {tuple(box_xyxy_px)} with margin {margin} is empty")
    if square:
        wide = high = max(wide, high)
    centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    return Alignment(_rectangle(centre, wide, high, size_px), "box/square" if square else "box/squash")


def align_none(width_px: int, height_px: int, size_px: int) -> Alignment:
    """The whole image squashed to a square (FMAE-IAT's plain resize)."""
    return Alignment(
        _rectangle(((width_px - 1) / 2, (height_px - 1) / 2), width_px, height_px, size_px), "none"
    )


def similarity(points: ArrayLike, target: ArrayLike) -> Matrix:
    """The rotation, scale and shift (2, 3) that takes `points` (5, 2) nearest to `target` (5, 2) in squared
    distance.

    In the plane Umeyama's solution without mirroring is the least-squares fit of one complex factor. It is
    computed in Python's own numbers: the last bit of a BLAS result depends on the processor.

    Raises:
        ValueError: the points coincide or are not finite.
    """
    source, aim = _complex(points), _complex(target)
    middle, goal = sum(source) / len(source), sum(aim) / len(aim)
    centred = [z - middle for z in source]
    spread = sum(z.real * z.real + z.imag * z.imag for z in centred)
    if not (math.isfinite(spread) and spread > 1e-12):
        raise ValueError("five points that coincide or are not finite cannot be aligned")
    turn = sum(z.conjugate() * (w - goal) for z, w in zip(centred, aim, strict=True)) / spread
    shift = goal - turn * middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _complex(points: ArrayLike) -> list[complex]:
    rows: list[list[float]] = np.asarray(points, np.float64).reshape(-1, 2).tolist()
    return [complex(x, y) for x, y in rows]


def _rectangle(centre: tuple[float, float], width: float, height: float, size_px: int) -> Matrix:
    """The matrix that fills the crop with an upright rectangle about a centre."""
    x, y = size_px / width, size_px / height
    middle = (size_px - 1) / 2
    return np.array([[x, 0.0, middle - x * centre[0]], [0.0, y, middle - y * centre[1]]])
