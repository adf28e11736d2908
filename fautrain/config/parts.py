"""What every training run has: a model, samples, an optimiser, a length, a log."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from facecorpus.errors import UserError
from facecorpus.plugins import Registry
from facecorpus.typed import Check, Checked, Positive

SizeName = Literal["tiny", "small", "base", "large", "huge"]
TrackerName = Literal["tensorboard", "wandb", "trackio"]

Natural = Annotated[int, Check(lambda v: v >= 0, "a number of at least 0")]
Rate = Annotated[float, Check(lambda v: 0 <= v < math.inf, "a finite number of at least 0")]
Share = Annotated[float, Check(lambda v: 0 <= v <= 1, "0 <= value <= 1")]
Norm = Annotated[float, Check(lambda v: 0 < v < math.inf, "a positive norm, or none")]
ProperShare = Annotated[float, Check(lambda v: 0 <= v < 1, "0 <= value < 1")]
AreaRange = Annotated[
    tuple[float, float],
    Check(lambda v: 0 < v[0] <= v[1] <= 1, "two rising fractions of the area, such as 0.2,1.0"),
]
Means = Annotated[tuple[float, float, float], Check(lambda v: all(map(math.isfinite, v)), "finite means")]
Stds = Annotated[
    tuple[float, float, float], Check(lambda v: all(0 < s < math.inf for s in v), "finite, positive stds")
]


@dataclass(frozen=True)
class ModelConfig(Checked):
    """A ViT encoder, and what it starts from."""

    group = "model"
    size: str = "base"
    """Width, depth and heads of the encoder (`fautrain.models.vit`)."""
    image_px: Positive = 224
    """Side of the square input; a multiple of `patch_px`."""
    patch_px: Positive = 16
    """Side of a square patch."""
    init: str | None = None
    """Weights the encoder starts from: a file (.safetensors, .pth), the folder of a run or checkpoint, or
    `hub:OWNER/NAME`; none starts from random ones. Heads and decoders always start from random ones."""
    adapter: str | None = None
    """What is put into every block after the weights (`fautrain.models.adapters`): `adapter`, `lora`, `vpt`,
    `convpass`, `moke`."""
    adapter_width: Positive | None = None
    """Hidden units of `adapter`, rank of `lora`, prompts of `vpt`, channels of `convpass` and of an expert of
    `moke`; none is 8, 8, 10, 8 and 4."""
    adapter_scale: Rate = 1.0
    """Factor on what an adapter adds; of no effect with `vpt`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_px % self.patch_px:
            raise UserError(
                f"model.image_px={self.image_px} is no multiple of model.patch_px={self.patch_px}; "
                f"give {max(1, round(self.image_px / self.patch_px)) * self.patch_px} or another multiple"
            )


@dataclass(frozen=True)
class DataConfig(Checked):
    """Which samples are seen, in what portions, and what is done to a picture."""

    group = "data"
    shards: str = ""
    """Shards to train on: a folder, glob, brace expression or comma list of paths or URLs."""
    batch_per_step: Positive = 512
    """Samples in one step over all ranks and accumulated parts: the effective batch."""
    workers: Natural = 4
    """Decoding processes on each rank; 0 decodes in the training process. Changes no sample and no order."""
    prefetch: Positive = 4
    """Batches that each worker prepares ahead."""
    rrc_scale: AreaRange = (0.2, 1.0)
    """Smallest and largest fraction of the area that the random resized crop cuts."""
    cache: str | None = None
    """Folder where remote shards are kept after the first read."""
    mean: Means = (0.485, 0.456, 0.406)
    """RGB mean that is subtracted, on the scale 0 to 1 (ImageNet's)."""
    std: Stds = (0.229, 0.224, 0.225)
    """RGB standard deviation that is divided by, on the scale 0 to 1 (ImageNet's)."""


