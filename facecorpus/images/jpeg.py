"""JPEG: markers read here (ITU-T T.81, annex B), pixels by libjpeg-turbo through simplejpeg.

Decoding is strict: whatever libjpeg warns about fails, so that no half-gray picture passes. Some warnings
concern only the bytes around the picture, though: junk between segments, a broken colour profile, an unknown
JFIF revision, a missing end marker, also before what a phone appends. A file that fails is therefore rebuilt
from the segments that decoding needs and must then decode without any warning. (JPEG has no checksum: a
changed bit that still makes a valid code shows only in the pixels.)

Colour profiles are ignored: the numbers are taken as sRGB (and CMYK as ideal inks).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]
from PIL import Image

from facecorpus.images.exif import header_of, orientation_of, upright
from facecorpus.images.picture import Header, ImageError, Picture, Pixels, check_pixels, unsupported
from facecorpus.reasons import CORRUPT

SCALES = (0.125, 0.25, 0.5)
"""DCT scales used besides 1. libjpeg-turbo also offers 3/8, 5/8, 6/8 and 7/8, but without SIMD, so that each
takes about as long as the next larger one of these, or longer."""

_MAX_SEGMENTS = 4096
_MAX_SCANS = 100
"""A progressive file has about ten; thousands of empty ones would take hours."""

_MARKER = re.compile(rb"\xff+([^\xff\x00])")
_SOI, _EOI, _SOS, _DRI, _APP0, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xDD, 0xE0, 0xE1, 0xEE
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length."""
_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
"""Start of frame; 0xF7 is that of JPEG-LS."""
_TABLES = frozenset((0xC4, 0xCC, 0xDB, _DRI))
_BASELINE = (0xC0, 0xC1)
_LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF, 0xF7))
_HIERARCHICAL = frozenset((0xC5, 0xC6, 0xCD, 0xCE))
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_ADOBE = b"Adobe"


@dataclass(frozen=True, slots=True)
class Markers:
    """The segments before the first scan."""

    width_px: int
    """As stored, before orientation."""
    height_px: int
    components: int
    frame: int
    """The start-of-frame marker: 0xC0 baseline, 0xC2 progressive, ..."""
    adobe_transform: int | None
    """Colour transform of Adobe's APP14 segment; `None` where there is none."""
    exif: bytes | None
    segments: tuple[tuple[int, int, int], ...]
    """(marker, start, end) of each segment, the marker itself included."""
    scan: int
    """Offset of the first start-of-scan marker."""


def read_markers(data: bytes) -> Markers:
    """Walks the segments up to the first scan, skipping junk between them as decoders do."""
    segments: list[tuple[int, int, int]] = []
    frame: tuple[int, int, int, int] | None = None
    adobe: int | None = None
    exif: bytes | None = None
    position, size = 2, len(data)
    while True:
        found = _MARKER.search(data, position)
        if found is None or found[1][0] == _EOI:
            raise ImageError(CORRUPT, "the JPEG ends before its picture begins")
        marker, position = found[1][0], found.end()
        if marker in _BARE:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        end = position + length
        if length < 2 or end > size:
            raise ImageError(CORRUPT, "the JPEG's header is cut short or damaged")
        if marker == _SOS:
            if frame is None:
                raise ImageError(CORRUPT, "the JPEG has no frame header")
            kind, height, width, components = frame
            return Markers(width, height, components, kind, adobe, exif, tuple(segments), position - 2)
        if marker in _FRAMES:
            if length < 8 + 3 * data[position + 7]:
                raise ImageError(CORRUPT, "the JPEG's frame header is damaged")
            height, width = (int.from_bytes(data[position + i : position + i + 2], "big") for i in (3, 5))
            frame = (marker, height, width, data[position + 7])
            if (bits := data[position + 2]) != 8:
                raise unsupported(f"a JPEG of {bits} bits a sample", "convert it to 8 bits, or to PNG")
            if marker in _LOSSLESS:
                raise unsupported("a lossless JPEG")
            if marker in _HIERARCHICAL:
                raise unsupported("a hierarchical JPEG")
            if not (width and height):
                raise ImageError(CORRUPT, f"the JPEG's header says {width} x {height} pixels")
        elif marker == _APP1 and exif is None and data[position + 2 : position + 6] == b"Exif":
            exif = data[position + 2 : end]
        elif marker == _APP14 and length >= 14 and data[position + 2 : position + 7] == _ADOBE:
            adobe = data[position + 13]
        segments.append((marker, position - 2, end))
        if len(segments) > _MAX_SEGMENTS:
            raise ImageError(CORRUPT, f"the JPEG has more than {_MAX_SEGMENTS} segments before its picture")
        position = end


