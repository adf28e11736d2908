"""Every rule at its boundary, and the measures of a crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecorpus.errors import UserError
from facecorpus.filters import Limits, Verdict, judge
from facecorpus.images.measures import measure_crop
from facecorpus.record import Record


def record(**fields: Any) -> Record:
    return Record(id="s/a.jpg", source="s", container="", member="a.jpg", **fields)


def reason(verdict: Verdict | None) -> str | None:
    return None if verdict is None else verdict.reason.name


def header(width: int, height: int, **limits: Any) -> Verdict | None:
    return judge("header", record(width_px=width, height_px=height), Limits(**limits))


def face(ranked: Sequence[tuple[float, float]], limits: Limits) -> Verdict | None:
    """Of the main face among (score, interocular_px) by decreasing prominence."""
    score, apart = ranked[0] if ranked else (None, None)
    return judge("faces", record(face_score=score, interocular_px=apart), limits, ranked[1:])


def crop(
    padded: float = 0.0, brightness: float = 128.0, sharpness: float = 100.0, **limits: Any
) -> Verdict | None:
    measured = record(padded=padded, brightness=brightness, sharpness=sharpness)
    return judge("crop", measured, Limits(**limits))


@pytest.mark.parametrize(
    ("width", "height", "limits", "expected"),
    [
        (300, 200, {}, None),
        (200, 300, {}, None),
        (301, 200, {}, "aspect_ratio"),
        (200, 301, {}, "aspect_ratio"),
        (9000, 100, {"max_aspect_ratio": None}, None),
        (115, 100, {"max_aspect_ratio": 1.15}, None),
        (116, 100, {"max_aspect_ratio": 1.15}, "aspect_ratio"),
        (100, 100, {"max_aspect_ratio": 1.0}, None),
        (64, 64, {}, None),
        (63, 64, {}, "too_small"),
        (64, 63, {}, "too_small"),
        (1, 1, {"min_side_px": 1}, None),
        (10_000, 8_000, {}, None),
        (10_000, 8_001, {}, "too_many_pixels"),
        (100, 100, {"max_pixels": 9_999}, "too_many_pixels"),
    ],
)
def test_header_rules(width: int, height: int, limits: dict[str, Any], expected: str | None) -> None:
    assert reason(header(width, height, **limits)) == expected


@given(
    st.integers(1, 70_000),
    st.integers(1, 70_000),
    st.integers(100, 1000).map(lambda n: n / 100),
    st.integers(1, 2000),
    st.integers(1, 10**9),
)
def test_header_rules_are_exact(width: int, height: int, ratio: float, side: int, most: int) -> None:
    verdict = header(width, height, max_aspect_ratio=ratio, min_side_px=side, max_pixels=most)
    short, long = sorted((width, height))
    kept = short * long <= most and short >= side and Fraction(long, short) <= Fraction(str(ratio))
    assert (verdict is None) == kept
    turned = header(height, width, max_aspect_ratio=ratio, min_side_px=side, max_pixels=most)
    assert reason(verdict) == reason(turned)


def test_ratio_limits_of_whole_sizes_are_kept() -> None:
    for hundredths in range(100, 400):
        assert header(hundredths, 100, max_aspect_ratio=hundredths / 100) is None
        assert header(hundredths + 1, 100, max_aspect_ratio=hundredths / 100) is not None


@pytest.mark.parametrize(
    ("ranked", "limits", "expected"),
    [
        ([], {}, "no_face"),
        ([(0.8, 50.0)], {}, None),
        ([(0.79, 50.0)], {}, "no_face"),
        ([(0.9, 16.0)], {}, None),
        ([(0.9, 15.9)], {}, "face_too_small"),
        ([(0.9, 0.0)], {"min_interocular_px": 0.0}, None),
        ([(0.9, 50.0), (0.9, 50.0)], {"faces": "main"}, None),
        ([(0.9, 50.0), (0.9, 50.0)], {"faces": "all"}, None),
        ([(0.9, 50.0), (0.9, 50.0)], {"faces": "one"}, "several_faces"),
        ([(0.9, 50.0), (0.9, 20.0)], {"faces": "one"}, "several_faces"),
        ([(0.9, 50.0), (0.9, 19.9)], {"faces": "one"}, None),
        ([(0.9, 50.0), (0.79, 50.0)], {"faces": "one"}, None),
        ([(0.9, 50.0), (0.8, 50.0)], {"faces": "one"}, "several_faces"),
        ([(0.9, 50.0), (0.9, 10.0), (0.9, 30.0)], {"faces": "one"}, "several_faces"),
        ([(0.9, 50.0), (0.9, 90.0)], {"faces": "one"}, "several_faces"),
        ([(0.9, 50.0), (0.9, 10.0)], {"faces": "one", "rival_ratio": 0.2}, "several_faces"),
        ([(0.5, 50.0), (0.9, 50.0)], {"faces": "one", "min_face_score": 0.5}, "several_faces"),
    ],
)
def test_face_rules(ranked: list[tuple[float, float]], limits: dict[str, Any], expected: str | None) -> None:
    assert reason(face(ranked, Limits(**limits))) == expected


faces = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 500)), min_size=1, max_size=6)


@given(faces, st.floats(0, 1), st.floats(0, 100), st.floats(0, 2))
def test_passers_by_never_matter(
    ranked: list[tuple[float, float]], score: float, least_px: float, ratio: float
) -> None:
    limits = Limits(faces="one", min_face_score=score, min_interocular_px=least_px, rival_ratio=ratio)
    rivals = [f for f in ranked[1:] if f[0] >= score and f[1] >= ratio * ranked[0][1]]
    assert face(ranked, limits) == face([ranked[0], *rivals], limits)
    alone = face(ranked[:1], limits)
    expected = reason(alone) if alone is not None or not rivals else "several_faces"
    assert reason(face(ranked, limits)) == expected


@pytest.mark.parametrize(
    ("fields", "limits", "expected"),
    [
        ({}, {}, None),
        ({"padded": 0.1}, {}, None),
        ({"padded": 0.101}, {}, "face_cut_off"),
        ({"padded": 1.0}, {"max_padded": 1.0}, None),
        ({"brightness": 0.0}, {}, None),
        ({"brightness": 255.0}, {}, None),
        ({"brightness": 20.0}, {"min_brightness": 20.0}, None),
        ({"brightness": 19.9}, {"min_brightness": 20.0}, "too_dark"),
        ({"brightness": 230.0}, {"max_brightness": 230.0}, None),
        ({"brightness": 230.1}, {"max_brightness": 230.0}, "too_bright"),
        ({"sharpness": 0.0}, {}, None),
        ({"sharpness": 15.0}, {"min_sharpness": 15.0}, None),
        ({"sharpness": 14.9}, {"min_sharpness": 15.0}, "too_blurred"),
    ],
)
def test_crop_rules(fields: dict[str, Any], limits: dict[str, Any], expected: str | None) -> None:
    assert reason(crop(**fields, **limits)) == expected


def test_details_give_the_numbers() -> None:
    one = Limits(faces="one")
    for verdict, words in (
        (header(301, 200), ("301 x 200 px", "1.505", "1.5")),
        (header(63, 80), ("63 x 80 px", "64 px")),
        (header(10_000, 8_001), ("10000 x 8001 px", "80,010,000", "80,000,000")),
        (face([], one), ("no face",)),
        (face([(0.512, 50.0)], one), ("0.512", "0.8")),
        (face([(0.9, 12.34)], one), ("12.3 px", "16 px")),
        (face([(0.9, 50.0), (0.9, 30.0), (0.9, 40.0)], one), ("3 faces", "50.0 px", "40.0 px", "0.4")),
        (crop(padded=0.5), ("0.500", "brows to mouth", "0.1")),
        (crop(brightness=3.0, min_brightness=10.0), ("3.0", "10")),
        (crop(brightness=250.0, max_brightness=240.0), ("250.0", "240")),
        (crop(sharpness=2.0, min_sharpness=15.0), ("2.0", "15")),
    ):
        assert verdict is not None
        assert all(word in verdict.detail for word in words), verdict.detail
        assert "\n" not in verdict.detail


def test_missing_measurements_are_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="width_px"):
        judge("header", record(height_px=9), Limits())
    with pytest.raises(ValueError, match="sharpness"):
        judge("crop", record(padded=0.0, brightness=1.0), Limits())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_aspect_ratio", 0.99),
        ("max_aspect_ratio", float("nan")),
        ("max_aspect_ratio", float("inf")),
        ("min_side_px", 0),
        ("max_pixels", 0),
        ("min_face_score", 1.1),
        ("min_face_score", -0.1),
        ("min_interocular_px", -1.0),
        ("min_interocular_px", float("nan")),
        ("rival_ratio", -0.1),
        ("max_padded", 1.1),
        ("min_brightness", -1.0),
        ("max_brightness", 256.0),
        ("min_sharpness", -1.0),
        ("min_sharpness", float("inf")),
        ("faces", "many"),
    ],
)
def test_limits_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"limits.{name}"):
        Limits(**{name: value})


def test_limits_agree_with_each_other_and_do_not_change() -> None:
    with pytest.raises(UserError, match="max_brightness"):
        Limits(min_brightness=100.0, max_brightness=99.0)
    assert Limits(min_brightness=100.0, max_brightness=100.0) == Limits(
        min_brightness=100.0, max_brightness=100.0
    )
    with pytest.raises(FrozenInstanceError):
        Limits().min_side_px = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("colour", "luma"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((7, 7, 7), 7)]
)
def test_brightness_is_luma(colour: tuple[int, int, int], luma: int) -> None:
    assert measure_crop(np.full((20, 30, 3), colour, np.uint8)) == (luma, 0.0)


def test_sharpness_by_hand() -> None:
    dot = np.zeros((5, 5, 3), np.uint8)
    dot[2, 2] = 10  # Laplacian: -40 in the middle, 10 at four neighbours, 0 elsewhere; mean 0
    assert measure_crop(dot) == (10 / 25, (40**2 + 4 * 10**2) / 25)


@pytest.mark.parametrize("size", [(224, 224), (3, 700), (1, 1)])
def test_measures_are_exact(size: tuple[int, int]) -> None:
    gray = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    padded = np.pad(gray.astype(np.int64), 1, mode="reflect" if min(size) > 1 else "edge")
    edges = (
        padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * padded[1:-1, 1:-1]
    )
    squares, total, count = int((edges * edges).sum()), int(edges.sum()), gray.size
    expected = (int(gray.sum(dtype=np.int64)) / count, (count * squares - total * total) / count**2)
    assert measure_crop(np.repeat(gray[..., None], 3, axis=2)) == expected


def test_blur_lowers_sharpness() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    blurred = (noise.astype(np.uint16)[:-1] + noise[1:]) // 2
    sharp, soft = (measure_crop(c.astype(np.uint8))[1] for c in (noise, blurred))
    assert soft < 0.8 * sharp


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_measures_do_not_depend_on_direction(height: int, width: int, seed: int) -> None:
    crop = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    expected = measure_crop(crop)
    for turned in (crop[::-1], crop[:, ::-1], crop.transpose(1, 0, 2)):
        assert measure_crop(np.ascontiguousarray(turned)) == expected
    assert 0 <= expected[0] <= 255
    assert expected[1] >= 0
