"""JPEG: strict on the picture, forgiving around it; colour models, scaled decoding, encoding."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facecorpus.images import ImageError, decode, encode_jpeg, read_header
from facecorpus.images.jpeg import choose_scale, read_markers


def scene(width: int = 200, height: int = 160) -> np.ndarray:
    """A picture with structure, (height, width, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(x / a + y / b) for a, b in ((9, 30), (40, 12), (17, -21))]
    return np.stack(waves, axis=-1).astype(np.uint8)


def encoded(image: np.ndarray | Image.Image | None = None, **options: Any) -> bytes:
    image = scene() if image is None else image
    file = io.BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(file, "JPEG", **{"quality": 95, "subsampling": 0, **options})
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return decode(data, read_header(data)).rgb


def fails(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        pixels(data)
    assert caught.value.reason.name == "corrupt"
    return str(caught.value)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}, {"optimize": True}, {"restart_marker_rows": 1}]
)
def test_pixels_are_those_of_the_picture(options: dict[str, Any]) -> None:
    assert difference(pixels(encoded(**options)), scene()) < 3


def test_gray() -> None:
    gray = Image.fromarray(scene()).convert("L")
    assert difference(pixels(encoded(gray))[..., 2], np.asarray(gray)) < 2


def _without_adobe(data: bytes) -> bytes:
    markers = read_markers(data)
    start, end = next((a, b) for marker, a, b in markers.segments if marker == 0xEE)
    return data[:start] + data[end:]


def test_cmyk_as_adobe_writes_it_and_as_the_standard_has_it() -> None:
    rgb = Image.fromarray(scene())
    adobe = encoded(rgb.convert("CMYK"))
    assert read_markers(adobe).adobe_transform is not None
    assert difference(pixels(adobe), scene()) < 3
    plain = _without_adobe(encoded(Image.fromarray(255 - np.asarray(rgb.convert("CMYK")), "CMYK")))
    assert difference(pixels(plain), scene()) < 3
    header = read_header(adobe)
    small = decode(adobe, header, min_side_px=80)
    assert small.scale == 0.5
    assert difference(small.rgb, np.asarray(rgb.resize((100, 80), Image.Resampling.BOX))) < 4


def test_cmyk_black_ink_counts() -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0], inks[..., 3] = 100, 60
    light = (np.array([255 - 100, 255, 255]) * (255 - 60) / 255).round()
    assert np.abs(pixels(encoded(Image.fromarray(inks, "CMYK"))) - light).max() <= 2


def _after_start(data: bytes, junk: bytes) -> bytes:
    return data[:20] + junk + data[20:]  # behind SOI and JFIF


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload


