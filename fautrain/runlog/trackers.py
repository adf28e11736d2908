"""Trackers beside `log.jsonl`: TensorBoard, W&B, trackio. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from facecorpus.errors import UserError

PROJECT = "fautrain"
"""Project under which W&B and trackio keep the runs."""


class Tracker(ABC):
    """Somewhere that numbers are sent to."""

    @abstractmethod
    def write(self, values: Mapping[str, float], step: int) -> None:
        """Sends numbers of one step, named as in `train/loss`."""

    @abstractmethod
    def close(self) -> None:
        """Sends what is left and ends."""


class TensorBoard(Tracker):
    """Event files in RUN/tensorboard; those after the step that a run resumes from are hidden."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], step: int) -> None:
        _need("tensorboard", "tensorboard")
        module = _need("torch.utils.tensorboard", "tensorboard")
        self.writer = module.SummaryWriter(
            str(run_dir / "tensorboard"), purge_step=step + 1 if step else None
        )

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Sends numbers of one step."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what is left."""
        self.writer.close()


class Wandb(Tracker):
    """Weights & Biases; a resumed run goes on under the same id (WANDB_MODE=offline needs no network)."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], step: int) -> None:
        module = _need("wandb", "wandb")
        self.run = module.init(
            project=PROJECT,
            name=run_dir.resolve().name,
            id=_run_id(run_dir, keep=step > 0),
            dir=str(run_dir),
            config=dict(config),
            resume="allow",
        )

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Sends numbers of one step; W&B drops those of steps that it has passed already."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """Sends what is left and ends the run."""
        self.run.finish()


class Trackio(Tracker):
    """trackio, which keeps its runs on this machine; a resumed run goes on under the same name."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], step: int) -> None:
        module = _need("trackio", "trackio")
        name = f"{run_dir.resolve().name}-{_run_id(run_dir, keep=step > 0)}"
        self.run = module.init(project=PROJECT, name=name, config=dict(config), resume="allow", embed=False)
        self.finish: Callable[[], None] = module.finish

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Sends numbers of one step."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """Sends what is left and ends the run."""
        self.finish()


TRACKERS: Mapping[str, Callable[[Path, Mapping[str, Any], int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
}


def open_tracker(name: str, run_dir: Path, config: Mapping[str, Any], step: int) -> Tracker:
    """The tracker of that name for a run that starts after `step`.

    Raises:
        UserError: there is none of that name, or its package is not installed.
    """
    if name not in TRACKERS:
        raise UserError(f"log.trackers={name}: there is no such tracker; give some of {', '.join(TRACKERS)}")
    return TRACKERS[name](run_dir, config, step)


def _need(module: str, extra: str) -> Any:
    """The module, or a UserError that names the pip extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"log.trackers={extra}: {error.name or module} is not installed; "
            f"run pip install 'facecorpus[{extra}]' or leave {extra} out of log.trackers"
        ) from error


def _run_id(run_dir: Path, keep: bool) -> str:
    """The id that trackers know this run by, in RUN/tracker-id: a new one, or if `keep` the one it had."""
    path = run_dir / "tracker-id"
    if not (keep and path.is_file()):
        path.write_text(secrets.token_hex(4) + "\n")
    return path.read_text().strip()
