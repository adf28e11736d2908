"""VPT, deep (Jia et al. 2022): learnt tokens beside those of the image, others in every block."""

from __future__ import annotations

import math

import torch
from torch import nn

from fautrain.config import ModelConfig
from fautrain.models.adapters import adapter
from fautrain.models.vit import Trunk

PROMPTS = 10
"""Tokens in each block where `model.adapter_width` is not set."""


@adapter("vpt")
def prompts(model: Trunk, config: ModelConfig) -> None:
    """Prompts for every block, first drawn as there: uniform, with xavier's bound for a patch's values."""
    width, count = model.size.width, config.adapter_width or PROMPTS
    bound = math.sqrt(6 / (3 * model.patch_px**2 + width))
    for block in model.blocks:
        block.prompts = nn.Parameter(torch.empty(1, count, width).uniform_(-bound, bound))
