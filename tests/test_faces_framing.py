"""Crops of faces that fill their picture: as wide as the picture gives, never wider, never tighter than the
face."""

from __future__ import annotations

import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facecorpus.faces.align import TEMPLATES, align_box, align_similarity
from facecorpus.faces.detector import make_detector
from facecorpus.faces.face import plausible
from facecorpus.faces.framing import CORE_BELOW, CORE_SIDE, ZOOM_STEP, Framing, frame
from facecorpus.faces.pose import MODEL_MM
from facecorpus.faces.pyramid import detect
from facecorpus.faces.warp import corners, inverse, outside

SIZE, LIMIT = 224, 0.1
FRONT = MODEL_MM[:, :2] / 63.0
"""A frontal face, eyes 1 apart, from the middle between them."""


def cut(
    points: np.ndarray, width: int, height: int, limit: float = LIMIT, template: str = "wide-224"
) -> Framing:
    return frame(align_similarity(points, SIZE, template).matrix, points, width, height, SIZE, limit)


def face(eyes_px: float, x: float, y: float, degrees: float = 0.0) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)) * eyes_px, math.sin(math.radians(degrees)) * eyes_px
    return FRONT @ np.array([[c, s], [-s, c]]) + [x, y]


def test_where_there_is_room_the_crop_is_the_template() -> None:
    points = face(40, 150, 130)
    framing = cut(points, 300, 300)
    assert (framing.zoom, framing.padded) == (1.0, 0.0)
    assert np.array_equal(framing.matrix, align_similarity(points, SIZE, "wide-224").matrix)
    allowed = cut(points - np.array([0, 90]), 300, 300, limit=1.0)
    assert allowed.zoom == 1.0 and allowed.padded > 0.1, "a limit of 1 leaves every framing alone"


faces_st = {
    "template": st.sampled_from(sorted(TEMPLATES)),
    "eyes": st.floats(0.2, 0.6),
    "x": st.floats(-0.1, 0.1),
    "y": st.floats(-0.15, 0.15),
    "limit": st.sampled_from([0.0, 0.05, 0.1, 0.3]),
}


@settings(max_examples=60, deadline=None)
@given(**faces_st, degrees=st.floats(-25, 25))
def test_it_lies_within_the_aligned_crop_and_around_the_core(
    template: str, eyes: float, x: float, y: float, limit: float, degrees: float
) -> None:
    points = face(eyes * 200, 200 * (0.5 + x), 230 * (0.4 + y), degrees)
    whole = align_similarity(points, SIZE, template).matrix
    framing = cut(points, 200, 230, limit, template)
    assert framing.zoom >= 1.0 and framing.zoom % ZOOM_STEP == 0.0
    assert np.allclose(framing.matrix[:, :2], whole[:, :2] * framing.zoom), "turned as aligned, only nearer"
    padded = outside(corners(inverse(framing.matrix), 0.0, 0.0, SIZE), 200, 230)
    assert framing.padded == pytest.approx(padded, abs=1e-9)
    low, high = ends(whole, framing)
    assert min(low) > -1e-6 and max(high) < SIZE + 1e-6
    core_low, core_high = core_of(points, whole)
    assert (core_low > np.array(low) - 1e-6).all() and (core_high < np.array(high) + 1e-6).all()


@settings(max_examples=60, deadline=None)
@given(**faces_st)
def test_it_is_the_widest_that_fits(template: str, eyes: float, x: float, y: float, limit: float) -> None:
    """No square a step larger that lies within the aligned crop and around the core has little enough
    outside."""
    points = face(eyes * 200, 200 * (0.5 + x), 230 * (0.4 + y))
    whole = align_similarity(points, SIZE, template).matrix
    framing = cut(points, 200, 230, limit, template)
    if framing.zoom == 1.0:
        return
    side = SIZE / (framing.zoom - ZOOM_STEP)
    low, high = core_of(points, whole)
    most = 1.0
    for axis, length in ((0, 200), (1, 230)):
        first, last = max(high[axis] - side, 0.0), min(low[axis], SIZE - side)
        starts = np.linspace(first, last, 400)
        scale, shift = whole[axis, axis], whole[axis, 2]
        edges = [scale * (edge - 0.5) + shift + 0.5 for edge in (0, length)]
        inside = np.minimum(starts + side, edges[1]) - np.maximum(starts, edges[0])
        most *= float(inside.max()) / side
    assert 1.0 - most > limit - 1e-4