def read_header(data: bytes) -> Header:
    """Size and orientation of a JPEG, some hundred thousand a second."""
    markers = read_markers(data)
    return header_of("jpeg", markers.width_px, markers.height_px, orientation_of(markers.exif))


def decode(data: bytes, header: Header, min_side_px: int | None, max_pixels: int) -> Picture:
    """Pixels at the smallest of `SCALES` whose shorter side is at least `min_side_px` (`None`: scale 1)."""
    markers = read_markers(data)
    check_pixels(markers.width_px, markers.height_px, max_pixels)
    if markers.frame not in _BASELINE and data.count(b"\xff\xda", markers.scan) > _MAX_SCANS:
        raise ImageError(CORRUPT, f"the JPEG has more than {_MAX_SCANS} scans")
    scale = choose_scale(min(markers.width_px, markers.height_px), min_side_px)
    colors = "CMYK" if markers.components == 4 else "RGB"
    try:
        pixels = _decode_strictly(data, markers, colors, scale)
    except (ValueError, RuntimeError):
        pixels, scale = _decode_rebuilt(data, markers, colors, scale)
    if pixels.shape[2] == 4:  # Pillow, which reads odd sampling, gives RGB already
        pixels = _rgb_from_cmyk(pixels, inverted=markers.adobe_transform is not None)
    return Picture(upright(pixels, header.orientation), scale, header)


