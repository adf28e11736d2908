"""Drawn faces: pure, smooth, different, and correct under each action unit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecorpus.synth.expression import ACTION_UNITS, Expression, rig
from facecorpus.synth.face import Camera, Framing, draw_face, draw_people
from facecorpus.synth.geometry import Pose, curve
from facecorpus.synth.identity import Identity
from facecorpus.synth.light import Light
from facecorpus.synth.scene import contact_sheet, draw_group, draw_scene

NO_NOISE = Camera(noise=0.0)
WHO = Identity.sample(0, 15)
"""Bald and shaved: nothing hides the forehead or the mouth."""
LOOKS = [
    "age",
    "feminine",
    "blush",
    "half_width",
    "jaw_width",
    "chin_y",
    "eye_spacing",
    "eye_width",
    "eye_height",
    "eye_tilt",
    "brow_y",
    "brow_thickness",
    "nose_width",
    "nose_y",
    "mouth_y",
    "mouth_width",
    "lip_upper",
    "lip_lower",
    "hairline_y",
    "hair_volume",
]
LEVELS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


def face(au: dict[int, float] | None = None, who: Identity = WHO, size_px: int = 192) -> np.ndarray:
    backdrop = np.full((8, 8, 3), 150, dtype=np.float32)
    return draw_face(
        who,
        Expression(au or {}),
        size_px=size_px,
        backdrop=backdrop,
        camera=NO_NOISE,
        framing=Framing(0.5, 0.42, 0.28),
    )[0]


def test_same_arguments_same_pixels() -> None:
    args = (Expression({12: 3.0}), Pose(10, -5, 3), Light(0.5))
    first = draw_face(Identity.sample(3, 7), *args, 160, backdrop=5)
    draw_face(Identity.sample(3, 8), size_px=100)  # something in between
    again = draw_face(Identity.sample(3, 7), *args, 160, backdrop=5)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1]) and first[2] == again[2]
    assert first[0].shape == (160, 160, 3) and first[0].dtype == np.uint8
    assert first[1].shape == (5, 2) and first[1].dtype == np.float32


def test_identity_is_a_pure_function_of_seed_and_index() -> None:
    assert Identity.sample(0, 3) == Identity.sample(0, 3)
    assert Identity.sample(0, 3) != Identity.sample(0, 4) != Identity.sample(1, 4)


def test_identities_look_different() -> None:
    faces = [face(who=Identity.sample(0, k), size_px=96).astype(np.float32) for k in range(24)]
    nearest = min(np.abs(a - b).mean() for i, a in enumerate(faces) for b in faces[:i])
    assert nearest > 4.0


# -- smoothness: a small step of any parameter changes the picture a little, and never by a jump --

NUMBERS = st.floats(-1, 1)
STEP = 0.01
MEAN_CHANGE = 0.5
"""Grey levels per step of a hundredth of each range; the whole range would be 50."""


def _setting(values: list[float], intensities: dict[int, float], who: Identity) -> np.ndarray:
    v = values
    pose = Pose(20 * v[0], 15 * v[1], 25 * v[2], v[3], v[4])
    light = Light(v[5], v[6], 0.5 + 0.5 * v[7], 1 + 0.2 * v[8], (1.0, 1 + 0.1 * v[9], 1 - 0.1 * v[9]))
    framing = Framing(0.5 + 0.03 * v[10], 0.44 + 0.03 * v[11], 0.2 + 0.02 * v[12])
    camera = Camera(blur=0.6 + 0.4 * v[13], noise=0.0)
    rgb, _, _ = draw_face(
        who, Expression(intensities), pose, light, 160, framing=framing, camera=camera, backdrop=2
    )
    return rgb.astype(np.float32)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    values=st.lists(NUMBERS, min_size=14, max_size=14),
    which=st.integers(0, 13),
    unit=st.sampled_from(sorted(ACTION_UNITS)),
    level=st.floats(0, 5),
    person=st.integers(0, 200),
)
def test_small_steps_of_pose_light_framing_and_camera_are_small_changes(
    values: list[float], which: int, unit: int, level: float, person: int
) -> None:
    who = Identity.sample(0, person)
    stepped = [v + STEP if k == which else v for k, v in enumerate(values)]
    change = np.abs(_setting(values, {unit: level}, who) - _setting(stepped, {unit: level}, who))
    assert change.mean() <= MEAN_CHANGE and (change.max(axis=2) > 60).mean() < 0.001


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    unit=st.sampled_from(sorted(ACTION_UNITS)),
    other=st.sampled_from(sorted(ACTION_UNITS)),
    level=st.floats(0, 4.9),
    other_level=st.floats(0, 5),
    person=st.integers(0, 200),
)
def test_small_steps_of_intensity_are_small_changes(
    unit: int, other: int, level: float, other_level: float, person: int
) -> None:
    who = Identity.sample(0, person)
    before = face({other: other_level, unit: level}, who).astype(np.float32)
    after = face({other: other_level, unit: level + 0.05}, who).astype(np.float32)
    change = np.abs(before - after)
    assert change.mean() <= 0.25 and change.max() < 80


@settings(max_examples=20, deadline=None, derandomize=True)
@given(field=st.sampled_from(LOOKS), person=st.integers(0, 200))
def test_small_steps_of_looks_are_small_changes(field: str, person: int) -> None:
    who = Identity.sample(0, person)
    step = 0.01 if field in ("age", "feminine", "blush", "hair_volume") else 0.001
    moved = replace(who, **{field: getattr(who, field) + step})
    change = np.abs(face(who=who).astype(np.float32) - face(who=moved).astype(np.float32))
    assert change.mean() <= 0.6


@pytest.mark.parametrize("unit", sorted(ACTION_UNITS))
def test_no_intensity_is_a_jump(unit: int) -> None:
    sweep = [face({unit: float(level)}, size_px=112).astype(np.float32) for level in np.linspace(0, 5, 26)]
    steps = np.array([np.abs(a - b).mean() for a, b in pairwise(sweep)])
    assert steps.max() <= 2.0 * steps.mean() + 0.01


@pytest.mark.parametrize("which", range(14))
def test_no_pose_light_framing_or_blur_is_a_jump(which: int) -> None:
    points = [[float(v) if k == which else 0.2 for k in range(14)] for v in np.linspace(-1, 1, 26)]
    sweep = [_setting(values, {12: 2.0}, Identity.sample(0, 12)) for values in points]
    steps = np.array([np.abs(a - b).mean() for a, b in pairwise(sweep)])
    assert steps.max() <= 2.5 * steps.mean() + 0.01


def test_curve_is_linear_in_its_knots() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 5, 2))
    assert np.allclose(curve(a + 2 * b, 17), curve(a, 17) + 2 * curve(b, 17))
    assert np.allclose(curve(a, 17)[[0, -1]], a[[0, -1]])
    assert np.allclose(curve(a, 20, closed=True)[::4], a)


# -- action units --

SIGNS = {
    1: ("brow_inner_y", -1),
    2: ("brow_outer_y", -1),
    4: ("brow_inner_y", 1),
    5: ("lid_upper", 1),
    6: ("lid_lower", -1),
    7: ("lid_lower", -1),
    9: ("nose_lift", 1),
    10: ("line_upper", -1),
    12: ("corner_y", -1),
    14: ("dimple", 1),
    15: ("corner_y", 1),
    17: ("line_lower", -1),
    20: ("mouth_half", 1),
    23: ("mouth_half", -1),
    24: ("lip_lower", -1),
    25: ("gap", 1),
    26: ("jaw", 1),
}
"""What FACS says each action unit does first of all, as a field of the rig and its direction."""


def _measure(name: str, au: dict[int, float]) -> float:
    found = rig(WHO, Expression(au))
    if name == "gap":
        return found.line_lower - found.line_upper
    if name.startswith("brow"):
        return getattr(found, name.removesuffix("_y"))[1]
    return float(getattr(found, name))


@pytest.mark.parametrize("unit", sorted(ACTION_UNITS))
def test_geometry_follows_intensity(unit: int) -> None:
    name, sign = SIGNS[unit]
    measured = [sign * _measure(name, {unit: level}) for level in np.linspace(0, 5, 21)]
    assert np.all(np.diff(measured) > 0)


@pytest.mark.parametrize("unit", sorted(ACTION_UNITS))
def test_every_level_is_visible(unit: int) -> None:
    pictures = [face({unit: level}).astype(np.float32) for level in LEVELS]
    for before, after in pairwise(pictures):
        strongest = np.sort(np.abs(before - after).max(axis=2).ravel())[-60:]
        assert strongest.min() > 8.0  # at least 60 pixels of 192 x 192 change plainly from level to level
    neutral = [np.abs(p - pictures[0]).mean() for p in pictures]
    assert np.all(np.diff(neutral) > 0)


def test_all_units_look_different_from_one_another() -> None:
    pictures = {unit: face({unit: 4.0}).astype(np.float32) for unit in ACTION_UNITS}
    for a, first in pictures.items():
        for b, second in pictures.items():
            if a < b:
                assert np.sort(np.abs(first - second).max(axis=2).ravel())[-150:].min() > 10, (a, b)


def test_mouth_corners_move_in_the_picture() -> None:
    def corners(au: dict[int, float]) -> np.ndarray:
        return draw_face(WHO, Expression(au), size_px=256)[1][3:]

    neutral, smile, frown, stretch = corners({}), corners({12: 5}), corners({15: 5}), corners({20: 5})
    assert np.all(smile[:, 1] < neutral[:, 1] - 5) and np.all(frown[:, 1] > neutral[:, 1] + 4)
    assert stretch[0, 0] < neutral[0, 0] - 3 and stretch[1, 0] > neutral[1, 0] + 3


@pytest.mark.parametrize(
    ("au", "complaint"), [({3: 1.0}, "AU3"), ({12: 5.5}, "0 to 5"), ({12: -0.1}, "0 to 5")]
)
def test_expression_refuses_what_cannot_be_drawn(au: dict[int, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Expression(au)


# -- pose --


def test_points_follow_the_pose() -> None:
    def points(pose: Pose) -> np.ndarray:
        return draw_face(WHO, pose=pose, size_px=256)[1]

    front, right, up, rolled = (
        points(Pose()),
        points(Pose(yaw=20)),
        points(Pose(pitch=12)),
        points(Pose(roll=20)),
    )
    middle = (front[0] + front[1]) / 2
    assert np.isclose(middle[0], 127.5, atol=1.0)
    nose = [(p[2] - (p[0] + p[1]) / 2) for p in (front, right, up)]
    assert nose[1][0] > nose[0][0] + 6 and nose[2][1] < nose[0][1] - 4
    slope = np.degrees(np.arctan2(rolled[1, 1] - rolled[0, 1], rolled[1, 0] - rolled[0, 0]))
    assert np.isclose(slope, 20, atol=1)


def test_small_pictures_agree_with_large_ones() -> None:
    large, small = draw_face(WHO, size_px=280), draw_face(WHO, size_px=140)
    assert np.allclose((large[1] + 0.5) / 2 - 0.5, small[1], atol=0.05)


# -- scenes --


def test_group_reports_every_face_left_to_right() -> None:
    people = [Identity.sample(0, k) for k in range(3)]
    rgb, drawn = draw_group(people, (320, 240), 4)
    assert rgb.shape == (240, 320, 3) and len(drawn) == 3
    assert np.all(np.diff([d.points_px[2, 0] for d in drawn]) > 60)


def test_scene_is_a_pure_function_of_size_and_seed() -> None:
    assert np.array_equal(draw_scene((120, 90), 3), draw_scene((120, 90), 3))
    assert np.abs(draw_scene(96, 3).astype(int) - draw_scene(96, 4)).mean() > 8


def test_people_may_be_none() -> None:
    rgb, drawn = draw_people([], (64, 48))
    assert rgb.shape == (48, 64, 3) and drawn == []


def test_contact_sheet_holds_every_picture() -> None:
    pictures = [np.full((20, 30, 3), k, dtype=np.uint8) for k in (10, 20, 30)]
    sheet = contact_sheet(pictures, 2, gap_px=4)
    assert sheet.shape == (2 * 24 + 4, 2 * 34 + 4, 3)
    assert [int(sheet[10, 10, 0]), int(sheet[10, 44, 0]), int(sheet[34, 10, 0])] == [10, 20, 30]
