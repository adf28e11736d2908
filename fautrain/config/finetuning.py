"""The configuration of fine-tuning for action units, with or without identity adversarial training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fautrain.config.parts import LogConfig, OptimConfig, Size, TrainConfig, at_least, check_run, within
from fautrain.errors import UserError


@dataclass(frozen=True)
class ActionUnitModelConfig:
    """A ViT, the mean of its patch tokens, a layer norm and a linear head (FMAE, section 3.2)."""

    size: Size = "large"
    """Width, depth and heads of the encoder (`fautrain.models.vit`)."""
    image_px: int = 224
    """Side of the square input; a multiple of `patch_px`."""
    patch_px: int = 16
    """Side of a square patch."""
    drop_path: float = 0.1
    """Probability that the last block is skipped for a sample in training; it rises linearly over depth."""
    init: str | None = None
    """Weights the encoder starts from: a file (.safetensors, .pth), the folder of a run or checkpoint, or
    `hub:OWNER/NAME`; none starts from random ones."""
    initial: Literal["xavier", "trunc_normal"] = "xavier"
    """How random first weights of the encoder are drawn: as MAE's (sine-cosine positions) or as timm's, which
    the released fine-tuning code uses; of no effect with `init`."""

    def __post_init__(self) -> None:
        at_least("model", self, "image_px", 1)
        at_least("model", self, "patch_px", 1)
        within("model", self, "drop_path", 0.0, 1.0, "0 <= value < 1", open_high=True)


@dataclass(frozen=True)
class LabelledData:
    """Which frames are trained on and tested, and what is done to a training picture."""

    dataset: str = ""
    """Benchmark: a name (`disfa`, `bp4d`, `bp4d_plus`) or the path of a TOML file like those in
    manifests/."""
    shards: str = ""
    """Shards built from that data set: a folder, glob, brace expression or comma list of paths or URLs."""
    fold: int = 1
    """Number of the fold, from 1: its subjects are tested, all others train."""
    aus: tuple[int, ...] = ()
    """Action units to learn; none means all of the benchmark."""
    validation: float = 0.15
    """Fraction of the training subjects kept from training, on which epoch and threshold are chosen. The
    published protocols keep none (0) and choose on the test fold."""
    every: int = 1
    """Train on each N-th frame only; 10 is a subset of 10 %."""
    batch_per_step: int = 64
    """Samples in one step over all ranks and accumulated parts: the effective batch."""
    workers: int = 4
    """Decoding processes on each rank; 0 decodes in the training process. Changes no number."""
    prefetch: int = 4
    """Batches that each worker prepares ahead."""
    rrc_scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest fraction of the area that the random resized crop cuts."""
    randaugment: str | None = "rand-m9-mstd0.5-inc1"
    """RandAugment policy in timm's notation; none leaves it out."""
    erasing: float = 0.25
    """Probability that a random rectangle of a picture is replaced by noise."""
    mixup: float = 0.0
    """Alpha of mixup's Beta distribution; 0 is off."""
    cutmix: float = 0.0
    """Alpha of CutMix's Beta distribution; 0 is off. With both on, each step takes one of them."""
    cache: str | None = None
    """Folder where remote shards are kept after the first read."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """RGB mean that is subtracted, on the scale 0 to 1 (ImageNet's)."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """RGB standard deviation that is divided by, on the scale 0 to 1 (ImageNet's)."""

    def __post_init__(self) -> None:
        for name in ("fold", "every", "batch_per_step", "prefetch"):
            at_least("data", self, name, 1)
        at_least("data", self, "workers", 0)
        within("data", self, "validation", 0.0, 1.0, "0 <= value < 1", open_high=True)
        within("data", self, "erasing", 0.0, 1.0, "0 <= value <= 1")
        for name in ("mixup", "cutmix"):
            within("data", self, name, 0.0, math.inf, "a finite number of at least 0", open_high=True)
        low, high = self.rrc_scale
        if not 0 < low <= high <= 1:
            raise UserError(f"data.rrc_scale={low},{high}; give two rising fractions, such as 0.08,1.0")
        if not all(math.isfinite(v) for v in self.mean) or not all(0 < v < math.inf for v in self.std):
            raise UserError(f"data.mean={self.mean}, data.std={self.std}; give finite means, positive stds")


@dataclass(frozen=True)
class IdentityConfig:
    """Identity adversarial training: a head that learns who is shown, its gradient reversed on the way to the
    features (FMAE-IAT, Eq. 2-4)."""

    strength: float = 0.0
    """Lambda of Eq. 3: the factor on the reversed gradient. 0 makes no identity head."""
    loss: Literal["bce", "ce"] = "bce"
    """`bce`: binary cross-entropy on the one-hot identity, mean over subjects (the released code); `ce`:
    softmax cross-entropy (Eq. 2 of the paper). For K subjects the latter's gradient is about K times the
    former's."""
    layers: int = 1
    """Linear layers of the identity head: 1, 2 or 3."""
    schedule: Literal["constant", "ramp"] = "constant"
    """`constant`, or `ramp`: from 0 to `strength` over the run as in Ganin and Lempitsky (2015)."""
    subjects: Literal["all", "training"] = "all"
    """Outputs of the head: all subjects of the benchmark, as released, or those that train."""

    def __post_init__(self) -> None:
        within("identity", self, "strength", 0.0, math.inf, "a finite number of at least 0", open_high=True)
        if self.layers not in (1, 2, 3):
            raise UserError(f"identity.layers={self.layers}; give 1, 2 or 3")


@dataclass(frozen=True)
class FinetuneConfig:
    """Everything that decides what one fold of a fine-tuning run computes. Saved with it."""

    name: str
    """Name of the recipe it comes from."""
    about: str
    """One sentence for `fautrain recipes`."""
    seed: int = 0
    """Key of the order, the augmentation, the validation subjects and the first weights."""
    model: ActionUnitModelConfig = field(default_factory=ActionUnitModelConfig)
    data: LabelledData = field(default_factory=LabelledData)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        check_run(self.seed, self.data.batch_per_step, self.optim, self.train)
