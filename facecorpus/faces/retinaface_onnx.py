"""RetinaFace with a MobileNet-0.25 backbone, run by ONNX Runtime on the CPU or on a CUDA device."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from facecorpus.errors import UserError
from facecorpus.faces import anchors
from facecorpus.faces.detector import cpu_kernels, in_batches
from facecorpus.faces.face import SCORE_FLOOR, Face, Image
from facecorpus.faces.weights import sha256_of, weights_path

NAME = "retinaface-mobilenet025"
_MEAN_RGB = np.array([123, 117, 104], np.float32)
_CUDA_BATCH = 16


class RetinaFaceOnnx:
    """The detector `retinaface-mobilenet025`; see `facecorpus.faces.detector.Detector`.

    One thread, and every image alone on the CPU: batches are no faster there, and results then cannot depend
    on their company. On CUDA every batch has the same size (padded with black), so that the same kernels run
    on every image.
    """

    def __init__(self, model: Path, device: str = "auto") -> None:
        """Run the ONNX file `model` on `device` ("auto", "cpu" or "cuda"); for a CPU it is loaded when first
        used.

        Raises:
            UserError: the device cannot be used.
        """
        self.name = NAME
        self._model, self._device, self._providers = model, device, _providers(device)
        providers = self._providers if len(self._providers) == 1 else self._session.get_providers()
        provider = providers[0].removesuffix("ExecutionProvider").lower()
        self._batch = 1 if provider == "cpu" else _CUDA_BATCH
        what = f"{NAME}-{sha256_of(model)[:16]}+onnxruntime-{ort.__version__}"
        self.build = f"{what}+{provider}+{cpu_kernels()}"

    @functools.cached_property
    def _session(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        # Every new input size would otherwise keep a plan of its memory.
        options.enable_mem_pattern = False
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(str(self._model), options, providers=self._providers)
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            raise UserError(
                f"{self._model} cannot be loaded by ONNX Runtime ({error}); give another --weights PATH"
            ) from error
        if self._device == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
            raise UserError("--device cuda: ONNX Runtime found no usable CUDA device; use --device cpu")
        return session

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        """As `Detector.detect_batch`; images of one size are batched where that pays."""
        return in_batches(images, self._batch, self._run)

    def _run(self, images: Sequence[Image]) -> list[list[Face]]:
        height, width = images[0].shape[:2]
        pixels = np.zeros((self._batch, 3, height, width), np.float32)
        for slot, image in zip(pixels, images, strict=False):
            # Subtract while widening, then to planes in BGR order.
            np.subtract(image, _MEAN_RGB, out=slot[::-1].transpose(1, 2, 0), dtype=np.float32)
        outputs: Sequence[Any] = self._session.run(["loc", "conf", "landmarks"], {"input": pixels})
        boxes, scores, points = outputs
        grid = anchors.anchors(height, width)
        return [_faces(boxes[i], scores[i], points[i], grid) for i in range(len(images))]


def make(weights: str | None, device: str) -> RetinaFaceOnnx:
    """The detector with its published weights (see `weights.weights_path`)."""
    return RetinaFaceOnnx(weights_path(NAME, weights), device)


def _faces(boxes: Any, scores: Any, points: Any, grid: anchors.Floats) -> list[Face]:
    """Raw outputs of one image to faces; only anchors above the floor are decoded."""
    likely = np.flatnonzero(scores[:, 1] >= SCORE_FLOOR)
    if not likely.size:
        return []
    score, grid = scores[likely, 1], grid[likely]
    box = anchors.decode_boxes(boxes[likely], grid)
    kept = anchors.suppress(box, score, anchors.MAX_IOU)
    point = anchors.decode_points(points[likely[kept]], grid[kept])
    return [
        Face((x0, y0, x1, y1), point[n], float(score[i]))
        for n, (i, (x0, y0, x1, y1)) in enumerate(zip(kept, box[kept].tolist(), strict=True))
    ]


def _providers(device: str) -> list[Any]:
    has_cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise UserError(
            "--device cuda: ONNX Runtime has no CUDA provider here; install onnxruntime-gpu or use cpu"
        )
    cuda = [("CUDAExecutionProvider", {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"})]
    return [*(cuda if has_cuda and device != "cpu" else []), "CPUExecutionProvider"]