def choose_scale(shorter_side_px: int, min_side_px: int | None) -> float:
    """The smallest usable DCT scale that leaves at least `min_side_px` pixels on the shorter side, else 1."""
    if min_side_px is None:
        return 1.0
    return next((scale for scale in SCALES if -(-shorter_side_px * scale // 1) >= min_side_px), 1.0)


def _decode_strictly(data: bytes, markers: Markers, colors: str, scale: float) -> Pixels:
    if scale == 1.0:
        return simplejpeg.decode_jpeg(data, colors)
    height, width = (int(-(-side * scale // 1)) for side in (markers.height_px, markers.width_px))
    pixels = simplejpeg.decode_jpeg(data, colors, min_height=height, min_width=width)
    if pixels.shape[:2] != (height, width):
        raise ValueError(f"scaled decoding gave {pixels.shape[:2]} instead of {(height, width)}")
    return pixels


def _decode_rebuilt(data: bytes, markers: Markers, colors: str, scale: float) -> tuple[Pixels, float]:
    """Pixels, and their scale, of a picture that fails as it lies but may be whole."""
    problem: Exception | None = None
    for end in (None, *trailers(data, markers)):
        try:
            return _decode_strictly(rebuild(data[:end], markers), markers, colors, scale), scale
        except (ValueError, RuntimeError) as error:
            problem = problem or error
    if "subsampling" in str(problem):
        return _decode_oddly_sampled(data), 1.0
    raise ImageError(CORRUPT, f"the JPEG is damaged: {problem}") from problem


def trailers(data: bytes, markers: Markers) -> list[int]:
    """Where what cameras and phones append to a picture may begin: a second picture, a video, Samsung's.

    A picture that is whole up to exactly there, its end marker alone missing, is not damaged. (Any other
    bytes there might be the end of the picture overwritten.)
    """
    found = [data.find(b"\xff\xd8\xff", markers.scan), data.find(b"ftyp", markers.scan) - 4]
    if data.endswith(b"SEFT"):
        index = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        entries = range(index + 12, len(data) - 8, 12)
        if data[index : index + 4] == b"SEFH" and len(entries) < _MAX_SEGMENTS:
            # each entry: two 16-bit numbers, how far before the index its part begins, and its size
            found.append(
                index - max((int.from_bytes(data[e + 4 : e + 8], "little") for e in entries), default=0)
            )
    return sorted({place for place in found if place > markers.scan})


def _decode_oddly_sampled(data: bytes) -> Pixels:
    """Pixels at full size of a JPEG whose sampling factors TurboJPEG has no name for; plain libjpeg reads
    them.

    (Pillow notices truncation but none of libjpeg's warnings, which is why it is not used for the others.)
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return np.array(image.convert("RGB"))
    except Exception as error:  # whatever Pillow raises: SyntaxError, OSError, struct.error, ...
        raise ImageError(CORRUPT, f"the JPEG is damaged: {error}") from error


def rebuild(data: bytes, markers: Markers) -> bytes:
    """The same picture without the bytes that only disturb.

    Metadata and junk before the scan go, JFIF and Adobe markers are normalised. The end marker is supplied
    where it is missing from a sequential picture with a single scan: only there a decoder notices if more is
    missing.
    """
    parts = [b"\xff\xd8"]
    for marker, start, end in markers.segments:
        segment = data[start:end]
        if marker == _APP0 and segment[4:9] == b"JFIF\0":
            parts.append(_JFIF)
        elif marker == _APP14 and markers.adobe_transform is not None and segment[4:9] == _ADOBE:
            known = markers.adobe_transform if markers.adobe_transform <= 2 else markers.components // 2
            parts.append(segment[:15] + bytes((known,)) + segment[16:])
        elif marker in _TABLES or marker in _FRAMES:
            parts.append(segment)
    parts.append(data[markers.scan :])
    interleaved = data[markers.scan + 4] == markers.components
    if markers.frame in _BASELINE and interleaved and data.find(b"\xff\xd9", markers.scan) < 0:
        parts.append(b"\xff\xd9")
    return b"".join(parts)


def _rgb_from_cmyk(cmyk: Pixels, *, inverted: bool) -> Pixels:
    """RGB (H, W, 3) from CMYK (H, W, 4) by multiplying the light that each ink lets through.

    Adobe stores that light itself (255 = no ink); others store the ink.
    """
    rgb = np.empty((*cmyk.shape[:2], 3), np.uint8)
    for top in range(0, len(cmyk), 256):  # in strips: the intermediate needs two bytes a sample
        light = cmyk[top : top + 256].astype(np.uint16)
        if not inverted:
            light = 255 - light
        rgb[top : top + 256] = (light[..., :3] * light[..., 3:] + 127) // 255
    return rgb


def encode_jpeg(rgb: Pixels, *, quality: int, chroma: Literal["444", "422", "420"]) -> bytes:
    """Baseline JPEG of an (H, W, 3) uint8 RGB picture, without metadata; the same bytes every time.

    `quality` is libjpeg's, 1 to 100. `chroma` is the resolution of colour: "444" full, "422" half across,
    "420" half both ways. A 224 px photograph takes (median of 72) 24 kB at 95 "444", 21 kB at 95 "422", 19 kB
    at 95 "420", 16 kB at 90 "444", 8 kB at 75 "420" and 57 kB at 100 "444". Raises `ValueError` for any other
    input.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"encode_jpeg needs a uint8 array (H, W, 3), not {rgb.dtype} {rgb.shape}")
    if not 1 <= quality <= 100 or chroma not in ("444", "422", "420"):
        raise ValueError(
            f"encode_jpeg needs quality 1 to 100 and chroma 444, 422 or 420, not {quality} and {chroma}"
        )
    return simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality, "RGB", chroma)
