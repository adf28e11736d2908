"""Reconstruction loss on masked patches: L2 (MAE, FMAE section 3) or L1 (MAE-Face, Eq. 1).

Shapes: N images of L patches, each of P = p * p * 3 values in the loader's normalised units.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from fautrain.patches import normalise_patches


def pixel_loss(
    prediction: Tensor, target: Tensor, mask: Tensor, kind: Literal["l1", "l2"] = "l2", norm_pix: bool = False
) -> Tensor:
    """Mean error over the masked patches, a scalar, at least float32.

    prediction, target: (N, L, P); mask: (N, L), 1 where the loss counts. With `norm_pix` the target is
    `normalise_patches(target)`. MAE-Face's Eq. 1 is a sum over masked patches; every image has the same
    number of them, so this mean differs from it by a constant factor, which keeps one learning rate right for
    any patch size.
    """
    if prediction.dtype.itemsize < 4:
        # The sum of millions of squares is not a matter for 8 bits of mantissa.
        prediction = prediction.float()
    target = target.to(prediction.dtype)
    if norm_pix:
        target = normalise_patches(target)
    error = prediction - target
    per_patch = (error.abs() if kind == "l1" else error.square()).mean(dim=-1)  # (N, L)
    mask = mask.to(per_patch.dtype)
    return (per_patch * mask).sum() / mask.sum()


def patch_mean_loss(
    target: Tensor,
    mask: Tensor,
    kind: Literal["l1", "l2"] = "l2",
    norm_pix: bool = False,
    per_channel: bool = False,
) -> Tensor:
    """`pixel_loss` of a predictor that knows each masked patch's mean alone: what a model must beat.

    target: (N, L, P), mask: (N, L). The mean is over all P values, as in `normalise_patches`, so with
    `norm_pix` it is 0 and the L2 loss (P - 1) / P; `per_channel` knows the mean of each of the three
    channels, which lie last.
    """
    known = normalise_patches(target) if norm_pix else target
    pixels = known.unflatten(-1, (-1, 3))  # (N, L, p * p, 3)
    mean = pixels.mean(dim=-2 if per_channel else (-2, -1), keepdim=True)
    return pixel_loss(mean.expand_as(pixels).flatten(-2), known, mask, kind)
