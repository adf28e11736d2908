"""Rules that reject a record, and the limits they apply.

Each rule looks at numbers only and answers `None` (keep) or a `Verdict` with a reason and one sentence. A
value exactly at its limit is kept. `header_rules` runs before any pixel is decoded, `face_rules` after
detection, `crop_rules` on the finished crop.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from facecorpus.errors import UserError
from facecorpus.record import Reason, Record


@dataclass(frozen=True)
class Limits:
    """What a recipe keeps. Raises `UserError` for a value out of range."""

    max_aspect_ratio: float | None = 1.5
    """Longest side over shortest, either way round (Face9M's rule: 1.5); `None` keeps any shape."""
    min_side_px: int = 64
    """Shorter side of the source image, in pixels."""
    max_pixels: int = 80_000_000
    """Width times height of the source image; bounds a worker's memory. Checked on the header, before
    decoding."""
    min_face_score: float = 0.8
    """Detector score, 0 to 1, from which a face counts as one."""
    min_interocular_px: float = 16.0
    """Distance between the eyes in source pixels. A profile's eyes are close however large the face is. 0 is
    off."""
    faces: Literal["one", "main", "all"] = "main"
    """`one`: reject images where a second face rivals the main one; `main`: keep the most prominent face of
    each; `all`: a record for every face."""
    rival_ratio: float = 0.4
    """For `one`: a further face is a rival if its eyes are at least this fraction of the main face's distance
    apart; smaller ones are passers-by."""
    max_padded: float = 0.1
    """Fraction of the crop, 0 to 1, that may lie outside the source image. Where more would, the crop is cut
    nearer, at the nearest from the brows to just below the mouth (`facecorpus.faces.framing`); 1 is off."""
    min_brightness: float = 0.0
    """Mean luma of the crop, 0 to 255; 0 is off."""
    max_brightness: float = 255.0
    """Mean luma of the crop, 0 to 255; 255 is off."""
    min_sharpness: float = 0.0
    """Variance of the Laplacian of the crop's luma (see `measure_crop`); depends on the crop's size; 0 is
    off."""

    def __post_init__(self) -> None:
        if self.max_aspect_ratio is not None:
            self._check("max_aspect_ratio", 1.0, math.inf)
        self._check("min_side_px", 1, math.inf)
        self._check("max_pixels", 1, math.inf)
        self._check("min_face_score", 0.0, 1.0)
        self._check("min_interocular_px", 0.0, math.inf)
        self._check("rival_ratio", 0.0, math.inf)
        self._check("max_padded", 0.0, 1.0)
        self._check("min_brightness", 0.0, 255.0)
        self._check("max_brightness", self.min_brightness, 255.0)
        self._check("min_sharpness", 0.0, math.inf)
        if self.faces not in ("one", "main", "all"):
            raise UserError(f"limits.faces is {self.faces!r}; give one, main or all")

    def _check(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high or math.isinf(value):  # also refuses NaN
            bounds = f"of at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
            raise UserError(f"limits.{name} is {value}; give a number {bounds}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a rule rejects a record."""

    reason: Reason
    detail: str
    """One sentence with the numbers."""


def header_rules(record: Record, limits: Limits) -> Verdict | None:
    """Judges `width_px` and `height_px` of the upright source: pixels, then side, then shape."""
    width, height = record.width_px, record.height_px
    if width is None or height is None:
        raise ValueError(f"{record.id}: header_rules needs width_px and height_px")
    size = f"the image is {width} x {height} px"
    if width * height > limits.max_pixels:
        return Verdict(
            Reason.TOO_MANY_PIXELS,
            f"{size} = {width * height:,} pixels, above the limit of {limits.max_pixels:,}",
        )
    short, long = sorted((width, height))
    if short < limits.min_side_px:
        return Verdict(Reason.TOO_SMALL, f"{size}, its shorter side below {limits.min_side_px} px")
    if limits.max_aspect_ratio is not None and long > _exact(limits.max_aspect_ratio) * short:
        return Verdict(
            Reason.ASPECT_RATIO, f"{size}, a ratio of {long / short:.4g}, above {limits.max_aspect_ratio:g}"
        )
    return None


@functools.lru_cache(maxsize=16)
def _exact(ratio: float) -> Fraction:
    """The number as written: in binary, 1.15 x 100 is a little less than 115."""
    return Fraction(repr(ratio))


def face_rules(ranked: Sequence[tuple[float, float]], limits: Limits) -> Verdict | None:
    """Judges the main face among `ranked`, the (score, interocular_px) of each face by decreasing
    prominence."""
    if not ranked:
        return Verdict(Reason.NO_FACE, "no face was found")
    (score, main_px), others = ranked[0], ranked[1:]
    if score < limits.min_face_score:
        return Verdict(Reason.NO_FACE, f"the best face scores {score:.3f}, below {limits.min_face_score:g}")
    if main_px < limits.min_interocular_px:
        return Verdict(
            Reason.FACE_TOO_SMALL,
            f"the eyes are {main_px:.1f} px apart, below {limits.min_interocular_px:g} px",
        )
    if limits.faces != "one":
        return None
    rivals = [
        px for score, px in others if score >= limits.min_face_score and px >= limits.rival_ratio * main_px
    ]
    if not rivals:
        return None
    return Verdict(
        Reason.SEVERAL_FACES,
        f"{len(rivals) + 1} faces: the eyes are {main_px:.1f} px apart in the main one, {max(rivals):.1f} px "
        f"in another, at least {limits.rival_ratio:g} of that",
    )


def crop_rules(record: Record, limits: Limits) -> Verdict | None:
    """Judges `padded`, `brightness` and `sharpness` of the crop."""
    padded, brightness, sharpness = record.padded, record.brightness, record.sharpness
    if padded is None or brightness is None or sharpness is None:
        raise ValueError(f"{record.id}: crop_rules needs padded, brightness and sharpness")
    if padded > limits.max_padded:
        return Verdict(
            Reason.FACE_CUT_OFF,
            f"{padded:.3f} of the crop lies outside the image even where it shows brows to mouth alone, "
            f"above {limits.max_padded:g}",
        )
    if brightness < limits.min_brightness:
        return Verdict(Reason.TOO_DARK, f"the mean luma is {brightness:.1f}, below {limits.min_brightness:g}")
    if brightness > limits.max_brightness:
        return Verdict(
            Reason.TOO_BRIGHT, f"the mean luma is {brightness:.1f}, above {limits.max_brightness:g}"
        )
    if sharpness < limits.min_sharpness:
        return Verdict(
            Reason.TOO_BLURRED, f"the sharpness is {sharpness:.1f}, below {limits.min_sharpness:g}"
        )
    return None


def measure_crop(rgb: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """(brightness, sharpness) of an (H, W, 3) uint8 RGB crop.

    Brightness is the mean luma (ITU-R BT.601), 0 to 255. Sharpness is the variance of the luma's Laplacian
    (kernel 0 1 0 / 1 -4 1 / 0 1 0, borders reflected; Pech-Pacheco et al., ICPR 2000), 0 for a flat crop. At
    224 px, faces enlarged from 160 px have 15 to 75, photographs reduced from 600 px and more 200 to 3500
    (5th and 95th percentile). Computed from whole-number sums, so equal on every machine.
    """
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    edges = np.asarray(cv2.Laplacian(luma, cv2.CV_16S, ksize=1)).ravel().astype(np.float64)
    # Sums of whole numbers, exact in double precision whatever the order (cv2.norm sums in single precision).
    count, total, squares = luma.size, int(edges.sum()), int(edges @ edges)
    return int(cv2.sumElems(luma)[0]) / count, (count * squares - total * total) / (count * count)
