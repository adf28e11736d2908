"""The detector and its scale pyramid, on drawn people with the real network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecorpus.errors import UserError
from facecorpus.faces import anchors
from facecorpus.faces.detector import Detector, cpu_kernels, make_detector
from facecorpus.faces.face import Face, Image, iou, plausible
from facecorpus.faces.pose import interocular_px
from facecorpus.faces.pyramid import detect, detect_many, levels_px
from facecorpus.synth.face import Framing, Sitter, draw_face, draw_people
from facecorpus.synth.identity import Identity
from facecorpus.synth.scene import draw_group, draw_scene


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector("retinaface-mobilenet025", device="cpu")


class Watched:
    """A real detector that notes the sizes it is given."""

    def __init__(self, detector: Detector) -> None:
        self.name, self.build = detector.name, detector.build
        self.detector = detector
        self.shapes: list[list[tuple[int, ...]]] = []

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        self.shapes.append([image.shape[:2] for image in images])
        return self.detector.detect_batch(images)


def portrait(number: int, size_px: int | tuple[int, int], interocular: float = 0.22) -> Image:
    framing = Framing(interocular=interocular)
    return draw_face(Identity.sample(0, number), size_px=size_px, backdrop=number, framing=framing)[0]


def same(a: list[Face], b: list[Face]) -> bool:
    """Equal to the last bit."""
    return len(a) == len(b) and all(
        x.box_xyxy_px == y.box_xyxy_px and x.score == y.score and np.array_equal(x.points_px, y.points_px)
        for x, y in zip(a, b, strict=True)
    )


# -- what is found
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_px", [96, 160, 250, 480, 1000])
def test_one_drawn_person_is_one_face_in_the_right_place(size_px: int, detector: Detector) -> None:
    rgb, points, box = draw_face(Identity.sample(0, 4), size_px=size_px, backdrop=3)
    (face,) = detect(detector, rgb)
    distance = interocular_px(points)
    assert face.score > 0.9
    assert iou(face.box_xyxy_px, box) > 0.5
    assert np.linalg.norm(face.points_px - points, axis=1).mean() < 0.1 * distance
    assert face.points_px.dtype == np.float32 and face.points_px.shape == (5, 2)
    assert plausible(face)


def test_faces_come_back_in_pixels_of_the_image(detector: Detector) -> None:
    """Every pixel made four: the level then shows the very same picture, and coordinates differ by the
    mapping alone."""
    small = portrait(4, 160)
    (plain,) = detect(detector, small, pyramid=(160,))
    (large,) = detect(detector, small.repeat(4, axis=0).repeat(4, axis=1), pyramid=(160,))
    assert large.score == plain.score
    assert large.points_px == pytest.approx((plain.points_px + 0.5) * 4 - 0.5, abs=1e-3)
    assert large.box_xyxy_px == pytest.approx([(v + 0.5) * 4 - 0.5 for v in plain.box_xyxy_px])


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_people_are_counted(count: int, seed: int, detector: Detector) -> None:
    people = [Identity.sample(seed, number) for number in range(count)]
    rgb, truth = draw_group(people, (800, 600), seed)
    faces = detect(detector, rgb)
    assert len(faces) == count
    for drawn in truth:
        assert max(iou(face.box_xyxy_px, drawn.box_xyxy_px) for face in faces) > 0.5


def test_the_prominent_face_is_first(detector: Detector) -> None:
    near = Sitter(Identity.sample(0, 1), framing=Framing(x=0.35, y=0.45, interocular=0.16))
    far = Sitter(Identity.sample(0, 2), framing=Framing(x=0.8, y=0.3, interocular=0.08))
    rgb, (big, small) = draw_people([near, far], (800, 600), backdrop=4)
    first, second = detect(detector, rgb)
    assert iou(first.box_xyxy_px, big.box_xyxy_px) > 0.5
    assert iou(second.box_xyxy_px, small.box_xyxy_px) > 0.5


@pytest.mark.parametrize("seed", range(4))
def test_where_nobody_is_nothing_is_found(seed: int, detector: Detector) -> None:
    assert detect(detector, draw_scene((640, 480), seed)) == []
    assert detect(detector, np.full((50, 70, 3), 60 * seed, np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (9, 31), (161, 97), (2000, 3)])
def test_any_shape_is_looked_at(shape: tuple[int, int], detector: Detector) -> None:
    assert detect(detector, np.zeros((*shape, 3), np.uint8)) == []


# -- batches
# ---------------------------------------------------------------------------------------------------


def test_a_result_does_not_depend_on_the_batch(detector: Detector) -> None:
    images = [portrait(k, size) for k, size in enumerate((160, 224, 160, (300, 200), 700, 160, 64))]
    images += [
        draw_scene((320, 240), 1),
        draw_group([Identity.sample(0, 8), Identity.sample(0, 9)], 512, 3)[0],
    ]
    alone = [detect(detector, image) for image in images]
    assert [len(faces) for faces in alone] == [1] * 7 + [0, 2]
    together = detect_many(detector, images)
    backwards = detect_many(detector, images[::-1])[::-1]
    assert all(same(a, b) and same(a, c) for a, b, c in zip(alone, together, backwards, strict=True))
    raw = [detector.detect_batch([image])[0] for image in images]
    assert all(same(a, b) for a, b in zip(raw, detector.detect_batch(images), strict=True))


def test_a_new_detector_finds_the_same_and_says_what_it_is(detector: Detector) -> None:
    other = make_detector("retinaface-mobilenet025", device="cpu")
    assert other.build == detector.build
    assert detector.build.startswith("retinaface-mobilenet025-b7a7acab55e104dc+onnxruntime-")
    assert detector.build.endswith(f"+cpu+{cpu_kernels()}")
    image = portrait(3, 400)
    assert same(detect(detector, image), detect(other, image))


def test_no_image_is_no_work(detector: Detector) -> None:
    assert detect_many(detector, []) == []
    assert detector.detect_batch([]) == []


# -- the pyramid
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("longest", "pyramid", "expected"),
    [
        (5000, (160, 320, 640), [160, 320, 640]),
        (640, (160, 320, 640), [160, 320, 640]),
        (700, (160, 320, 640), [160, 320, 640]),
        (639, (160, 320, 640), [160, 320, 639]),
        (350, (160, 320, 640), [160, 350]),
        (180, (160, 320, 640), [180]),
        (160, (160, 320, 640), [160]),
        (112, (160, 320, 640), [160]),
        (20, (64, 128), [64]),
        (2000, (640,), [640]),
        (300, (640,), [300]),
        (100, (640,), [160]),
        (3000, (160, 320, 640, 1280), [160, 320, 640, 1280]),
    ],
)
def test_levels(longest: int, pyramid: tuple[int, ...], expected: list[int]) -> None:
    assert levels_px(longest, pyramid) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 20_000), st.lists(st.integers(32, 3000), min_size=1, max_size=5, unique=True).map(sorted)
)
def test_levels_rise_and_never_enlarge_a_picture_beyond_a_small_one(longest: int, pyramid: list[int]) -> None:
    levels = levels_px(longest, pyramid)
    assert levels == sorted(set(levels)) and levels
    assert levels[-1] <= max(longest, min(pyramid[0], 160))
    assert levels[-1] <= pyramid[-1]


def test_a_clear_face_needs_one_look_at_the_smallest_level(detector: Detector) -> None:
    watched = Watched(detector)
    assert len(detect(watched, portrait(1, (1200, 900)))) == 1
    assert watched.shapes == [[(120, 160)]]


@pytest.mark.parametrize("interocular", [0.08, 0.09, 0.11, 0.14, 0.2])
def test_a_face_too_small_for_precise_points_is_looked_at_where_it_is_not(
    interocular: float, detector: Detector
) -> None:
    """From 20 px between the eyes the first look suffices; else the next is the level where they are that
    far."""
    rgb = portrait(2, (1200, 900), interocular=interocular)
    (first,) = detect(detector, rgb, pyramid=(160,), min_score=0.9)
    eyes = interocular_px(first.points_px) * 160 / 1200
    watched = Watched(detector)
    (face,) = detect(watched, rgb)
    second = [] if eyes >= 20 else [[(240, 320)]] if eyes * 2 >= 20 else [[(480, 640)]]
    assert watched.shapes == [[(120, 160)], *second]
    assert interocular_px(face.points_px) == pytest.approx(interocular * 900, rel=0.2)


def test_a_face_too_small_to_be_seen_is_found_by_climbing(detector: Detector) -> None:
    rgb = portrait(2, (1600, 1200), interocular=0.025)
    assert detect(detector, rgb, pyramid=(160,)) == []
    watched = Watched(detector)
    assert len(detect(watched, rgb)) == 1
    assert watched.shapes == [[(120, 160)], [(240, 320)], [(480, 640)]]


def test_an_empty_scene_is_looked_at_on_every_level(detector: Detector) -> None:
    watched = Watched(detector)
    assert detect(watched, draw_scene((900, 600), 3)) == []
    assert [shape for (shape,) in watched.shapes] == [(107, 160), (213, 320), (427, 640)]


def test_an_uncertain_second_person_makes_it_climb(detector: Detector) -> None:
    main = Sitter(Identity.sample(0, 1), framing=Framing(x=0.3, y=0.45, interocular=0.2))
    uncertain = 0
    for size in (0.04, 0.045, 0.05, 0.055, 0.06, 0.065):
        other = Sitter(Identity.sample(0, 2), framing=Framing(x=0.8, y=0.3, interocular=size))
        rgb, _ = draw_people([main, other], (800, 600), backdrop=4)
        coarse = detect(detector, rgb, pyramid=(160,), min_score=0.3)
        if [face.score >= 0.8 for face in coarse] == [True, False]:
            uncertain += 1
            watched = Watched(detector)
            assert len(detect(watched, rgb)) == 2
            assert watched.shapes == [[(120, 160)], [(240, 320)]]
    assert uncertain > 0, "no second face was uncertain at 160 px: the test needs other sizes"


def test_only_images_that_are_unsure_climb(detector: Detector) -> None:
    watched = Watched(detector)
    detect_many(watched, [portrait(1, 500), draw_scene((500, 500), 2), portrait(2, 500)])
    assert watched.shapes[0] == [(160, 160)] * 3
    assert watched.shapes[1:] == [[(320, 320)], [(500, 500)]]


class Scripted:
    """Answers by the length of the picture's longer side, in pixels of a 640 px image."""

    name, build = "scripted", "scripted"

    def __init__(self, answers: dict[int, list[tuple[float, float, float]]]) -> None:
        self.answers = answers

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        return [[self.face(len(image), *row) for row in self.answers[len(image)]] for image in images]

    @staticmethod
    def face(side: int, x: float, size: float, score: float) -> Face:
        to = side / 640
        points = (np.array([[30, 40], [70, 40], [50, 62], [34, 84], [66, 84]]) * size / 100 + [x, 0]) * to
        return Face((x * to, 0.0, (x + size) * to, 1.2 * size * to), points.astype(np.float32), score)


