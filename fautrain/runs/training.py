"""From a folder and a task to a trained model: begin or go on, log, end cleanly."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import torch

from fautrain import checkpoint
from fautrain.config import RunConfig
from fautrain.data import Loader, LoaderState, worker_deaths
from fautrain.runlog import RunLog, duration
from fautrain.runs.folder import choose, settle
from fautrain.task import TASKS, Look, Samples
from fautrain.trainer import Accelerator, Trainer, from_main, make_accelerator


def begin(config: RunConfig, run_dir: Path, resume: str, accelerator: Accelerator) -> Path | None:
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


def run(
    config: RunConfig,
    run_dir: Path,
    found: Path | None,
    accelerator: Accelerator,
    samples: Samples | None = None,
) -> Trainer:
    """Train what `config.task` says to the end, from a checkpoint where one is given.

    Args:
        run_dir: settled by `begin`. found: the checkpoint. samples: what the task opened already.

    Raises:
        Stopped: a signal ended it earlier, after a checkpoint.
        UserError: something in the data, the weights or the checkpoint is unusable, or training cannot go on.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    kind = TASKS.get(config.task)
    opened: Samples = kind.open(config, rank, world) if samples is None else samples
    torch.manual_seed(config.seed + rank)  # what a task draws from the device; a checkpoint keeps the state
    task = kind(config, opened)
    trainer = Trainer(config, run_dir, task, accelerator, opened.fingerprint())
    with contextlib.ExitStack() as stack:
        stack.callback(accelerator.free_memory)
        loader = stack.enter_context(contextlib.closing(task.loader(rank, world)))
        look = task.look(run_dir, rank, world)
        if look is not None:
            stack.callback(look.close)
        train(trainer, loader, look, found)
    return trainer


def pretrain(config: RunConfig, run_dir: Path, resume: str) -> None:
    """Pretrain in `run_dir`.

    Args:
        config: resolved. run_dir: made if it is not there. resume: "auto" goes on from the newest whole
            checkpoint if there is one, "no" refuses a folder that has any, else the path of a checkpoint.

    Raises:
        Stopped: a signal ended it before its time.
        UserError: the folder holds a run with other settings, or anything in it or in the data is unusable.
    """
    accelerator = make_accelerator(config)
    try:
        run(config, run_dir, begin(config, run_dir, resume, accelerator), accelerator)
    finally:
        accelerator.end_training()


def train(trainer: Trainer, loader: Loader, look: Look | None, found: Path | None) -> None:
    """Train to the end, from a checkpoint where one is given, and say what comes of it."""
    config, accelerator = trainer.config, trainer.accelerator
    state = LoaderState()
    if found is not None:
        state = trainer.restore(checkpoint.load(found, accelerator.process_index))
    first, began = trainer.progress.step, time.monotonic()
    total = min(config.train.epochs * loader.steps_per_epoch, config.train.max_steps or 1 << 62)
    with RunLog(
        trainer.run_dir,
        config,
        config.log.trackers,
        accelerator.is_main_process,
        total_steps=total,
        step=first,
    ) as log:
        loaded = trainer.task.loaded
        begins = f"weights of {config.model.init or 'the stage before'}" if loaded else "random weights"
        if found is not None:
            begins = f"going on after step {first:,}"
        epochs = f"{loader.samples:,} samples, {loader.steps_per_epoch:,} steps an epoch, {total:,} in all"
        log.say(f"{_about(trainer)}, {begins}; {epochs}")
        if loaded and found is None:
            log.say(loaded)
        with worker_deaths():
            trainer.run(loader, look, log, state)
        if trainer.progress.step > first:
            took = duration(time.monotonic() - began)
            log.say(f"done after step {total:,} in {took}: {log.last()}; it is in {trainer.run_dir}")


def _about(trainer: Trainer) -> str:
    """What computes what, in words."""
    accelerator, device = trainer.accelerator, trainer.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    ranks = f"{accelerator.num_processes} x " if accelerator.num_processes > 1 else ""
    threads = f"{trainer.threads.number} thread{'s' * (trainer.threads.number > 1)} ({trainer.threads.why})"
    millions = sum(p.numel() for p in trainer.task.network.parameters()) / 1e6
    precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    return f"{ranks}{name}, {threads}, {millions:.1f} M parameters, {precision}"
