"""What may be a face at all, and the data set's own landmarks re-checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facecorpus.faces.face import Face, plausible
from facecorpus.faces.given import confirm_given

# ----------------------------------------------------------------------------------------------


def straight() -> Face:
    points = np.array([[30, 40], [70, 40], [50, 62], [34, 84], [66, 84]], np.float32)
    return Face((0.0, 0.0, 100.0, 120.0), points, 0.9)


def test_a_face_is_plausible_at_any_rotation() -> None:
    for degrees in range(0, 360, 15):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        points = (straight().points_px - [50, 60]) @ np.array([[c, s], [-s, c]]) + [50, 60]
        assert plausible(Face((-8.0, -8.0, 108.0, 128.0), points.astype(np.float32), 0.9)), degrees


@pytest.mark.parametrize(
    ("what", "points"),
    [
        ("mirrored", [[70, 40], [30, 40], [50, 62], [66, 84], [34, 84]]),
        ("collapsed", [[50, 60]] * 5),
        ("nose above the eyes", [[30, 40], [70, 40], [50, 20], [34, 84], [66, 84]]),
        ("nose below the mouth", [[30, 40], [70, 40], [50, 95], [34, 84], [66, 84]]),
        ("eyes swapped", [[70, 40], [30, 40], [50, 62], [34, 84], [66, 84]]),
        ("mouth corners swapped", [[30, 40], [70, 40], [50, 62], [66, 84], [34, 84]]),
        ("beside the box", [[130, 40], [170, 40], [150, 62], [134, 84], [166, 84]]),
        ("not a number", [[np.nan, 40], [70, 40], [50, 62], [34, 84], [66, 84]]),
        ("tiny in its box", [[48, 58], [52, 58], [50, 60], [48, 62], [52, 62]]),
    ],
)
def test_what_is_no_face_is_implausible(what: str, points: list[list[float]]) -> None:
    assert plausible(straight())
    assert not plausible(replace(straight(), points_px=np.array(points, np.float32))), what


@pytest.mark.parametrize("box", [(0, 0, 100, 0), (10, 0, 0, 120), (0, 0, 100, 400), (0, np.nan, 100, 120)])
def test_a_box_that_is_no_face_is_implausible(box: tuple[float, float, float, float]) -> None:
    assert not plausible(replace(straight(), box_xyxy_px=box))


# -- given landmarks
# -------------------------------------------------------------------------------------------


def two_faces() -> list[Face]:
    first = straight()
    second = Face((300.0, 0.0, 400.0, 120.0), first.points_px + np.array([300, 0], np.float32), 0.85)
    return [first, second]


def test_given_points_choose_the_person_and_replace_the_points() -> None:
    faces = two_faces()
    points = (faces[1].points_px + 3).ravel().tolist()
    chosen, other = confirm_given(faces, points)
    assert chosen.points_px.ravel().tolist() == points
    assert (chosen.box_xyxy_px, chosen.score) == (faces[1].box_xyxy_px, 0.85)
    assert other is faces[0]


@pytest.mark.parametrize(
    ("what", "points"),
    [
        ("elsewhere", (straight().points_px + 200).ravel().tolist()),
        ("mirrored", straight().points_px[[1, 0, 2, 4, 3]].ravel().tolist()),
        ("not numbers", [float("nan")] * 10),
    ],
)
def test_given_points_that_disagree_change_nothing(what: str, points: list[float]) -> None:
    faces = two_faces()
    assert confirm_given(faces, points) == faces, what


def test_a_given_box_chooses_the_person() -> None:
    faces = two_faces()
    near_second = (310.0, 10.0, 410.0, 130.0)
    assert confirm_given(faces, None, near_second) == [faces[1], faces[0]]
    assert confirm_given(faces, None, (600.0, 0.0, 700.0, 99.0)) == faces
    elsewhere = confirm_given(faces, faces[0].points_px.ravel().tolist(), near_second)
    assert elsewhere == [faces[1], faces[0]], "points that the given box does not contain are not believed"


def test_nothing_given_or_found_changes_nothing() -> None:
    assert confirm_given(two_faces()[:0], [0.0] * 10, (0, 0, 1, 1)) == []
    faces = two_faces()
    assert confirm_given(faces, None) == faces
