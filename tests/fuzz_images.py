"""Pictures of every format."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import Target, as_it_is
from PIL import Image

from facecorpus.images import ImageError, decode, read_header

_LIMIT = 1_000_000


def _scene() -> Image.Image:
    y, x = np.mgrid[:56, :72]
    waves = [128 + 90 * np.sin(x / a + y / b) for a, b in ((9, 30), (40, 12), (17, -21))]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def _encoded(kind: str, image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _pictures() -> dict[str, bytes]:
    rgb, exif = _scene(), Image.Exif()
    exif[0x0112] = 6
    gray, palette, rgba = rgb.convert("L"), rgb.quantize(32), rgb.copy()
    rgba.putalpha(gray)
    jpeg = _encoded("JPEG", rgb, exif=exif)
    sixteen = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    return {
        "jpeg": jpeg,
        "jpeg-progressive": _encoded("JPEG", rgb, progressive=True),
        "jpeg-cmyk": _encoded("JPEG", rgb.convert("CMYK")),
        "jpeg-trailer": jpeg[:-2] + _encoded("JPEG", gray),
        "png": _encoded("PNG", rgba, exif=exif),
        "png-16": _encoded("PNG", sixteen),
        "png-palette": _encoded("PNG", palette, transparency=3),
        "webp": _encoded("WEBP", rgba, exif=exif),
        "webp-lossless": _encoded("WEBP", rgba, lossless=True),
        "gif": _encoded("GIF", palette, save_all=True, append_images=[palette.rotate(180)]),
        "bmp": _encoded("BMP", palette),
        "tiff": _encoded("TIFF", rgb, exif=exif),
        "tiff-lzw": _encoded("TIFF", rgba, compression="tiff_lzw"),
        "tiff-jpeg": _encoded("TIFF", rgb, compression="jpeg"),
        "tiff-group4": _encoded("TIFF", rgb.convert("1"), compression="group4"),
        "tiff-16": _encoded("TIFF", sixteen),
        "tiff-float": _encoded("TIFF", gray.convert("F")),
        "avif": _encoded("AVIF", rgb, exif=exif),
        "jp2": _encoded("JPEG2000", rgb),
        "ppm": _encoded("PPM", rgb),
    }


def _checksummed(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold now."""
    png, position = bytearray(data), 8
    while position + 12 <= len(png):
        end = position + 8 + int.from_bytes(png[position : position + 4], "big")
        if end + 4 > len(png):
            break
        png[end : end + 4] = struct.pack(">I", zlib.crc32(png[position + 4 : end]))
        position = end + 4
    return bytes(png)


def _write(data: bytes, name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _read(path: Path) -> tuple[int, ...]:
    """Decode at full size and at a scale, under one name that claims a picture and one that does not."""
    data, shape = path.read_bytes(), ()
    for name, least in (("a.jpg", None), ("a", 20)):
        try:
            header = read_header(data, name)
            picture = decode(data, header, min_side_px=least, max_pixels=_LIMIT)
        except ImageError as error:
            assert 0 < len(str(error)) < 1000 and "\n" not in str(error), str(error)[:300]
            continue
        assert picture.rgb.dtype == np.uint8
        shape = picture.rgb.shape
        assert picture.scale < 1 or shape == (header.height_px, header.width_px, 3)
    return shape


def _target(name: str, data: bytes) -> Target:
    write: Callable[[Path], Path] = partial(_write, data, name)
    return Target(name, write, _read, _checksummed if name.startswith("png") else as_it_is)


TARGETS = tuple(_target(name, data) for name, data in _pictures().items())
