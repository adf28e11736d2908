"""Configurations of AUNCE: a contrastive stage (task `aunce-contrast`), then linear heads (task `aunce`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from facecorpus.errors import UserError
from facecorpus.typed import Check, Checked
from fautrain.config.finetuning import LabelledConfig
from fautrain.config.parts import (
    ModelConfig,
    Natural,
    OptimConfig,
    Positive,
    ProperShare,
    Rate,
    Share,
    configuration,
)

Exponents = Annotated[
    tuple[float, float], Check(lambda v: all(0 < e < math.inf for e in v), "two numbers above 0, as 2.2,1.4")
]
Shares = Annotated[
    tuple[float, float, float],
    Check(lambda v: min(v) >= 0 and abs(sum(v) - 1) < 1e-6, "three shares that add up to 1"),
]
Jitter = Annotated[
    tuple[float, float, float, float],
    Check(lambda v: all(0 <= j <= 1 for j in v) and v[3] <= 0.5, "three numbers up to 1 and one up to 0.5"),
]
Sigmas = Annotated[
    tuple[float, float], Check(lambda v: 0 < v[0] <= v[1] < math.inf, "two rising widths in px, as 0.1,2")
]
Above = Annotated[float, Check(lambda v: 0 < v < math.inf, "a finite number above 0")]
SwinName = Literal["tiny", "swin-t", "swin-s", "swin-b"]


@dataclass(frozen=True)
class SwinGraphConfig(ModelConfig):
    """A Swin Transformer, a node for each output (AFG) and a graph among them (FGG): ME-GraphAU's first
    stage."""

    size: SwinName = "swin-b"
    """The published Swin-T, -S and -B, or `tiny`, ours, for CPUs."""
    image_px: Positive = 256
    """Side of the square picture, a multiple of `patch_px`; the network sees a `crop` of it."""
    patch_px: Positive = 4
    """Side of a square patch; 4 in published weights."""
    crop: Annotated[float, Check(lambda v: 0 < v <= 1, "0 < value <= 1")] = 0.875
    """Side of what the network sees, as a share of the picture's: a random place in training, else the
    middle (224 of 256 px)."""
    drop_path: ProperShare = 0.5
    """Probability that the last block is skipped for a sample in training; it rises linearly over depth."""
    reduction: Positive = 1
    """What the width of a token is divided by before the nodes: 1 in AUNCE, 2 in ME-GraphAU."""
    neighbours: Positive = 4
    """K of the graph: a node hears the K nodes most similar to it."""
    frozen: Literal["still", "moving", "no"] = "still"
    """The encoder under the linear heads: `still`, as in evaluation; `moving`, its weights frozen but batch
    norms and stochastic depth as in training (the released code); `no`, trained with the heads."""

    @property
    def crop_px(self) -> int:
        """Side of what the network sees: the multiple of `patch_px` nearest to `crop` of the picture."""
        return max(1, round(self.image_px * self.crop / self.patch_px)) * self.patch_px


@dataclass(frozen=True)
class ContrastConfig(Checked):
    """The contrastive stage: how pairs are made and weighed, how long it trains, how its views look.

    Sim is exp(f . f' / temperature), for each output by itself, among the pictures of a step in two views.
    """

    group = "contrast"
    kind: str = "aunce"
    """`aunce`, as the paper says, or `aunce-released`, as its code does (`fautrain.losses.contrastive`)."""
    temperature: Above = 0.5
    positives: Shares = (0.15, 0.15, 0.7)
    """p1, p2, p3: how often the positive is the most similar sample of the class (Eq. 8), the other view
    (Eq. 9), the mean of the class (Eq. 10)."""
    exponents: Exponents = (2.2, 1.4)
    """beta + 1 of Eq. 4, the exponent of a negative's sim: for the rarer class of an output (in the training
    frames), and for the other."""
    exponents_of: Literal["negatives", "anchor"] = "negatives"
    """Whose class chooses the exponent."""
    constant_weights: bool = False
    """Whether omega_j (Eq. 3) is a constant to the gradient. Eq. 6 and 7 then hold as printed; else the
    gradient by a negative's similarity is beta + 1 times as large."""
    class_weights: bool = True
    """Whether output i counts w_i times (Eq. 1, 2): in inverse proportion to its rate."""
    epochs: Natural = 60
    """Passes over the training samples; 0 leaves the stage out."""
    batch_per_step: Positive = 32
    """Pictures in a step, all of which are contrasted with each other."""
    lr: Rate = 1e-5
    """Learning rate of AdamW, the same throughout."""
    weight_decay: Rate = 1e-6
    jitter: Jitter = (0.4, 0.4, 0.4, 0.1)
    """Ranges of brightness, contrast, saturation and hue; all 0 changes no colour."""
    jitter_share: Share = 0.8
    """Probability that a view's colours are changed."""
    gray_share: Share = 0.2
    """Probability that a view is gray."""
    blur_px: Sigmas | None = (0.1, 2.0)
    """Range of the standard deviation of a Gaussian blur of 3 x 3 px; none blurs nothing."""


@configuration("aunce")
@dataclass(frozen=True)
class AunceConfig(LabelledConfig):
    """Linear heads on the encoder that `contrast` trained before. `data`, `optim` and `train.epochs` are
    theirs; `data.rrc_scale` is of no effect, as `model.crop` says what is cut."""

    task: str = "aunce"
    model: SwinGraphConfig = field(default_factory=SwinGraphConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    coloured: bool = False
    """Whether the heads train on views as the contrastive stage does, or on crops and flips alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        data = self.data
        if data.randaugment or data.erasing or data.mixup or data.cutmix:
            raise UserError(
                "AUNCE's pictures are cut, flipped and coloured as model.crop and contrast say; set "
                "data.randaugment=none and data.erasing, data.mixup, data.cutmix to 0"
            )

    def before(self) -> LabelledConfig | None:
        """The contrastive stage."""
        first = self.contrast
        if not first.epochs:
            return None
        return ContrastiveConfig(
            name=self.name,
            about=self.about,
            seed=self.seed,
            model=self.model,
            data=replace(self.data, batch_per_step=first.batch_per_step),
            loss=self.loss,
            optim=OptimConfig(
                lr=first.lr,
                min_lr=first.lr,
                weight_decay=first.weight_decay,
                betas=(0.9, 0.999),
                warmup_epochs=0,
                clip_grad=self.optim.clip_grad,
            ),
            train=replace(self.train, epochs=first.epochs, max_steps=None),
            log=self.log,
            contrast=first,
            coloured=self.coloured,
        )


@configuration("aunce-contrast")
@dataclass(frozen=True)
class ContrastiveConfig(AunceConfig):
    """The contrastive stage as a run of its own."""

    task: str = "aunce-contrast"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train.accumulate > 1:
            raise UserError(
                f"train.accumulate={self.train.accumulate}: AUNCE contrasts all pictures of a step, which "
                "must not be cut into parts; set it to 1"
            )

    def before(self) -> None:
        """Nothing."""
