"""The resample: exact geometry at every scale, no aliasing, an honest padded fraction."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from facecorpus.faces.align import align_none
from facecorpus.faces.warp import Image, Matrix, corners, inverse, matrix_for_scale, outside, warp
from facecorpus.synth.face import draw_face
from facecorpus.synth.identity import Identity


def padding(rgb: Image, matrix: Matrix, size_px: int) -> float:
    height, width = rgb.shape[:2]
    return outside(corners(inverse(matrix), 0.0, 0.0, size_px), width, height)


@pytest.fixture(scope="module")
def picture() -> Image:
    rgb, _, _ = draw_face(Identity.sample(0, 3), size_px=896, backdrop=2)
    return rgb


def turned(degrees: float, zoom: float, source: tuple[float, float], crop: tuple[float, float]) -> Matrix:
    """The matrix that turns and zooms, and takes the source point to the crop point."""
    c, s = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
    linear = np.array([[c, -s], [s, c]])
    return np.column_stack([linear, np.array(crop) - linear @ np.array(source)])


def squash(rgb: Image, size_px: int = 224) -> Image:
    """The whole image as a crop."""
    return warp(rgb, align_none(rgb.shape[1], rgb.shape[0], size_px).matrix, size_px)


def naive(rgb: Image, size_px: int = 224) -> Image:
    """What is done elsewhere: one bilinear interpolation however much the image shrinks."""
    matrix = align_none(rgb.shape[1], rgb.shape[0], size_px).matrix
    return np.asarray(
        cv2.warpAffine(rgb, matrix, (size_px, size_px), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def difference(a: Image, b: Image) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_a_crop_at_the_own_scale_is_a_copy(picture: Image) -> None:
    matrix = np.array([[1.0, 0.0, -100.0], [0.0, 1.0, -50.0]])
    crop, padded = warp(picture, matrix, 224), padding(picture, matrix, 224)
    assert np.array_equal(crop, picture[50:274, 100:324])
    assert padded == 0.0


@pytest.mark.parametrize("degrees", [0.0, 30.0, 170.0])
@pytest.mark.parametrize("step", [0.4, 0.9, 1.0, 1.1, 1.3, 2.0, 2.4, 2.6, 3.7, 5.0, 9.3])
def test_points_land_where_the_matrix_says(step: float, degrees: float) -> None:
    """A blob's centre of mass is carried exactly, whatever is averaged on the way: half-pixel errors show
    here."""
    size = 64
    side = int(size * step * 1.5) + 40
    at = (side * 0.47 + 0.3, side * 0.55 - 0.2)
    sigma = max(3.0, 2.5 * step)
    y, x = np.mgrid[:side, :side]
    blob = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))
    rgb = np.repeat(np.rint(250 * blob)[..., None], 3, 2).astype(np.uint8)
    crop = warp(rgb, turned(degrees, 1 / step, at, (30.2, 33.7)), size)
    mass = np.maximum(crop[..., 1].astype(float) - 5, 0)
    v, u = np.mgrid[:size, :size]
    centre = (float((mass * u).sum() / mass.sum()), float((mass * v).sum() / mass.sum()))
    assert centre == pytest.approx((30.2, 33.7), abs=0.06)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_shrinking_by_a_whole_factor_is_near_the_exact_average(picture: Image, factor: int) -> None:
    source = np.asarray(cv2.resize(picture, (224 * factor,) * 2, interpolation=cv2.INTER_AREA), np.uint8)
    exact = source.reshape(224, factor, 224, factor, 3).mean(axis=(1, 3))
    away = np.abs(squash(source) - exact)
    # 2 and 4 are whole averages and only rounded; 3 is averaged by 2 x 2 and then interpolated at 1.5.
    assert away.mean() < (0.6 if factor == 3 else 0.4)
    assert factor == 3 or away.max() < 1.3


@pytest.mark.parametrize("side", [160, 236, 300, 448, 600, 896])
def test_the_crop_is_near_a_filtered_resize(picture: Image, side: int) -> None:
    source = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    lanczos = np.asarray(Pillow.fromarray(source).resize((224, 224), Pillow.Resampling.LANCZOS))
    assert difference(squash(source), lanczos) < 1.2
    if side > 448:
        assert difference(squash(source), lanczos) < difference(naive(source), lanczos)


@pytest.mark.parametrize("side", [400, 448, 561, 672, 800, 1500])
def test_detail_too_fine_for_the_crop_vanishes(side: int) -> None:
    y, x = np.indices((side, side))
    board = np.repeat((((x + y) % 2) * 255)[..., None], 3, 2).astype(np.uint8)
    inside = squash(board)[8:-8, 8:-8].astype(float)
    assert inside.std() < 4
    assert inside.mean() == pytest.approx(127.5, abs=1.5)


def test_that_detail_would_alias_otherwise() -> None:
    y, x = np.indices((561, 561))
    board = np.repeat((((x + y) % 2) * 255)[..., None], 3, 2).astype(np.uint8)
    assert naive(board).std() > 20


@settings(max_examples=60, deadline=None)
@given(
    degrees=st.floats(-180, 180),
    step=st.floats(0.3, 8),
    x=st.floats(-80, 180),
    y=st.floats(-80, 140),
    level=st.integers(0, 255),
)
def test_padding_is_the_area_outside_and_repeats_the_edge(
    degrees: float, step: float, x: float, y: float, level: int
) -> None:
    rgb = np.full((60, 100, 3), level, np.uint8)
    size = 48
    matrix = turned(degrees, 1 / step, (x, y), (23.5, 23.5))
    crop, padded = warp(rgb, matrix, size), padding(rgb, matrix, size)
    assert crop.shape == (size, size, 3) and crop.dtype == np.uint8
    assert (crop == level).all()
    fine = 6
    grid = (np.arange(size * fine) + 0.5) / fine - 0.5
    u, v = np.meshgrid(grid, grid)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    sx = back[0, 0] * u + back[0, 1] * v + back[0, 2]
    sy = back[1, 0] * u + back[1, 1] * v + back[1, 2]
    beyond = ~((sx >= -0.5) & (sx <= 99.5) & (sy >= -0.5) & (sy <= 59.5))
    assert padded == pytest.approx(beyond.mean(), abs=0.02)


def test_a_crop_beside_the_image_is_all_padding(picture: Image) -> None:
    for shift in ((5000, 0), (0, 5000), (-5000, -5000)):
        matrix = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
        crop, padded = warp(picture, matrix, 32), padding(picture, matrix, 32)
        assert padded == 1.0 and crop.shape == (32, 32, 3)


def test_very_long_images_are_cut_too() -> None:
    rgb = np.full((20, 40_000, 3), 77, np.uint8)
    rgb[:, 20_000:] = 200
    crop = squash(rgb)
    assert (crop[:, :110] == 77).all() and (crop[:, 114:] == 200).all()


def test_a_view_gives_the_same_bytes_as_a_copy(picture: Image) -> None:
    matrix = turned(12, 0.4, (300, 300), (112, 112))
    view = picture[10:700, 5:800, ::-1]
    assert np.array_equal(warp(view, matrix, 224), warp(view.copy(), matrix, 224))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([m / 8 for m in range(1, 9)]), st.floats(-30, 30), st.floats(-30, 30), st.floats(0.1, 3)
)
def test_scaled_pixels_map_like_the_source_pixels_they_cover(
    scale: float, x: float, y: float, zoom: float
) -> None:
    matrix = turned(20, zoom, (1.0, 2.0), (3.0, 4.0))
    source = np.array([(x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, 1.0])
    assert matrix_for_scale(matrix, scale) @ np.array([x, y, 1.0]) == pytest.approx(matrix @ source)


def test_a_half_size_decode_gives_nearly_the_same_crop(picture: Image) -> None:
    half = np.asarray(cv2.resize(picture, (448, 448), interpolation=cv2.INTER_AREA), np.uint8)
    matrix = turned(10, 0.3, (448, 448), (112, 112))
    halved = matrix_for_scale(matrix, 0.5)
    assert difference(warp(picture, matrix, 224), warp(half, halved, 224)) < 1.0
    assert padding(half, halved, 224) == pytest.approx(padding(picture, matrix, 224), abs=1e-9)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3)), np.full((2, 3), np.nan), np.array([[1, 2, 0], [2, 4, 0.0]])]
)
def test_a_matrix_that_maps_to_nothing_is_refused(bad: Matrix, picture: Image) -> None:
    with pytest.raises(ValueError, match="maps the image to nothing"):
        warp(picture, bad, 224)
