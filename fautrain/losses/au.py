"""Binary cross-entropy of action units (FMAE, Eq. 1) over the labels that a frame has, also weighted."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fautrain.config import OutputLossConfig
from fautrain.losses import LOSSES, OutputLoss
from fautrain.losses.coded import WeightedLoss, coded_mean, split_coded


def au_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy over the coded labels, a scalar, at least float32.

    logits: (N, A). targets: (N, A), occurrence in [0, 1] (mixed samples have soft ones) or nan where the AU
    was not coded; such a place has no gradient. A batch without any coded label gives 0.
    """
    logits, labels, coded = split_coded(logits, targets)
    error = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return coded_mean(error, coded)


@LOSSES.register("bce")
def bce(options: OutputLossConfig, rates: Tensor) -> OutputLoss:
    """`au_loss`, which has no options."""
    del options, rates
    return au_loss


@LOSSES.register("weighted-bce")
class WeightedCrossEntropy(WeightedLoss):
    """`-(1 / A) sum_i w_i [y_i log p_i + (1 - y_i) log(1 - p_i)]`: JAA-Net's loss, AUFormer's WCE-Loss."""

    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `WeightedLoss.cost`."""
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