@dataclass(frozen=True)
class OptimConfig(Checked):
    """The optimiser, with linear warm-up and a half cosine, both per step."""

    group = "optim"
    name: Literal["adamw", "muon"] = "adamw"
    """`muon` orthogonalises the updates of the blocks' matrices, at AdamW's size, so that the same rates
    serve; AdamW does the rest."""
    base_lr: Rate = 1.5e-4
    """Peak learning rate for a batch of 256: the peak is base_lr x data.batch_per_step / 256."""
    lr: Rate | None = None
    """Peak learning rate itself, whatever the batch; overrides `base_lr`."""
    min_lr: Rate = 0.0
    """Learning rate at the end of the cosine."""
    weight_decay: Rate = 0.05
    """Decoupled weight decay; biases, norms and positions have none."""
    decay_tokens: bool = False
    """Whether weight decay acts on the class and mask token too, as in MAE's and FMAE's pretraining code."""
    betas: Annotated[
        tuple[float, float],
        Check(lambda v: all(0 <= b < 1 for b in v), "two rates 0 <= rate < 1, such as 0.9,0.95"),
    ] = (0.9, 0.95)
    """Decay rates of AdamW's first and second moments."""
    momentum: ProperShare = 0.95
    """Decay rate of Muon's (Nesterov) momentum."""
    warmup_epochs: Rate = 40.0
    """Epochs over which the learning rate rises linearly from 0."""
    clip_grad: Norm | None = None
    """Largest norm of the gradient over all parameters; none clips nothing."""
    layer_decay: Annotated[float, Check(lambda v: 0 < v <= 1, "0 < value <= 1")] | None = None
    """Factor on the learning rate from each layer to the one below it; none gives all the same."""


@dataclass(frozen=True)
class TrainConfig(Checked):
    """How long and how the loop runs, and when it looks up."""

    group = "train"
    epochs: Positive = 50
    """Passes over the training samples."""
    max_steps: Positive | None = None
    """Stop after this many steps in all; the schedule is still that of `epochs`."""
    accumulate: Positive = 1
    """Parts that a rank computes a step in: less memory, same result."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 where the device computes in it natively and fp32 elsewhere."""
    compile: bool | Literal["auto"] = "auto"
    """Use torch.compile; `auto` does on a GPU."""
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    strategy: Literal["ddp", "fsdp2"] = "ddp"
    """Several GPUs: replicas (`ddp`) or sharded weights and optimizer state (`fsdp2`)."""
    max_nonfinite: Natural = 10
    """Steps whose loss or gradient is not finite are skipped and counted; more than this stop the run."""
    checkpoint_every_steps: Positive | None = None
    """Steps between checkpoints."""
    checkpoint_every_epochs: Positive | None = 1
    """Epochs between checkpoints. One is always written at the end."""
    keep: Positive = 3
    """Newest checkpoints that are kept."""
    eval_every_epochs: Positive | None = 1
    """Epochs between evaluations on the held-out samples; none, or `data.held_out=0`, evaluates never."""


@dataclass(frozen=True)
class LogConfig(Checked):
    """What a run writes for people."""

    group = "log"
    trackers: Annotated[
        tuple[TrackerName, ...], Check(lambda v: len(set(v)) == len(v), "each name once, it names one twice")
    ] = ()
    """Trackers besides `log.jsonl`, which is always written."""
    every_steps: Positive = 20
    """Steps between lines of the log."""
    grid_every_epochs: Positive | None = 1
    """Epochs between pictures of original | masked | reconstruction; none draws none."""
    grid_images: Positive = 8
    """Faces in such a picture."""


@dataclass(frozen=True)
class RunConfig(Checked):
    """Everything that decides what a run computes, whatever its task. Saved with it and in each checkpoint.

    A task's configuration narrows `model` and `data`, adds groups of its own and says its name in `task`.
    """

    name: str
    """Name of the recipe it comes from."""
    about: str
    """One sentence for `fautrain recipes`."""
    task: str = ""
    """What is trained (`fautrain.tasks`); decides which other values there are."""
    seed: Annotated[int, Check(lambda v: 0 <= v < 1 << 63, "a whole number from 0 to 2^63 - 1")] = 0
    """Key of all that is random: order, augmentation, masks, validation subjects, first weights."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        """Refuse values that do not go together.

        Raises:
            UserError: as the message says.
        """
        super().__post_init__()
        if self.task != type(self).task:
            raise UserError(f"task={self.task!r} is not {type(self).task!r}; choose a recipe of it")
        warmup, epochs = self.optim.warmup_epochs, self.train.epochs
        if warmup > epochs:
            raise UserError(
                f"optim.warmup_epochs={warmup:g} is more than train.epochs={epochs}; "
                "lower the one or raise the other"
            )
        batch, parts = self.data.batch_per_step, self.train.accumulate
        if batch % parts:
            raise UserError(
                f"data.batch_per_step={batch} cannot be split into train.accumulate={parts} "
                "equal parts; give a multiple"
            )


CONFIGURATIONS: Registry[type[RunConfig]] = Registry("there is no task {}")
"""The configuration of each task, by its name."""
configuration = CONFIGURATIONS.register
"""Decorator that makes a class the configuration of a task: `@configuration("mae")`."""
