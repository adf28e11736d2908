"""Pictures of what a masked autoencoder sees and predicts, in the colours of the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fautrain.models.mae import MaeOutput, MaskedAutoencoder, patchify, unpatchify

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
MASK_GREY: Final = 0.5
GAP_PX: Final = 2
NORM_PIX_EPS: Final = 1e-6
"""The loss's own; the tests hold the two together."""


def in_colour(
    images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """Undo the loader's normalisation: (N, 3, H, W) -> the same shape, float32 in [0, 1]."""
    shift = torch.tensor(mean, device=images.device).view(3, 1, 1)
    scale = torch.tensor(std, device=images.device).view(3, 1, 1)
    return (images.float() * scale + shift).clamp(0, 1)


def reconstruct(
    model: MaskedAutoencoder,
    images: Tensor,
    output: MaeOutput,
    *,
    norm_pix: bool,
    paste_visible: bool = True,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """The predicted images, (N, 3, H, W) float32 in [0, 1] RGB.

    images: the normalised input of the pass that gave `output`. With `norm_pix` the model predicts each patch
    up to its own mean and scale, which are taken from the true patch; without that the picture would be
    noise. With `paste_visible` the patches that the model was shown come from the input, since only hidden
    ones are trained.
    """
    true = patchify(images.float(), model.patch_px)
    predicted = output.prediction.detach().float()
    if norm_pix:
        variance, average = torch.var_mean(true, dim=-1, correction=1, keepdim=True)
        predicted = predicted * (variance + NORM_PIX_EPS).sqrt() + average
    if paste_visible:
        predicted = torch.where(output.mask[:, :, None] > 0, predicted, true)
    return in_colour(unpatchify(predicted, model.patch_px), mean, std)


def masked(
    model: MaskedAutoencoder,
    images: Tensor,
    output: MaeOutput,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """The input with its hidden patches grey, (N, 3, H, W) float32 in [0, 1] RGB."""
    shown = patchify(in_colour(images, mean, std), model.patch_px)
    grey = torch.full_like(shown, MASK_GREY)
    return unpatchify(torch.where(output.mask[:, :, None] > 0, grey, shown), model.patch_px)


def picture_grid(
    model: MaskedAutoencoder,
    images: Tensor,
    output: MaeOutput,
    *,
    norm_pix: bool,
    columns: int = 2,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> NDArray[np.uint8]:
    """Original | masked | reconstruction of each image, `columns` images to a row: (H, W, 3) uint8."""
    parts = [
        in_colour(images, mean, std),
        masked(model, images, output, mean, std),
        reconstruct(model, images, output, norm_pix=norm_pix, mean=mean, std=std),
    ]
    strips = torch.stack(parts, dim=1).mul(255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
    n, _, side, _, _ = strips.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    cell = side + GAP_PX
    # A wider gap sets one image's three pictures apart from its neighbour's.
    triple = 3 * cell + 2 * GAP_PX
    grid = np.full((rows * cell - GAP_PX, columns * triple - 3 * GAP_PX, 3), 255, np.uint8)
    for index, strip in enumerate(strips):
        top, left = index // columns * cell, index % columns * triple
        for part, picture in enumerate(strip):
            grid[top : top + side, left + part * cell : left + part * cell + side] = picture
    return grid
