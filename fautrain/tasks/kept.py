"""The weights of epochs that a table may report, kept when `train.keep` has removed their checkpoints.

`RUN/weights/epoch-0007.safetensors` holds them without the optimizer and the identity head. Which epoch does
best is known at the end only, so each that does better than all before it is kept until another does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fautrain.checkpoint.codec import plain_tensor
from fautrain.checkpoint.disk import explained, forget_torn, write_tensors
from fautrain.files import publish

FOLDER = "weights"
_NAME = re.compile(r"epoch-(\d{4,})\.safetensors")
Scores = Mapping[str, float]
"""The best mean score of an epoch, so that more is better, by part of the data."""


def weights_path(run_dir: Path, epoch: int) -> Path:
    """Where the kept weights of an epoch lie in the run's folder."""
    return run_dir / FOLDER / f"epoch-{epoch:04d}.safetensors"


def is_best(run_dir: Path, epoch: int, scores: Scores) -> bool:
    """Whether an epoch does better than all kept ones before it, in any part of the data."""
    before = [found for other, found in _kept(run_dir).items() if other < epoch]
    return any(all(value > found.get(part, -math.inf) for found in before) for part, value in scores.items())


def keep_weights(
    run_dir: Path, epoch: int, scores: Scores, model: Mapping[str, Tensor], resumable: Iterable[int]
) -> None:
    """Write the weights of an epoch that is the best so far, and remove those that can be it no more.

    Args:
        resumable: the epochs that the run may go on after; what is best up to one of them stays.

    Raises:
        UserError: they cannot be written.
    """
    path = weights_path(run_dir, epoch)
    tensors = {n: plain_tensor(t, n) for n, t in model.items() if not n.startswith("ID_head.")}
    metadata = {part: value.hex() for part, value in scores.items()}
    try:
        forget_torn(path.parent)
        publish(path, lambda aside: write_tensors(aside, tensors, metadata))
    except SafetensorError as error:
        raise explained(error, path) from error
    kept = _kept(run_dir)
    needed = {best for at in {*resumable, epoch} for best in _best_until(kept, at)}
    for other in kept:
        if other < epoch and other not in needed:
            weights_path(run_dir, other).unlink(missing_ok=True)


def forget_weights(run_dir: Path, epoch: int) -> None:
    """Remove what a run that was killed or begun anew kept of an epoch that is not the best now."""
    if epoch in _kept(run_dir):
        weights_path(run_dir, epoch).unlink(missing_ok=True)


def _best_until(kept: Mapping[int, Scores], last: int) -> set[int]:
    """The earliest best epoch up to `last`, in each part."""
    epochs = sorted(epoch for epoch in kept if epoch <= last)
    parts = {part for epoch in epochs for part in kept[epoch]}
    return {epochs[int(np.argmax([kept[epoch].get(part, -math.inf) for epoch in epochs]))] for part in parts}


def _kept(run_dir: Path) -> dict[int, Scores]:
    """Scores of the epochs whose weights are kept, by epoch; files that this module did not write are passed
    over."""
    found: dict[int, Scores] = {}
    for path in sorted((run_dir / FOLDER).glob("epoch-*.safetensors")):
        named = _NAME.fullmatch(path.name)
        try:
            with safe_open(path, framework="pt") as file:
                scores = {part: float.fromhex(value) for part, value in (file.metadata() or {}).items()}
        except (SafetensorError, OSError, ValueError):
            continue
        if named and scores:
            found[int(named[1])] = scores
    return found
