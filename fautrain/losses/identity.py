"""Identity loss of identity adversarial training (FMAE-IAT, Eq. 2), as published and as released."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional


def identity_loss(logits: Tensor, identities: Tensor, kind: Literal["bce", "ce"] = "bce") -> Tensor:
    """How badly logits (N, K) tell K subjects apart, a scalar, at least float32.

    identities: (N,) int64 index of each sample's subject, or (N, K) weights of the subjects that add up to 1
    (mixed samples). `ce` is Eq. 2: softmax cross-entropy, mean over samples. `bce` is what the released code
    minimises: binary cross-entropy of the one-hot identity, mean over samples and subjects. That mean makes
    its gradient by a logit, (sigmoid - y) / (N K), about K times smaller than `ce`'s, (softmax - y) / N, so a
    lambda of 2 with `bce` and K = 41 is, to first order, one of 2 / 41 = 0.05 with `ce`.
    """
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    if identities.ndim == 1:
        identities = functional.one_hot(identities, logits.shape[1])
    identities = identities.to(logits.dtype)
    if kind == "ce":
        return functional.cross_entropy(logits, identities)
    return functional.binary_cross_entropy_with_logits(logits, identities)
