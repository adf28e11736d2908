"""The configuration of masked-autoencoder pretraining (task `mae`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from facecorpus.errors import UserError
from facecorpus.typed import Check
from fautrain.config.parts import (
    DataConfig,
    ModelConfig,
    Positive,
    ProperShare,
    RunConfig,
    Share,
    SizeName,
    configuration,
)


@dataclass(frozen=True)
class MaeModelConfig(ModelConfig):
    """The masked autoencoder: a ViT encoder over the visible patches, a lighter decoder over all of them."""

    size: SizeName = "base"
    decoder: Literal["self", "cross"] = "self"
    """`self` decodes all tokens together (MAE); with `cross` each hidden patch asks the visible tokens
    (CrossMAE)."""
    decoder_width: Positive = 512
    """Channels of the decoder; a multiple of `decoder_heads` and of 4 (2-D sin-cos positions)."""
    decoder_depth: Positive = 8
    """Blocks of the decoder."""
    decoder_heads: Positive = 16
    """Attention heads of the decoder."""
    mask_ratio: Annotated[float, Check(lambda v: 0 < v < 1, "0 < value < 1")] = 0.75
    """Fraction r of the L patches that is hidden: floor(L (1 - r)) stay visible."""
    prediction_ratio: Annotated[float, Check(lambda v: 0 < v < 1, "0 < value < 1, or none")] | None = None
    """Fraction of the L patches that is predicted in training, with `decoder=cross`, at most `mask_ratio`;
    none predicts all hidden ones, as evaluation always does."""
    fuse_features: bool = True
    """Whether with `decoder=cross` each decoder block looks at its own mixture of all encoder layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder == "self" and self.prediction_ratio is not None:
            raise UserError(
                f"model.prediction_ratio={self.prediction_ratio} needs model.decoder=cross: in MAE's decoder "
                "every patch depends on all others; set model.decoder=cross, or no ratio"
            )
        if self.prediction_ratio is not None and self.prediction_ratio > self.mask_ratio:
            raise UserError(
                f"model.prediction_ratio={self.prediction_ratio} is more than model.mask_ratio="
                f"{self.mask_ratio}, and only hidden patches are predicted; lower the one or raise the other"
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
class PretrainData(DataConfig):
    """Samples without labels."""

    augment: Literal["resize-flip", "rrc-flip"] = "resize-flip"
    """`resize-flip` resizes and flips left-right with probability 1/2; `rrc-flip` cuts a random part first
    (RandomResizedCrop, aspect 3/4 to 4/3, bicubic)."""
    max_bad: Share = 0.001
    """Fraction of samples that may be undecodable before the run stops; each is counted and named."""
    held_out: ProperShare = 0.0
    """Fraction of samples kept from training for evaluation, chosen by a hash of their keys."""


@dataclass(frozen=True)
class LossConfig:
    """The reconstruction loss, over the masked patches alone."""

    kind: Literal["l1", "l2"] = "l2"
    """Absolute (`l1`) or squared (`l2`) error."""
    norm_pix: bool = True
    """Compare with each patch's pixels less their mean, over their standard deviation (unbiased)."""


@configuration("mae")
@dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """A masked autoencoder's pretraining."""

    task: str = "mae"
    model: MaeModelConfig = field(default_factory=MaeModelConfig)
    data: PretrainData = field(default_factory=PretrainData)
    loss: LossConfig = field(default_factory=LossConfig)
