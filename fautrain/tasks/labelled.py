"""What all training on labelled frames has in common: frames, labels, the fold and the look at it."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecorpus.errors import UserError
from fautrain.config import LabelledConfig
from fautrain.data import Augment, Batch, Loader, make_loader, open_corpus, ordered_loader, shard_cache
from fautrain.data.benchmark import Benchmark, benchmark
from fautrain.data.folds import Split, split
from fautrain.data.labels import LabelledSet, read_labels
from fautrain.data.provenance import is_drawn
from fautrain.losses.coded import class_rates
from fautrain.models.convert import load_whole
from fautrain.models.predictor import Predictor
from fautrain.task import TASKS, Look, Task, loader_options
from fautrain.tasks.au_look import PredictionLook

Model = TypeVar("Model", bound=Predictor)


class Fold(NamedTuple):
    """The frames of a labelled set, and which of them train, validate and test."""

    labels: LabelledSet
    parts: Split
    before: Path | None = None
    """Checkpoint of the stage before, which the model starts from, where training has two stages."""

    def fingerprint(self) -> str:
        """Of the whole corpus."""
        return self.labels.corpus.fingerprint()

    @property
    def about(self) -> str:
        """The parts in words."""
        labels, unit = self.labels, self.labels.benchmark.unit

        def part(indices: NDArray[np.int64]) -> str:
            if unit == "picture":
                return f"{len(indices):,} pictures"
            return f"{len(indices):,} frames of {len(np.unique(labels.subject[indices]))} {unit}s"

        held = sorted(labels.names(self.parts.validation))
        who = "" if unit == "picture" else f" ({', '.join(held)})"
        chosen = f", validates on {part(self.parts.validation)}{who}" if held else ""
        return f"trains on {part(self.parts.train)}{chosen}, tests on {part(self.parts.test)}"


def open_labels(
    config: LabelledConfig, bench: Benchmark, rank: int, world: int, outputs: tuple[str, ...] = ()
) -> LabelledSet:
    """The labelled frames of the shards that `config.data` names; of its outputs, if no others are given.

    Raises:
        UserError: there are none, or they are another data set's.
    """
    shards = config.data.shards or f"build/{bench.name}"
    if not config.data.shards and not Path(shards).exists():
        raise UserError(
            f"--shards is not given and {shards}, where {bench.title} would be, does not exist; give the "
            f"shards of your own, or draw people with 'facecorpus synth --sources {bench.source} --out "
            f"build/recordings' and 'facecorpus build --sources {bench.source} --root build/recordings "
            f"--out {shards}'"
        )
    corpus = open_corpus(shards, shard_cache(config.data.cache), rank, world)
    return read_labels(corpus, bench, outputs or config.data.outputs)


def fold_of(config: LabelledConfig, labels: LabelledSet) -> Fold:
    """The fold that `config.data` says.

    Raises:
        UserError: there is none, or a part of it has no frame.
    """
    data = config.data
    parts = split(labels, data.fold, validation=data.validation, seed=config.seed, every=data.every)
    return Fold(labels, parts)


class LabelledTask(Task, Generic[Model]):
    """A model that predicts the outputs of labelled frames (`fautrain.targets`).

    A subclass makes `self.model` after `__init__`, and gives `inputs` and `forward`.
    """

    passes = ("predictions",)
    model: Model

    def __init__(self, config: LabelledConfig, samples: Fold) -> None:
        super().__init__(config, samples)
        self.config: Any = config
        self.labels, self.parts, _ = samples
        self.rates = class_rates(self.labels.targets[self.parts.train])
        """Share of positives of each output where training frames are coded, (A,)."""
        self.steps = math.ceil(len(self.parts.train) / config.data.batch_per_step)

    @classmethod
    def open(cls, config: LabelledConfig, rank: int, world: int) -> Fold:
        """The labels of the shards, and the fold."""
        return fold_of(config, open_labels(config, benchmark(config.data.dataset), rank, world))

    @classmethod
    @abstractmethod
    def bare(cls, config: Any, outputs: int) -> Model:
        """The model that predicts, with any weights, without what serves training alone."""

    @classmethod
    def trained(cls, config: Any, outputs: int, where: str | Path) -> Model:
        """The model in evaluation mode, with the weights of a checkpoint or final model.

        Raises:
            UserError: they cannot be read or are another model's.
        """
        model = cls.bare(config, outputs)
        load_whole(model, where)
        return model.eval()

    @abstractmethod
    def augment(self) -> Augment:
        """What is done to a training picture while it is decoded."""

    def loader(self, rank: int, world: int) -> Loader:
        """The training frames; none may be unusable."""
        options = replace(
            loader_options(self.config, rank, world),
            accumulate=self.config.train.accumulate,
            augment=self.augment(),
            max_bad=0.0,
        )
        return make_loader(self.labels.corpus, options, self.labels.rows[self.parts.train])

    def look(self, run_dir: Path, rank: int, world: int) -> Look | None:
        """Predictions of the frames that do not train."""
        parts, corpus = self.parts, self.labels.corpus
        rows = self.labels.rows[sorted([*parts.validation.tolist(), *parts.test.tolist()])]
        batch_per_step = max(self.config.data.batch_per_step, world) * 4
        options = replace(loader_options(self.config, rank, world), batch_per_step=batch_per_step)
        loader = ordered_loader(corpus, rows, options)
        return PredictionLook(loader, self.labels, parts, self.config, run_dir, drawn=is_drawn(corpus))

    @property
    def network(self) -> Model:
        """The model with its heads."""
        return self.model

    def place(self, batch: Batch) -> NDArray[np.int64]:
        """Indices of a batch's frames among those of the labelled set, (n,)."""
        return np.searchsorted(self.labels.rows, batch.samples.numpy())

    def targets(self, batch: Batch) -> Tensor:
        """Labels (n, A) float32 of a batch, nan where not coded."""
        return torch.from_numpy(self.labels.targets[self.place(batch)])

    @torch.no_grad()
    def predictions(self, images: Tensor) -> Tensor:
        """(n, A) float32, as the target has them, for uint8 images (n, 3, H, W) on the model's device."""
        return self.labels.target.activation(self.model(self.normalised(images)).logits.float())

    def training_flops(self) -> int:
        """Operations of one image, forward and backward."""
        return self.model.training_flops()


def trained_model(config: LabelledConfig, outputs: int, where: str | Path) -> Predictor:
    """The model of a configuration's task with trained weights; see `LabelledTask.trained`."""
    return _task_of(config).trained(config, outputs, where)


def bytes_of(config: LabelledConfig, outputs: int) -> int:
    """Memory of a configuration's weights, found without taking it."""
    with torch.device("meta"):
        model = _task_of(config).bare(config, outputs)
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _task_of(config: LabelledConfig) -> type[LabelledTask[Predictor]]:
    kind = TASKS.get(config.task)
    assert issubclass(kind, LabelledTask)
    return kind
