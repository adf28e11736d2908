"""Pictures other than JPEG, decoded by Pillow.

Rules: the first frame or page; transparency composited on white (as img2dataset does); 16-bit gray scaled to
8 by rounding (Pillow itself turns it white), 12-bit gray too, 16-bit colour by its upper byte; CMYK as ideal
inks; colour profiles ignored (numbers are taken as sRGB); Lab, float and 32-bit pixels are not supported,
since no file says which of their values is white.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager, nullcontext

import numpy as np
from PIL import Image, TiffImagePlugin

from facecorpus.images import png
from facecorpus.images.exif import header_of, orientation_of, upright
from facecorpus.images.picture import Header, ImageError, Picture, Pixels, check_pixels, unsupported
from facecorpus.reasons import CORRUPT, TOO_MANY_PIXELS

_PILLOW_NAMES = {
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
    "avif": "AVIF",
    "jp2": "JPEG2000",
    "ppm": "PPM",
}
LIMITS = {"webp": 60_000_000, "tiff": 60_000_000, "avif": 45_000_000, "jp2": 30_000_000}
"""Most pixels of the formats whose decoders take more than 12 bytes of memory a pixel (up to 16 for WebP and
TIFF, 22 for AVIF, 32 for JPEG 2000), so that decoding stays near one gigabyte."""
_WIDTHS = frozenset((1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64))
"""Bits a sample that a whole TIFF may have."""
_METHODS = {34892: "lossy JPEG of DNG", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}
"""Ways of compression that not every libtiff knows."""
_WHITES = frozenset((1023, 4095, 16383))
_FAX_DAMAGE = re.compile(rb"^Fax[^\n]*(?:Bad code word|Premature EO[FL])[^\n]{0,80}", re.MULTILINE)
_SAID_BYTES = 1 << 16
_STRIP_BYTES = 8 << 20
_ALPHA = frozenset(("LA", "La", "PA", "RGBA", "RGBa"))
_SIXTEEN = frozenset(("I;16", "I;16L", "I;16B", "I;16N"))
_MEANINGLESS = {
    "I": "32-bit or signed numbers",
    "F": "floating-point numbers",
    "LAB": "Lab colours",
    "HSV": "HSV colours",
}


@contextmanager
def _opened(data: bytes, kind: str) -> Generator[Image.Image]:
    """Pillow's lazily opened picture, its warnings silenced and its exceptions turned into `ImageError`."""
    with warnings.catch_warnings():
        # A damaged tag, a size that Pillow finds suspicious: what matters of it is decided here, by rule.
        warnings.simplefilter("ignore")
        try:
            with (
                _listening() if kind == "tiff" else nullcontext(),
                Image.open(io.BytesIO(data), formats=(_PILLOW_NAMES[kind],)) as image,
            ):
                yield image
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise ImageError(TOO_MANY_PIXELS, f"far too many pixels: {error}") from error
        except Image.UnidentifiedImageError as error:
            if kind == "tiff" and (what := _unusual_tiff(data)):
                raise unsupported(what) from error
            raise ImageError(CORRUPT, f"the {kind.upper()} file's header is damaged") from error
        except Exception as error:  # whatever codecs raise: SyntaxError, struct.error, MemoryError, ...
            if kind == "tiff" and (what := _unusual_tiff(data)):
                raise unsupported(what) from error
            words = str(error) or type(error).__name__
            raise ImageError(CORRUPT, f"the {kind.upper()} file is damaged: {words}") from error