def test_levels_are_united_and_the_finer_good_word_counts() -> None:
    """A giant that only the coarse level sees well stays; a face that both see comes once, as the finer one
    sees it."""
    giant, small = (0, 400, 0.99), (500, 60, 0.5)
    detector = Scripted({160: [giant, small], 320: [(10, 390, 0.4), (505, 60, 0.95)], 640: []})
    faces = detect(detector, np.zeros((640, 640, 3), np.uint8))
    assert [face.score for face in faces] == [0.99, 0.95]
    assert faces[1].box_xyxy_px[0] == pytest.approx(505, abs=1)


def test_the_score_asked_for_is_kept(detector: Detector) -> None:
    image = portrait(1, 300)
    score = detect(detector, image)[0].score
    assert detect(detector, image, min_score=score) != []
    assert detect(detector, image, min_score=np.nextafter(score, 1.0).item()) == []


# -- anchors and suppression
# -----------------------------------------------------------------------------------


def test_anchors_sit_on_their_cells() -> None:
    grid = anchors.anchors(33, 65)
    assert grid.shape == ((5 * 9 + 3 * 5 + 2 * 3) * 2, 3)
    assert grid[0].tolist() == [3.5, 3.5, 16] and grid[1].tolist() == [3.5, 3.5, 32]
    assert grid[2].tolist() == [11.5, 3.5, 16] and grid[18].tolist() == [3.5, 11.5, 16]
    assert grid[-1].tolist() == [79.5, 47.5, 512]
    with pytest.raises(ValueError, match="read-only"):
        grid[0, 0] = 1


