"""EXIF orientation: find it, however broken the block is, and undo it.

The block is a TIFF file of its own (Exif 2.32, section 4.5); orientation is tag 0x0112 of its first
directory. Damage never raises: a picture with a broken block is read as it lies. Orientation given only in
XMP is ignored, as browsers do.
"""

from __future__ import annotations

import cv2
import numpy as np

from facecorpus.images.picture import Header, Pixels

_ORIENTATION = 0x0112
_INTEGER_SIZES = {1: 1, 3: 2, 4: 4}
"""TIFF types BYTE, SHORT (the standard's), LONG: all three are met in the wild."""

_SIDEWAYS = frozenset((5, 6, 7, 8))
"""Orientations that exchange width and height."""


def header_of(kind: str, width: int, height: int, orientation: int, frames: int = 1) -> Header:
    """The header of a picture whose size is given as stored, before orientation."""
    if orientation in _SIDEWAYS:
        width, height = height, width
    return Header(kind, width, height, orientation, frames)


def orientation_of(exif: bytes | None) -> int:
    """Orientation 1 to 8 of an EXIF block (with or without its signature); 1 if absent, illegal or
    damaged."""
    if not exif:
        return 1
    tiff = exif[6:] if exif[:4] == b"Exif" else exif
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order == "little" or order == "big":
        start = int.from_bytes(tiff[4:8], order)
        count = int.from_bytes(tiff[start : start + 2], order)
        for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
            if int.from_bytes(tiff[at : at + 2], order) == _ORIENTATION:
                size = _INTEGER_SIZES.get(int.from_bytes(tiff[at + 2 : at + 4], order), 0)
                value = int.from_bytes(tiff[at + 8 : at + 8 + size], order)
                return value if 1 <= value <= 8 else 1
    return 1


def upright(rgb: Pixels, orientation: int) -> Pixels:
    """The picture turned and mirrored as `orientation` (1 to 8) asks; `rgb` itself for 1."""
    if orientation in _SIDEWAYS:
        rgb = np.asarray(cv2.transpose(rgb), dtype=np.uint8)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    if flip is not None:
        rgb = np.asarray(cv2.flip(rgb, flip), dtype=np.uint8)
    return rgb
