"""Gradient reversal (Ganin and Lempitsky 2015; FMAE-IAT, Eq. 3 and 4).

With the identity loss L_id computed on reversed features, one backward pass of `L_au + L_id` gives the
identity head the gradient of L_id (Eq. 4), and all before the reversal that of `L_au - lambda L_id` (Eq. 3).
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, cast

import torch
from torch import Tensor

RAMP_RATE: Final = 10.0
"""How fast the ramp rises: gamma of Ganin and Lempitsky, section 3.1."""


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(strength)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (strength,) = ctx.saved_tensors
        return grad * -strength, None


def reverse_gradient(x: Tensor, strength: Tensor | float) -> Tensor:
    """`x` itself; in the backward pass its gradient is multiplied by `-strength` (lambda).

    `strength` is a number or a tensor without dimensions, on any device. A tensor may change from step to
    step without making `torch.compile` compile anew. The product has the gradient's type.
    """
    scale = strength if isinstance(strength, Tensor) else torch.tensor(strength, dtype=torch.float64)
    return cast(Tensor, _Reversal.apply(x, scale))


def strength(kind: Literal["constant", "ramp"], lam: float, progress: float) -> float:
    """Lambda at `progress`, the finished fraction of the training run in [0, 1].

    `constant` is `lam` (FMAE-IAT); `ramp` is `lam (2 / (1 + exp(-10 p)) - 1)`: 0 at first, 0.99991 `lam` at
    the end (Ganin and Lempitsky 2015, section 3.1).

    >>> strength("constant", 2.0, 0.0), strength("ramp", 2.0, 0.0), round(strength("ramp", 2.0, 0.5), 4)
    (2.0, 0.0, 1.9732)
    """
    return lam if kind == "constant" else lam * (2.0 / (1.0 + math.exp(-RAMP_RATE * progress)) - 1.0)
