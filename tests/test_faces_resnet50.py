"""The ResNet-50 detector with seeded random weights: our batched post-processing against the package's own
parts."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from facecorpus.errors import UserError
from facecorpus.faces import weights
from facecorpus.faces.detector import cpu_kernels, make_detector
from facecorpus.faces.face import Face, Image
from facecorpus.faces.pyramid import detect_many

torch = pytest.importorskip("torch", reason="torch is not installed: the ResNet-50 detector needs it")
pytest.importorskip("torchvision", reason="torchvision is not installed: the ResNet-50 detector needs it")
pytest.importorskip(
    "retinaface.network", reason="retinaface-pytorch is not installed (pip install --no-deps)"
)

from retinaface import box_utils, prior_box  # noqa: E402
from torchvision.ops import nms  # noqa: E402

from facecorpus.faces import anchors, retinaface_resnet50  # noqa: E402
from facecorpus.faces.retinaface_resnet50 import RetinaFaceResnet50, decode_batch, to_faces  # noqa: E402

VARIANCES = [0.1, 0.2]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(7)
    return retinaface_resnet50.make_network().eval()


@pytest.fixture(scope="module")
def images() -> list[Image]:
    return list(np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8))


def normalised(image: Image) -> torch.Tensor:
    """The network's input for one image, as albumentations' `Normalize` makes it (written out in NumPy)."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return torch.from_numpy(((image / 255 - mean) / std).transpose(2, 0, 1).astype(np.float32))[None]


def packages_own(
    network: torch.nn.Module, image: Image, min_score: float
) -> list[tuple[list[float], float, np.ndarray]]:
    """One image through the package's priors and decoding, put together as its `predict_single` does.

    Its coordinates are continuous: the centre of the top-left pixel is at (0.5, 0.5).
    """
    height, width = image.shape[:2]
    with torch.no_grad():
        loc, conf, land = network(normalised(image))
    priors = prior_box.priorbox(
        [[16, 32], [64, 128], [256, 512]], [8, 16, 32], clip=False, image_size=(height, width)
    )
    boxes = box_utils.decode(loc[0], priors, VARIANCES) * torch.tensor([width, height] * 2)
    points = box_utils.decode_landm(land[0], priors, VARIANCES) * torch.tensor([width, height] * 5)
    scores = torch.softmax(conf, dim=-1)[0, :, 1]
    valid = torch.where(scores > min_score)[0]
    boxes, points, scores = boxes[valid], points[valid], scores[valid]
    keep = nms(boxes, scores, 0.4)
    rows = zip(boxes[keep].numpy(), scores[keep].numpy(), points[keep].numpy(), strict=True)
    return [(box.tolist(), float(score), point.reshape(5, 2)) for box, score, point in rows]


def faces_at(network: torch.nn.Module, images: list[Image], min_score: float) -> list[list[Face]]:
    """The whole batch through our own decoding, at a score that suits random weights."""
    height, width = images[0].shape[:2]
    with torch.no_grad():
        loc, conf, land = network(torch.cat([normalised(image) for image in images]))
    grid = torch.tensor(anchors.anchors(height, width))
    return to_faces(decode_batch(loc, conf, land, grid, min_score), len(images))


def test_a_batch_gives_what_the_package_gives_image_by_image(
    network: torch.nn.Module, images: list[Image]
) -> None:
    min_score = 0.5
    found = faces_at(network, images, min_score)
    for image, faces in zip(images, found, strict=True):
        expected = packages_own(network, image, min_score)
        assert len(expected) > 50, "the comparison needs faces"
        assert len(faces) == len(expected)
        for face, (box, score, points) in zip(faces, expected, strict=True):
            assert face.score == pytest.approx(score, abs=1e-5)
            assert np.array(face.box_xyxy_px) + 0.5 == pytest.approx(np.array(box), rel=1e-4, abs=1e-3)
            assert face.points_px + 0.5 == pytest.approx(points, rel=1e-4, abs=1e-3)


def test_the_detector_normalises_as_the_package_does(network: torch.nn.Module, images: list[Image]) -> None:
    detector = RetinaFaceResnet50(network, "random", batch=2)
    found = detector.detect_batch(images)
    for faces, expected in zip(found, faces_at(network, images, 0.3), strict=True):
        assert len(faces) == len(expected) > 50
        for a, b in zip(faces, expected, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-4)
            assert np.abs(a.points_px - b.points_px).max() < 0.05


