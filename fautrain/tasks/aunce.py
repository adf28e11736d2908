"""AUNCE (Shang et al., arXiv 2402.06165): contrast the outputs of pictures in two views, then linear heads.

All that is random but stochastic depth is a function of (seed, epoch, place in the epoch).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from facecorpus.errors import UserError
from fautrain.config import AunceConfig, ContrastiveConfig
from fautrain.data import Augment, Batch, Loader
from fautrain.data.views import VIEW_DRAWS, coloured, cropped
from fautrain.losses import output_loss
from fautrain.losses.contrastive import CONTRASTIVE
from fautrain.models.build import seeded
from fautrain.models.graph import SwinGraphModel
from fautrain.models.predictor import full_precision
from fautrain.models.swin import load_graph
from fautrain.noise import uniform_noise
from fautrain.task import task
from fautrain.tasks.labelled import Fold, LabelledTask

_VIEWS, _POSITIVES = 0x56494557, 0x504F5349
"""Added to the seed: each purpose has draws of its own."""


class _SwinGraphTask(LabelledTask[SwinGraphModel]):
    """Pictures come whole and are cut on the device."""

    def __init__(self, config: AunceConfig, samples: Fold) -> None:
        super().__init__(config, samples)
        self.config = config
        with seeded(config.seed):
            self.model = SwinGraphModel(
                config.model, len(self.labels.outputs), config.train.checkpoint_activations
            )
        where = samples.before or config.model.init
        self.loaded = str(load_graph(self.model, where)) if where else None

    @classmethod
    def bare(cls, config: AunceConfig, outputs: int) -> SwinGraphModel:
        """Encoder and heads."""
        return SwinGraphModel(replace(config.model, drop_path=0.0), outputs)

    @classmethod
    def trained(cls, config: AunceConfig, outputs: int, where: str | Path) -> SwinGraphModel:
        """See `LabelledTask.trained`."""
        model = cls.bare(config, outputs)
        load_graph(model, where, whole=True)
        return model.eval()

    def augment(self) -> Augment:
        """Nothing: views are made of whole pictures, on the device."""
        return Augment("none", self.config.model.image_px)

    def view(self, images: Tensor, draws: Tensor, colours: bool) -> Tensor:
        """Normalised random views of uint8 images (n, 3, H, W), by draws (n, VIEW_DRAWS)."""
        look = self.config.contrast
        views = cropped(images, draws, self.model.encoder.crop_px)
        if colours:
            views = coloured(
                views,
                draws,
                jitter=look.jitter,
                jitter_share=look.jitter_share,
                gray_share=look.gray_share,
                blur_px=look.blur_px,
            )
        return self.normalised(255 * views)

    def draws(self, purpose: int, batch: Batch, numbers: Tensor, count: int) -> Tensor:
        """Uniform numbers (len(numbers), count) of this epoch."""
        # The compiler's decorator hides the signature.
        return uniform_noise(self.config.seed + purpose, batch.epoch, numbers, count)  # pyright: ignore


@task("aunce-contrast")
class ContrastTask(_SwinGraphTask):
    """The encoder learns by contrast; the heads wait."""

    terms = ("contrast_loss",)

    def __init__(self, config: ContrastiveConfig, samples: Fold) -> None:
        """Makes the model; its first weights are a function of `config.seed` alone.

        Raises:
            UserError: `model.init` names weights that cannot be read or do not fit.
        """
        super().__init__(replace(config, model=replace(config.model, frozen="no")), samples)
        self.loss = CONTRASTIVE.get(config.contrast.kind)(config.contrast, self.rates)
        for head in (self.model.head, self.model.head_bias):
            head.requires_grad_(False)

    def loader(self, rank: int, world: int) -> Loader:
        """The training frames, on one process: contrast and batch norms take a step as a whole."""
        if world > 1:
            raise UserError(
                f"AUNCE contrasts all pictures of a step, so it trains on one process, not on {world}; start "
                "it without a launcher, or for one process"
            )
        return super().loader(rank, world)

    def look(self, run_dir: Path, rank: int, world: int) -> None:
        """Nothing: there is no prediction before the heads."""

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """uint8 images (n, 3, H, W); targets (n, A); draws of both views (2, n, VIEW_DRAWS); lots of the
        positives, (2 n, 1) or (1, A)."""
        views = self.draws(_VIEWS, batch, batch.positions, 2 * VIEW_DRAWS).view(-1, 2, VIEW_DRAWS)
        if self.loss.lots_per_output:
            lots = self.draws(_POSITIVES, batch, torch.tensor([batch.step]), len(self.labels.outputs))
        else:
            lots = self.draws(_POSITIVES, batch, batch.positions, 2).T.reshape(-1, 1)
        return batch.images, self.targets(batch), views.transpose(0, 1).contiguous(), lots

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The contrastive loss of a batch. Each view passes the network by itself, as in the released code,
        so that batch norms see one at a time."""
        images, targets, draws, lots = inputs
        vectors = torch.stack([self.model.encoder(self.view(images, draw, colours=True)) for draw in draws])
        with full_precision(images.device):
            return {"contrast_loss": self.loss(vectors, targets, lots)}

    def training_flops(self) -> int:
        """Of two views."""
        return 2 * super().training_flops()


@task("aunce")
class LinearHeadsTask(_SwinGraphTask):
    """A linear map for each output on the encoder that was contrasted before."""

    terms = ("au_loss",)

    def __init__(self, config: AunceConfig, samples: Fold) -> None:
        """Makes the model on the weights of the stage before, else those of `model.init`.

        Raises:
            UserError: they cannot be read or do not fit.
        """
        super().__init__(config, samples)
        self.loss = output_loss(config.loss, self.labels.target.loss, self.rates)

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """uint8 images (n, 3, H, W); targets (n, A); draws of the view (n, VIEW_DRAWS)."""
        return batch.images, self.targets(batch), self.draws(_VIEWS, batch, batch.positions, VIEW_DRAWS)

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The loss of a batch; random views in training only."""
        images, targets, draws = inputs
        seen = self.view(images, draws, self.config.coloured) if self.training else self.normalised(images)
        return {"au_loss": self.loss(self.model(seen).logits, targets)}

    def counts(self, *inputs: Tensor) -> dict[str, float]:
        """`au_loss` is a mean over the coded labels."""
        return {"au_loss": float(inputs[1].isfinite().sum())}
