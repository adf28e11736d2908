"""Random views of whole batches, on the device (SimCLR's, in AUNCE): crop, flip, colours, gray, blur.

All that is random follows from numbers that are given: a view is a function of its picture and its numbers.
Shapes: B pictures of S x S px, views of P x P; `draws` is (B, VIEW_DRAWS) uniform in [0, 1). Unlike
torchvision's ColorJitter, which shuffles its four changes for each picture, brightness comes first, then
contrast, saturation and hue.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

VIEW_DRAWS: Final = 10
"""Numbers that a view takes: place (2), flip, whether its colours change, by how much (4), gray, blur."""
GRAY: Final = (0.299, 0.587, 0.114)
"""Shares of red, green, blue in luma (ITU-R BT.601)."""


def cropped(images: Tensor, draws: Tensor, px: int) -> Tensor:
    """uint8 images (B, 3, S, S) cut to a random place of px and half of them mirrored, float32 in [0, 1]."""
    side = torch.arange(px, device=images.device)
    room = torch.tensor([images.shape[2] - px + 1, images.shape[3] - px + 1], device=images.device)
    top, left = (draws[:, :2] * room).long().unbind(1)
    rows, columns = top[:, None] + side, left[:, None] + side
    columns = torch.where(draws[:, 2:3] < 0.5, columns.flip(1), columns)
    picture = torch.arange(len(images), device=images.device)[:, None, None]
    cut = images.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2).float() / 255


def coloured(
    images: Tensor,
    draws: Tensor,
    *,
    jitter: tuple[float, float, float, float],
    jitter_share: float,
    gray_share: float,
    blur_px: tuple[float, float] | None,
) -> Tensor:
    """Images (B, 3, P, P) in [0, 1] with their colours changed, gray, blurred, each by its own lot."""
    drawn = draws[:, :, None, None, None]
    changed = images
    for number, change in enumerate((brightness, contrast, saturation)):
        amount = jitter[number]
        changed = change(changed, 1 + amount * (2 * drawn[:, 4 + number] - 1))
    changed = hue(changed, jitter[3] * (2 * drawn[:, 7] - 1))
    images = torch.where(drawn[:, 3] < jitter_share, changed, images)
    images = torch.where(drawn[:, 8] < gray_share, luma(images).expand_as(images), images)
    if blur_px is None:
        return images
    return blur(images, blur_px[0] + (blur_px[1] - blur_px[0]) * drawn[:, 9])


def luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) of RGB (B, 3, H, W)."""
    shares = torch.tensor(GRAY, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    return (images * shares).sum(dim=1, keepdim=True)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Nearer to black, or further, by a factor (B, 1, 1, 1)."""
    return (images * factor).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Nearer to a picture's mean luma, or further."""
    mean = luma(images).mean(dim=(1, 2, 3), keepdim=True)
    return (mean + (images - mean) * factor).clamp(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Nearer to each pixel's luma, or further."""
    gray = luma(images)
    return (gray + (images - gray) * factor).clamp(0, 1)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Hue in HSV turned by a share (B, 1, 1, 1) of the circle."""
    red, green, blue = images.unbind(1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    some = torch.where(chroma > 0, chroma, 1.0)
    sixth = torch.where(
        value == red,
        (green - blue) / some,
        torch.where(value == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )
    channel = torch.tensor([5.0, 3.0, 1.0], dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    place = (channel + sixth[:, None] + 6 * turn) % 6
    return value[:, None] - chroma[:, None] * place.minimum(4 - place).clamp(0, 1)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of standard deviation (B, 1, 1, 1) px, cut to 3 x 3; the border is mirrored."""
    side = torch.exp(-0.5 / sigma**2)
    centre = 1 / (1 + 2 * side)
    padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    across = centre * (padded[..., 1:-1] + side * (padded[..., :-2] + padded[..., 2:]))
    return centre * (across[..., 1:-1, :] + side * (across[..., :-2, :] + across[..., 2:, :]))
