"""Cross-entropy of classes that exclude each other, such as expressions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fautrain.config import OutputLossConfig
from fautrain.losses import LOSSES
from fautrain.losses.coded import class_weights, split_coded


@LOSSES.register("ce")
class CrossEntropy(nn.Module):
    """`-sum_i y_i log p_i` with p the softmax of the logits, a mean over the frames that are coded."""

    weights: Tensor

    def __init__(self, options: OutputLossConfig, rates: Tensor) -> None:
        del options
        super().__init__()
        self.register_buffer("weights", self.balance(rates), persistent=False)

    @staticmethod
    def balance(rates: Tensor) -> Tensor:
        """Weights (A,) of classes that are shown as often as `rates` (A,) says: all the same."""
        return torch.ones_like(rates)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `fautrain.losses.OutputLoss`."""
        logits, labels, coded = split_coded(logits, targets)
        cost = -(self.weights * labels * logits.log_softmax(dim=1)).sum(dim=1)
        return cost.sum() / coded.all(dim=1).sum().clamp(min=1)


@LOSSES.register("weighted-ce")
class WeightedCrossEntropy(CrossEntropy):
    """The same, a class weighted by `1 / (A r)`: as if all were shown equally often. On average over the
    training frames the weight is 1."""

    @staticmethod
    def balance(rates: Tensor) -> Tensor:
        """In inverse proportion to the rates."""
        weights = class_weights(rates)
        return weights / (rates * weights).sum().clamp(min=torch.finfo(rates.dtype).tiny)
