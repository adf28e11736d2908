"""The typed configuration of a training run: all that decides what a run computes, checked when it is made.

A recipe (`fautrain.recipes`) returns a `RunConfig`; `override` changes single values (`--set optim.lr=1e-4`);
`to_plain` and `from_plain` are how a run and its checkpoints keep it. Unknown names are refused with the
nearest known one. An epoch is one pass over the training samples; a step is one update of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fautrain import plain
from fautrain.errors import UserError

Size = Literal["tiny", "small", "base", "large", "huge"]
Tracker = Literal["tensorboard", "wandb", "trackio"]


@dataclass(frozen=True)
class ModelConfig:
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
            _at_least("model", self, name, 1)
        _within("model", self, "mask_ratio", 0.0, 1.0, "0 < value < 1", open_low=True, open_high=True)
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
class DataConfig:
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
        _at_least("data", self, "batch_per_step", 1)
        _at_least("data", self, "workers", 0)
        _at_least("data", self, "prefetch", 1)
        _within("data", self, "max_bad", 0.0, 1.0, "0 <= value <= 1")
        _within("data", self, "held_out", 0.0, 1.0, "0 <= value < 1", open_high=True)
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
class OptimConfig:
    """AdamW with linear warm-up and a half cosine, both per step."""

    base_lr: float = 1.5e-4
    """Peak learning rate for a batch of 256: the peak is base_lr x data.batch_per_step / 256."""
    lr: float | None = None
    """Peak learning rate itself, whatever the batch; overrides `base_lr`."""
    min_lr: float = 0.0
    """Learning rate at the end of the cosine."""
    weight_decay: float = 0.05
    """Decoupled weight decay; parameters with one dimension have none."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's first and second moments."""
    warmup_epochs: float = 40.0
    """Epochs over which the learning rate rises linearly from 0."""
    clip_grad: float | None = None
    """Largest norm of the gradient over all parameters; none clips nothing."""

    def __post_init__(self) -> None:
        for name in ("base_lr", "lr", "min_lr", "weight_decay", "warmup_epochs"):
            if getattr(self, name) is not None:
                _within("optim", self, name, 0.0, math.inf, "a finite number of at least 0", open_high=True)
        if self.clip_grad is not None and not 0 < self.clip_grad < math.inf:
            raise UserError(f"optim.clip_grad={self.clip_grad}; give a positive norm, or none")
        if not all(0 <= b < 1 for b in self.betas):
            raise UserError(f"optim.betas={self.betas}; give two rates 0 <= rate < 1, such as 0.9,0.95")


@dataclass(frozen=True)
class TrainConfig:
    """How long and how the loop runs, and when it looks up."""

    epochs: int = 50
    """Passes over the training samples."""
    max_steps: int | None = None
    """Stop after this many steps in all; the schedule is still that of `epochs`."""
    accumulate: int = 1
    """Parts that a rank computes a step in: less memory, same result."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 where the device computes in it natively and fp32 elsewhere."""
    compile: bool | Literal["auto"] = "auto"
    """Use torch.compile; `auto` does on a GPU."""
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    ema: float | None = None
    """Decay per step of a moving average of the weights; none keeps none."""
    strategy: Literal["ddp", "fsdp2"] = "ddp"
    """Several GPUs: replicas (`ddp`) or sharded weights and optimizer state (`fsdp2`)."""
    max_nonfinite: int = 10
    """Steps whose loss or gradient is not finite are skipped and counted; more than this stop the run."""
    checkpoint_every_steps: int | None = None
    """Steps between checkpoints."""
    checkpoint_every_epochs: int | None = 1
    """Epochs between checkpoints. One is always written at the end."""
    keep: int = 3
    """Newest checkpoints that are kept."""
    eval_every_epochs: int | None = 1
    """Epochs between evaluations on the held-out samples; none, or `data.held_out=0`, evaluates never."""

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate", "keep"):
            _at_least("train", self, name, 1)
        for name in ("max_steps", "checkpoint_every_steps", "checkpoint_every_epochs", "eval_every_epochs"):
            if getattr(self, name) is not None:
                _at_least("train", self, name, 1)
        _at_least("train", self, "max_nonfinite", 0)
        if self.ema is not None:
            _within("train", self, "ema", 0.0, 1.0, "0 < value < 1", open_low=True, open_high=True)


@dataclass(frozen=True)
class LogConfig:
    """What a run writes for people."""

    trackers: tuple[Tracker, ...] = ()
    """Trackers besides `log.jsonl`, which is always written."""
    every_steps: int = 20
    """Steps between lines of the log."""
    grid_every_epochs: int | None = 1
    """Epochs between pictures of original | masked | reconstruction; none draws none."""
    grid_images: int = 8
    """Faces in such a picture."""

    def __post_init__(self) -> None:
        _at_least("log", self, "every_steps", 1)
        _at_least("log", self, "grid_images", 1)
        if self.grid_every_epochs is not None:
            _at_least("log", self, "grid_every_epochs", 1)
        if len(set(self.trackers)) < len(self.trackers):
            raise UserError(f"log.trackers={','.join(self.trackers)} names one twice; name each once")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes. Saved with the run and in each checkpoint."""

    name: str
    """Name of the recipe it comes from."""
    about: str
    """One sentence for `fautrain recipes`."""
    seed: int = 0
    """Key of the order, the augmentation, the masks and the first weights."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 63:
            raise UserError(f"seed={self.seed}; give a whole number from 0 to 2^63 - 1")
        if self.optim.warmup_epochs > self.train.epochs:
            raise UserError(
                f"optim.warmup_epochs={self.optim.warmup_epochs:g} is more than "
                f"train.epochs={self.train.epochs}; lower the one or raise the other"
            )
        if self.data.batch_per_step % self.train.accumulate:
            raise UserError(
                f"data.batch_per_step={self.data.batch_per_step} cannot be split into "
                f"train.accumulate={self.train.accumulate} equal parts; give a multiple"
            )


def to_plain(config: RunConfig) -> dict[str, Any]:
    """The configuration as JSON-able data (tuples become lists); `from_plain` gives the same one back."""
    return plain.to_plain(config)


def from_plain(data: Mapping[str, Any]) -> RunConfig:
    """The configuration that `to_plain` wrote.

    Raises:
        UserError: a value is unknown, missing or of the wrong type or range.
    """
    return plain.build(RunConfig, data)


def override(config: RunConfig, settings: Iterable[str]) -> RunConfig:
    """`config` with `name=value` settings applied, nested names joined by dots; lists are joined by commas.

    Raises:
        UserError: a setting is no `name=value`, names nothing (the message suggests a name), or its value is
            of the wrong type or range.
    """
    return plain.override(config, settings)


def _at_least(group: str, config: Any, name: str, least: int) -> None:
    value = getattr(config, name)
    if value < least:
        raise UserError(f"{group}.{name}={value}; give a number of at least {least}")


def _within(
    group: str,
    config: Any,
    name: str,
    low: float,
    high: float,
    words: str,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Refuses a value outside [low, high], or NaN; an open end is outside."""
    value: float = getattr(config, name)
    above = low < value if open_low else low <= value
    below = value < high if open_high else value <= high
    if not (above and below):
        raise UserError(f"{group}.{name}={value}; give {words}")
