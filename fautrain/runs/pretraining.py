"""A pretraining run."""

from __future__ import annotations

from pathlib import Path

from fautrain.config import PretrainConfig
from fautrain.data import Loader, held_out_loader, make_loader
from fautrain.runs.training import begin, train
from fautrain.tasks.mae import PretrainTask
from fautrain.tasks.mae_look import HeldOut
from fautrain.trainer import Trainer, make_accelerator


def pretrain(config: PretrainConfig, run_dir: Path, resume: str) -> None:
    """Pretrain in `run_dir`.

    Args:
        config: resolved. run_dir: made if it is not there. resume: "auto" goes on from the newest whole
            checkpoint if there is one, "no" refuses a folder that has any, else the path of a checkpoint.

    Raises:
        Stopped: a signal ended it before its time.
        UserError: the folder holds a run with other settings, or anything in it or in the data is unusable.
    """
    accelerator = make_accelerator(config)
    found = begin(config, run_dir, resume, accelerator)
    rank, world = accelerator.process_index, accelerator.num_processes
    loader = training_loader(config, rank, world)
    held_out: Loader | None = None
    if config.data.held_out:
        held_out = held_out_loader(
            loader.corpus,
            held_out=config.data.held_out,
            batch_per_step=config.data.batch_per_step,
            max_bad=config.data.max_bad,
            rank=rank,
            world=world,
            image_px=config.model.image_px,
            workers=min(2, config.data.workers),  # they stay between evaluations
            prefetch=1,
            cache=config.data.cache,
        )
    task = PretrainTask(config)
    trainer = Trainer(config, run_dir, task, accelerator, loader.corpus.fingerprint())
    look = HeldOut(held_out, config, run_dir) if held_out is not None else None
    try:
        train(trainer, loader, look, found, task.loaded)
    finally:
        if held_out is not None:
            held_out.close()
        accelerator.end_training()


def training_loader(config: PretrainConfig, rank: int, world: int) -> Loader:
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
