"""Alignment matrices and head pose: against independent algebra, by round trip, and on drawn people."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facecorpus.errors import UserError
from facecorpus.faces import align
from facecorpus.faces.detector import Detector, make_detector
from facecorpus.faces.face import Face
from facecorpus.faces.pose import MODEL_MM, interocular_px, pose_degrees
from facecorpus.faces.pyramid import detect
from facecorpus.faces.warp import corners, inverse, outside, warp
from facecorpus.synth.face import draw_face
from facecorpus.synth.geometry import Pose
from facecorpus.synth.identity import Identity

Points = NDArray[np.float64]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector("retinaface-mobilenet025", device="cpu")


def mapped(matrix: Points, points: Points) -> Points:
    return points @ matrix[:, :2].T + matrix[:, 2]


points_st = st.lists(st.tuples(st.floats(-500, 3000), st.floats(-500, 3000)), min_size=5, max_size=5).map(
    np.array
)


# -- similarity
# ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-180, 180), st.floats(0.05, 20), st.floats(-900, 900), st.sampled_from(sorted(align.TEMPLATES))
)
def test_a_moved_template_is_put_back(degrees: float, zoom: float, shift: float, template: str) -> None:
    c, s = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
    points = align.TEMPLATES[template] @ np.array([[c, s], [-s, c]]) + [shift, 2 * shift]
    matrix = align.align_similarity(points, 224, template).matrix
    assert mapped(matrix, points) == pytest.approx(align.TEMPLATES[template], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(points_st)
def test_it_is_the_least_squares_solution(points: Points) -> None:
    if np.ptp(points, axis=0).max() < 1:
        return
    target = align.TEMPLATES["arcface-224"]
    x, y = (points - points.mean(axis=0)).T
    one, zero = np.ones(5), np.zeros(5)
    system = np.vstack([np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])])
    a, b, tx, ty = np.linalg.lstsq(system, target.T.ravel(), rcond=None)[0]
    expected = points - points.mean(axis=0)
    expected = np.column_stack(
        [a * expected[:, 0] - b * expected[:, 1] + tx, b * expected[:, 0] + a * expected[:, 1] + ty]
    )
    matrix = align.align_similarity(points, 224).matrix
    assert mapped(matrix, points) == pytest.approx(expected, abs=1e-5)
    assert np.linalg.det(matrix[:, :2]) >= 0, "never mirrored"


def test_templates_are_where_they_are_said_to_be() -> None:
    assert align.TEMPLATES["arcface-224"][0] == pytest.approx([76.5892, 103.3926])
    assert align.TEMPLATES["arcface-224"][4] == pytest.approx([141.4598, 184.4082])
    for name, points in align.TEMPLATES.items():
        assert points.shape == (5, 2), name
        assert ((points > 0) & (points < 223)).all()
    for name in ("wide-224", "ffhq-224"):
        assert pose_degrees(align.TEMPLATES[name]) == pytest.approx((0, 0, 0), abs=1e-6), "straight ahead"
    wide, distance = align.TEMPLATES["wide-224"], interocular_px(align.TEMPLATES["wide-224"])
    assert (wide[0, 1] + 0.5) / distance > 1.45, "room for the forehead"
    assert (223.5 - wide[0, 1]) / distance > 2.1, "room for a dropped jaw"


def test_templates_scale_with_the_crop() -> None:
    points = align.TEMPLATES["arcface-224"] * 3 + 7
    small = mapped(align.align_similarity(points, 112).matrix, points)
    assert small == pytest.approx((align.TEMPLATES["arcface-224"] + 0.5) / 2 - 0.5)


def test_similarity_takes_flat_points_and_names_its_template() -> None:
    points = align.TEMPLATES["wide-224"] + 3
    alignment = align.align_similarity(tuple(points.ravel()), 224, "wide-224")
    assert alignment.name == "similarity/wide-224"
    assert alignment.matrix == pytest.approx(np.array([[1, 0, -3], [0, 1, -3]]))


def test_similarity_says_what_is_wrong() -> None:
    with pytest.raises(UserError, match="did you mean 'arcface-224'"):
        align.align_similarity(align.TEMPLATES["arcface-224"], 224, "arcface224")
    for bad in (np.full((5, 2), 4.0), np.full((5, 2), np.nan)):
        with pytest.raises(ValueError, match="cannot be aligned"):
            align.align_similarity(bad, 224)


# -- box and none
# ----------------------------------------------------------------------------------------------


def test_box_adds_its_margin_on_each_side() -> None:
    alignment = align.align_box((10, 20, 110, 220), 200, margin=0.05, square=False)
    ends = mapped(alignment.matrix, np.array([[5.0, 10.0], [115.0, 230.0]]))
    assert ends == pytest.approx(np.array([[-0.5, -0.5], [199.5, 199.5]]))
    assert alignment.name == "box/squash"


def test_a_square_box_keeps_proportions() -> None:
    alignment = align.align_box((10, 20, 110, 220), 200, margin=0.0)
    ends = mapped(alignment.matrix, np.array([[-40.0, 20.0], [160.0, 220.0]]))
    assert ends == pytest.approx(np.array([[-0.5, -0.5], [199.5, 199.5]]))
    assert alignment.name == "box/square"


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (0, 0, math.nan, 4), (0, 0, math.inf, 4)])
def test_an_empty_box_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="is empty"):
        align.align_box(box, 224)


def test_none_fills_the_crop_with_the_image() -> None:
    alignment = align.align_none(640, 480, 224)
    ends = mapped(alignment.matrix, np.array([[-0.5, -0.5], [639.5, 479.5]]))
    assert ends == pytest.approx(np.array([[-0.5, -0.5], [223.5, 223.5]]))
    assert outside(corners(inverse(alignment.matrix), 0.0, 0.0, 224), 640, 480) == 0.0


# -- eyes
# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roll", [-35, 0, 25])
def test_eyes_come_out_level_in_a_square_about_the_face(roll: float, detector: Detector) -> None:
    rgb, truth, _ = draw_face(Identity.sample(0, 5), pose=Pose(0, 0, roll), size_px=480, backdrop=1)
    face = detect(detector, rgb)[0]
    alignment = align.align_eyes(face, rgb, 1.0, detector, 224)
    assert alignment.name == "eyes/square"
    linear = alignment.matrix[:, :2]
    assert linear @ linear.T == pytest.approx(np.eye(2) * np.linalg.det(linear), abs=1e-9), "no squash"
    points = mapped(alignment.matrix, truth.astype(np.float64))
    assert abs(pose_degrees(points)[2]) < 6
    assert ((points > 30) & (points < 194)).all()
    crop = warp(rgb, alignment.matrix, 224)
    (again,) = detect(detector, crop)
    x0, y0, x1, y1 = again.box_xyxy_px
    assert max(x1 - x0, y1 - y0) == pytest.approx(224, rel=0.12), "the box fills the crop"
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((111.5, 111.5), abs=14)


def test_the_second_look_mends_a_poor_first_box(detector: Detector) -> None:
    rgb, _, _ = draw_face(Identity.sample(0, 5), size_px=480, backdrop=1)
    good = detect(detector, rgb)[0]
    x0, y0, x1, y1 = good.box_xyxy_px
    poor = Face((x0 - 25, y0 - 20, x1 + 60, y1 + 70), good.points_px, good.score)
    corners = np.array([[x0, y0], [x1, y1]])
    mended = mapped(align.align_eyes(poor, rgb, 1.0, detector, 224).matrix, corners)
    assert mended == pytest.approx(
        mapped(align.align_eyes(good, rgb, 1.0, detector, 224).matrix, corners), abs=14
    )
    assert np.ptp(mended, axis=0).max() > 0.88 * 224


def test_eyes_in_a_scaled_decode_cut_the_same_place(detector: Detector) -> None:
    rgb, _, _ = draw_face(Identity.sample(0, 6), pose=Pose(0, 0, 15), size_px=960)
    half = rgb.reshape(480, 2, 480, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    face = detect(detector, rgb)[0]
    full = align.align_eyes(face, rgb, 1.0, detector, 224).matrix
    scaled = align.align_eyes(face, half, 0.5, detector, 224).matrix
    corners = np.array([[300.0, 300.0], [600.0, 700.0]])
    assert mapped(scaled, corners) == pytest.approx(mapped(full, corners), abs=2.0)


def test_eyes_fall_back_to_the_first_box_where_the_second_look_sees_nothing(detector: Detector) -> None:
    points = np.array([[90, 100], [110, 100], [100, 112], [92, 122], [108, 122]], np.float32)
    face = Face((80.0, 80.0, 120.0, 140.0), points, 0.9)
    matrix = align.align_eyes(face, np.full((240, 240, 3), 128, np.uint8), 1.0, detector, 120).matrix
    assert matrix == pytest.approx(np.array([[2, 0, 59.5 - 200], [0, 2, 59.5 - 220]]))


def test_eyes_that_coincide_are_refused(detector: Detector) -> None:
    face = Face((0.0, 0.0, 9.0, 9.0), np.ones((5, 2), np.float32), 0.9)
    with pytest.raises(ValueError, match="eyes coincide"):
        align.align_eyes(face, np.zeros((64, 64, 3), np.uint8), 1.0, detector, 224)


# -- pose
# ------------------------------------------------------------------------------------------------------


def rotation(yaw: float, pitch: float, roll: float) -> Points:
    """Head turned by pitch, then yaw, then roll, in the record's signs, from elementary rotations."""
    y, p, r = (math.radians(v) for v in (-yaw, -pitch, roll))
    about_x = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@settings(max_examples=80, deadline=None)
