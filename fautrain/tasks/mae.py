"""Masked-autoencoder pretraining: hide most patches, predict their pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fautrain.config import PretrainConfig
from fautrain.data import (
    Augment,
    Batch,
    Corpus,
    Loader,
    held_out_loader,
    make_loader,
)
from fautrain.losses.pixels import patch_mean_loss, pixel_loss
from fautrain.models.build import build_mae
from fautrain.models.flops import mae_training_flops
from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.picture import picture_grid
from fautrain.noise import uniform_noise
from fautrain.patches import patchify
from fautrain.task import Task, loader_options, task
from fautrain.tasks.mae_look import HeldOut


@task("mae")
class PretrainTask(Task):
    """`loss` on the masked patches, and `patch_mean`, what knowing each patch's mean alone would score."""

    def __init__(self, config: PretrainConfig, samples: Corpus) -> None:
        """Makes the model; its first weights are a function of `config.seed` alone.

        Raises:
            UserError: `model.init` names weights that cannot be read or do not fit.
        """
        super().__init__(config, samples)
        self.config, self.corpus = config, samples
        self.model = build_mae(
            config.model, checkpoint_activations=config.train.checkpoint_activations, seed=config.seed
        )
        self.loaded = self.model.loaded

    def loader(self, rank: int, world: int) -> Loader:
        """All samples but the held-out ones."""
        data = self.config.data
        options = replace(
            loader_options(self.config, rank, world),
            accumulate=self.config.train.accumulate,
            augment=Augment(data.augment, self.config.model.image_px, data.rrc_scale),
            held_out=data.held_out,
            max_bad=data.max_bad,
        )
        return make_loader(self.corpus, options)

    def look(self, run_dir: Path, rank: int, world: int) -> HeldOut | None:
        """The loss of the held-out samples, if there are any, and a picture."""
        data = self.config.data
        if not data.held_out:
            return None
        options = replace(
            loader_options(self.config, rank, world),
            held_out=data.held_out,
            max_bad=data.max_bad,
            workers=min(2, data.workers),  # they stay between evaluations
            prefetch=1,
        )
        return HeldOut(held_out_loader(self.corpus, options), self.config, run_dir)

    @property
    def network(self) -> MaskedAutoencoder:
        """The masked autoencoder."""
        return self.model

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """uint8 images (n, 3, H, W) and the noise (n, L) that decides what is hidden.

        The noise is a function of (seed, epoch, place in the epoch): neither ranks, workers nor an
        interruption change it.
        """
        # Drawn where it is used. The compiler's decorator hides the signature.
        places = batch.positions.to(self.model.cls_token.device, non_blocking=True)
        noise: Tensor = uniform_noise(self.config.seed, batch.epoch, places, self.model.patches)  # pyright: ignore
        return batch.images, noise

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Losses of uint8 images and noise; see `inputs`."""
        images, noise = self.normalised(inputs[0]), inputs[1]
        output = self.model(images, noise)
        target = patchify(images, self.model.patch_px)
        loss = self.config.loss
        with torch.no_grad():
            baseline = patch_mean_loss(target, output.predicted, loss.kind, loss.norm_pix)
        value = pixel_loss(output.prediction, target, output.predicted, loss.kind, loss.norm_pix)
        return {"loss": value, "patch_mean": baseline}

    @torch.no_grad()
    def picture(self, batch: Batch) -> NDArray[np.uint8]:
        """Original | masked | reconstruction of the batch's images."""
        device = self.model.cls_token.device
        images, noise = (tensor.to(device) for tensor in self.inputs(batch))
        images = self.normalised(images)
        data = self.config.data
        return picture_grid(
            images,
            self.model(images, noise),
            self.model.patch_px,
            norm_pix=self.config.loss.norm_pix,
            mean=data.mean,
            std=data.std,
        )

    def training_flops(self) -> int:
        """Operations of one image, forward and backward."""
        return mae_training_flops(self.model)
