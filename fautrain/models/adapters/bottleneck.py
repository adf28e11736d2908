"""Adapter (Houlsby et al. 2019): two linear maps with GELU between, here beside each part of a block as in
AdaptFormer (Chen et al. 2022); it begins as nothing."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fautrain.config import ModelConfig
from fautrain.models.adapters import adapter, put_beside
from fautrain.models.vit import Trunk

WIDTH = 8
"""Hidden units where `model.adapter_width` is not set."""


class Bottleneck(nn.Module):
    """D -> h -> D for every token, (N, T, D) -> (N, T, D)."""

    def __init__(self, width: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        nn.init.xavier_uniform_(self.down.weight)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, normed: Tensor) -> Tensor:
        """What is added to the part's output."""
        return self.scale * self.up(functional.gelu(self.down(normed)))


@adapter("adapter")
def bottlenecks(model: Trunk, config: ModelConfig) -> None:
    """One beside every attention and MLP."""
    width, hidden = model.size.width, config.adapter_width or WIDTH
    put_beside(model, lambda: Bottleneck(width, hidden, config.adapter_scale))
