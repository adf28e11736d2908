"""RetinaFace with a ResNet-50 backbone: the network of `retinaface-pytorch`, everything after it done on the
device.

The package's own prediction handles one image at a time and moves every image's raw outputs through NumPy.
Here a whole batch is normalised, decoded, thresholded and suppressed on the device, and its faces travel to
the host at once.

This is the only module of facecorpus that imports torch.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facecorpus.errors import UserError
from facecorpus.faces import anchors
from facecorpus.faces.detector import cpu_kernels, in_batches
from facecorpus.faces.face import SCORE_FLOOR, Face, Image
from facecorpus.faces.weights import LIGHTEST, sha256_of, weights_path

NAME = "retinaface-resnet50"
try:
    import torch
    from retinaface.network import RetinaFace
    from torch import Tensor, nn
    from torchvision.ops import batched_nms
except ImportError as error:
    raise UserError(
        f"detector {NAME} needs torch, torchvision and retinaface-pytorch ({error}); run 'pip install torch "
        "torchvision' and 'pip install --no-deps retinaface-pytorch==0.0.8', or choose "
        f"{LIGHTEST}"
    ) from error

CUDA_BATCH = 32
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_GRIDS_KEPT = 64


class RetinaFaceResnet50:
    """The detector `retinaface-resnet50`; see `facecorpus.faces.detector.Detector`.

    Every batch has the same size, short ones padded with black, so that the same kernels run on every image
    and its result does not depend on its company.
    """

    def __init__(
        self, network: nn.Module, build: str, *, device: str = "cpu", batch: int = 1, half: bool = False
    ) -> None:
        """Wrap a network whose weights are loaded.

        Args:
            network: maps normalised (B, 3, H, W) to box, class and point predictions, as `retinaface.network`
                does.
            build: what the weights are, for the digest.
            device: "cpu" or "cuda".
            batch: images per run; one is best on a CPU.
            half: autocast to float16 (CUDA only). Boxes, scores and points are computed in float32 all the
                same.
        """
        self.name = NAME
        what = f"{NAME}-{build}+torch-{torch.__version__}+{device}{'+half' if half else ''}"
        self.build = f"{what}+{_gpu_kernels() if device == 'cuda' else ''}{cpu_kernels()}"
        self._device = torch.device(device)
        self._network = network.to(self._device).eval()
        self._batch = batch
        self._half = half
        self._mean = torch.tensor(_MEAN, device=self._device).mul_(255).view(1, 3, 1, 1)
        self._std = torch.tensor(_STD, device=self._device).mul_(255).view(1, 3, 1, 1)
        self._grids: dict[tuple[int, int], Tensor] = {}

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        """As `Detector.detect_batch`; images of one size are batched."""
        return in_batches(images, self._batch, self._run)

    @torch.inference_mode()
    def _run(self, images: Sequence[Image]) -> list[list[Face]]:
        height, width = images[0].shape[:2]
        pixels = torch.zeros((self._batch, height, width, 3), dtype=torch.uint8)
        for slot, image in zip(pixels, images, strict=False):
            slot.copy_(torch.from_numpy(np.ascontiguousarray(image)))
        inputs = (pixels.to(self._device).permute(0, 3, 1, 2).float() - self._mean) / self._std
        boxes, classes, points = self._forward(inputs.contiguous())
        rows = decode_batch(boxes, classes, points, self._grid(height, width), SCORE_FLOOR)
        return to_faces(rows, self._batch)[: len(images)]

    def _forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Deterministic kernels, chosen by shape and not by a stopwatch.
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast(self._device.type, dtype=torch.float16, enabled=self._half),
        ):
            return self._network(inputs)

    def _grid(self, height_px: int, width_px: int) -> Tensor:
        key = (height_px, width_px)
        if key not in self._grids:
            if len(self._grids) >= _GRIDS_KEPT:
                self._grids.clear()
            self._grids[key] = torch.tensor(anchors.anchors(height_px, width_px), device=self._device)
        return self._grids[key]


def decode_batch(boxes: Tensor, classes: Tensor, points: Tensor, grid: Tensor, min_score: float) -> Tensor:
    """The faces of a batch, from raw predictions, computed where those are.

    Args:
        boxes: (B, N, 4) box offsets.
        classes: (B, N, 2) logits of background and face.
        points: (B, N, 10) point offsets.
        grid: (N, 3) anchors (see `anchors.anchors`).
        min_score: lowest score of a face.

    Returns:
        (F, 16) float32: image number, score, box xyxy, and x and y of five points in pixels, by falling
        score.
    """
    scores = classes.float().softmax(dim=-1)[..., 1]
    image, anchor = torch.nonzero(scores >= min_score, as_tuple=True)
    score, chosen = scores[image, anchor], grid[anchor]
    centre, side = chosen[:, :2], chosen[:, 2:]
    offsets = boxes[image, anchor].float()
    middle = centre + offsets[:, :2] * anchors.CENTRE_VARIANCE * side
    half = torch.exp(offsets[:, 2:] * anchors.SIZE_VARIANCE) * side / 2
    box = torch.cat([middle - half, middle + half], dim=1)
    # In float64, because batched_nms keeps images apart by shifting their boxes: rounding must not depend on
    # the batch.
    kept = batched_nms(box.double(), score.double(), image, anchors.MAX_IOU)
    shift = points[image[kept], anchor[kept]].float().view(-1, 5, 2) * anchors.CENTRE_VARIANCE
    point = centre[kept, None] + shift * side[kept, None]
    return torch.cat([image[kept, None].float(), score[kept, None], box[kept], point.flatten(1)], dim=1)


def to_faces(rows: Tensor, batch: int) -> list[list[Face]]:
    """Faces per image from `decode_batch`'s rows: one transfer to the host."""
    found: list[list[Face]] = [[] for _ in range(batch)]
    for row in rows.cpu().numpy():
        x0, y0, x1, y1 = row[2:6].tolist()
        found[int(row[0])].append(Face((x0, y0, x1, y1), row[6:].reshape(5, 2).copy(), float(row[1])))
    return found


def make_network() -> nn.Module:
    """The network of `retinaface-pytorch`, with random weights."""
    layers = {"layer2": 1, "layer3": 2, "layer4": 3}
    with warnings.catch_warnings():
        # The package speaks to torchvision in words that are deprecated, to the same effect.
        warnings.simplefilter("ignore")
        return RetinaFace(
            "Resnet50", pretrained=False, return_layers=layers, in_channels=256, out_channels=256
        )


def _gpu_kernels() -> str:
    major, minor = torch.cuda.get_device_capability()
    return f"sm{major}{minor}+"


def make(weights: str | None, device: str) -> RetinaFaceResnet50:
    """The detector with its published weights (see `weights.weights_path`).

    Raises:
        UserError: the device is absent, or the weights cannot be had or do not fit.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device; use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    path = weights_path(NAME, weights)
    network = make_network()
    try:
        network.load_state_dict(read_state(path))
    except (RuntimeError, OSError, ValueError, zipfile.BadZipFile) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"{path} does not hold the weights of {NAME} ({first}); give another --weights PATH"
        ) from error
    if device == "cpu":
        # One thread, as all of facecorpus' workers: sums then come out the same on every machine.
        torch.set_num_threads(1)
    batch = CUDA_BATCH if device == "cuda" else 1
    return RetinaFaceResnet50(network, sha256_of(path)[:16], device=device, batch=batch)


def read_state(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a weights file, bare or alone in a zip as published; no code in it is run."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            # torch's own format is a zip as well, of several members.
            if len(names) == 1:
                return torch.load(io.BytesIO(archive.read(names[0])), map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", weights_only=True)
