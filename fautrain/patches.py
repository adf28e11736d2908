"""Images as patches, for a model, its loss and its pictures: N images, L patches, P = p * p * 3 values."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

NORM_PIX_EPS: Final = 1e-6
"""Added to a patch's variance, so that an even patch is not divided by zero."""


def patchify(images: Tensor, patch_px: int) -> Tensor:
    """Cut (N, 3, H, W) into (N, L, p * p * 3): patches by rows, in each the pixels by rows, channel last."""
    n, c, h, w = images.shape
    p = patch_px
    patches = images.reshape(n, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1)
    return patches.reshape(n, (h // p) * (w // p), p * p * c)


def unpatchify(patches: Tensor, patch_px: int) -> Tensor:
    """Undo `patchify` for square images: (N, L, p * p * 3) -> (N, 3, H, W)."""
    n, count, _ = patches.shape
    p, grid = patch_px, round(count**0.5)
    pixels = patches.reshape(n, grid, grid, p, p, 3).permute(0, 5, 1, 3, 2, 4)
    return pixels.reshape(n, 3, grid * p, grid * p)


def normalise_patches(patches: Tensor) -> Tensor:
    """Give every patch (..., P) mean 0 and variance 1 over its own values; the variance divides by P - 1."""
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, correction=1, keepdim=True)
    return (patches - mean) / (variance + NORM_PIX_EPS).sqrt()


def denormalise_patches(patches: Tensor, true: Tensor) -> Tensor:
    """Give every patch (..., P) the mean and variance of the true one."""
    variance, mean = torch.var_mean(true, dim=-1, correction=1, keepdim=True)
    return patches * (variance + NORM_PIX_EPS).sqrt() + mean
