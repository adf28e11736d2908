"""A run: a folder, a resolved configuration, a task, loaders and the loop."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fautrain import checkpoint
from fautrain.config import RunConfig, to_plain
from fautrain.data import Loader, LoaderState, held_out_loader, make_loader
from fautrain.errors import UserError
from fautrain.runlog import RunLog
from fautrain.tasks.pretrain import PretrainTask
from fautrain.trainer import Trainer, from_main, make_accelerator

CONFIG = "config.json"
SAFE_TO_CHANGE = (
    "train.max_steps",
    "train.keep",
    "train.checkpoint_every",
    "data.workers",
    "data.prefetch",
    "log.",
)
"""Values that may differ when a run goes on: they change no number."""


def pretrain(config: RunConfig, run_dir: Path, resume: str) -> bool:
    """Pretrain in `run_dir`; returns False when a signal ended it before its time.

    Args:
        config: resolved. run_dir: made if it is not there. resume: "auto" goes on from the newest whole
        checkpoint if there is one, "no" refuses a folder that has
            any, else the path of a checkpoint.

    Raises:
        UserError: the folder holds a run with other settings, or anything in it or in the data is unusable.
    """
    accelerator = make_accelerator(config)
    chosen: Path | None = None
    if accelerator.is_main_process:
        chosen = _checkpoint(run_dir, resume)
        _settle(config, run_dir, chosen)
    where = from_main(accelerator, str(chosen) if chosen is not None else None)
    found = Path(where) if where is not None else None
    loader = training_loader(config, accelerator.process_index, accelerator.num_processes)
    held_out: Loader | None = None
    if config.data.held_out:
        held_out = held_out_loader(
            loader.corpus,
            held_out=config.data.held_out,
            batch_per_step=config.data.batch_per_step,
            max_bad=config.data.max_bad,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            image_px=config.model.image_px,
            cache=config.data.cache,
        )
    task = PretrainTask(config)
    trainer = Trainer(config, run_dir, task, accelerator, loader.corpus.fingerprint())
    state = LoaderState()
    if found is not None:
        state = trainer.restore(checkpoint.load(found, accelerator.process_index))
    total = min(config.train.epochs * loader.steps_per_epoch, config.train.max_steps or 1 << 62)
    main = accelerator.is_main_process
    with RunLog(
        run_dir, config, config.log.trackers, main, total_steps=total, step=trainer.progress.step
    ) as log:
        after = f", going on after step {trainer.progress.step:,}" if found is not None else ""
        log.say(f"{loader.samples:,} samples, {loader.steps_per_epoch:,} steps an epoch{after}")
        if task.loaded and found is None:
            log.say(task.loaded)
        try:
            return trainer.run(loader, held_out, log, state)
        finally:
            loader.close()
            if held_out is not None:
                held_out.close()
            accelerator.end_training()


def training_loader(config: RunConfig, rank: int, world: int) -> Loader:
    """The loader of one rank, as the configuration describes it.

    Raises:
        UserError: the shards or the settings are unusable.
    """
    data = config.data
    return make_loader(
        data.shards,
        batch_per_step=data.batch_per_step,
        seed=config.seed,
        rank=rank,
        world=world,
        accumulate=config.train.accumulate,
        workers=data.workers,
        prefetch=data.prefetch,
        image_px=config.model.image_px,
        augment=data.augment,
        rrc_scale=data.rrc_scale,
        max_bad=data.max_bad,
        held_out=data.held_out,
        cache=data.cache,
    )


def _checkpoint(run_dir: Path, resume: str) -> Path | None:
    if resume == "auto":
        return checkpoint.latest(run_dir)
    if resume == "no":
        if checkpoint.steps(run_dir):
            raise UserError(
                f"{run_dir} holds a run already; go on with --resume auto or choose another --out"
            )
        return None
    return Path(resume)


def _settle(config: RunConfig, run_dir: Path, found: Path | None) -> None:
    """Keep the resolved configuration, refusing to go on with one that gives other numbers."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / CONFIG
    plain = to_plain(config)
    if found is not None and path.exists():
        changed = [
            line
            for line in _differences(json.loads(path.read_text("utf-8")), plain)
            if not line.startswith(SAFE_TO_CHANGE)
        ]
        if changed:
            raise UserError(
                f"{run_dir} was begun with other settings ({'; '.join(changed)}); use the same ones to go "
                "on, or choose another --out"
            )
        checkpoint.set_aside_after(run_dir, checkpoint.step_of(found) or 0)
    with tempfile.NamedTemporaryFile("w", dir=run_dir, delete=False, encoding="utf-8") as file:
        json.dump(plain, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """Leaves that differ, as `NAME was OLD and is NEW`."""
    lines: list[str] = []
    for name in before.keys() | now.keys():
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += _differences(old, new, f"{path}{name}.")
        elif old != new:
            lines.append(f"{path}{name} was {old} and is {new}")
    return sorted(lines)
