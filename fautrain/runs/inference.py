"""A fine-tuned model out of the folder of its run, and what it says of frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from facecorpus.errors import UserError
from fautrain import checkpoint
from fautrain.checkpoint.state import read_nested, reading
from fautrain.config import LabelledConfig, from_plain
from fautrain.data import LoaderState, Normalise, ordered_loader
from fautrain.data.benchmark import Benchmark, benchmark
from fautrain.data.labels import LabelledSet
from fautrain.files import MANIFEST, read_json
from fautrain.models.predictor import Predictor
from fautrain.runs.final import is_final, load_final
from fautrain.runs.folder import CONFIG
from fautrain.targets import Target
from fautrain.task import loader_options
from fautrain.tasks.labelled import trained_model
from fautrain.trainer import computes_in_bf16

STEP = "step-"


class Trained(NamedTuple):
    """A model in evaluation mode, on the GPU where there is one."""

    model: Predictor
    config: LabelledConfig
    benchmark: Benchmark
    """What it was trained on."""
    target: Target
    """What its outputs say."""
    checkpoint: Path
    epochs: int
    """Epochs done."""
    half: bool
    """Whether it computes under bf16 autocast, as it was evaluated in training."""


def checkpoints(where: Path) -> list[Path]:
    """Checkpoints of one fold's run, oldest first; or the one, or the final model, that `where` itself is.

    Raises:
        UserError: there is none.
    """
    if where.name.startswith(STEP) or is_final(where):
        return [where]
    found = [where / checkpoint.FOLDER / checkpoint.step_name(step) for step in checkpoint.steps(where)]
    if not found:
        inner = sorted(where.glob("seed-*/fold-*"))
        hint = f"it holds runs of folds: give one, such as {inner[0]}" if inner else "train first"
        raise UserError(f"{where} holds no checkpoint; {hint}")
    return found


def verified(where: Path) -> list[str]:
    """A line for each checkpoint in `where`, all bytes of which were checked: it, a run's, or a final model.

    Raises:
        UserError: one is not whole, or there is none.
    """
    if is_final(where):
        load_final(where)
        return [f"{where} is a whole final model"]
    folders = [where] if (where / MANIFEST).is_file() else checkpoints(where)
    for folder in folders:
        if faults := checkpoint.verify(folder):
            raise UserError(f"{folder} is not whole: {'; '.join(faults)}; use an older one")
    return [f"{folder} is whole" for folder in folders]


def beside(where: Path, name: str) -> Path:
    """Where results about the model in `where` go: into a run, but never into a checkpoint or a final model,
    whose files are complete and hashed."""
    if not (where.name.startswith(STEP) or is_final(where)):
        return where / name
    run = where.parent.parent if where.parent.name == "checkpoints" else where.parent
    return run / f"{name}-{where.name}"


def load_trained(folder: Path) -> Trained:
    """The model in the folder of a checkpoint or a final model.

    Raises:
        UserError: it is no checkpoint of fine-tuning, or damaged.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if is_final(folder):
        model, card = load_final(folder)
        half, bench = card.precision == "bf16", card.benchmark
        target = bench.target.only(card.outputs, bench.name)
        return Trained(model.to(device), card.config, bench, target, folder, card.epoch, half)
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} is no checkpoint: it has no {CONFIG}; give a run or a {STEP}... folder")
    faults = checkpoint.verify(folder)
    if faults:
        raise UserError(f"{folder} is not whole: {'; '.join(faults)}; use an older one")
    config = from_plain(read_json(path, "use another checkpoint"))
    if not isinstance(config, LabelledConfig):
        raise UserError(
            f"{folder} is a checkpoint of pretraining (recipe {config.name}), which detects no action units; "
            "give one of 'fautrain finetune'"
        )
    bench = benchmark(config.data.dataset)
    target = bench.target.only(config.data.outputs, bench.name)
    model = trained_model(config, len(target.outputs), folder).to(device)
    with reading(folder):
        epochs = int(read_nested(folder, "progress")["loader"]["epoch"])
    return Trained(model, config, bench, target, folder, epochs, computes_in_bf16(config.train.precision))


def features(trained: Trained, labels: LabelledSet, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """(len(chosen), D) outputs of the model's `features` for frames of a labelled set, in their order."""
    return _over(trained, labels, chosen, trained.model.features)


def predictions(trained: Trained, labels: LabelledSet, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """(len(chosen), A) predictions of the trained outputs for frames of a labelled set, in their order."""
    return _over(
        trained, labels, chosen, lambda images: trained.target.activation(trained.model(images).logits)
    )


@torch.no_grad()
def _over(
    trained: Trained, labels: LabelledSet, chosen: NDArray[np.int64], apply: Callable[[Tensor], Tensor]
) -> NDArray[np.float32]:
    config = trained.config
    loader = ordered_loader(
        labels.corpus,
        labels.rows[np.sort(chosen)],
        replace(loader_options(config, 0, 1), batch_per_step=config.data.batch_per_step * 4),
    )
    device = next(trained.model.parameters()).device
    normalised = Normalise(config.data.mean, config.data.std).to(device)
    found: list[NDArray[np.float32]] = []
    try:
        steps = tqdm(loader.epoch(LoaderState()), total=loader.steps_per_epoch, disable=None, leave=False)
        for batch in steps:
            images = normalised(batch.images.to(device))
            with torch.autocast(device.type, torch.bfloat16, enabled=trained.half):
                found.append(apply(images).float().cpu().numpy())
    finally:
        loader.close()
    values = np.concatenate(found)
    back = np.empty_like(values)
    back[np.argsort(chosen, kind="stable")] = values
    return back
