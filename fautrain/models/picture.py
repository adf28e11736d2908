"""Pictures of what a masked autoencoder sees and predicts, in the colours of the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fautrain.grid import lay_out
from fautrain.models.mae import MaeOutput
from fautrain.patches import denormalise_patches, patchify, unpatchify

MASK_GREY: Final = 0.5


def in_colour(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Undo the loader's normalisation: (N, 3, H, W) -> the same shape, float32 in [0, 1]."""
    shift = torch.tensor(mean, device=images.device).view(3, 1, 1)
    scale = torch.tensor(std, device=images.device).view(3, 1, 1)
    return (images.float() * scale + shift).clamp(0, 1)


def predicted(images: Tensor, output: MaeOutput, patch_px: int, norm_pix: bool) -> Tensor:
    """The images with their hidden patches as predicted, (N, 3, H, W) float32, normalised as the input.

    images: the normalised input of the pass that gave `output`. With `norm_pix` the model predicts each patch
    up to its own mean and scale, which are taken from the true patch; without that the picture would be
    noise. The patches that the model was shown come from the input, since only hidden ones are trained.
    """
    true = patchify(images.float(), patch_px)
    patches = output.prediction.detach().float()
    if norm_pix:
        patches = denormalise_patches(patches, true)
    return unpatchify(torch.where(output.mask[:, :, None] > 0, patches, true), patch_px)


def masked(colours: Tensor, mask: Tensor, patch_px: int) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] with their hidden patches grey; mask (N, L), 1 where hidden."""
    shown = patchify(colours, patch_px)
    grey = torch.full_like(shown, MASK_GREY)
    return unpatchify(torch.where(mask[:, :, None] > 0, grey, shown), patch_px)


def picture_grid(
    images: Tensor,
    output: MaeOutput,
    patch_px: int,
    *,
    norm_pix: bool,
    mean: Sequence[float],
    std: Sequence[float],
) -> NDArray[np.uint8]:
    """Original | masked | reconstruction of each normalised image, as one picture (H, W, 3) uint8."""
    colours = in_colour(images, mean, std)
    parts = [
        colours,
        masked(colours, output.mask, patch_px),
        in_colour(predicted(images, output, patch_px, norm_pix), mean, std),
    ]
    triples = torch.stack(parts, dim=1).mul(255).round().byte().permute(0, 1, 3, 4, 2)
    return lay_out(triples.cpu().numpy())
