"""Real photographs: the rates the detector is known for, and what a crop of a real face looks like."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from facecorpus.faces import align
from facecorpus.faces.detector import Detector, make_detector
from facecorpus.faces.face import Face, Image, plausible
from facecorpus.faces.pose import interocular_px, pose_degrees
from facecorpus.faces.pyramid import detect, detect_many
from facecorpus.faces.warp import corners, inverse, outside, warp

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector("retinaface-mobilenet025", device="cpu")


def pictures(
    archive: Path, wanted: Callable[[str], bool] = lambda _: True, every: int = 1
) -> Iterator[tuple[str, Image]]:
    """Decoded members of a tar, each `every`-th of the wanted ones."""
    count = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if (
                not member.isfile()
                or not member.name.lower().endswith((".jpg", ".png"))
                or not wanted(member.name)
            ):
                continue
            count += 1
            file = tar.extractfile(member)
            if (count - 1) % every or file is None:
                continue
            bgr = cv2.imdecode(np.frombuffer(io.BytesIO(file.read()).getvalue(), np.uint8), cv2.IMREAD_COLOR)
            if bgr is not None:
                yield member.name, np.ascontiguousarray(bgr[:, :, ::-1])


@pytest.fixture(scope="module")
def crops(real_data: Path) -> list[Image]:
    return [rgb for _, rgb in pictures(real_data / "lfw160.tar", every=5)]


@pytest.fixture(scope="module")
def found(crops: list[Image], detector: Detector) -> list[list[Face]]:
    return detect_many(detector, crops)


def test_nearly_every_face_crop_shows_one_face(found: list[list[Face]]) -> None:
    assert len(found) > 400
    assert np.mean([len(faces) == 1 for faces in found]) >= 0.995
    assert all(plausible(face) for faces in found for face in faces)


def test_pictures_of_no_one_hold_no_plausible_face(real_data: Path, detector: Detector) -> None:
    images = [rgb for _, rgb in pictures(real_data / "nonfaces.tar")]
    assert len(images) == 299
    wrong = [faces for faces in detect_many(detector, images) if any(map(plausible, faces))]
    assert len(wrong) <= 0.02 * len(images)


def test_two_people_are_two(real_data: Path, detector: Detector) -> None:
    ((_, rgb),) = pictures(real_data / "formats.tar", lambda name: name.endswith("derived/two_faces.jpg"))
    assert len(detect(detector, rgb)) == 2


def test_a_small_face_in_a_large_picture_is_found(real_data: Path, detector: Detector) -> None:
    ((_, rgb),) = pictures(
        real_data / "formats.tar", lambda name: name.endswith("derived/face_small_in_2048.jpg")
    )
    assert rgb.shape[:2] == (2048, 2048)
    assert len(detect(detector, rgb, pyramid=(160, 320, 640, 1280))) == 1, "27 px of 2048"


@pytest.fixture(scope="module")
def photographs(real_data: Path) -> list[Image]:
    images = [rgb for _, rgb in pictures(real_data / "photos.tar", every=6)]
    return [rgb for rgb in images if max(rgb.shape) > 160]


def test_the_pyramid_finds_who_the_largest_level_finds(photographs: list[Image], detector: Detector) -> None:
    """Over ordinary photographs: the most prominent face of a 640 px look is found by the pyramid as well."""
    agree = total = 0
    for rgb in photographs:
        thorough = detect(detector, rgb, pyramid=(640,))
        if thorough:
            total += 1
            middle = thorough[0].points_px.mean(axis=0)
            near = interocular_px(thorough[0].points_px) + 3
            found = detect(detector, rgb)
            agree += any(np.linalg.norm(face.points_px.mean(axis=0) - middle) < near for face in found)
    assert total > 50
    assert agree / total >= 0.97


def test_people_look_straight_ahead_on_average(photographs: list[Image], detector: Detector) -> None:
    faces = [faces[0] for faces in detect_many(detector, photographs) if faces]
    poses = np.array([pose_degrees(face.points_px) for face in faces])
    assert len(poses) > 50
    assert np.abs(np.median(poses, axis=0)).max() < 5
    assert np.percentile(np.abs(poses), 95, axis=0).max() < 60


def test_aligned_real_faces_meet_the_template(
    crops: list[Image], found: list[list[Face]], detector: Detector
) -> None:
    """Detecting again in the crop finds the points near the template: the whole chain of coordinates
    holds."""
    template = align.TEMPLATES["wide-224"]
    errors: list[float] = []
    for rgb, faces in list(zip(crops, found, strict=True))[::8]:
        alignment = align.align_similarity(faces[0].points_px, 224, "wide-224")
        crop = warp(rgb, alignment.matrix, 224)
        height, width = rgb.shape[:2]
        padded = outside(corners(inverse(alignment.matrix), 0.0, 0.0, 224), width, height)
        assert 0 <= padded < 0.6
        again = detect(detector, crop)
        assert again
        errors.append(float(np.linalg.norm(again[0].points_px - template, axis=1).mean()))
    assert np.median(errors) < 0.12 * interocular_px(template)
