"""What every training run has: an optimiser, a length, a log; and the checks that all settings share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from fautrain.errors import UserError

Size = Literal["tiny", "small", "base", "large", "huge"]
Tracker = Literal["tensorboard", "wandb", "trackio"]


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
    """Decoupled weight decay; biases, norms and positions have none."""
    decay_tokens: bool = False
    """Whether weight decay acts on the class and mask token too, as in MAE's and FMAE's pretraining code."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's first and second moments."""
    warmup_epochs: float = 40.0
    """Epochs over which the learning rate rises linearly from 0."""
    clip_grad: float | None = None
    """Largest norm of the gradient over all parameters; none clips nothing."""
    layer_decay: float | None = None
    """Factor on the learning rate from each layer to the one below it; none gives all the same."""

    def __post_init__(self) -> None:
        for name in ("base_lr", "lr", "min_lr", "weight_decay", "warmup_epochs"):
            if getattr(self, name) is not None:
                within("optim", self, name, 0.0, math.inf, "a finite number of at least 0", open_high=True)
        if self.clip_grad is not None and not 0 < self.clip_grad < math.inf:
            raise UserError(f"optim.clip_grad={self.clip_grad}; give a positive norm, or none")
        if self.layer_decay is not None:
            within("optim", self, "layer_decay", 0.0, 1.0, "0 < value <= 1", open_low=True)
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
            at_least("train", self, name, 1)
        for name in ("max_steps", "checkpoint_every_steps", "checkpoint_every_epochs", "eval_every_epochs"):
            if getattr(self, name) is not None:
                at_least("train", self, name, 1)
        at_least("train", self, "max_nonfinite", 0)


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
        at_least("log", self, "every_steps", 1)
        at_least("log", self, "grid_images", 1)
        if self.grid_every_epochs is not None:
            at_least("log", self, "grid_every_epochs", 1)
        if len(set(self.trackers)) < len(self.trackers):
            raise UserError(f"log.trackers={','.join(self.trackers)} names one twice; name each once")


def check_run(seed: int, batch_per_step: int, optim: OptimConfig, train: TrainConfig) -> None:
    """Refuses values that do not go together.

    Raises:
        UserError: as the message says.
    """
    if not 0 <= seed < 1 << 63:
        raise UserError(f"seed={seed}; give a whole number from 0 to 2^63 - 1")
    if optim.warmup_epochs > train.epochs:
        raise UserError(
            f"optim.warmup_epochs={optim.warmup_epochs:g} is more than train.epochs={train.epochs}; "
            "lower the one or raise the other"
        )
    if batch_per_step % train.accumulate:
        raise UserError(
            f"data.batch_per_step={batch_per_step} cannot be split into train.accumulate={train.accumulate} "
            "equal parts; give a multiple"
        )


def at_least(group: str, config: Any, name: str, least: int) -> None:
    """Refuses a value below `least`."""
    value = getattr(config, name)
    if value < least:
        raise UserError(f"{group}.{name}={value}; give a number of at least {least}")


def within(
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
