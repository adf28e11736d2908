"""What a run's folder holds: settings, log, grids and checkpoints, and the numbers of the headline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facecorpus.errors import UserError
from fautrain.config import PretrainConfig, from_plain
from fautrain.files import STEP_NAME, read_json
from fautrain.runlog import Line, read_log


@dataclass(frozen=True)
class Series:
    """One quantity over the run."""

    steps: NDArray[np.float64]
    """(n,) steps, rising."""
    values: NDArray[np.float64]
    """(n,) values; NaN where the run logged none or none that is finite."""

    @property
    def last(self) -> float | None:
        """The newest value that is finite; none where there is none."""
        finite = self.values[np.isfinite(self.values)]
        return float(finite[-1]) if len(finite) else None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk."""

    step: int
    size_bytes: int


@dataclass(frozen=True)
class Run:
    """A run as its folder describes it."""

    name: str
    config: PretrainConfig
    lines: list[Line]
    """Of the log, by step."""
    grids: dict[int, Path]
    """Pictures of reconstructions by step, rising."""
    checkpoints: list[Checkpoint]
    """By step, rising."""

    def series(self, kind: str, value: str) -> Series:
        """The quantity `value` in the lines of that kind."""
        lines = [line for line in self.lines if line.kind == kind]
        steps = np.array([line.step for line in lines], np.float64)
        return Series(steps, np.array([_finite(line.values.get(value)) for line in lines], np.float64))

    @property
    def step(self) -> int:
        """Steps done, as far as the log goes."""
        return self.lines[-1].step if self.lines else 0

    @property
    def epoch(self) -> float:
        """Passes over the samples done, as far as the log goes, with the fraction of the current one.

        Only the lines of training tell the fraction.
        """
        return max((line.epoch for line in self.lines if line.kind == "train"), default=0.0)

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of one pass; unknown before the first line."""
        train = [line for line in self.lines if line.kind == "train" and line.epoch > 1e-9]
        return max(1, round(train[-1].step / train[-1].epoch)) if train else None

    @property
    def total_steps(self) -> int | None:
        """Steps at which the run ends; unknown before the first line."""
        each, most = self.steps_per_epoch, self.config.train.max_steps
        if each is None:
            return most
        return min(self.config.train.epochs * each, most or 1 << 62)

    @property
    def skipped(self) -> int:
        """Steps passed over because a loss or gradient was not finite (the log counts them up)."""
        return int(self.series("train", "nonfinite").last or 0)


def read_run(folder: Path) -> Run:
    """The run in `folder`; what it has not written yet is empty.

    Raises:
        UserError: the folder holds no run, or its settings cannot be read.
    """
    path = folder / "config.json"
    if (folder / "ablation.json").is_file():
        raise UserError(f"{folder} holds an ablation: its page is {folder / 'report.html'}; open that")
    if any(folder.glob("seed-*/fold-*")):
        raise UserError(
            f"{folder} holds the folds of a fine-tuning run: its page is {folder / 'report.html'}, and "
            f"'fautrain evaluate {folder}' writes it again"
        )
    if not path.is_file():
        raise UserError(f"{folder} holds no run (it has no config.json); give the folder of --out")
    plain = read_json(path, "restore it from a checkpoint")
    try:
        config = from_plain(plain)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(config, PretrainConfig):
        raise UserError(
            f"{folder} is one fold of a fine-tuning run, whose page is report.html in its --out; "
            "'fautrain evaluate' writes it again"
        )
    return Run(
        name=folder.resolve().name,
        config=config,
        lines=sorted(read_log(folder), key=lambda line: line.step),
        grids=dict(sorted(_by_step(folder / "grids", ".png").items())),
        checkpoints=[
            Checkpoint(step, sum(file.stat().st_size for file in at.rglob("*") if file.is_file()))
            for step, at in sorted(_by_step(folder / "checkpoints", "").items())
        ],
    )


def _by_step(folder: Path, suffix: str) -> dict[int, Path]:
    """Entries named `step-NUMBER` and the suffix; no others, so that half-written ones do not count."""
    if not folder.is_dir():
        return {}
    found = ((STEP_NAME.fullmatch(at.name.removesuffix(suffix)), at) for at in folder.iterdir())
    return {int(match[1]): at for match, at in found if match and at.name.endswith(suffix)}


def _finite(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan
