"""Whatever the bytes: an `ImageError` or a picture, nothing else, in bounded memory."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictured import encoded, scene
from PIL import Image

from facecorpus.images import ImageError, Picture, decode, read_header


def _files() -> dict[str, bytes]:
    rgb, exif = scene(), Image.Exif()
    exif[0x0112] = 6
    gray, palette = rgb.convert("L"), rgb.quantize(32)
    rgba = rgb.copy()
    rgba.putalpha(gray)
    return {
        "jpeg": encoded("JPEG", rgb, exif=exif),
        "jpeg progressive": encoded("JPEG", rgb, progressive=True),
        "jpeg cmyk": encoded("JPEG", rgb.convert("CMYK")),
        "jpeg gray": encoded("JPEG", gray),
        "png": encoded("PNG", rgba, exif=exif),
        "png 16": encoded("PNG", Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)),
        "png palette": encoded("PNG", palette, transparency=3),
        "apng": encoded("PNG", rgb, save_all=True, append_images=[rgb.rotate(90)]),
        "webp": encoded("WEBP", rgb, exif=exif),
        "webp lossless": encoded("WEBP", rgba, lossless=True),
        "webp animated": encoded("WEBP", rgb, save_all=True, append_images=[rgb.rotate(180)]),
        "gif": encoded("GIF", palette, save_all=True, append_images=[palette.rotate(180)]),
        "bmp": encoded("BMP", rgb),
        "bmp palette": encoded("BMP", palette),
        "tiff": encoded("TIFF", rgb, exif=exif),
        "tiff lzw": encoded("TIFF", rgba, compression="tiff_lzw"),
        "tiff jpeg": encoded("TIFF", rgb, compression="jpeg"),
        "tiff group4": encoded("TIFF", rgb.convert("1"), compression="group4"),
        "tiff pages": encoded("TIFF", gray, save_all=True, append_images=[gray]),
        "avif": encoded("AVIF", rgb, exif=exif),
        "jp2": encoded("JPEG2000", rgb),
        "ppm": encoded("PPM", rgb),
        "pgm": encoded("PPM", gray),
    }


FILES = _files()


def _try(data: bytes, name: str = "", least: int | None = None) -> Picture | None:
    try:
        picture = decode(data, read_header(data, name), min_side_px=least, max_pixels=1_000_000)
    except ImageError as error:
        assert str(error).strip()
        return None
    header = picture.header
    assert picture.rgb.dtype == np.uint8
    if picture.scale == 1.0:
        assert picture.rgb.shape == (header.height_px, header.width_px, 3)
    assert 1 <= header.orientation <= 8
    assert header.frames >= 1
    return picture


def test_the_files_themselves_are_good() -> None:
    assert all(_try(data) for data in FILES.values())


edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.booleans(), st.booleans()),
    max_size=8,
)


@settings(deadline=None, max_examples=1000)
@given(st.sampled_from(sorted(FILES)), edits, st.none() | st.floats(0, 1), st.sampled_from([None, 8, 20, 56]))
def test_only_image_errors_escape(kind: str, edits: Any, cut: float | None, least: int | None) -> None:
    data = bytearray(FILES[kind])
    for where, value, flip, in_header in edits:
        at = int(where * (min(160, len(data)) if in_header else len(data)))
        data[at] = data[at] ^ (1 << value % 8) if flip else value
    if cut is not None:
        del data[int(cut * len(data)) :]
    first, second = (_try(bytes(data), "a.jpg", least) for _ in range(2))
    assert (first is None) == (second is None)  # damaged or not, always the same answer
    if first is not None and second is not None:
        assert np.array_equal(first.rgb, second.rgb)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([data[:16] for data in FILES.values()]))
def test_noise_behind_any_magic(noise: bytes, magic: bytes) -> None:
    _try(magic + noise)
    _try(noise, "a.png")


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_truncated_file_fails_or_gives_the_whole_picture(kind: str) -> None:
    data = FILES[kind]
    whole = _try(data)
    assert whole is not None
    for length in range(0, len(data), max(1, len(data) // 400)):
        part = _try(data[:length])
        assert part is None or np.array_equal(part.rgb, whole.rgb), length
    assert _try(data[: len(data) // 3]) is None


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _zeros(count: int) -> bytes:
    """`count` zero bytes, deflated, without holding them all."""
    deflate, block = zlib.compressobj(1), bytes(1 << 20)
    parts = [deflate.compress(block[: min(len(block), count - at)]) for at in range(0, count, len(block))]
    return b"".join(parts) + deflate.flush()


def _tiff(tags: dict[int, int], payload: bytes) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + payload


def _bombs() -> dict[str, bytes]:
    zeros = _zeros(50_000_000)
    webp = bytearray(FILES["webp lossless"])
    vp8x = bytearray(FILES["webp animated"])
    vp8x[24:30] = b"\xff\x3f\x00\xff\x3f\x00"  # canvas of 16384 x 16384
    at = webp.index(b"VP8L") + 9
    webp[at : at + 4] = struct.pack("<I", 16383 | 16383 << 14 | 1 << 28)
    jpeg = bytearray(FILES["jpeg"])
    frame = jpeg.rindex(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    bmp = bytearray(FILES["bmp"])
    bmp[18:26] = struct.pack("<II", 60_000, 60_000)
    # A small picture whose only tile is 30000 x 30000, and one that claims to be large itself.
    tile = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 30_000, 323: 30_000, 325: len(zeros)}
    tile[324] = 8 + 2 + 12 * (len(tile) + 1) + 4
    strip = {256: 60_000, 257: 60_000, 258: 8, 259: 8, 262: 1, 277: 1, 278: 60_000, 279: len(zeros)}
    strip[273] = 8 + 2 + 12 * (len(strip) + 1) + 4
    gif = struct.pack("<6sHHBBB", b"GIF89a", 65_535, 65_535, 0x80, 0, 0) + bytes(6)
    gif += struct.pack("<cHHHHB", b",", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\0;"
    return {
        "png": _png(60_000, 60_000, 1, 0, zeros),
        "png deep": _png(40, 40, 8, 2, zeros),  # a small picture with far too much data
        "webp": bytes(webp),
        "webp canvas": bytes(vp8x),
        "jpeg": bytes(jpeg),
        "bmp": bytes(bmp),
        "tiff": _tiff(strip, zeros),
        "tiff tile": _tiff(tile, zeros),
        "gif": gif,
        "ppm": b"P6 60000 60000 255\n" + bytes(100),
    }


_MEASURE = """
import sys
from pathlib import Path
from facecorpus.images import ImageError, decode, read_header
data = [Path(name).read_bytes() for name in sys.argv[1:]]
def peak():  # not getrusage: its peak includes that of the process which started this one
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
before = peak()
for item in data:
    try:
        picture = decode(item, read_header(item))
        print(*picture.rgb.shape)
    except ImageError as error:
        print(error.reason.name)
