"""Random masking of patches (MAE section 3, MAE-Face section 3.1), driven by noise that the caller gives."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from fautrain.errors import UserError

_MIX = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))
"""Shifts and odd multipliers of the SplitMix64 finaliser, as signed 64-bit numbers."""
_GOLDEN = -0x61C8864680B583EB


class Masking(NamedTuple):
    """Which patches an encoder sees, N images of L patches, K of them kept."""

    kept: Tensor
    """(N, K) int64: the visible patches, in the order in which the encoder gets them."""
    restore: Tensor
    """(N, L) int64: for each patch its place in `[visible ..., masked ...]`."""
    mask: Tensor
    """(N, L) float32: 1 where masked, 0 where visible."""


def kept_patches(patches: int, mask_ratio: float) -> int:
    """`floor(patches * (1 - mask_ratio))`, the ratio taken as the decimal number it is written as.

    In binary floating point `100 * (1 - 0.9)` is 9.99..., which would keep 9 patches where 10 are meant.

    >>> kept_patches(196, 0.75), kept_patches(100, 0.9)
    (49, 10)
    """
    kept = int(patches * (1 - Fraction(str(mask_ratio)))) if 0 < mask_ratio < 1 else 0
    if not 0 < kept < patches:
        raise UserError(
            f"model.mask_ratio {mask_ratio:g} of {patches} patches leaves none visible or none masked: "
            "choose a ratio between 0 and 1, such as 0.75"
        )
    return kept


def random_mask(noise: Tensor, kept: int) -> Masking:
    """Keep the `kept` patches with the smallest noise, (N, L) float: with uniform noise, a uniform draw.

    Ties are broken by position, so the result is a function of the noise alone, on every device and in every
    batch.
    """
    order = noise.argsort(dim=1, stable=True)
    restore = order.argsort(dim=1)
    return Masking(kept=order[:, :kept], restore=restore, mask=(restore >= kept).float())


def _mixed(bits: Tensor) -> Tensor:
    for shift, factor in _MIX:
        bits = (bits ^ _shifted(bits, shift)) * factor
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    # torch has only the arithmetic shift for int64; the mask makes it the logical one.
    return (bits >> by) & ((1 << (64 - by)) - 1)


# The compiler folds 64-bit constants without wrapping and fails, so what is compiled gets its noise given.
@torch.compiler.disable
def mask_noise(seed: int, epoch: int, samples: Tensor, patches: int) -> Tensor:
    """Uniform noise (N, patches) float32 in [0, 1), a pure function of (seed, epoch, sample, patch).

    `samples` (N,) int64 are any numbers that name the samples. A counter-based generator in integer
    arithmetic (the SplitMix64 finaliser, keyed by seed, then epoch, then sample): equal bits on every device,
    for any batch, rank or worker, and after any interruption; nothing is kept between calls.
    """
    key = torch.zeros(1, dtype=torch.int64, device=samples.device)
    for part in (seed, epoch):
        key = _mixed((key + part) * _GOLDEN + 1)
    key = _mixed((key + samples.long()) * _GOLDEN + 1)  # (N,)
    place = torch.arange(1, patches + 1, dtype=torch.int64, device=samples.device)
    bits = _mixed(key[:, None] + place * _GOLDEN)
    return _shifted(bits, 40).float() * 2.0**-24
