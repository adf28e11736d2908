"""Drawn faces are faces to the real detector: found, at the right place, and as many as were drawn."""

from __future__ import annotations

import numpy as np
import pytest

from facecorpus.faces.detector import Detector, make_detector
from facecorpus.faces.pyramid import detect
from facecorpus.synth.expression import ACTION_UNITS, Expression
from facecorpus.synth.face import Camera, Framing, draw_face
from facecorpus.synth.geometry import Pose
from facecorpus.synth.identity import Identity
from facecorpus.synth.light import Light
from facecorpus.synth.scene import draw_group, draw_scene


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector("retinaface-mobilenet025", device="cpu")


def varied(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A face with random expression, pose, light, framing, background and camera; and its true landmarks."""
    rng = np.random.default_rng([index, 0x7E57])

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    units = rng.choice(sorted(ACTION_UNITS), int(rng.integers(0, 4)), replace=False)
    expression = Expression({int(unit): between(0, 5) for unit in units})
    pose = Pose(between(-20, 20), between(-12, 12), between(-15, 15), between(-1, 1), between(-0.6, 0.6))
    light = Light(
        between(-1.4, 1.4),
        between(-1, 0.3),
        between(0.2, 1.0),
        between(0.8, 1.15),
        (1, 0.95, between(0.8, 1)),
    )
    rgb, points, _ = draw_face(
        Identity.sample(0, index),
        expression,
        pose,
        light,
        256 + 32 * (index % 3),
        framing=Framing(between(0.42, 0.58), between(0.4, 0.48), between(0.14, 0.24)),
        backdrop=index,
        camera=Camera(between(0, 0.8), between(0, 5), index),
    )
    return rgb, points


def check_faces(detector: Detector, count: int) -> None:
    scores, errors = [], []
    for index in range(count):
        rgb, points = varied(index)
        faces = sorted(detector.detect_batch([rgb])[0], key=lambda face: -face.score)
        scores.append(faces[0].score if faces else 0.0)
        if scores[-1] >= 0.8:
            distance = np.linalg.norm(faces[0].points_px - points, axis=1)
            errors.append(distance / np.linalg.norm(points[1] - points[0]))
    assert np.mean(np.array(scores) >= 0.8) >= 0.99
    assert np.median(errors) <= 0.08
    assert np.quantile(errors, 0.99) <= 0.3


def test_detector_finds_varied_faces(detector: Detector) -> None:
    check_faces(detector, 60)


@pytest.mark.slow
def test_detector_finds_many_varied_faces(detector: Detector) -> None:
    check_faces(detector, 400)


def test_detector_finds_everybody_in_a_group(detector: Detector) -> None:
    for seed in range(9):
        people = [Identity.sample(1, 4 * seed + k) for k in range(2 + seed % 3)]
        rgb, drawn = draw_group(people, (320, 240), seed)
        faces = detect(detector, rgb)
        assert len(faces) == len(people)
        eyes = sorted(float(face.points_px[0, 0]) for face in faces)
        assert np.allclose(eyes, [d.points_px[0, 0] for d in drawn], atol=8)


def test_detector_finds_nobody_in_a_scene(detector: Detector) -> None:
    for seed in range(40):
        rgb = draw_scene([(178, 218), (250, 250), (112, 112), (320, 240)][seed % 4], seed)
        assert detect(detector, rgb, min_score=0.5) == []
