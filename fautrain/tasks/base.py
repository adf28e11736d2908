"""What a task is: exactly a model, a loss, and which parts of a batch they need."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fautrain.data import Batch


class Task(nn.Module, ABC):
    """Joins a model and a loss. The loop calls it, wraps it (DDP, compile) and knows neither of the two."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What is trained and kept; its state dict is the checkpoint's."""

    @abstractmethod
    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What `forward` gets of a batch, on the CPU; the loop moves it to the device."""

    @abstractmethod
    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Scalars of the batch, `loss` among them: means over its samples."""

    @abstractmethod
    def picture(self, batch: Batch) -> NDArray[np.uint8] | None:
        """Something to look at, (H, W, 3) RGB, or None where a task has nothing to show."""

    @abstractmethod
    def training_flops(self) -> int:
        """Floating-point operations of one sample, forward and backward."""
