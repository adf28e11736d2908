"""What the readers return and raise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecorpus.reasons import TOO_MANY_PIXELS, Reason, declare
from facecorpus.record import State

UNSUPPORTED = declare(
    "unsupported",
    State.FAILED,
    "readable",
    "A picture of a kind that no codec here decodes; its detail says what helps.",
    "no setting helps that: convert them, as the example says",
)
NOT_AN_IMAGE = declare(
    "not_an_image",
    State.REJECTED,
    "readable",
    "The bytes are no picture, and the name does not claim one.",
    "no setting makes pictures of them: name a source that holds the pictures themselves (an archive by its "
    "own name, as in photos=archive:photos.tar)",
)

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) RGB, 0 to 255, upright, C-contiguous."""


class ImageError(Exception):
    """Bytes that give no picture. `str(error)` is one sentence for a person.

    `reason` is `EMPTY` (no bytes), `NOT_AN_IMAGE` (a video, or something else whose name claims no picture),
    `CORRUPT` (damaged, or not what the name says), `UNSUPPORTED` (of a kind that no codec here decodes, such
    as HEIC) or `TOO_MANY_PIXELS`.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[Reason, str]]:
        return ImageError, (self.reason, str(self))


@dataclass(frozen=True, slots=True)
class Header:
    """What the bytes say about the picture before any pixel is decoded."""

    format: str
    """What the bytes are, whatever the name: "jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "jp2",
    "ppm"."""
    width_px: int
    """Width of the upright picture (after orientation)."""
    height_px: int
    """Height of the upright picture (after orientation)."""
    orientation: int
    """EXIF orientation that decoding undoes, 1 to 8."""
    frames: int
    """Frames of an animation or pages of a document, of which decoding gives the first; 1 for any JPEG."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture."""

    rgb: Pixels
    scale: float
    """Decoded pixels per source pixel, along each axis: 1, 1/2, 1/4 or 1/8. A source position `x` (centre of
    the first pixel at 0) lies at `(x + 0.5) * scale - 0.5`. The size is rounded up, so that the last column
    or row may lie partly beyond the picture's edge; an orientation that mirrors makes it the first, and
    shifts positions by less than one decoded pixel."""
    header: Header


def unsupported(what: str, remedy: str = "convert it to JPEG or PNG") -> ImageError:
    """The error for a picture that is `what`, a kind that no codec here decodes."""
    return ImageError(UNSUPPORTED, f"it is {what}, which no codec here decodes; {remedy}")


def check_pixels(width_px: int, height_px: int, max_pixels: int) -> None:
    """Raises `ImageError(TOO_MANY_PIXELS)` above the limit."""
    if width_px * height_px > max_pixels:
        raise ImageError(
            TOO_MANY_PIXELS,
            f"{width_px} x {height_px} = {width_px * height_px:,} pixels: above the limit of {max_pixels:,}",
        )
