"""Binary cross-entropy of action units (FMAE, Eq. 1) over the labels that a frame has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fautrain.losses import LOSSES


@LOSSES.register("bce")
def au_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy over the coded labels, a scalar, at least float32.

    logits: (N, A). targets: (N, A), occurrence in [0, 1] (mixed samples have soft ones) or nan where the AU
    was not coded; such a place has no gradient. A batch without any coded label gives 0.
    """
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    coded = targets.isfinite()
    known = torch.where(coded, targets, 0.0).to(logits.dtype)
    error = functional.binary_cross_entropy_with_logits(logits, known, reduction="none")
    return (error * coded).sum() / coded.sum().clamp(min=1)
