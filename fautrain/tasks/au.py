"""Action units, with or without identity adversarial training (FMAE-IAT, Fig. 1 and Eq. 1-4)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facecorpus.errors import UserError
from fautrain.config import FinetuneConfig
from fautrain.data import Augment, Batch, Loader, make_loader, open_corpus, ordered_loader, shard_cache
from fautrain.data.benchmark import Benchmark, benchmark
from fautrain.data.folds import Split, split
from fautrain.data.labels import LabelledSet, read_labels
from fautrain.data.provenance import is_drawn
from fautrain.losses import output_loss
from fautrain.losses.coded import class_rates
from fautrain.losses.identity import identity_loss
from fautrain.models.build import build
from fautrain.models.flops import vit_training_flops
from fautrain.models.heads import ActionUnitModel
from fautrain.models.reversal import strength
from fautrain.noise import uniform_noise
from fautrain.task import Task, loader_options, task
from fautrain.tasks.au_look import PredictionLook
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


class Fold(NamedTuple):
    """The frames of a labelled set, and which of them train, validate and test."""

    labels: LabelledSet
    parts: Split

    def fingerprint(self) -> str:
        """Of the whole corpus."""
        return self.labels.corpus.fingerprint()

    @property
    def about(self) -> str:
        """The parts in words."""
        labels, unit = self.labels, self.labels.benchmark.unit

        def part(indices: NDArray[np.int64]) -> str:
            if unit == "picture":
                return f"{len(indices):,} pictures"
            return f"{len(indices):,} frames of {len(np.unique(labels.subject[indices]))} {unit}s"

        held = sorted(labels.names(self.parts.validation))
        who = "" if unit == "picture" else f" ({', '.join(held)})"
        chosen = f", validates on {part(self.parts.validation)}{who}" if held else ""
        return f"trains on {part(self.parts.train)}{chosen}, tests on {part(self.parts.test)}"


def open_labels(
    config: FinetuneConfig, bench: Benchmark, rank: int, world: int, outputs: tuple[str, ...] = ()
) -> LabelledSet:
    """The labelled frames of the shards that `config.data` names; of its outputs, if no others are given.

    Raises:
        UserError: there are none, or they are another data set's.
    """
    shards = config.data.shards or f"build/{bench.name}"
    if not config.data.shards and not Path(shards).exists():
        raise UserError(
            f"--shards is not given and {shards}, where {bench.title} would be, does not exist; give the "
            f"shards of your own, or draw people with 'facecorpus synth --sources {bench.source} --out "
            f"build/recordings' and 'facecorpus build --sources {bench.source} --root build/recordings "
            f"--out {shards}'"
        )
    corpus = open_corpus(shards, shard_cache(config.data.cache), rank, world)
    return read_labels(corpus, bench, outputs or config.data.outputs)


def fold_of(config: FinetuneConfig, labels: LabelledSet) -> Fold:
    """The fold that `config.data` says.

    Raises:
        UserError: there is none, or a part of it has no frame.
    """
    data = config.data
    parts = split(labels, data.fold, validation=data.validation, seed=config.seed, every=data.every)
    return Fold(labels, parts)


@task("au")
class ActionUnitTask(Task):
    """The loss is the action units' plus, with an identity head, the identity's (weights 1 : 1).

    Lambda acts on the reversed gradient alone. All that is random but drop path and the noise in erased
    rectangles is a function of (seed, epoch, place in the epoch).
    """

    passes = ("predictions",)

    def __init__(self, config: FinetuneConfig, samples: Fold) -> None:
        """Makes the model; its first weights are a function of `config.seed` alone.

        Raises:
            UserError: `model.init` names weights that cannot be read or do not fit.
        """
        super().__init__(config, samples)
        self.config = config
        self.labels, self.parts = labels, parts = samples
        rates = class_rates(labels.targets[parts.train])
        self.loss = output_loss(config.loss, labels.target.loss, rates)
        self.steps = math.ceil(len(parts.train) / config.data.batch_per_step)
        self.heads = _head_index(labels, parts, config.identity.subjects)
        """Index of each subject of the benchmark in the identity head; -1 for none."""
        adversary = config.identity.strength > 0
        self.terms = ("au_loss", "id_loss") if adversary else ("au_loss",)
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

    @classmethod
    def open(cls, config: FinetuneConfig, rank: int, world: int) -> Fold:
        """The labels of the shards, and the fold."""
        return fold_of(config, open_labels(config, benchmark(config.data.dataset), rank, world))

    def loader(self, rank: int, world: int) -> Loader:
        """The training frames; none may be unusable."""
        data = self.config.data
        px = self.config.model.image_px
        options = replace(
            loader_options(self.config, rank, world),
            accumulate=self.config.train.accumulate,
            augment=Augment("rrc-flip", px, data.rrc_scale, randaugment=data.randaugment),
            max_bad=0.0,
        )
        return make_loader(self.labels.corpus, options, self.labels.rows[self.parts.train])

    def look(self, run_dir: Path, rank: int, world: int) -> PredictionLook:
        """Predictions of the frames that do not train."""
        parts, corpus = self.parts, self.labels.corpus
        rows = self.labels.rows[sorted([*parts.validation.tolist(), *parts.test.tolist()])]
        batch_per_step = max(self.config.data.batch_per_step, world) * 4
        options = replace(loader_options(self.config, rank, world), batch_per_step=batch_per_step)
        loader = ordered_loader(corpus, rows, options)
        return PredictionLook(loader, self.labels, parts, self.config, run_dir, drawn=is_drawn(corpus))

    @property
    def network(self) -> ActionUnitModel:
        """The model with its heads."""
        return self.model

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What a step needs, besides the weights.

        uint8 images (n, 3, H, W); targets (n, A); one-hot identities (n, K), or (n, 0) without an identity
        head; lambda (); boxes to erase (n, 4); draws for mixing (5,).
        """
        place = np.searchsorted(self.labels.rows, batch.samples.numpy())
        targets = torch.from_numpy(self.labels.targets[place])
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
        if output.identity is None:
            return values
        values["id_loss"] = identity_loss(output.identity, identities, self.config.identity.loss)
        right = output.identity.argmax(dim=1) == identities.argmax(dim=1)
        return values | {"id_accuracy": right.float().mean()}

    def counts(self, *inputs: Tensor) -> dict[str, float]:
        """`au_loss` is a mean over the coded labels, after mixing."""
        images, targets, _, _, _, draws = inputs
        data, coded = self.config.data, targets.isfinite()
        if self.training and (data.mixup or data.cutmix):
            coded = mixed_labels(coded, images.shape[2:], data.mixup, data.cutmix, draws)
        return {"au_loss": float(coded.sum())}

    def _draws(self, purpose: int, batch: Batch, numbers: Tensor, count: int) -> Tensor:
        # The compiler's decorator hides the signature.
        return uniform_noise(self.config.seed + purpose, batch.epoch, numbers, count)  # pyright: ignore

    @torch.no_grad()
    def predictions(self, images: Tensor) -> Tensor:
        """(n, A) float32, as the target has them, for uint8 images (n, 3, H, W) on the model's device."""
        return self.labels.target.activation(self.model(self.normalised(images)).logits.float())

    def training_flops(self) -> int:
        """Operations of one image, forward and backward."""
        return vit_training_flops(self.model)


def _head_index(labels: LabelledSet, split: Split, subjects: str) -> NDArray[np.int64]:
    known = len(labels.subjects)
    if subjects == "all":
        return np.arange(known, dtype=np.int64)
    index = np.full(known, -1, dtype=np.int64)
    training = np.unique(labels.subject[split.train])
    index[training] = np.arange(len(training))
    return index
