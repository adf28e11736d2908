"""Action units, with or without identity adversarial training (FMAE-IAT, Fig. 1 and Eq. 1-4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facecorpus.errors import UserError
from fautrain.config import FinetuneConfig
from fautrain.data import Augment, Batch
from fautrain.data.folds import Split
from fautrain.data.labels import LabelledSet
from fautrain.losses import auxiliary_loss, output_loss
from fautrain.losses.identity import identity_loss
from fautrain.models.build import build
from fautrain.models.heads import ActionUnitModel
from fautrain.models.reversal import strength
from fautrain.noise import uniform_noise
from fautrain.task import task
from fautrain.tasks.labelled import Fold, LabelledTask
from fautrain.tasks.mixing import (
    ERASING_DRAWS,
    MIXING_DRAWS,
    erasing_boxes,
    mixed_labels,
    mixup_cutmix,
    random_erase,
)

_ERASING, _MIXING = 0x45524153, 0x4D495849
"""Added to the seed: each purpose has draws of its own."""


@task("au")
class ActionUnitTask(LabelledTask[ActionUnitModel]):
    """The loss is the action units' plus that of the adapters' own heads and, with an identity head, the
    identity's, where there are such (weights 1 : 1).

    Lambda acts on the reversed gradient alone. All that is random but drop path and the noise in erased
    rectangles is a function of (seed, epoch, place in the epoch).
    """

    def __init__(self, config: FinetuneConfig, samples: Fold) -> None:
        """Makes the model; its first weights are a function of `config.seed` alone.

        Raises:
            UserError: `model.init` names weights that cannot be read or do not fit.
        """
        super().__init__(config, samples)
        self.config = config
        labels = self.labels
        self.loss = output_loss(config.loss, labels.target.loss, self.rates)
        self.auxiliary = auxiliary_loss(config.loss, labels.target.loss, self.rates)
        self.heads = _head_index(labels, self.parts, config.identity.subjects)
        """Index of each subject of the benchmark in the identity head; -1 for none."""
        adversary = config.identity.strength > 0
        if adversary and labels.benchmark.unit == "picture":
            raise UserError(
                f"identity.strength={config.identity.strength:g}: nobody knows who is shown in "
                f"{labels.benchmark.title}; choose a recipe without identity head, or give 0"
            )
        self.subjects = int(self.heads.max()) + 1 if adversary else 0
        self.model = build(
            config.model,
            len(labels.outputs),
            self.subjects,
            identity_layers=config.identity.layers,
            checkpoint_activations=config.train.checkpoint_activations,
            seed=config.seed,
        )
        self.loaded = self.model.loaded
        self.labelled = ("au_loss", "aux_loss") if self.model.auxiliary_head is not None else ("au_loss",)
        """The terms that are means over labels."""
        self.terms = (*self.labelled, "id_loss") if adversary else self.labelled

    @classmethod
    def bare(cls, config: FinetuneConfig, outputs: int) -> ActionUnitModel:
        """Without an identity head."""
        return build(replace(config.model, init=None, drop_path=0.0), outputs)

    def augment(self) -> Augment:
        """Random resized crop and flip, then RandAugment."""
        data = self.config.data
        return Augment("rrc-flip", self.config.model.image_px, data.rrc_scale, randaugment=data.randaugment)

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What a step needs, besides the weights.

        uint8 images (n, 3, H, W); targets (n, A); one-hot identities (n, K), or (n, 0) without an identity
        head; lambda (); boxes to erase (n, 4); draws for mixing (5,).
        """
        place, targets = self.place(batch), self.targets(batch)
        identities = torch.zeros(len(place), self.subjects)
        if self.subjects:
            heads = torch.from_numpy(self.heads[self.labels.subject[place]])
            identities = functional.one_hot(heads.clamp(min=0), self.subjects).float()
        adversary = self.config.identity
        progress = min(1.0, (batch.epoch + batch.step / self.steps) / self.config.train.epochs)
        lam = torch.tensor(strength(adversary.schedule, adversary.strength, progress))
        boxes = erasing_boxes(
            self._draws(_ERASING, batch, batch.positions, ERASING_DRAWS),
            self.config.model.image_px,
            self.config.data.erasing,
        )
        # One draw for the whole step, its parts on other ranks included.
        first = torch.tensor([batch.step])
        return (
            batch.images,
            targets,
            identities,
            lam,
            boxes,
            self._draws(_MIXING, batch, first, MIXING_DRAWS)[0],
        )

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Losses of a batch; see `inputs`. Pictures are erased and mixed in training only."""
        images, targets, identities, lam, boxes, draws = inputs
        data = self.config.data
        images = self.normalised(images)
        if self.training and data.erasing:
            images = random_erase(images, boxes)
        if self.training and (data.mixup or data.cutmix):
            images, targets, identities = mixup_cutmix(
                images, targets, identities, mixup_alpha=data.mixup, cutmix_alpha=data.cutmix, draws=draws
            )
        output = self.model(images, lam)
        values = {"au_loss": self.loss(output.logits, targets)}
        if output.auxiliary is not None:
            values["aux_loss"] = self.auxiliary(output.auxiliary, targets)
        if output.identity is None:
            return values
        values["id_loss"] = identity_loss(output.identity, identities, self.config.identity.loss)
        right = output.identity.argmax(dim=1) == identities.argmax(dim=1)
        return values | {"id_accuracy": right.float().mean()}

    def counts(self, *inputs: Tensor) -> dict[str, float]:
        """Losses of outputs are means over the coded labels, after mixing."""
        images, targets, _, _, _, draws = inputs
        data, coded = self.config.data, targets.isfinite()
        if self.training and (data.mixup or data.cutmix):
            coded = mixed_labels(coded, images.shape[2:], data.mixup, data.cutmix, draws)
        return dict.fromkeys(self.labelled, float(coded.sum()))

    def _draws(self, purpose: int, batch: Batch, numbers: Tensor, count: int) -> Tensor:
        # The compiler's decorator hides the signature.
        return uniform_noise(self.config.seed + purpose, batch.epoch, numbers, count)  # pyright: ignore


def _head_index(labels: LabelledSet, split: Split, subjects: str) -> NDArray[np.int64]:
    known = len(labels.subjects)
    if subjects == "all":
        return np.arange(known, dtype=np.int64)
    index = np.full(known, -1, dtype=np.int64)
    training = np.unique(labels.subject[split.train])
    index[training] = np.arange(len(training))
    return index