def test_damage_around_the_picture_does_not_lose_it() -> None:
    data = encoded()
    expected = pixels(data)
    jfif = data.index(b"JFIF")
    for name, harmless in {
        "junk behind the end": data + bytes(range(256)) * 40,
        "junk between segments": _after_start(data, b"\x01\x02\x03"),
        "stuffed junk between segments": _after_start(data, b"\xff\x00\xff\xff"),
        "broken colour profile": _after_start(data, _segment(0xE2, b"ICC_PROFILE\0\x05\x02nonsense")),
        "broken EXIF": _after_start(data, _segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
        "unknown JFIF revision": data[: jfif + 5] + b"\x09" + data[jfif + 6 :],
        "short Adobe segment": _after_start(data, _segment(0xEE, b"Adobe")),
        "missing end marker": data[:-2],
        "half an end marker": data[:-1],
        "junk before the end marker": data[:-2] + b"\x12\x34" + data[-2:],
    }.items():
        assert np.array_equal(pixels(harmless), expected), name


def _samsung(*parts: bytes) -> bytes:
    """What Samsung's phones append: parts, then a directory that counts backwards."""
    entries, offset = b"", sum(map(len, parts))
    for part in parts:
        entries += struct.pack("<HHII", 0, 0x0A01, offset, len(part))
        offset -= len(part)
    directory = b"SEFH" + struct.pack("<II", 107, len(parts)) + entries
    return b"".join(parts) + directory + struct.pack("<I", len(directory)) + b"SEFT"


TRAILERS = {
    "a second picture": encode_jpeg(scene(40, 30), quality=90, chroma="420"),
    "a video": b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(range(256)) * 9,
    "Samsung's": _samsung(b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1700000000000", b"\0\0\x30\x0a" + bytes(500)),
}


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("options", [{}, {"subsampling": 2}, {"restart_marker_rows": 1}])
def test_only_the_end_marker_is_missing_before_what_a_phone_appends(
    options: dict[str, Any], trailer: str
) -> None:
    data, appended = encoded(**options), TRAILERS[trailer]
    expected = pixels(data)
    assert np.array_equal(pixels(data + appended), expected)
    assert np.array_equal(pixels(data[:-2] + appended), expected)
    assert decode(data[:-2] + appended, read_header(data), min_side_px=80).scale == 0.5
    for cut in (20, 60, 400, len(data) // 2):
        fails(data[:-cut] + appended)  # what is appended must not pass for the rest of the picture
    fails(encoded(progressive=True)[:-2] + appended)  # whole scans may be missing


@pytest.mark.parametrize(
    ("marker", "bits", "words"),
    [
        (0xC1, 12, "a JPEG of 12 bits a sample"),
        (0xC3, 8, "a lossless JPEG"),
        (0xF7, 8, "a lossless JPEG"),
        (0xC5, 8, "a hierarchical JPEG"),
    ],
)
def test_kinds_of_jpeg_that_no_codec_here_decodes(marker: int, bits: int, words: str) -> None:
    data = bytearray(encoded())
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    with pytest.raises(ImageError, match=f"it is {words}, which no codec here decodes; convert it") as caught:
        pixels(bytes(data))
    assert caught.value.reason.name == "unsupported"


def test_unknown_adobe_transform() -> None:
    data = encoded()
    bare = data[:2] + data[20:]  # JFIF would outrank Adobe
    transform = bare[:2] + _segment(0xEE, b"Adobe\0\x64\0\0\0\0\x07") + bare[2:]
    with pytest.raises(ValueError, match="Adobe"):
        simplejpeg.decode_jpeg(transform)
    assert np.array_equal(pixels(transform), pixels(data))


def test_truncated_scans_fail_wherever_they_are_cut() -> None:
    for options in ({}, {"progressive": True}):
        data = encoded(**options)
        scan = read_markers(data).scan
        for cut in np.linspace(10, len(data) - 4, 60).astype(int):
            part = data[:cut]
            if options or cut < scan:
                fails(part)
            elif cut < len(data) - 6:  # the last bytes may be padding
                fails(part)
                fails(part + b"\xff\xd9")
    assert "damaged" in fails(encoded(progressive=True)[:-2])


def test_damaged_scans_fail() -> None:
    data = encoded()
    middle = (read_markers(data).scan + len(data)) // 2
    fails(data[:middle] + data[middle + 400 :])
    fails(data[:middle] + b"\xff\xff\xff\xff" + data[middle:])
    fails(data[:middle] + b"\xff\xd9" + data[middle:])


def test_marker_and_scan_floods_fail_fast() -> None:
    data = encoded()
    assert "segments" in fails(_after_start(data, _segment(0xFE, b"") * 5000))
    progressive = encoded(progressive=True)
    assert "scans" in fails(
        progressive[:-2] + _segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") * 200 + b"\xff\xd9"
    )


def test_no_size_no_picture() -> None:
    data = encoded()
    start = next(a for marker, a, _ in read_markers(data).segments if marker == 0xC0)
    assert "0 pixels" in fails(data[: start + 5] + bytes(2) + data[start + 7 :])


def _oddly_sampled(across: int, down: int, width: int, height: int) -> bytes:
    """A mid-gray JPEG whose luma has `across` x `down` samples for each of chroma. In T.81's own tables all
    DC differences are 0 and all blocks end at once (luma 00 1010, chroma 00 00)."""
    base = encode_jpeg(np.full((16, 16, 3), 128, np.uint8), quality=90, chroma="444")
    markers = read_markers(base)
    parts = [b"\xff\xd8"]
    for marker, start, end in markers.segments:
        segment = bytearray(base[start:end])
        if marker == 0xC0:
            segment[5:9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
            segment[11] = across * 16 + down
        parts.append(bytes(segment))
    units = -(-width // (8 * across)) * -(-height // (8 * down))
    bits = ("001010" * (across * down) + "0000" * 2) * units
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return b"".join(parts) + base[markers.scan : markers.scan + 14] + scan + b"\xff\xd9"


def test_sampling_that_turbojpeg_cannot_name() -> None:
    data = _oddly_sampled(3, 1, 96, 64)
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(data)
    picture = decode(data, read_header(data), min_side_px=8)
    assert picture.rgb.shape == (64, 96, 3)
    assert picture.scale == 1.0
    assert (picture.rgb == 128).all()
    fails(data[:-10])
    assert (pixels(_oddly_sampled(2, 2, 96, 64)) == 128).all()  # the builder is right: 4:2:0


def test_odd_sampling_in_four_components_is_answered() -> None:
    data = bytearray(encoded(Image.fromarray(scene()).convert("CMYK")))
    at = data.index(b"\xff\xc0")
    for factors in (0x31, 0x13, 0x41):
        data[at + 11] = factors
        with contextlib.suppress(ImageError):
            assert pixels(bytes(data)).shape == (160, 200, 3)


@given(st.integers(1, 70_000), st.integers(1, 70_000))
def test_scale_is_the_smallest_that_suffices(side: int, least: int) -> None:
    fits = [m / 8 for m in (1, 2, 4, 8) if -(-side * m // 8) >= least]
    assert choose_scale(side, least) == (min(fits) if fits else 1.0)
    assert choose_scale(side, None) == 1.0


@pytest.mark.parametrize(("width", "height"), [(203, 161), (161, 203), (200, 160), (9, 5)])
@pytest.mark.parametrize("least", [None, 1, 21, 40, 80, 81, 1000])
@pytest.mark.parametrize("chroma", [0, 2])
def test_scaled_decoding(width: int, height: int, least: int | None, chroma: int) -> None:
    data = encoded(scene(width, height), subsampling=chroma)
    picture = decode(data, read_header(data), min_side_px=least)
    eighths = int(picture.scale * 8)
    assert picture.rgb.shape[:2] == (-(-height * eighths // 8), -(-width * eighths // 8))
    assert least is None or min(picture.rgb.shape[:2]) >= min(least, width, height)
    whole = decode(data, read_header(data)).rgb
    step = 8 // eighths
    h, w = height // step, width // step
    if h and w:
        boxes = whole[: h * step, : w * step].reshape(h, step, w, step, 3).mean((1, 3))
        assert difference(picture.rgb[:h, :w], boxes) < 3


def test_scaled_decoding_turns_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(exif=exif)
    header = read_header(data)
    assert (header.width_px, header.height_px) == (160, 200)
    picture = decode(data, header, min_side_px=40)
    assert picture.rgb.shape == (50, 40, 3)
    turned = Image.fromarray(scene()).rotate(-90, expand=True).resize((40, 50), Image.Resampling.BOX)
    assert difference(picture.rgb, np.asarray(turned)) < 5


@pytest.mark.parametrize(("chroma", "sampling"), [("444", 0x11), ("422", 0x21), ("420", 0x22)])
def test_encoding(chroma: Any, sampling: int) -> None:
    data = encode_jpeg(scene(), quality=95, chroma=chroma)
    assert data == encode_jpeg(np.asfortranarray(scene()), quality=95, chroma=chroma)
    markers = read_markers(data)
    frame = next(data[a:b] for marker, a, b in markers.segments if marker == 0xC0)
    assert frame[11] == sampling
    assert {marker for marker, _, _ in markers.segments} <= {0xE0, 0xDB, 0xC0, 0xC4}  # no metadata
    assert difference(pixels(data), scene()) < (3 if chroma == "444" else 8)


def test_quality_costs_bytes_and_buys_likeness() -> None:
    made = [encode_jpeg(scene(), quality=quality, chroma="444") for quality in (30, 75, 95, 100)]
    assert sorted(map(len, made)) == [len(data) for data in made]
    errors = [difference(pixels(data), scene()) for data in made]
    assert sorted(errors, reverse=True) == errors


@pytest.mark.parametrize(
    ("rgb", "quality", "chroma"),
    [
        (np.zeros((4, 4), np.uint8), 95, "444"),
        (np.zeros((4, 4, 4), np.uint8), 95, "444"),
        (np.zeros((4, 4, 3), np.float32), 95, "444"),
        (np.zeros((0, 4, 3), np.uint8), 95, "444"),
        (np.zeros((4, 4, 3), np.uint8), 0, "444"),
        (np.zeros((4, 4, 3), np.uint8), 101, "444"),
        (np.zeros((4, 4, 3), np.uint8), 95, "440"),
    ],
)
def test_encoding_refuses_what_it_cannot_mean(rgb: Any, quality: int, chroma: Any) -> None:
    with pytest.raises(ValueError, match="encode_jpeg needs"):
        encode_jpeg(rgb, quality=quality, chroma=chroma)
