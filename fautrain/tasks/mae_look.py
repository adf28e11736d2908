"""The look at held-out samples during pretraining: losses for the log, and a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import torch
from torch import Tensor

from fautrain import sharding
from fautrain.config import PretrainConfig
from fautrain.data import Batch, Loader
from fautrain.files import publish, step_name
from fautrain.runlog import RunLog
from fautrain.trainer import Trainer

GRIDS = "grids"


class HeldOut:
    """Evaluates on held-out samples and draws a grid, each when it is due."""

    def __init__(self, loader: Loader, config: PretrainConfig, run_dir: Path) -> None:
        self.loader, self.config, self.run_dir = loader, config, run_dir

    def close(self) -> None:
        """Stop the loader."""
        self.loader.close()

    @torch.no_grad()
    def __call__(self, trainer: Trainer, log: RunLog, epochs: int, last: bool) -> None:
        """See `fautrain.task.Look`."""
        every, grids = self.config.train.eval_every_epochs, self.config.log.grid_every_epochs
        evaluate = every is not None and (last or epochs % every == 0)
        draw = grids is not None and (last or epochs % grids == 0)
        if not (evaluate or draw):
            return
        trainer.task.eval()
        sums: dict[str, Tensor] = {}
        drawn = False
        for batch in self.loader.again():
            if evaluate:
                inputs = trainer.on_device(trainer.task.inputs(batch))
                with trainer.accelerator.autocast():
                    found = trainer.task(*inputs)
                # Of the mean over ranks; the last step is smaller, and a stand-in in it counts for nothing.
                own = len(batch.images) if batch.weight else 0
                share = own * trainer.accelerator.num_processes / self.loader.samples
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + value.float() * share
            main = trainer.accelerator.is_main_process
            # Where the weights are split, the main process needs the others to draw.
            if draw and not drawn and (main or sharding.is_sharded(trainer.task)):
                self._draw(trainer, batch)
            drawn = True
            if not evaluate:
                break
        if sums:
            log.write(trainer.progress.step, epochs, trainer.means(sums), kind="held_out")
        trainer.task.train()

    def _draw(self, trainer: Trainer, batch: Batch) -> None:
        count = self.config.log.grid_images
        first = replace(batch, images=batch.images[:count], positions=batch.positions[:count])
        picture = trainer.task.picture(first)
        if picture is None or not trainer.accelerator.is_main_process:
            return
        path = self.run_dir / GRIDS / f"{step_name(trainer.progress.step)}.png"
        publish(path, cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())
