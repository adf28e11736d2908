"""Perceptual and pixel hashes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from facecorpus.dedup.hashes import perceptual_hash, pixel_hash
from facecorpus.images import decode, encode_jpeg, read_header

Rgb = NDArray[np.uint8]


def textured(seed: int, height: int = 200, width: int = 240) -> Rgb:
    """A picture of random blobs."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def bits_of(code: bytes) -> NDArray[np.uint8]:
    """Bit 16 * i + j at position [i, j]."""
    return np.unpackbits(np.frombuffer(code, np.uint8))[::-1].reshape(16, 16)


def distance(a: bytes, b: bytes) -> int:
    return int((bits_of(a) != bits_of(b)).sum())


def jpeg(rgb: Rgb, quality: int) -> Rgb:
    """The picture through a JPEG. (Which of the channels is called red does not matter to it here.)"""
    data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


@given(st.integers(0, 10_000), st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_any_size_gives_32_bytes_and_a_quality(seed: int, height: int, width: int) -> None:
    code, quality = perceptual_hash(textured(seed, height, width))
    assert len(code) == 32
    assert 0 <= quality <= 100


def test_bits_are_the_signs_of_the_cosine_coefficients() -> None:
    # 128x128 passes the area resize untouched, so the rest can be redone in plain floating point.
    rgb = textured(3, 128, 128)
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(float)
    padded = np.pad(luma, 1, mode="edge")
    tent = np.array([1, 3, 3, 1]) / 8
    rows = np.sum([w * padded[k : k + 127 : 2] for k, w in enumerate(tent)], axis=0)
    grid = np.sum([w * rows[:, k : k + 127 : 2] for k, w in enumerate(tent)], axis=0)
    coefficients = np.empty((16, 16))
    at = 2 * np.arange(64) + 1
    for i in range(16):
        for j in range(16):
            wave = np.outer(np.cos(np.pi / 128 * (i + 1) * at), np.cos(np.pi / 128 * (j + 1) * at))
            coefficients[i, j] = (wave * grid).sum()
    median = np.sort(coefficients.ravel())[127]
    clear = np.abs(coefficients - median) > 1e-3 * np.abs(coefficients).max()
    assert clear.sum() > 230
    code, _ = perceptual_hash(rgb)
    assert np.array_equal(bits_of(code)[clear], (coefficients > median)[clear])


@pytest.mark.parametrize(("vertical", "horizontal"), [(1, 1), (3, 10), (16, 2)])
def test_a_plane_wave_sets_the_bit_of_its_frequencies(vertical: int, horizontal: int) -> None:
    at = (2 * np.arange(256) + 1) * np.pi / 512
    wave = np.outer(np.cos(vertical * at), np.cos(horizontal * at))
    negative = np.rint(127.5 - 100 * wave).astype(np.uint8)
    positive = np.rint(127.5 + 100 * wave).astype(np.uint8)
    assert bits_of(perceptual_hash(positive)[0])[vertical - 1, horizontal - 1] == 1
    assert bits_of(perceptual_hash(negative)[0])[vertical - 1, horizontal - 1] == 0


def test_a_mirrored_picture_flips_the_odd_horizontal_frequencies() -> None:
    rgb = textured(5)
    odd = (np.arange(16) + 1) % 2 == 1
    mirrored = bits_of(perceptual_hash(rgb[:, ::-1])[0]) ^ odd[None, :]
    assert (mirrored != bits_of(perceptual_hash(rgb)[0])).sum() <= 24


@pytest.mark.parametrize("seed", range(6))
def test_copies_are_near_and_others_are_far(seed: int) -> None:
    rgb = textured(seed)
    code, quality = perceptual_hash(rgb)
    assert quality >= 50
    gray = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    half = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    darker = (rgb * 0.7).astype(np.uint8)
    for copy in (jpeg(rgb, 40), gray, half, darker, cv2.resize(rgb, (500, 333))):
        assert distance(code, perceptual_hash(np.asarray(copy, np.uint8))[0]) <= 31
    assert distance(code, perceptual_hash(textured(seed + 100))[0]) > 80


def test_memory_layout_does_not_matter() -> None:
    rgb = textured(7)
    wide = np.zeros((200, 480, 3), np.uint8)
    wide[:, ::2] = rgb
    assert perceptual_hash(wide[:, ::2]) == perceptual_hash(rgb)
    assert perceptual_hash(np.asfortranarray(rgb)) == perceptual_hash(rgb)
    assert pixel_hash(wide[:, ::2]) == pixel_hash(rgb)


def test_a_flat_picture_has_no_quality() -> None:
    assert perceptual_hash(np.full((50, 70, 3), 90, np.uint8)) == (bytes(32), 0)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(9, np.uint8),
    ],
)
def test_what_is_not_a_picture_is_refused(bad: Rgb) -> None:
    with pytest.raises(ValueError, match="expected a uint8 picture"):
        perceptual_hash(bad)


