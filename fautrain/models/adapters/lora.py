"""LoRA (Hu et al. 2022): increments of low rank to the maps to queries and values; they begin as nothing.

Written here in a few lines: the library `peft` would rename every weight of the encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fautrain.config import ModelConfig
from fautrain.models.adapters import adapter
from fautrain.models.vit import Block, Trunk

RANK = 8
"""Where `model.adapter_width` is not set."""


class LowRank(nn.Module):
    """x -> s B A x with A (r, D), drawn as in the authors' code, and B (D, r), zero at first."""

    def __init__(self, width: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """The increment."""
        return self.scale * self.up(self.down(tokens))


class LowRankAttention(nn.Module):
    """The `qkv` map of an attention, its weights under their own names, plus increments to q and v."""

    def __init__(self, qkv: nn.Module, rank: int, scale: float) -> None:
        super().__init__()
        assert isinstance(qkv, nn.Linear)
        self.weight, self.bias = qkv.weight, qkv.bias
        self.query, self.value = (LowRank(qkv.in_features, rank, scale) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, 3 D)."""
        query = self.query(tokens)
        increment = torch.cat([query, torch.zeros_like(query), self.value(tokens)], dim=-1)
        return functional.linear(tokens, self.weight, self.bias) + increment


@adapter("lora")
def lora(model: Trunk, config: ModelConfig) -> None:
    """Increments in the attention of every block."""
    rank = config.adapter_width or RANK
    for block in model.blocks:
        assert isinstance(block, Block)
        block.attn.qkv = LowRankAttention(block.attn.qkv, rank, config.adapter_scale)