def test_a_result_does_not_depend_on_the_batch(network: torch.nn.Module, images: list[Image]) -> None:
    detector = RetinaFaceResnet50(network, "random", batch=2)
    other = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mixed = [images[0], other, images[1], images[2], images[0]]
    together = detector.detect_batch(mixed)
    for image, faces in zip(mixed, together, strict=True):
        (alone,) = detector.detect_batch([image])
        assert [face.box_xyxy_px for face in alone] == [face.box_xyxy_px for face in faces]
        assert [face.score for face in alone] == [face.score for face in faces]
        assert all(np.array_equal(a.points_px, b.points_px) for a, b in zip(alone, faces, strict=True))


def test_a_score_that_nothing_reaches_gives_no_faces(network: torch.nn.Module, images: list[Image]) -> None:
    assert faces_at(network, images, 1.1) == [[], [], []]


def test_the_pyramid_takes_it_like_any_detector(network: torch.nn.Module) -> None:
    detector = RetinaFaceResnet50(network, "random")
    image = np.random.default_rng(2).integers(0, 256, (100, 130, 3), dtype=np.uint8)
    (faces,) = detect_many(detector, [image], pyramid=(64,), min_score=0.5)
    assert faces and all(face.score >= 0.5 for face in faces)
    assert detector.name == "retinaface-resnet50"
    assert detector.build == f"retinaface-resnet50-random+torch-{torch.__version__}+cpu+{cpu_kernels()}"


@pytest.mark.parametrize("zipped", [False, True])
def test_weights_are_read_bare_and_zipped(zipped: bool, network: torch.nn.Module, tmp_path: Path) -> None:
    bare = tmp_path / "weights.pth"
    torch.save(network.state_dict(), bare)
    path = bare
    if zipped:
        path = tmp_path / "published.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(bare, "weights.pth")
    state = retinaface_resnet50.read_state(path)
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_weights_that_are_code_are_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (trap,))  # type: ignore[return-value]

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        retinaface_resnet50.read_state(tmp_path / "evil.pth")
    assert not trap.exists()


def test_other_weights_are_refused(tmp_path: Path, network: torch.nn.Module) -> None:
    torch.save(network.state_dict(), tmp_path / "other.pth")
    with pytest.raises(
        UserError, match=r"other\.pth is not the file of retinaface-resnet50.*expected f168fae3c"
    ):
        make_detector("retinaface-resnet50", weights=str(tmp_path / "other.pth"), device="cpu")


def test_devices_are_checked_before_anything_is_fetched() -> None:
    with pytest.raises(UserError, match=r"--device tpu: .*choose auto, cpu or cuda"):
        make_detector("retinaface-resnet50", device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"--device cuda: torch finds no CUDA device"):
            make_detector("retinaface-resnet50", device="cuda")


def test_a_machine_without_a_connection_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.delenv(weights.WEIGHTS_VARIABLE, raising=False)
    # A proxy that nobody answers stands for a machine without a connection.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(UserError, match=r"https://github\.com/\S+\.zip .*--weights PATH") as e:
        weights.weights_path("retinaface-resnet50")
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
def test_on_a_gpu_the_batch_makes_no_difference_and_the_cpu_agrees(images: list[Image]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    torch.manual_seed(7)
    on_gpu = RetinaFaceResnet50(retinaface_resnet50.make_network(), "random", device="cuda", batch=8)
    torch.manual_seed(7)
    on_cpu = RetinaFaceResnet50(retinaface_resnet50.make_network(), "random")
    together = on_gpu.detect_batch(images)
    for image, faces, expected in zip(images, together, on_cpu.detect_batch(images), strict=True):
        (alone,) = on_gpu.detect_batch([image])
        assert [face.box_xyxy_px for face in alone] == [face.box_xyxy_px for face in faces]
        best, same = faces[0], expected[0]
        assert best.score == pytest.approx(same.score, abs=1e-3)
        assert np.abs(best.points_px - same.points_px).max() < 0.1
