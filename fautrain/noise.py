"""Random numbers that follow from what they are for: which patches are hidden, what is erased and mixed."""

from __future__ import annotations

import torch
from torch import Tensor

_MIX = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))
"""Shifts and odd multipliers of the SplitMix64 finaliser, as signed 64-bit numbers."""
_GOLDEN = -0x61C8864680B583EB


def _mixed(bits: Tensor) -> Tensor:
    for shift, factor in _MIX:
        bits = (bits ^ _shifted(bits, shift)) * factor
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    # torch has only the arithmetic shift for int64; the mask makes it the logical one.
    return (bits >> by) & ((1 << (64 - by)) - 1)


# The compiler folds 64-bit constants without wrapping and fails, so what is compiled gets its noise given.
@torch.compiler.disable
def uniform_noise(seed: int, epoch: int, numbers: Tensor, count: int) -> Tensor:
    """Uniform noise (N, count) float32 in [0, 1), a pure function of (seed, epoch, number, place in the row).

    `numbers` (N,) int64 are any that name the samples. A counter-based generator in integer arithmetic
    (the SplitMix64 finaliser, keyed by seed, then epoch, then number): equal bits on every device,
    for any batch, rank or worker, and after any interruption; nothing is kept between calls.
    """
    key = torch.zeros(1, dtype=torch.int64, device=numbers.device)
    for part in (seed, epoch):
        key = _mixed((key + part) * _GOLDEN + 1)
    key = _mixed((key + numbers.long()) * _GOLDEN + 1)  # (N,)
    place = torch.arange(1, count + 1, dtype=torch.int64, device=numbers.device)
    bits = _mixed(key[:, None] + place * _GOLDEN)
    return _shifted(bits, 40).float() * 2.0**-24