@given(st.floats(-75, 75), st.floats(-60, 60), st.floats(-175, 175), st.floats(0.1, 5))
def test_pose_is_recovered_from_the_projected_head(
    yaw: float, pitch: float, roll: float, zoom: float
) -> None:
    points = (MODEL_MM @ rotation(yaw, pitch, roll).T)[:, :2] * zoom + [300, 200]
    assert pose_degrees(points) == pytest.approx((yaw, pitch, roll), abs=1e-4)


@settings(max_examples=80, deadline=None)
@given(st.floats(-30, 30), st.floats(-20, 20), st.floats(-40, 40))
def test_perspective_costs_little(yaw: float, pitch: float, roll: float) -> None:
    centred = MODEL_MM - MODEL_MM.mean(axis=0)
    space = centred @ rotation(yaw, pitch, roll).T + [0, 0, 1500]
    points = space[:, :2] / space[:, 2:] * 2000
    assert pose_degrees(points) == pytest.approx((yaw, pitch, roll), abs=2.0)


def test_signs_are_those_of_the_record() -> None:
    frontal = align.TEMPLATES["ffhq-224"]
    nose_right, nose_up, clockwise = frontal.copy(), frontal.copy(), frontal.copy()
    nose_right[2, 0] += 10
    nose_up[2, 1] -= 10
    clockwise[:, 1] += 0.2 * frontal[:, 0]
    clockwise[:, 0] -= 0.2 * frontal[:, 1]
    assert pose_degrees(nose_right)[0] > 10
    assert pose_degrees(nose_up)[1] > 10
    assert pose_degrees(clockwise)[2] == pytest.approx(math.degrees(math.atan(0.2)), abs=0.1)


