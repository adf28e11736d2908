"""Losses; those of a model's outputs by name."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from facecorpus.plugins import Registry


class OutputLoss(Protocol):
    """A loss of a model's outputs."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar, at least float32, that is a mean over the coded labels, of logits (N, A) and targets
        (N, A): nan where not coded, soft where samples are mixed."""
        ...


LOSSES: Registry[OutputLoss] = Registry("there is no loss {}", "fautrain.losses")
"""Losses of outputs against targets, by name: `loss` of the configuration, or what the target says."""
