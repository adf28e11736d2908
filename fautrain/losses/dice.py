"""Dice losses, against the habit of predicting that rare action units are absent."""

from __future__ import annotations

from torch import Tensor

from fautrain.config import OutputLossConfig
from fautrain.losses import LOSSES
from fautrain.losses.coded import WeightedLoss, split_coded


@LOSSES.register("dice")
class Dice(WeightedLoss):
    """WDI-Loss (AUFormer, Eq. 8), of each label alone: `w_i (1 - (2 y p + e) / (y^2 + p^2 + e))` with e =
    `loss.smooth`. Its mean over a batch is a mean over labels, so that a batch may be cut into parts."""

    def __init__(self, options: OutputLossConfig, rates: Tensor) -> None:
        super().__init__(options, rates)
        self.smooth = options.smooth

    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `WeightedLoss.cost`."""
        p = logits.sigmoid()
        return 1 - (2 * labels * p + self.smooth) / (labels.square() + p.square() + self.smooth)


@LOSSES.register("dice-batch")
class BatchDice(Dice):
    """JAA-Net's: sums over the batch's coded labels of each output before the ratio. It is no mean over
    labels: under `train.accumulate` or on several GPUs each part of a step is a batch of its own."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `fautrain.losses.OutputLoss`."""
        logits, y, coded = split_coded(logits, targets)
        p = logits.sigmoid() * coded
        both, each = (y * p).sum(dim=0), (y.square() + p.square()).sum(dim=0)
        known = coded.any(dim=0)
        ratio = (2 * both + self.smooth) / (each + self.smooth)
        return (self.weights * (1 - ratio) * known).sum() / known.sum().clamp(min=1)
