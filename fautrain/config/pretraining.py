"""The configuration of a pretraining run: all that decides what it computes, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fautrain.config.parts import LogConfig, OptimConfig, Size, TrainConfig, at_least, check_run, within
from fautrain.errors import UserError


@dataclass(frozen=True)
class MaeModelConfig:
    """The masked autoencoder: a ViT encoder over the visible patches, a lighter decoder over all of them."""

    size: Size = "base"
    """Width, depth and heads of the encoder (`fautrain.models.vit`)."""
    decoder_width: int = 512
    """Channels of the decoder; a multiple of `decoder_heads` and of 4 (2-D sin-cos positions)."""
    decoder_depth: int = 8
    """Blocks of the decoder."""
    decoder_heads: int = 16
    """Attention heads of the decoder."""
    mask_ratio: float = 0.75
    """Fraction r of the L patches that is hidden: floor(L (1 - r)) stay visible."""
    image_px: int = 224
    """Side of the square input; a multiple of `patch_px`."""
    patch_px: int = 16
    """Side of a square patch."""
    init: str | None = None
    """Weights the encoder starts from: a file (.safetensors or .pth) or `hub:OWNER/NAME`; none starts from
    random ones. The decoder always starts from random ones."""

    def __post_init__(self) -> None:
        for name in ("decoder_width", "decoder_depth", "decoder_heads", "image_px", "patch_px"):
            at_least("model", self, name, 1)
        within("model", self, "mask_ratio", 0.0, 1.0, "0 < value < 1", open_low=True, open_high=True)
        if self.image_px % self.patch_px:
            raise UserError(
                f"model.image_px={self.image_px} is no multiple of model.patch_px={self.patch_px}; "
                f"give {max(1, round(self.image_px / self.patch_px)) * self.patch_px} or another multiple"
            )
        if self.decoder_width % self.decoder_heads or self.decoder_width % 4:
            raise UserError(
                f"model.decoder_width={self.decoder_width} must be a multiple of 4 and of "
                f"model.decoder_heads={self.decoder_heads}; change one of the two"
            )
        patches = (self.image_px // self.patch_px) ** 2
        if not 1 <= int(patches * (1 - self.mask_ratio)) < patches:
            raise UserError(
                f"model.mask_ratio={self.mask_ratio} leaves none or all of the {patches} patches visible; "
                "give a ratio nearer to 0.75, or smaller patches"
            )


@dataclass(frozen=True)
class PretrainData:
    """Which samples are seen, in what portions, and what is done to a picture."""

    shards: str = ""
    """Shards to train on: a glob, a brace expression or a comma list of paths or URLs."""
    batch_per_step: int = 512
    """Samples in one step over all ranks and accumulated parts: the effective batch."""
    workers: int = 4
    """Decoding processes on each rank; 0 decodes in the training process. Changes no sample and no order."""
    prefetch: int = 4
    """Batches that each worker prepares ahead."""
    augment: Literal["resize-flip", "rrc-flip"] = "resize-flip"
    """`resize-flip` resizes and flips left-right with probability 1/2; `rrc-flip` cuts a random part first
    (RandomResizedCrop, aspect 3/4 to 4/3, bicubic)."""
    rrc_scale: tuple[float, float] = (0.2, 1.0)
    """Smallest and largest fraction of the area that `rrc-flip` cuts."""
    max_bad: float = 0.001
    """Fraction of samples that may be undecodable before the run stops; each is counted and named."""
    held_out: float = 0.0
    """Fraction of samples kept from training for evaluation, chosen by a hash of their keys."""
    cache: str | None = None
    """Folder where remote shards are kept after the first read."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """RGB mean that is subtracted, on the scale 0 to 1 (ImageNet's)."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """RGB standard deviation that is divided by, on the scale 0 to 1 (ImageNet's)."""

    def __post_init__(self) -> None:
        at_least("data", self, "batch_per_step", 1)
        at_least("data", self, "workers", 0)
        at_least("data", self, "prefetch", 1)
        within("data", self, "max_bad", 0.0, 1.0, "0 <= value <= 1")
        within("data", self, "held_out", 0.0, 1.0, "0 <= value < 1", open_high=True)
        low, high = self.rrc_scale
        if not 0 < low <= high <= 1:
            raise UserError(
                f"data.rrc_scale={low},{high}; give two rising fractions of the area, such as 0.2,1.0"
            )
        if not all(math.isfinite(v) for v in self.mean) or not all(0 < v < math.inf for v in self.std):
            raise UserError(
                f"data.mean={self.mean}, data.std={self.std}; give finite means and positive stds"
            )


@dataclass(frozen=True)
class LossConfig:
    """The reconstruction loss, over the masked patches alone."""

    kind: Literal["l1", "l2"] = "l2"
    """Absolute (`l1`) or squared (`l2`) error."""
    norm_pix: bool = True
    """Compare with each patch's pixels less their mean, over their standard deviation (unbiased)."""


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides what a run computes. Saved with the run and in each checkpoint."""

    name: str
    """Name of the recipe it comes from."""
    about: str
    """One sentence for `fautrain recipes`."""
    seed: int = 0
    """Key of the order, the augmentation, the masks and the first weights."""
    model: MaeModelConfig = field(default_factory=MaeModelConfig)
    data: PretrainData = field(default_factory=PretrainData)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        check_run(self.seed, self.data.batch_per_step, self.optim, self.train)
