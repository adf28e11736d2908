"""What a task is: a model and a loss, the samples they learn from, and what is looked at meanwhile.

`fautrain.runs` makes one of a configuration and runs it; the loop (`fautrain.trainer`) knows it by what is
here. The tasks themselves are in `fautrain.tasks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from facecorpus.plugins import Registry
from fautrain.config import DataConfig, RunConfig
from fautrain.data import Augment, Batch, Loader, LoaderOptions, open_corpus, shard_cache
from fautrain.data.decode import Normalise
from fautrain.runlog import RunLog


class Samples(Protocol):
    """What a run learns from, opened."""

    def fingerprint(self) -> str:
        """Changes whenever a sample does; checkpoints keep it."""
        ...


class Look(Protocol):
    """Looks at a model in training."""

    def __call__(self, trainer: Any, log: RunLog, epochs: int, last: bool) -> None:
        """Look now, if it is due.

        Args:
            trainer: the `fautrain.trainer.Trainer`. log: to write into. epochs: whole ones done.
            last: whether the run ends here.
        """
        ...

    def close(self) -> None:
        """Stop what it reads with."""
        ...


class Task(nn.Module, ABC):
    """Joins a model, a loss and samples. The loop calls it, wraps it (DDP, compile) and knows neither."""

    terms: tuple[str, ...] = ("loss",)
    """Which of the values that `forward` gives add up to the loss."""
    passes: tuple[str, ...] = ("picture",)
    """Methods besides `forward` that call the network; where the weights are split, all ranks call them or
    none."""
    loaded: str | None = None
    """What was taken of `model.init`, in words."""

    def __init__(self, config: RunConfig, samples: Any) -> None:
        """Makes what turns uint8 pictures into the network's input, by `data.mean` and `data.std`."""
        super().__init__()
        del samples
        self.normalised = Normalise(config.data.mean, config.data.std)

    @classmethod
    def open(cls, config: Any, rank: int, world: int) -> Any:
        """The `Samples` that `config.data` names, for `__init__`: those of the shards, as a `Corpus`.

        Raises:
            UserError: they are unusable.
        """
        data: DataConfig = config.data
        return open_corpus(data.shards, shard_cache(data.cache), rank, world)

    @abstractmethod
    def loader(self, rank: int, world: int) -> Loader:
        """The training batches of one rank."""

    @abstractmethod
    def look(self, run_dir: Path, rank: int, world: int) -> Look | None:
        """What is looked at in training, or None for nothing."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What is trained and kept; its state dict is the checkpoint's."""

    @abstractmethod
    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What `forward` gets of a batch; the loop moves to the device what is not there."""

    @abstractmethod
    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Scalars of the batch, those of `terms` among them: means over its samples or what `counts` says."""

    def counts(self, *inputs: Tensor) -> dict[str, float]:
        """For values that are no means over samples: of how many things in these `inputs`, on the CPU, they
        are the mean. They then count by it among the parts of a step; the same names in every part."""
        del inputs
        return {}

    def picture(self, batch: Batch) -> NDArray[np.uint8] | None:
        """Something to look at, (H, W, 3) RGB, or None where a task has nothing to show."""
        del batch
        return None

    @abstractmethod
    def training_flops(self) -> int:
        """Floating-point operations of one sample, forward and backward."""


TASKS: Registry[type[Task]] = Registry("there is no task {}", "fautrain.tasks")
"""Each task by the name that its configuration has, too."""
task = TASKS.register
"""Decorator that makes a class the task of a configuration: `@task("mae")`."""


def loader_options(config: RunConfig, rank: int, world: int) -> LoaderOptions:
    """What all loaders of a run have in common."""
    data = config.data
    return LoaderOptions(
        batch_per_step=data.batch_per_step,
        seed=config.seed,
        rank=rank,
        world=world,
        augment=Augment(image_px=config.model.image_px),
        workers=data.workers,
        prefetch=data.prefetch,
        cache=data.cache,
    )