def test_pixel_hash_of_lossless_copies_holds_at_one_scale() -> None:
    """A large JPEG is looked at smaller than it is; its pixels as PNG are not, but lie near by image hash."""
    jpeg = encode_jpeg(textured(3, 900, 1200), quality=95, chroma="444")
    commented = jpeg[:2] + b"\xff\xfe\x00\x07hello" + jpeg[2:]
    whole = decode(jpeg, read_header(jpeg)).rgb
    file = io.BytesIO()
    Image.fromarray(whole).save(file, "PNG")
    looked = [decode(data, read_header(data), min_side_px=200) for data in (jpeg, commented, file.getvalue())]
    assert [picture.scale for picture in looked] == [0.25, 0.25, 1.0]
    first, copy, png = (pixel_hash(picture.rgb) for picture in looked)
    assert first == copy != png == pixel_hash(whole)
    assert distance(perceptual_hash(looked[0].rgb)[0], perceptual_hash(looked[2].rgb)[0]) <= 8


def test_pixel_hash_is_of_pixels_and_shape() -> None:
    rgb = textured(9, 20, 30)
    encoded = cv2.imencode(".png", rgb)[1]
    again = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    assert pixel_hash(again) == pixel_hash(rgb)
    assert len(pixel_hash(rgb)) == 32
    assert pixel_hash(rgb.reshape(30, 20, 3)) != pixel_hash(rgb)
    other = rgb.copy()
    other[3, 4, 1] ^= 1
    assert pixel_hash(other) != pixel_hash(rgb)


@pytest.fixture(scope="module")
def portraits(real_data: Path) -> dict[str, Rgb]:
    """Every third photograph of the labelled people."""
    with tarfile.open(real_data / "lfw160.tar") as tar:
        members = sorted((m for m in tar if m.name.endswith(".jpg")), key=lambda member: member.name)[::3]
        read = {member.name: tar.extractfile(member) for member in members}
        data = {name: np.frombuffer(file.read(), np.uint8) for name, file in read.items() if file is not None}
    return {
        name: np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR_RGB), np.uint8)
        for name, content in data.items()
    }


@pytest.mark.real
def test_real_photographs_of_a_person_stay_apart(portraits: dict[str, Rgb]) -> None:
    codes = np.stack([bits_of(perceptual_hash(rgb)[0]).ravel() for rgb in portraits.values()]).astype(
        np.float32
    )
    ones = codes.sum(1)
    distances = ones[:, None] + ones[None, :] - 2 * codes @ codes.T
    pairs = distances[np.triu_indices(len(codes), 1)]
    # The full set of 2,029 holds exactly three pairs within the radius, each the same photograph edited anew.
    assert (pairs <= 31).sum() <= 3
    assert len(pairs) > 200_000


COPIES: dict[str, Callable[[Rgb], Rgb]] = {
    "jpeg 30": lambda rgb: jpeg(rgb, 30),
    "half": lambda rgb: np.asarray(
        cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8
    ),
    "gray": lambda rgb: np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8),
    "one pixel off each side": lambda rgb: rgb[1:-1, 1:-1],
}


@pytest.mark.real
@pytest.mark.parametrize("change", COPIES)
def test_real_copies_are_found(portraits: dict[str, Rgb], change: str) -> None:
    some = list(portraits.values())[::6]
    found = [distance(perceptual_hash(rgb)[0], perceptual_hash(COPIES[change](rgb))[0]) <= 31 for rgb in some]
    assert np.mean(found) >= 0.99
