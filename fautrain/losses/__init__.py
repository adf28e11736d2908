"""Losses; those of a model's outputs by name, made of options and of how often each output is positive."""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn

from facecorpus.plugins import Registry
from fautrain.config import OutputLossConfig


class OutputLoss(Protocol):
    """A loss of a model's outputs."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar, at least float32, that is a mean over the coded labels, of logits (N, A) and targets
        (N, A): nan where not coded, soft where samples are mixed."""
        ...


class LossFactory(Protocol):
    """What is registered. A loss that keeps tensors is a module, so that they are where the model is."""

    def __call__(self, options: OutputLossConfig, rates: Tensor, /) -> OutputLoss:
        """The loss, for outputs that are positive as often as `rates` (A,) says (`class_rates`)."""
        ...


LOSSES: Registry[LossFactory] = Registry("there is no loss {}", "fautrain.losses")
"""Losses of outputs against targets, by name: `loss` of the configuration, or what the target says."""


class _Sum(nn.Module):
    def __init__(self, parts: list[OutputLoss]) -> None:
        super().__init__()
        self.parts = parts
        self.modules_ = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return cast(Tensor, sum(part(logits, targets) for part in self.parts))


def output_loss(options: OutputLossConfig, default: str, rates: Tensor) -> OutputLoss:
    """The sum of the losses that `options` names, or the one called `default`.

    Args:
        rates: (A,) `class_rates` of the training samples.

    Raises:
        UserError: there is no such loss.
    """
    parts = [LOSSES.get(name)(options, rates) for name in (options.kind or default, *options.plus)]
    return parts[0] if len(parts) == 1 else _Sum(parts)


def auxiliary_loss(options: OutputLossConfig, default: str, rates: Tensor) -> OutputLoss:
    """That of heads besides the main one; see `output_loss`."""
    return LOSSES.get(options.auxiliary or options.kind or default)(options, rates)
