"""From a folder and a task to a trained model: begin or go on, log, end cleanly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fautrain import checkpoint
from fautrain.config import AnyConfig
from fautrain.data import Loader, LoaderState
from fautrain.runlog import RunLog
from fautrain.runs.folder import choose, settle
from fautrain.trainer import Accelerator, Look, Trainer, from_main


def begin(config: AnyConfig, run_dir: Path, resume: str, accelerator: Accelerator) -> Path | None:
    """Settle the run's folder; returns the checkpoint to go on from, the same one on every process.

    Raises:
        UserError: the folder holds a run with other settings, or one at all where `resume` is `no`.
    """
    chosen: Path | None = None
    if accelerator.is_main_process:
        chosen = choose(run_dir, resume)
        settle(config, run_dir, chosen)
    where = from_main(accelerator, str(chosen) if chosen is not None else None)
    return Path(where) if where is not None else None


def train(
    trainer: Trainer, loader: Loader, look: Look | None, found: Path | None, notes: Sequence[str]
) -> bool:
    """Train to the end, from a checkpoint where one is given; returns False when a signal ended it earlier.

    Raises:
        UserError: the checkpoint does not fit, or training cannot go on.
    """
    config, accelerator = trainer.config, trainer.accelerator
    state = LoaderState()
    if found is not None:
        state = trainer.restore(checkpoint.load(found, accelerator.process_index))
    total = min(config.train.epochs * loader.steps_per_epoch, config.train.max_steps or 1 << 62)
    with RunLog(
        trainer.run_dir,
        config,
        config.log.trackers,
        accelerator.is_main_process,
        total_steps=total,
        step=trainer.progress.step,
    ) as log:
        after = f", going on after step {trainer.progress.step:,}" if found is not None else ""
        log.say(f"{loader.samples:,} samples, {loader.steps_per_epoch:,} steps an epoch{after}")
        for note in notes if found is None else ():
            log.say(note)
        try:
            return trainer.run(loader, look, log, state)
        finally:
            loader.close()
