"""A pretraining run."""

from __future__ import annotations

from pathlib import Path

from fautrain.config import RunConfig
from fautrain.runs.training import begin, run
from fautrain.trainer import make_accelerator


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
