"""Configurations of training on labelled sets: what all have, and fine-tuning for action units (task `au`),
with or without identity adversarial training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from facecorpus.typed import Check, Checked
from fautrain.config.parts import (
    AreaRange,
    DataConfig,
    ModelConfig,
    Positive,
    ProperShare,
    Rate,
    RunConfig,
    Share,
    SizeName,
    configuration,
)

Smooth = Annotated[float, Check(lambda v: 0 < v < math.inf, "a finite number above 0")]
Exponents = Annotated[
    tuple[float, float],
    Check(lambda v: all(0 <= e < math.inf for e in v), "two numbers of at least 0, such as 1,2"),
]


Sides = Annotated[int, Check(lambda v: v >= 1 and v % 2 == 1, "an odd number, such as 3")]
Dilations = Annotated[tuple[int, ...], Check(lambda v: all(d >= 1 for d in v), "numbers of at least 1")]


@dataclass(frozen=True)
class ExpertConfig(Checked):
    """Experts of `model.adapter=moke` (AUFormer, sections 3.2 to 3.4)."""

    group = "model.moke"
    dilations: Dilations = (1, 3, 5)
    """Of the multi-receptive-field operator's convolutions; empty leaves the operator out."""
    neighbourhood: Sides | None = 3
    """Side S of the context-aware operator's neighbourhood (Eq. 5); none leaves the operator out."""
    collaborate: bool = True
    """Whether each action unit has an expert (Eq. 3); else there is one for all, which inherits nothing."""
    inherit: bool = True
    """Whether an expert also takes the knowledge of its AU from the group below (Eq. 2)."""
    auxiliary: bool = True
    """Whether heads on the experts of the last group predict the AUs too (`aux_loss`, Eq. 9)."""


@dataclass(frozen=True)
class ActionUnitModelConfig(ModelConfig):
    """A ViT, the mean of its patch tokens, a layer norm and a linear head (FMAE, section 3.2); variants."""

    size: SizeName = "large"
    drop_path: ProperShare = 0.1
    """Probability that the last block is skipped for a sample in training; it rises linearly over depth."""
    initial: Literal["xavier", "trunc_normal"] = "xavier"
    """How random first weights of the encoder are drawn: as MAE's (sine-cosine positions) or as timm's, which
    the released fine-tuning code uses; of no effect with `init`."""
    pool: Literal["mean", "class"] = "mean"
    """What the heads see: the mean of the patch tokens after a fresh layer norm (MAE), or the class token
    after the encoder's own last norm (a ViT that was trained with labels)."""
    frozen: bool = False
    """Whether the encoder stays as it is, so that only heads, adapters and a fresh layer norm learn."""
    moke: ExpertConfig = field(default_factory=ExpertConfig)


@dataclass(frozen=True)
class LabelledData(DataConfig):
    """Which frames are trained on and tested, and what is done to a training picture."""

    dataset: str = ""
    """Benchmark: a name (`disfa`, `bp4d`, `rafdb`, ...) or the path of a TOML file like those in
    manifests/."""
    fold: Positive = 1
    """Number of the fold, from 1: its subjects are tested, all others train."""
    aus: tuple[int, ...] = ()
    """Action units to learn; none means all of the benchmark."""
    validation: ProperShare = 0.15
    """Fraction of the training subjects kept from training, on which epoch and threshold are chosen. The
    published protocols keep none (0) and choose on the test fold."""
    every: Positive = 1
    """Train on each N-th frame only; 10 is a subset of 10 %."""
    batch_per_step: Positive = 64
    rrc_scale: AreaRange = (0.08, 1.0)
    randaugment: str | None = "rand-m9-mstd0.5-inc1"
    """RandAugment policy in timm's notation; none leaves it out."""
    erasing: Share = 0.25
    """Probability that a random rectangle of a picture is replaced by noise."""
    mixup: Rate = 0.0
    """Alpha of mixup's Beta distribution; 0 is off."""
    cutmix: Rate = 0.0
    """Alpha of CutMix's Beta distribution; 0 is off. With both on, each step takes one of them."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """`aus` as names of outputs."""
        return tuple(f"AU{au}" for au in self.aus)


@dataclass(frozen=True)
class OutputLossConfig(Checked):
    """How the model's outputs are held against the labels, and the options that losses have.

    p is the probability of an output, y its label, r its rate: the share of positives among the coded labels
    of the training frames of the fold.
    """

    group = "loss"
    kind: str | None = None
    """Name of the loss (`fautrain.losses`): `bce`, `weighted-bce`, `mdwa`, `weighted-asymmetric`,
    `asymmetric`, `dice`, `dice-batch`, for expressions `ce`, `weighted-ce`; none takes what the
    benchmark's kind of target says."""
    plus: tuple[str, ...] = ()
    """Names of further losses that are added to it, 1 : 1."""
    auxiliary: str | None = None
    """Name of the loss of the adapters' own heads, where they have some; none is that of `kind`."""
    class_weights: bool = True
    """Whether weighted losses weigh output i of A by A (1 / r_i) / sum_j (1 / r_j) (AUFormer, Eq. 6)."""
    margin: Share | None = None
    """m of `mdwa` (AUFormer, Eq. 6) and `asymmetric` (Ridnik et al. 2021, Eq. 5): where y = 0, p counts as
    max(p - m, 0); none is 0.1 and 0.05."""
    gamma: Exponents = (1.0, 2.0)
    """B_L, B_R of `mdwa`: the exponent of p where y = 0 is B_L + (B_R - B_L) r (AUFormer, Eq. 6)."""
    focus: Exponents = (0.0, 4.0)
    """Exponents of `asymmetric` where y = 1 and where y = 0 (Ridnik et al. 2021, Eq. 7)."""
    smooth: Smooth = 1.0
    """Epsilon of `dice` (AUFormer, Eq. 8) and `dice-batch`."""


@dataclass(frozen=True)
class IdentityConfig(Checked):
    """Identity adversarial training: a head that learns who is shown, its gradient reversed on the way to the
    features (FMAE-IAT, Eq. 2-4)."""

    group = "identity"
    strength: Rate = 0.0
    """Lambda of Eq. 3: the factor on the reversed gradient. 0 makes no identity head."""
    loss: Literal["bce", "ce"] = "bce"
    """`bce`: binary cross-entropy on the one-hot identity, mean over subjects (the released code); `ce`:
    softmax cross-entropy (Eq. 2 of the paper). For K subjects the latter's gradient is about K times the
    former's."""
    layers: Annotated[int, Check(lambda v: v in (1, 2, 3), "1, 2 or 3")] = 1
    """Linear layers of the identity head: 1, 2 or 3."""
    schedule: Literal["constant", "ramp"] = "constant"
    """`constant`, or `ramp`: from 0 to `strength` over the run as in Ganin and Lempitsky (2015)."""
    subjects: Literal["all", "training"] = "all"
    """Outputs of the head: all subjects of the benchmark, as released, or those that train."""


@dataclass(frozen=True)
class LabelledConfig(RunConfig):
    """One fold of training on a labelled set, whatever the model (`fautrain.tasks.labelled`)."""

    data: LabelledData = field(default_factory=LabelledData)
    loss: OutputLossConfig = field(default_factory=OutputLossConfig)

    def before(self) -> LabelledConfig | None:
        """The run on the same fold whose weights this one starts from, where training has two stages."""
        return None


@configuration("au")
@dataclass(frozen=True)
class FinetuneConfig(LabelledConfig):
    """One fold of fine-tuning for action units."""

    task: str = "au"
    model: ActionUnitModelConfig = field(default_factory=ActionUnitModelConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