print((peak() - before) // 1024)
"""


def _in_a_process_of_its_own(folder: Path, files: dict[str, bytes]) -> tuple[dict[str, str], int]:
    """What became of each file, and how many MiB the peak of memory rose in the process that read them."""
    names = [folder / name for name in files]
    for name, data in zip(names, files.values(), strict=True):
        name.write_bytes(data)
    command = [sys.executable, "-W", "error", "-c", _MEASURE, *map(str, names)]
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    *ends, grown = done.stdout.splitlines()
    return dict(zip(files, ends, strict=True)), int(grown)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in Linux's units")
def test_bombs_cost_no_memory(tmp_path: Path) -> None:
    ends, grown = _in_a_process_of_its_own(tmp_path, _bombs())
    small = {name: ends.pop(name) for name in ("png deep", "webp canvas")}
    assert small["png deep"] == "40 40 3"
    assert small["webp canvas"] in ("too_many_pixels", "corrupt")
    assert set(ends.values()) <= {"too_many_pixels", "corrupt"}, ends
    assert {"png", "jpeg", "bmp", "gif", "ppm", "tiff", "tiff tile"} <= {
        name for name, end in ends.items() if end == "too_many_pixels"
    }, ends
    assert grown < 100


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in Linux's units")
def test_the_largest_allowed_picture_fits(tmp_path: Path) -> None:
    width, height = 10_000, 8_000
    deep = _png(width, height, 16, 6, _zeros(height * (1 + 8 * width)))
    ends, grown = _in_a_process_of_its_own(tmp_path, {"rgba16.png": deep})
    assert ends["rgba16.png"] == f"{height} {width} 3"
    assert grown < 800


def _memory_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in Linux's units")
def test_memory_does_not_grow_with_damage() -> None:
    generator = random.Random(5)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _memory_kb("VmRSS")
    for _ in range(1500):
        data = bytearray(FILES[generator.choice(sorted(FILES))])
        for _ in range(generator.choice((1, 2, 8))):
            data[generator.randrange(min(len(data), 120))] = generator.choice(
                (0, 0x7F, 0xFF, generator.randrange(256))
            )
        _try(bytes(data))
    assert _memory_kb("VmHWM") - before < 300 * 1024