def test_points_that_coincide_have_no_pose() -> None:
    assert all(math.isnan(value) for value in pose_degrees(np.ones((5, 2))))


def test_interocular_is_the_distance_of_the_eyes() -> None:
    assert interocular_px([0, 0, 3, 4, 9, 9, 9, 9, 9, 9]) == 5.0


_GEOMETRY = """
import hashlib, sys
import numpy as np
from facecorpus.faces import align, warp
from facecorpus.faces.face import Face, plausible
from facecorpus.faces.pose import pose_degrees
rng, digest = np.random.default_rng(0), hashlib.sha256()
for _ in range(400):
    points = rng.normal(100, 40, (5, 2)).astype(np.float32)
    matrix = align.align_similarity(points, 224, "wide-224").matrix
    values = [pose_degrees(points), matrix, warp.inverse(matrix), warp.matrix_for_scale(matrix, 0.625)]
    digest.update(b"".join(np.asarray(value, np.float64).tobytes() for value in values))
    digest.update(bytes([plausible(Face((40.0, 40.0, 160.0, 160.0), points, 1.0))]))
print(digest.hexdigest())
"""


def test_stored_numbers_do_not_depend_on_the_kernels_of_blas() -> None:
    def computed(core: str) -> str:
        environment = {**os.environ, "OPENBLAS_CORETYPE": core}
        return subprocess.run(
            [sys.executable, "-c", _GEOMETRY], env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert computed("Prescott") == computed("Haswell") == computed("SkylakeX")
