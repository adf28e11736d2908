"""What a task is: exactly a model, a loss, and which parts of a batch they need (`tasks/` has them)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fautrain.data import Batch
from fautrain.data.decode import affine


class Task(nn.Module, ABC):
    """Joins a model and a loss. The loop calls it, wraps it (DDP, compile) and knows neither of the two."""

    scale: Tensor
    shift: Tensor
    terms: tuple[str, ...] = ("loss",)
    """Which of the values that `forward` gives add up to the loss."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """`mean` and `std` of the pictures' channels, as for `fautrain.data.normalise`."""
        super().__init__()
        # On the device from the start: made in a step, they would be copied there in each.
        for name, values in zip(("scale", "shift"), affine(mean, std), strict=True):
            self.register_buffer(name, values, persistent=False)

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What is trained and kept; its state dict is the checkpoint's."""

    @abstractmethod
    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What `forward` gets of a batch; the loop moves to the device what is not there."""

    @abstractmethod
    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Scalars of the batch, those of `terms` among them: means over its samples or what `counts` says."""

    def counts(self, *inputs: Tensor) -> dict[str, float]:
        """For values that are no means over samples: of how many things in these `inputs`, on the CPU, they
        are the mean. They then count by it among the parts of a step; the same names in every part."""
        del inputs
        return {}

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images (n, 3, H, W) as float32, less the mean, over the standard deviation, contiguous."""
        return (images.float() * self.scale - self.shift).contiguous()

    @abstractmethod
    def picture(self, batch: Batch) -> NDArray[np.uint8] | None:
        """Something to look at, (H, W, 3) RGB, or None where a task has nothing to show."""

    @abstractmethod
    def training_flops(self) -> int:
        """Floating-point operations of one sample, forward and backward."""