def test_decoding_undoes_encoding() -> None:
    grid = anchors.anchors(96, 96)[::7]
    rng = np.random.default_rng(0)
    centre, size = rng.uniform(0, 96, (len(grid), 2)), rng.uniform(5, 200, (len(grid), 2))
    points = rng.uniform(-20, 120, (len(grid), 5, 2))
    offsets = np.hstack([(centre - grid[:, :2]) / grid[:, 2:] / 0.1, np.log(size / grid[:, 2:]) / 0.2])
    boxes = anchors.decode_boxes(offsets.astype(np.float32), grid)
    assert boxes == pytest.approx(np.hstack([centre - size / 2, centre + size / 2]), abs=1e-3)
    shifts = (points - grid[:, None, :2]) / grid[:, None, 2:] / 0.1
    decoded = anchors.decode_points(shifts.reshape(-1, 10).astype(np.float32), grid)
    assert decoded == pytest.approx(points, abs=1e-3)
    assert boxes.dtype == decoded.dtype == np.float32


boxes_st = st.lists(
    st.tuples(
        st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.integers(1, 30), st.integers(0, 9)
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(boxes_st)
def test_suppression_keeps_the_best_of_what_overlaps(rows: list[tuple[int, int, int, int, int]]) -> None:
    corner = [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h, _ in rows]
    boxes = np.array(corner, np.float32).reshape(-1, 4)
    scores = np.array([row[4] / 10 for row in rows], np.float32)
    expected: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: (-scores[i], i)):
        if all(iou(corner[index], corner[kept]) <= 0.4 for kept in expected):
            expected.append(index)
    assert anchors.suppress(boxes, scores, 0.4).tolist() == expected


# -- errors
# ----------------------------------------------------------------------------------------------------


def test_an_unknown_detector_is_corrected() -> None:
    with pytest.raises(UserError, match=r"did you mean 'retinaface-mobilenet025'"):
        make_detector("retinaface-mobilenet0.25")
    with pytest.raises(UserError, match="known: retinaface-mobilenet025, retinaface-resnet50"):
        make_detector("haar")


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(UserError, match=r"--device gpu: .*choose auto, cpu or cuda"):
        make_detector("retinaface-mobilenet025", device="gpu")


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    from facecorpus.faces.retinaface_onnx import RetinaFaceOnnx

    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"bad\.onnx cannot be loaded by ONNX Runtime.*--weights"):
        RetinaFaceOnnx(tmp_path / "bad.onnx", "cpu").detect_batch([np.zeros((64, 64, 3), np.uint8)])
