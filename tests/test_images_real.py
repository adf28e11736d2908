"""Real photographs and the odd files that break loaders."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facecorpus.images import ImageError, Picture, decode, read_header

pytestmark = pytest.mark.real

NOT_PICTURES = (".mp4", ".avi", ".mov", ".xml", ".md", ".markdown", ".txt", ".json", ".mit", "license")


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isfile() else None
            if file is not None:
                yield entry.name, file.read()


def read(name: str, data: bytes, least: int | None = None) -> Picture | str:
    try:
        return decode(data, read_header(data, name), min_side_px=least)
    except ImageError as error:
        return error.reason.name


@pytest.fixture(scope="module")
def formats(real_data: Path) -> dict[str, bytes]:
    return dict(members(real_data / "formats.tar"))


@pytest.fixture(scope="module")
def derived(formats: dict[str, bytes]) -> dict[str, bytes]:
    return {name.rpartition("/")[2]: data for name, data in formats.items() if "derived/" in name}


def rgb(derived: dict[str, bytes], name: str) -> np.ndarray:
    picture = read(name, derived[name])
    assert isinstance(picture, Picture)
    return picture.rgb.astype(int)


def test_the_manifest_is_met(derived: dict[str, bytes]) -> None:
    manifest = json.loads(derived["manifest.json"])
    assert len(manifest) > 50
    for name, entry in manifest.items():
        found, expected = read(name, derived[name]), entry["expect"]
        if expected.startswith("ok") or "rgb_baseline" in expected:
            assert isinstance(found, Picture), (name, found)
        elif expected == "corrupt":
            assert found == ("empty" if not derived[name] else "corrupt"), (name, found)
        elif expected == "reject":
            assert found == "too_many_pixels", (name, found)
        else:
            assert expected == "edge", name
            again = read(name, derived[name])
            assert isinstance(found, Picture) == isinstance(again, Picture)


def test_every_form_of_the_picture_looks_alike(derived: dict[str, bytes]) -> None:
    baseline = rgb(derived, "rgb_baseline.jpg")
    gray = baseline @ [0.299, 0.587, 0.114]
    for name, most in {
        "rgb_progressive.jpg": 2.0,
        "no_eoi.jpg": 0.0,
        "trailing_junk.jpg": 0.0,
        "jpeg_named.png": 3.0,
        "rgb_420_q30.jpg": 6.0,
        "cmyk.jpg": 3.0,
        "palette.png": 5.0,
        "palette_trns.png": 5.0,
        "lossy.webp": 3.0,
        "lossless.webp": 3.0,
        "rgb.bmp": 3.0,
        "rgb.tif": 3.0,
        "multi.tif": 3.0,
        "rgb.jp2": 3.0,
        "rgb.avif": 3.0,
        "png_named.jpg": 3.0,
        "noext": 3.0,
    }.items():
        found = rgb(derived, name)
        assert found.shape == baseline.shape, name
        assert np.abs(found - baseline).mean() <= most, name
    for name in ("gray.jpg", "gray16.png"):
        assert np.abs(rgb(derived, name)[..., 0] - gray).mean() < 3, name


def test_orientations_agree(derived: dict[str, bytes], formats: dict[str, bytes]) -> None:
    upright = rgb(derived, "exif_orient_1.jpg")
    for orientation in range(2, 9):
        turned = rgb(derived, f"exif_orient_{orientation}.jpg")
        assert turned.shape == upright.shape
        assert np.abs(turned - upright).mean() < 3, orientation
    assert read_header(derived["exif_corrupt.jpg"]).orientation == 1
    for shape in ("Landscape", "Portrait"):
        pictures = {
            i: rgb({"x.jpg": data}, "x.jpg")
            for i in range(9)
            for name, data in formats.items()
            if name.endswith(f"exif_orientation/{shape}_{i}.jpg")
        }
        assert len(pictures) == 9
        for i in range(2, 9):
            assert pictures[i].shape == pictures[1].shape, (shape, i)
            small = (
                np.asarray(Image.fromarray(p.astype(np.uint8)).resize((24, 24)))
                for p in (pictures[i], pictures[1])
            )
            a, b = (s.astype(int) for s in small)
            assert np.abs(a - b).mean() < 25, (shape, i)  # each carries its own number


def test_no_good_photograph_is_lost(real_data: Path) -> None:
    read_names: set[str] = set()
    for archive in ("photos.tar", "nonfaces.tar"):
        for name, data in members(real_data / archive):
            found = read(name, data)
            if name.lower().endswith(NOT_PICTURES):
                assert found == "not_an_image", name
                continue
            assert isinstance(found, Picture), (name, found)
            read_names.add(name)
            small = read(name, data, least=100)
            assert isinstance(small, Picture)
            assert min(small.rgb.shape[:2]) >= min(100, *found.rgb.shape[:2])
    assert len(read_names) > 700


def test_no_face_crop_is_lost(real_data: Path) -> None:
    crops = [read(name, data) for name, data in members(real_data / "lfw160.tar")]
    assert len(crops) == 2029
    assert all(isinstance(crop, Picture) and crop.rgb.shape == (160, 160, 3) for crop in crops)


LOST = {
    "10ct_32bit_128.tiff": "float pixels",
    "16_bit_binary_pgm.tiff": "32-bit pixels",
    "16bit.s.tif": "32-bit pixels",
    "hopper.Lab.tif": "Lab",
    "lab.tif": "Lab",
    "lab-green.tif": "Lab",
    "lab-red.tif": "Lab",
    "hopper_webp.tif": "WebP inside TIFF, which this libtiff does not read",
    "broken.png": "truncated",
    "broken_data_stream.png": "wrong checksum",
    "truncated_end_chunk.png": "truncated",
    "truncated_image.png": "truncated",
    "truncated_jpeg.jpg": "truncated",
    "ultrahdr.jpg": "truncated",
    "hopper_bad_exif.jpg": "its scan is damaged: stripes",
    "hopper_unknown_pixel_mode.tif": "unknown pixel mode",
    "libtiff_segfault.tif": "crash test",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": "crash test",
    "seek_too_large.tif": "crash test",
    "tiff_overflow_rows_per_strip.tif": "crash test",
    "decompression_bomb.gif": "bomb",
    "l2rgb_read.bmp": "bomb",
    "zero_width.gif": "no pixels",
    "negative_size.ppm": "no pixels",
}
"""All of Pillow's own test pictures that are not read, and why; besides those named crash-*."""


def test_pillows_odd_pictures(formats: dict[str, bytes]) -> None:
    lost = {
        name.rpartition("/")[2]
        for name, data in formats.items()
        if "pillow_tests/Tests/images/" in name and not isinstance(read(name, data), Picture)
    }
    assert {name for name in lost if not name.startswith("crash-")} <= set(LOST)
    assert "junk_jpeg_header.jpg" not in lost


def test_scaled_decoding_matches_full_decoding(real_data: Path) -> None:
    wanted = ("img54.jpg", "img24.jpg", "obama.jpg")
    tried = 0
    for name, data in members(real_data / "photos.tar"):
        if not name.endswith(wanted):
            continue
        header = read_header(data, name)
        whole, small = decode(data, header).rgb, decode(data, header, min_side_px=100)
        if small.scale == 1.0:
            continue
        tried += 1
        step = round(1 / small.scale)
        h, w = (side // step for side in whole.shape[:2])
        boxes = whole[: h * step, : w * step].reshape(h, step, w, step, 3).mean((1, 3))
        assert np.abs(small.rgb[:h, :w] - boxes).mean() < 2, name
    assert tried
