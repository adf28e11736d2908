"""Losses in which absent action units count less than present ones, the less the easier they are.

All cost `y log p + (1 - y) p_m ** gamma log(1 - p_m)`, negative, with `p_m = max(p - m, 0)`: below the margin
m an absent AU costs nothing and has no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fautrain.config import OutputLossConfig
from fautrain.losses import LOSSES
from fautrain.losses.coded import WeightedLoss

MDWA_MARGIN, ASL_MARGIN = 0.1, 0.05
"""m where `loss.margin` is not set: AUFormer's for BP4D, and that of Ridnik et al."""


def absent_cost(logits: Tensor, margin: float, gamma: Tensor | float) -> Tensor:
    """`-p_m ** gamma log(1 - p_m)` of logits (N, A), with `p_m = max(sigmoid(logit) - margin, 0)`.

    The gradient goes through both factors (AUFormer, Eq. 7): 0 below the margin, and with a margin again
    towards 0 where p is about 1, because `1 - p_m >= margin` while p does not change any more.
    """
    truncated = (logits.sigmoid() - margin).clamp(min=0)
    # Without a margin 1 - p would be rounded to 0 for an AU that the model is sure of.
    log = torch.log1p(-truncated) if margin else functional.logsigmoid(-logits)
    # For gamma < 1 the power has no slope at 0; there the logarithm is 0 and the slope of no matter.
    return -truncated.clamp(min=torch.finfo(logits.dtype).tiny).pow(gamma) * log


@LOSSES.register("mdwa")
class MarginDifficultyAsymmetric(WeightedLoss):
    """MDWA-Loss (AUFormer, Eq. 6): margin `loss.margin`, and an exponent for each output, the larger the
    more often it is positive: `gamma_i = B_L + (B_R - B_L) r_i`, with `loss.gamma` = B_L, B_R.

    With both exponents 1 it is the paper's MWA-Loss.
    """

    gamma: Tensor

    def __init__(self, options: OutputLossConfig, rates: Tensor) -> None:
        super().__init__(options, rates)
        self.margin = MDWA_MARGIN if options.margin is None else options.margin
        left, right = options.gamma
        self.register_buffer("gamma", left + (right - left) * rates, persistent=False)

    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `WeightedLoss.cost`."""
        absent = absent_cost(logits, self.margin, self.gamma.to(logits.dtype))
        return -labels * functional.logsigmoid(logits) + (1 - labels) * absent


@LOSSES.register("weighted-asymmetric")
class WeightedAsymmetric(WeightedLoss):
    """WA-Loss (ME-GraphAU): absent AUs are weighted by p itself, a number without gradient in its code; no
    margin, exponent 1."""

    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `WeightedLoss.cost`."""
        absent = -logits.sigmoid().detach() * functional.logsigmoid(-logits)
        return -labels * functional.logsigmoid(logits) + (1 - labels) * absent


@LOSSES.register("asymmetric")
class Asymmetric(WeightedLoss):
    """ASL (Ridnik et al. 2021, Eq. 4-7): exponents `loss.focus` for present and absent ones, margin
    `loss.margin`, no weights of classes. The gradient goes through the exponentiated factors, as in their
    section 2.5; their code can leave it out."""

    def __init__(self, options: OutputLossConfig, rates: Tensor) -> None:
        super().__init__(options, rates)
        self.weights = torch.ones_like(rates)
        self.margin = ASL_MARGIN if options.margin is None else options.margin
        self.present, self.absent = options.focus

    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `WeightedLoss.cost`."""
        present = -(-logits).sigmoid().pow(self.present) * functional.logsigmoid(logits)
        return labels * present + (1 - labels) * absent_cost(logits, self.margin, self.absent)
