"""What else is measured of a finished row."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecorpus.errors import UserError
from facecorpus.plugins import Registry
from facecorpus.typed import build
from fautrain.bench import Measured
from fautrain.config import LabelledConfig
from fautrain.evaluation import Result, read_result
from fautrain.files import read_json
from fautrain.probe import ProbeResult
from fautrain.runlog import read_log
from fautrain.runs.evaluate import evaluate_across
from fautrain.runs.finetuning import RESULT, fold_folder
from fautrain.runs.probing import probe_run
from fautrain.targets.base import NONE


@dataclass(frozen=True)
class Finished:
    """A row that is trained."""

    config: LabelledConfig
    """But for fold and seed."""
    recipe: str
    settings: tuple[str, ...]
    """`NAME=VALUE` that make `config` of the recipe."""
    out: Path
    """Folder of its run."""
    result: Result

    @property
    def folds(self) -> list[Path]:
        """The folder of each fold and seed."""
        return [fold_folder(self.out, run.seed, run.fold) for run in self.result.runs if run.fold]


class Measure(ABC):
    """Something besides the scores, kept in files so that it is measured once."""

    heads: tuple[str, ...]
    """Of its columns."""
    about: str
    """What they are, as a sentence without an end."""

    def files(self, finished: Finished) -> list[Path]:
        """What `measure` writes; none where the run has it all."""
        del finished
        return []

    def measure(self, finished: Finished, path: Path) -> None:
        """Make one of `files`."""
        raise NotImplementedError

    @abstractmethod
    def cells(self, finished: Finished) -> Sequence[str]:
        """A text for each of `heads`; all `files` are there."""


MEASURES: Registry[Callable[[], Measure]] = Registry("--also {}: there is no such measure")
"""What `--also` knows."""


@MEASURES.register("epoch")
class ConvergenceEpoch(Measure):
    """The paper's Epoch in Tables 5 and 7."""

    heads = ("its epoch",)
    about = 'the epoch that "Published" chooses in each fold and seed'

    def cells(self, finished: Finished) -> Sequence[str]:
        """The epochs, joined by commas."""
        return (", ".join(str(run.published.epoch) for run in finished.result.runs),)


@MEASURES.register("identity-loss")
class IdentityLoss(Measure):
    """The paper's ID loss in Table 7."""

    heads = ("identity loss",)
    about = 'of the training batches in the epoch that "Published" chooses, mean over folds and seeds'

    def cells(self, finished: Finished) -> Sequence[str]:
        """The mean, with three decimals."""
        values = [
            line.values["id_loss"]
            for folder, run in zip(finished.folds, finished.result.runs, strict=True)
            for line in read_log(folder)
            if "id_loss" in line.values and run.published.epoch - 1 < line.epoch <= run.published.epoch
        ]
        return (f"{np.mean(values):.3f}" if values else NONE,)


@MEASURES.register("probe")
class IdentityProbe(Measure):
    """FMAE-IAT's linear probe (section 5.1), of the last checkpoint of each fold."""

    heads = ("id., published probe", "id., logistic", "id. apart, published probe", "id. apart, logistic")
    about = (
        "frames whose person a linear probe names from the frozen features, in percent, by the "
        "published protocol and by a converged logistic regression; apart: no neighbours in training "
        "and test"
    )

    def files(self, finished: Finished) -> list[Path]:
        """One for each fold's model."""
        return [folder / "probe" / "probe.json" for folder in finished.folds]

    def measure(self, finished: Finished, path: Path) -> None:
        """Probe one."""
        probe_run(path.parent.parent, "", path.parent, every_epoch=False, seed=0)

    def cells(self, finished: Finished) -> Sequence[str]:
        """Means over folds and seeds, in percent."""
        shares: list[list[float]] = []
        for path in self.files(finished):
            found = read_json(path, "delete its folder and probe again")
            both = build(ProbeResult, found[max(found, key=int)])
            parts = (both.frames, both.videos)
            shares.append([v for d in parts for v in (d.published.best.value, d.logistic.accuracy.value)])
        return [f"{100 * share:.1f}" for share in np.mean(shares, axis=0)]


@MEASURES.register("cost")
class Cost(Measure):
    """What a system needs, by `fautrain bench` in a process of its own."""

    heads = ("learnt, M", "of all, M", "GFLOP/image", "images/s", "peak memory, MB")
    about = (
        "parameters that are trained, and all (of two stages in the first); arithmetic of training on one "
        "image, forward and backward; "
        "images trained on a second, without the loader, on this machine; memory that training takes, on a "
        "CPU by how much the process grows"
    )
    seconds = 3.0

    def files(self, finished: Finished) -> list[Path]:
        """One for all folds, which cost the same."""
        return [finished.out / "cost.json"]

    def measure(self, finished: Finished, path: Path) -> None:
        """Train for some seconds."""
        line = ["bench", "--recipe", finished.recipe, "--dataset", finished.config.data.dataset]
        line += ["--shards", finished.config.data.shards, "--seconds", str(self.seconds), "--to", str(path)]
        line += [part for setting in finished.settings for part in ("--set", setting)]
        launched = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        alone = {name: value for name, value in os.environ.items() if name not in launched}
        done = subprocess.run(
            [sys.executable, "-m", "fautrain", *line], env=alone, capture_output=True, text=True
        )
        if done.returncode:
            raise UserError(f"measuring {finished.out} failed: {done.stderr.strip().splitlines()[-1]}")

    def cells(self, finished: Finished) -> Sequence[str]:
        """As the bench wrote them."""
        (path,) = self.files(finished)
        found = build(Measured, read_json(path, "delete it and measure again"))
        return (
            f"{found.learnt / 1e6:.3g}",
            f"{found.parameters / 1e6:.3g}",
            f"{found.gflop_per_image:.3g}",
            f"{found.images_per_s['model alone']:.3g}",
            f"{found.peak_memory_mb:,.0f}",
        )


class Across(Measure):
    """Each fold's model on all of another data set."""

    def __init__(self, dataset: str, shards: str) -> None:
        self.dataset, self.shards = dataset, shards
        self._name = Path(dataset).stem
        self.heads = (f"on {self._name}", f"on {self._name}, published")
        self.about = (
            f"each fold's last model on all of {self._name}, on what both data sets label, mean over folds "
            "and seeds; published: with the choice that does best there"
        )

    def files(self, finished: Finished) -> list[Path]:
        """One for each fold's model."""
        return [folder / f"on-{self._name}" / RESULT for folder in finished.folds]

    def measure(self, finished: Finished, path: Path) -> None:
        """Test one."""
        evaluate_across(path.parent.parent, self.dataset, self.shards, path.parent)

    def cells(self, finished: Finished) -> Sequence[str]:
        """Means of the headline measure."""
        found = [read_result(path) for path in self.files(finished)]
        written = found[0].target.headline.written
        columns = ([r.last.mean for r in found], [r.published.mean for r in found])
        return [written(float(np.mean(column))) for column in columns]


def chosen(also: Sequence[str], on: Sequence[str]) -> list[Measure]:
    """The measures that `--also` and `--on DATASET[=SHARDS]` name.

    Raises:
        UserError: there is no such measure.
    """
    found: list[Measure] = [MEASURES.get(name)() for name in dict.fromkeys(also)]
    for entry in on:
        dataset, _, shards = entry.partition("=")
        found.append(Across(dataset, shards))
    return found
