"""What a detector is, and how one is made. Each is one module here, and a row of facts in `weights.py`."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import platform
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from facecorpus.errors import UserError
from facecorpus.faces.face import Face, Image
from facecorpus.faces.weights import STRONGEST, WEIGHTS
from facecorpus.plugins import Registry
from facecorpus.reasons import declare
from facecorpus.record import State

IMPLAUSIBLE_FACE = declare(
    "implausible_face",
    State.REJECTED,
    "usable face",
    "The five points do not look like a face.",
    f"what was found has no face's proportions; if they are faces, try --set detector={STRONGEST}",
)


class Detector(Protocol):
    """A face detector at one scale."""

    name: str
    build: str
    """Weights, runtime, provider and the processor's kernels: whatever the result depends on besides the
    image."""

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        """Faces of each image, at the image's own scale, by falling score, down to `face.SCORE_FLOOR`.

        Args:
            images: uint8 RGB arrays (H, W, 3) of any sizes. The result of one does not depend on the others.
        """
        ...


def _make(module: str, weights: str | None, device: str) -> Detector:
    return importlib.import_module(module).make(weights, device)  # here, as each loads a runtime


DETECTORS: Registry[Callable[[str | None, str], Detector]] = Registry("there is no detector {}")
"""What makes each detector from `--weights` (or None) and `--device`."""
for _name in WEIGHTS:
    DETECTORS.register(_name)(functools.partial(_make, WEIGHTS.get(_name).module))


def automatic(device: str) -> str:
    """The detector that suits a device: the strongest of ours whose library, where it needs one, is there,
    and a GPU to run it."""
    gpu = device == "cuda" or (device == "auto" and Path("/dev/nvidia0").exists())
    needs = {name: WEIGHTS.get(name).needs for name in WEIGHTS}
    return [name for name in needs if not needs[name] or (gpu and importlib.util.find_spec(needs[name]))][-1]


def make_detector(name: str, *, weights: str | None = None, device: str = "auto") -> Detector:
    """The detector of that name, its weights obtained and verified.

    Args:
        name: one of `DETECTORS`.
        weights: path of its weights (`--weights`).
        device: "auto", "cpu" or "cuda".

    Raises:
        UserError: the name or device is unknown, the weights cannot be had, or the device cannot be used.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: there is no such device; choose auto, cpu or cuda")
    return DETECTORS.get(name)(weights, device)


def in_batches(
    images: Sequence[Image], batch: int, run: Callable[[Sequence[Image]], list[list[Face]]]
) -> list[list[Face]]:
    """What `run` finds in each image, given up to `batch` images of one size at a time."""
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        by_shape[image.shape].append(index)
    found: list[list[Face]] = [[] for _ in images]
    for indices in by_shape.values():
        for start in range(0, len(indices), batch):
            part = indices[start : start + batch]
            for index, faces in zip(part, run([images[i] for i in part]), strict=True):
                found[index] = faces
    return found


def cpu_kernels() -> str:
    """Architecture and widest vector instructions, for example "x86_64-avx512": which of their compiled
    kernels, whose last bits differ, the libraries pick.

    ONNX Runtime, torch and OpenCV choose by these levels and not by the model of the processor, so two
    machines of one level run the same code.
    """
    import cv2  # here, as only a detector that is made needs it

    found = cv2.getCPUFeaturesLine().replace("*", "").split()  # a name that ends in "?" is not there
    widest_first = (("AVX512-SKX", "avx512"), ("AVX2", "avx2"), ("AVX", "avx"))
    level = next((name for feature, name in widest_first if feature in found), None)
    return f"{platform.machine()}-{level}" if level else platform.machine()
