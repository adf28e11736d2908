"""Squared error of intensities (MAE-Face, Eq. 3) over the labels that a frame has."""

from __future__ import annotations

from torch import Tensor

from fautrain.config import OutputLossConfig
from fautrain.losses import LOSSES, OutputLoss
from fautrain.losses.coded import coded_mean, split_coded
from fautrain.targets.intensity import LEVELS


def intensity_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the coded labels of (output - level / 5)^2, a scalar, at least float32.

    Eq. 3 sums over the AUs; the mean is that sum over their number, which to AdamW is the same but for its
    epsilon. logits: (N, A). targets: (N, A), levels in [0, 5] (mixed samples have broken ones) or nan where
    the AU was not coded; such a place has no gradient. A batch without any coded label gives 0.
    """
    logits, levels, coded = split_coded(logits, targets)
    return coded_mean((logits - levels / LEVELS).square(), coded)


@LOSSES.register("intensity")
def intensity(options: OutputLossConfig, rates: Tensor) -> OutputLoss:
    """`intensity_loss`, which has no options."""
    del options, rates
    return intensity_loss
