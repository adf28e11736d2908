"""Labels of which some are not coded, how often each output is positive, and weights that make up for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fautrain.config import OutputLossConfig


def class_rates(targets: NDArray[Any] | Tensor) -> Tensor:
    """Share of positives (above 0) among the coded labels of targets (n, A), nan where not: (A,) float32.

    Of the training samples alone: frames that test or validate must not shape a loss. 0 where an output has
    no coded label.
    """
    targets = torch.as_tensor(targets)
    return ((targets > 0).sum(dim=0) / targets.isfinite().sum(dim=0).clamp(min=1)).float()


def class_weights(rates: Tensor) -> Tensor:
    """Weights (A,) that add up to A, in inverse proportion to the rates (A,) (AUFormer, after Eq. 6;
    JAA-Net's and ME-GraphAU's, too): `A (1 / r_i) / sum_j (1 / r_j)`.

    An output without any positive sample weighs as the rarest of the others; if none has one, all weigh 1.

    >>> class_weights(torch.tensor([0.5, 0.25]))
    tensor([0.6667, 1.3333])
    """
    if not (rates > 0).any():
        return torch.ones_like(rates)
    inverse = 1 / torch.where(rates > 0, rates, rates[rates > 0].min())
    return len(rates) * inverse / inverse.sum()


def split_coded(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(logits, labels, coded), each (N, A): logits at least float32, labels of their type, 0 where nothing
    is coded, and a mask."""
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    coded = targets.isfinite()
    return logits, torch.where(coded, targets, 0.0).to(logits.dtype), coded


def coded_mean(cost: Tensor, coded: Tensor) -> Tensor:
    """Mean of the cost (N, A) over the coded labels, a scalar; 0 if there are none."""
    return (cost * coded).sum() / coded.sum().clamp(min=1)


class WeightedLoss(nn.Module, ABC):
    """Mean over the coded labels of what each costs, times the weight of its output."""

    weights: Tensor

    def __init__(self, options: OutputLossConfig, rates: Tensor) -> None:
        super().__init__()
        weights = class_weights(rates) if options.class_weights else torch.ones_like(rates)
        self.register_buffer("weights", weights, persistent=False)

    @abstractmethod
    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, A) of logits (N, A) and labels (N, A) in [0, 1], before weights; not coded ones are 0."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `fautrain.losses.OutputLoss`."""
        logits, labels, coded = split_coded(logits, targets)
        return coded_mean(self.weights * self.cost(logits, labels), coded)