@contextmanager
def _listening() -> Generator[None]:
    """What libtiff says of damage goes to file descriptor 2, a line for each row: kept off the terminal, and
    heeded where the codec goes on as though nothing were wrong (fax)."""
    try:
        kept = os.dup(2)
    except OSError:  # a process without one
        yield
        return
    try:
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            yield
            said.seek(0)
            if found := _FAX_DAMAGE.search(said.read(_SAID_BYTES)):
                words = found[0].decode("ascii", "replace")
                raise ImageError(CORRUPT, f"the TIFF file is damaged: {words}")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _unusual_tiff(data: bytes) -> str | None:
    """What of a TIFF's first directory Pillow does not decode; None where damage must be the reason."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        bits, format_, method = tags.get(258, (1,)), tags.get(339, (1,)), tags.get(259, 1)
        widths = {int(value) for value in bits}
        if 3 in format_:
            return "a TIFF of floating-point numbers"
        if widths <= _WIDTHS and not widths <= {1, 2, 4, 8, 16}:
            return f"a TIFF of {max(widths)} bits a sample"
        return f"a TIFF compressed by {_METHODS[method]}" if method in _METHODS else None
    except Exception:  # a directory that is damaged tells nothing
        return None


def read_header(data: bytes, kind: str) -> Header:
    """Size, orientation and frames of a picture that is `kind`, without decoding pixels."""
    if kind == "png":
        return png.read_header(data)
    with _opened(data, kind) as image:
        width, height = image.size
        if kind == "tiff":  # Pillow gives the size after orientation, and applies it on decoding
            value = dict(getattr(image, "tag_v2", {})).get(0x0112, 1)
            return Header(kind, width, height, value if value in range(1, 9) else 1, _frames(image))
        return header_of(kind, width, height, orientation_of(image.info.get("exif")), _frames(image))


def _frames(image: Image.Image) -> int:
    try:
        return max(1, int(getattr(image, "n_frames", 1)))
    except Exception:  # damage behind the first frame does not concern us
        return 1


def decode(data: bytes, header: Header, max_pixels: int) -> Picture:
    """Pixels of the first frame at full resolution."""
    max_pixels = min(max_pixels, LIMITS.get(header.format, max_pixels))
    check_pixels(header.width_px, header.height_px, max_pixels)
    if header.format == "png":
        data = png.picture_only(data)
    with _opened(data, header.format) as image:
        image.info.pop("xmp", None)  # Pillow would take a TIFF's orientation from there
        check_pixels(*image.size, max_pixels)
        if header.format == "tiff":
            _check_tiles(image, max_pixels)
        image.load()
        rgb = _to_rgb(image)
    if header.format != "tiff":
        rgb = upright(rgb, header.orientation)
    if rgb.shape[:2] != (header.height_px, header.width_px):
        raise ImageError(CORRUPT, f"the {header.format.upper()} file's header and pixels disagree in size")
    return Picture(rgb, 1.0, header)


def _check_tiles(image: Image.Image, max_pixels: int) -> None:
    """A small TIFF may declare huge tiles, each of which is decoded into a buffer of its own."""
    tags = getattr(image, "tag_v2", {})
    width, height = (tags.get(tag, 0) for tag in (322, 323))
    if isinstance(width, int) and isinstance(height, int):
        check_pixels(width, height, max_pixels)


def _to_rgb(image: Image.Image) -> Pixels:
    """RGB pixels of a loaded picture, strip by strip: intermediate copies of a large picture do not fit."""
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_BYTES // (4 * width))
    white = _white(image)
    for top in range(0, height, rows):
        rgb[top : top + rows] = _strip_to_rgb(
            image.crop((0, top, width, min(top + rows, height))), image.format, white
        )
    return rgb


def _white(image: Image.Image) -> int:
    """The sample that is white in 16-bit gray: a TIFF may hold fewer bits, or say (tag 281) that it does."""
    tags = getattr(image, "tag_v2", {})
    bits, most = (tags.get(tag, (16,)) for tag in (258, 281))
    if bits == (12,):
        return 4095
    return next((white for white in _WHITES if most in (white, (white,))), 65535)


def _strip_to_rgb(strip: Image.Image, kind: str | None, white: int) -> Pixels:
    if strip.mode in _SIXTEEN or (strip.mode == "I" and kind in ("PNG", "PPM")):
        gray = (np.asarray(strip).astype(np.uint32) * 255 + white // 2) // white
        return np.repeat(np.minimum(gray, 255).astype(np.uint8)[..., None], 3, axis=2)
    if strip.mode in _MEANINGLESS:
        raise unsupported(f"a picture of {_MEANINGLESS[strip.mode]}")
    if strip.mode in _ALPHA or "transparency" in strip.info:
        pixels = np.asarray(strip.convert("RGBA")).astype(np.uint16)
        alpha = pixels[..., 3:]
        return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.asarray(strip.convert("RGB"))
