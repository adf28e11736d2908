"""What every model of labelled frames offers, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


class Predictor(nn.Module, ABC):
    """Pictures to features, and these to one logit per output. N images, D features, A outputs."""

    loaded: str | None = None
    """What was taken of `model.init`, in words."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """What the heads see: normalised images (N, 3, H, W) -> (N, D)."""

    @abstractmethod
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Something whose `logits` are (N, A), of normalised images (N, 3, H, W)."""

    @abstractmethod
    def training_flops(self) -> int:
        """Operations of one image of training, forward and backward (`fautrain.models.flops`)."""


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """No autocast: heads cost nothing, and 8 bits of mantissa would round probabilities over a threshold."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
