"""Pictures in and out: what bytes are, their size, their pixels; and JPEG encoding.

    header = read_header(data, name)                          # nothing decoded
    picture = decode(data, header, min_side_px=640)           # uint8 RGB, upright
    crop = encode_jpeg(picture.rgb, quality=95, chroma="444")

Whatever the bytes, the only exception is `ImageError`, and memory stays bounded by `max_pixels`. Damaged
files fail rather than pass half-decoded; damage that spares the pixels does not lose the picture. The rules
for transparency, 16 bits, animations and colour are in `still.py`, those for JPEG in `jpeg.py`.
"""

from __future__ import annotations

from facecorpus.images import jpeg, still
from facecorpus.images.identify import WEAK, claims_image, identify
from facecorpus.images.jpeg import encode_jpeg
from facecorpus.images.picture import NOT_AN_IMAGE, Header, ImageError, Picture, Pixels
from facecorpus.reasons import CORRUPT

__all__ = ["Header", "ImageError", "Picture", "Pixels", "decode", "encode_jpeg", "read_header"]


def read_header(data: bytes, name: str = "") -> Header:
    """Format, upright size and orientation, without decoding pixels.

    `name` is the file's name or path; its extension decides only whether bytes that are no picture are
    `CORRUPT` (it claims to be one) or `NOT_AN_IMAGE`. Raises `ImageError`.
    """
    kind = identify(data, name)
    try:
        return jpeg.read_header(data) if kind == "jpeg" else still.read_header(data, kind)
    except ImageError as error:
        if kind in WEAK and error.reason is CORRUPT and not claims_image(name):
            raise ImageError(NOT_AN_IMAGE, "the bytes are no known kind of picture") from error
        raise


def decode(
    data: bytes, header: Header, *, min_side_px: int | None = None, max_pixels: int = 80_000_000
) -> Picture:
    """The upright RGB pixels of the first frame.

    `header` is what `read_header(data)` gave. A JPEG is decoded at 1/8, 1/4 or 1/2 of its size, directly from
    its DCT coefficients, as long as the shorter side keeps at least `min_side_px` pixels; `None` gives full
    size, as does any other format. Raises `ImageError`; `TOO_MANY_PIXELS` (by the header, at no cost) where
    the source has more than `max_pixels`, or more than `still.LIMITS` says for its format.
    """
    if header.format == "jpeg":
        return jpeg.decode(data, header, min_side_px, max_pixels)
    return still.decode(data, header, max_pixels)
