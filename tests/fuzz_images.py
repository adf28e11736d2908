"""Pictures of every format."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from fuzzing import Target, as_it_is
from pictured import encoded, scene
from PIL import Image

from facecorpus.images import ImageError, decode, read_header

_LIMIT = 1_000_000


def _pictures() -> dict[str, bytes]:
    rgb, exif = scene(), Image.Exif()
    exif[0x0112] = 6
    gray, palette, rgba = rgb.convert("L"), rgb.quantize(32), rgb.copy()
    rgba.putalpha(gray)
    jpeg = encoded("JPEG", rgb, exif=exif)
    sixteen = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    return {
        "jpeg": jpeg,
        "jpeg-progressive": encoded("JPEG", rgb, progressive=True),
        "jpeg-cmyk": encoded("JPEG", rgb.convert("CMYK")),
        "jpeg-trailer": jpeg[:-2] + encoded("JPEG", gray),
        "png": encoded("PNG", rgba, exif=exif),
        "png-16": encoded("PNG", sixteen),
        "png-palette": encoded("PNG", palette, transparency=3),
        "webp": encoded("WEBP", rgba, exif=exif),
        "webp-lossless": encoded("WEBP", rgba, lossless=True),
        "gif": encoded("GIF", palette, save_all=True, append_images=[palette.rotate(180)]),
        "bmp": encoded("BMP", palette),
        "tiff": encoded("TIFF", rgb, exif=exif),
        "tiff-lzw": encoded("TIFF", rgba, compression="tiff_lzw"),
        "tiff-jpeg": encoded("TIFF", rgb, compression="jpeg"),
        "tiff-group4": encoded("TIFF", rgb.convert("1"), compression="group4"),
        "tiff-16": encoded("TIFF", sixteen),
        "tiff-float": encoded("TIFF", gray.convert("F")),
        "avif": encoded("AVIF", rgb, exif=exif),
        "jp2": encoded("JPEG2000", rgb),
        "ppm": encoded("PPM", rgb),
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