def ends(whole: np.ndarray, framing: Framing) -> tuple[list[float], list[float]]:
    """Corners of a framing in the crop that the alignment asks for, in its pixels from its edge."""
    back = np.linalg.inv(np.vstack([framing.matrix, [0, 0, 1]]))
    low, high = (whole @ (back @ [at, at, 1.0]) + 0.5 for at in (-0.5, SIZE - 0.5))
    return low.tolist(), high.tolist()


def core_of(points: np.ndarray, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the core in the crop that the alignment asks for, in its pixels from its edge."""
    right = points[1] - points[0]
    down = np.array([-right[1], right[0]])
    centre = whole @ [*(points[:2].mean(axis=0) + CORE_BELOW * down), 1.0] + 0.5
    half = CORE_SIDE / 2 * math.hypot(*right) * math.hypot(*whole[0, :2])
    return centre - half, centre + half


def test_a_picture_that_ends_on_one_side_is_trimmed_on_that_side() -> None:
    """The forehead is cut off, the chin is there: the chin stays."""
    points = face(60, 200, 60)
    framing = cut(points, 400, 500)
    assert 1.0 < framing.zoom < 1.3 and framing.padded <= LIMIT
    chin = framing.matrix @ [200, 60 + 1.75 * 60, 1.0]
    assert chin[1] < SIZE, "a zoom about the middle would have lost it"


def test_a_face_that_is_cut_is_refused_at_its_tightest() -> None:
    framing = cut(face(60, 20, 150), 400, 400)
    assert framing.padded > LIMIT
    assert 0.27 * framing.zoom == pytest.approx(1 / CORE_SIDE, rel=0.05), "eyes in sides of the crop"


def test_a_box_is_framed_too() -> None:
    points = face(60, 100, 90)
    box = (10.0, -10.0, 185.0, 215.0)
    framing = frame(align_box(box, SIZE).matrix, points, 200, 220, SIZE, 0.02)
    assert framing.zoom > 1.0 and framing.padded <= 0.02


# -- photographs
# -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chips(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of chips cut from LFW faces, their eyes 0.35 to 0.5 of the side apart, cut about the face with
    some disorder."""
    model = make_detector("retinaface-mobilenet025", device="cpu")
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("chips") / "chips.tar"
    with tarfile.open(real_data / "lfw160.tar") as source, tarfile.open(path, "w") as target:
        for number, member in enumerate(m for m in source if m.name.endswith(".jpg")):
            if number % 9:
                continue
            rgb = np.asarray(Image.open(source.extractfile(member)).convert("RGB"))  # type: ignore[arg-type]
            (found, *_) = [f for f in detect(model, rgb) if plausible(f)] or [None]
            if found is None:
                continue
            points = found.points_px
            side = round(math.dist(points[0], points[1]) / rng.uniform(0.35, 0.5))
            middle = points.mean(axis=0) + rng.normal(0, 0.04, 2) * side
            x, y = np.clip(np.round(middle - side / 2), 0, 160 - side).astype(int) if side < 160 else (0, 0)
            bytes_ = io.BytesIO()
            Image.fromarray(rgb[y : y + side, x : x + side]).save(bytes_, "png")
            entry = tarfile.TarInfo(f"{number:05d}.png")
            entry.size = len(bytes_.getvalue())
            bytes_.seek(0)
            target.addfile(entry, bytes_)
    return path


@pytest.mark.real
def test_tight_chips_are_kept(chips: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / "out"
    run("build", "--root", str(chips.parent), "--sources", "chips=archive:chips.tar", "--out", str(out))
    rows = pq.read_table(out / "scores" / "chips").to_pylist()
    faces = [row for row in rows if row["faces_found"] and row["reason"] != "face_too_small"]
    cut_off = [row["id"] for row in faces if row["reason"] == "face_cut_off"]
    assert len(faces) > 0.9 * len(rows) > 150
    assert len(cut_off) <= 0.02 * len(faces)
    kept = [row for row in faces if row["state"] == "candidate"]
    assert len(kept) >= 0.98 * len(faces)
    assert max(row["padded"] for row in kept) <= LIMIT
    assert np.median([row["zoom"] for row in kept]) > 1.3
