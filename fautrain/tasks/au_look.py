"""The look at validation and test subjects during fine-tuning: predictions on disk, scores in the log."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fautrain import checkpoint, sharding
from fautrain.config import LabelledConfig
from fautrain.data import Loader
from fautrain.data.folds import Split
from fautrain.data.labels import LabelledSet
from fautrain.evaluation import TEST, VALIDATION, Header, Predictions, write_predictions
from fautrain.evaluation.fold import mean_scores
from fautrain.runlog import RunLog
from fautrain.tasks.kept import forget_weights, is_best, keep_weights
from fautrain.trainer import Trainer, from_main


class PredictionLook:
    """Predicts all validation and test frames after every epoch that is due."""

    def __init__(
        self,
        loader: Loader,
        labels: LabelledSet,
        parts: Split,
        config: LabelledConfig,
        run_dir: Path,
        drawn: bool,
    ) -> None:
        self.loader, self.labels, self.parts = loader, labels, parts
        self.config, self.run_dir, self.drawn = config, run_dir, drawn

    def close(self) -> None:
        """Stop the loader."""
        self.loader.close()

    @torch.no_grad()
    def __call__(self, trainer: Trainer, log: RunLog, epochs: int, last: bool) -> None:
        """See `fautrain.task.Look`."""
        every = self.config.train.eval_every_epochs
        if not (last or (every is not None and epochs % every == 0)):
            return
        task: Any = trainer.task  # of action units
        task.eval()
        rows: list[NDArray[np.int64]] = []
        found: list[NDArray[np.float32]] = []
        for batch in self.loader.again():
            with trainer.accelerator.autocast():
                values = task.predictions(batch.images.to(trainer.device))
            if batch.weight == 0:  # a stand-in, so that every rank makes as many passes
                continue
            rows.append(batch.samples.numpy().copy())
            found.append(values.cpu().numpy())
        task.train()
        width = len(self.labels.outputs)
        all_rows = trainer.gathered(np.concatenate([np.zeros(0, np.int64), *rows]))
        values = trainer.gathered(np.concatenate([np.zeros((0, width), np.float32), *found]))
        # An epoch that `train.max_steps` cuts short counts: who goes on predicts it again at its end.
        epoch = math.ceil(trainer.progress.step / task.steps)
        main, scores = trainer.accelerator.is_main_process, dict[str, float]()
        if main:
            scores = self._keep(all_rows, values, epoch, trainer, log)
        best = main and is_best(self.run_dir, epoch, scores)
        if from_main(trainer.accelerator, "best" if best else None) is None:
            if main:
                forget_weights(self.run_dir, epoch)
            return
        # Where the weights are split, every process takes part in putting them together.
        model = sharding.gathered(task.network.state_dict(), main)
        if main:
            after = [math.ceil(step / task.steps) for step in checkpoint.steps(self.run_dir)]
            keep_weights(self.run_dir, epoch, scores, model, after)

    def _keep(
        self,
        rows: NDArray[np.int64],
        predictions: NDArray[np.float32],
        epoch: int,
        trainer: Trainer,
        log: RunLog,
    ) -> dict[str, float]:
        """Writes the predictions; returns each part's best mean score, so that more is better."""
        labels, bench = self.labels, self.labels.benchmark
        place = np.searchsorted(labels.rows, rows)
        held_out = np.isin(place, self.parts.validation)
        targets = labels.targets[place]
        header = Header(
            dataset=bench.name,
            kind=bench.kind,
            outputs=labels.outputs,
            epoch=epoch,
            epochs=self.config.train.epochs,
            fold=self.config.data.fold,
            folds=len(bench.numbers),
            seed=self.config.seed,
            drawn=self.drawn,
            absent=labels.absent,
        )
        write_predictions(
            self.run_dir,
            Predictions(
                header,
                part=np.where(held_out, VALIDATION, TEST),
                prediction=predictions,
                **labels.told(place),
            ),
        )
        gains: dict[str, float] = {}
        target = labels.target
        for part, chosen in ((VALIDATION, held_out), (TEST, ~held_out)):
            if chosen.any():
                scores = mean_scores(type(target), predictions[chosen], targets[chosen])
                gains[part] = float(target.headline.gain(scores).max())
                value = {target.headline.name.lower(): float(scores[target.default])}
                log.write(trainer.progress.step, epoch, value, kind=part)
        return gains
