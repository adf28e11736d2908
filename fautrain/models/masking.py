"""Random masking of patches (MAE section 3, MAE-Face section 3.1), driven by noise that the caller gives."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from torch import Tensor

from facecorpus.errors import UserError


class Masking(NamedTuple):
    """Which patches an encoder sees, N images of L patches, K of them kept."""

    kept: Tensor
    """(N, K) int64: the visible patches, in the order in which the encoder gets them."""
    hidden: Tensor
    """(N, L - K) int64: the others; any first few of them are a uniform draw where the noise is uniform."""
    restore: Tensor
    """(N, L) int64: for each patch its place in `[kept ..., hidden ...]`."""
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


def predicted_patches(patches: int, kept: int, ratio: float | None) -> int:
    """How many of the hidden patches are predicted: `floor(patches * ratio)`, or all where `ratio` is None.

    >>> predicted_patches(196, 49, 0.25), predicted_patches(196, 49, None)
    (49, 147)
    """
    hidden = patches - kept
    predicted = hidden if ratio is None else int(patches * Fraction(str(ratio)))
    if not 0 < predicted <= hidden:
        raise UserError(
            f"model.prediction_ratio {ratio:g} of {patches} patches is {predicted}, where {hidden} are "
            "masked: choose a ratio above 0 and at most model.mask_ratio, or none for all"
        )
    return predicted


def random_mask(noise: Tensor, kept: int) -> Masking:
    """Keep the `kept` patches with the smallest noise, (N, L) float: with uniform noise, a uniform draw.

    Ties are broken by position, so the result is a function of the noise alone, on every device and in every
    batch.
    """
    order = noise.argsort(dim=1, stable=True)
    restore = order.argsort(dim=1)
    return Masking(order[:, :kept], order[:, kept:], restore=restore, mask=(restore >= kept).float())
