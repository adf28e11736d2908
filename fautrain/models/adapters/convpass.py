"""Convpass (Jie and Deng 2022): a bottleneck with a 3 x 3 convolution over the patches; begins as nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fautrain.config import ModelConfig
from fautrain.models.adapters import adapter, image_of, only_whole_images, patches_of, put_beside
from fautrain.models.vit import Trunk

WIDTH = 8
"""Channels where `model.adapter_width` is not set."""
DROPOUT = 0.1


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x), the activation of the authors' code."""
    return x * torch.sigmoid(1.702 * x)


class Convpass(nn.Module):
    """D -> h, convolution, h -> D, (N, 1 + g * g, D) -> the same; the class token is an image of 1 x 1."""

    def __init__(self, width: int, channels: int, grid: int, scale: float) -> None:
        super().__init__()
        self.grid, self.scale = grid, scale
        self.down, self.up = nn.Linear(width, channels), nn.Linear(channels, width)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.xavier_uniform_(self.down.weight)
        for parameter in (self.down.bias, self.up.weight, self.up.bias, self.conv.weight, self.conv.bias):
            assert parameter is not None
            nn.init.zeros_(parameter)
        nn.init.eye_(self.conv.weight.data[:, :, 1, 1])

    def forward(self, normed: Tensor) -> Tensor:
        """What is added to the part's output."""
        hidden = quick_gelu(self.down(normed))
        parts = [
            patches_of(self.conv(image_of(hidden[:, :1], 1))),
            patches_of(self.conv(image_of(hidden[:, 1:], self.grid))),
        ]
        mixed = functional.dropout(quick_gelu(torch.cat(parts, dim=1)), DROPOUT, self.training)
        return self.scale * self.up(mixed)


@adapter("convpass")
def convpass(model: Trunk, config: ModelConfig) -> None:
    """One beside every attention and MLP."""
    whole, _ = only_whole_images(model, config, "convpass")
    width, channels = whole.size.width, config.adapter_width or WIDTH
    put_beside(whole, lambda: Convpass(width, channels, whole.grid, config.adapter_scale))
