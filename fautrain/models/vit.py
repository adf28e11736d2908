"""Vision Transformer encoder under the key names of timm and MAE, so that their published weights load.

Tokens are `[class, patch 0, ..., patch L-1]`, patches in row-major order. Shapes below: N images of H x W px,
L patches, T tokens, D the width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from facecorpus.errors import UserError

LAYER_NORM_EPS: Final = 1e-6
MLP_RATIO: Final = 4


@dataclass(frozen=True)
class Size:
    """The dimensions that a size's name stands for."""

    name: str
    width: int
    """Length D of a token."""
    depth: int
    """Number of transformer blocks."""
    heads: int
    """Attention heads per block; divides `width`."""
    patch_px: int = 16
    """Patch side for which weights of this size are published."""


SIZES: Final = {
    size.name: size
    for size in (
        Size("tiny", 192, 4, 3),  # for CPUs; a third of the depth of the published ViT-tiny
        Size("small", 384, 12, 6),
        Size("base", 768, 12, 12),
        Size("large", 1024, 24, 16),
        Size("huge", 1280, 32, 16, patch_px=14),
    )
}


def size_of(name: str) -> Size:
    """The size called `name`; a UserError that lists the sizes if there is none."""
    if name not in SIZES:
        raise UserError(f"model.size is {name!r}: choose one of {', '.join(SIZES)}")
    return SIZES[name]


def sincos_positions(width: int, grid: int) -> Tensor:
    """Fixed 2-D sine-cosine positions, (1, 1 + grid * grid, width) float32; the class token's is zero.

    The first half of a vector codes the column, the second the row; each half is `width / 4` sines followed
    by as many cosines of `index / 10000 ** (4 i / width)`. This is MAE's order, so published positions are
    equal to these.
    """
    if width % 4:
        raise UserError(f"a width of {width} cannot hold 2-D sine-cosine positions: choose a multiple of 4")
    rate = 10000.0 ** (-4.0 * torch.arange(width // 4, dtype=torch.float64) / width)
    angle = torch.outer(torch.arange(grid, dtype=torch.float64), rate)
    line = torch.cat([angle.sin(), angle.cos()], dim=1)  # (grid, width / 2)
    column = line[None, :, :].expand(grid, grid, -1)
    row = line[:, None, :].expand(grid, grid, -1)
    patches = torch.cat([column, row], dim=2).reshape(grid * grid, width)
    return torch.cat([torch.zeros(1, width), patches.float()])[None]


def initialise(module: nn.Module) -> None:
    """MAE's initial weights, for `Module.apply`: Linear xavier-uniform, zero bias; LayerNorm one and zero."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        # The patch embedding is a linear map of a flattened patch, and xavier's fans must be that map's.
        nn.init.xavier_uniform_(module.weight.flatten(1))
        nn.init.zeros_(cast(Tensor, module.bias))


def initialise_truncated(module: nn.Module) -> None:
    """timm 0.3.2's initial weights, for `Module.apply`: Linear normal with std 0.02, zero bias; LayerNorm one
    and zero; the patch embedding keeps PyTorch's own."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


class Attention(nn.Module):
    """Multi-head self-attention, (N, T, D) -> (N, T, D), by PyTorch's fused kernel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"{heads} attention heads do not divide a width of {width}: choose a divisor")
        self.heads = heads
        self.qkv: nn.Module = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Let every token attend to all tokens of its image."""
        n, t, d = tokens.shape
        query, key, value = self.qkv(tokens).view(n, t, 3, self.heads, d // self.heads).unbind(2)
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        )
        return self.proj(mixed.transpose(1, 2).reshape(n, t, d))


class Mlp(nn.Module):
    """Two linear maps with GELU between, (..., D) -> (..., D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform every token alone."""
        return self.fc2(functional.gelu(self.fc1(tokens)))


def drop_path(branch: Tensor, rate: float | Tensor) -> Tensor:
    """Stochastic depth (Huang et al. 2016): zero the branch (N, ...) of each sample with probability `rate`.

    What stays is divided by `1 - rate`, so that the mean over draws is the branch. The draw, one number per
    sample, comes from the device's global generator.
    """
    # In bfloat16 the scale itself would be off: 1 / 0.9 is stored as 1.109.
    dtype = torch.promote_types(branch.dtype, torch.float32)
    shape = (len(branch), *(1 for _ in branch.shape[1:]))
    kept = torch.rand(shape, dtype=dtype, device=branch.device) < 1 - rate
    return branch * (kept.to(dtype) / (1 - rate))


class Inheriting(nn.Module, ABC):
    """An adapter that also learns from the one before it: that beside the attention of its block, or beside
    the MLP of the block below."""

    @abstractmethod
    def forward(self, normed: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
        """(what is added (N, T, D), *what is handed on) of normed tokens (N, T, D) and what was handed on;
        nothing is handed to the first.

        It may not hand on parameters: where weights are split over GPUs they are gone after its block.
        """


class Block(nn.Module):
    """Pre-norm transformer block, (N, T, D) -> (N, T, D); `drop` is its rate of stochastic depth."""

    rate: Tensor
    attn_adapter: nn.Module | None
    """Place for a module beside the attention, (N, T, D) -> (N, T, D); empty in published models."""
    mlp_adapter: nn.Module | None
    """And for one beside the MLP."""
    prompts: nn.Parameter | None
    """Place for tokens (1, P, D) that stand beside those of every image, in this block alone."""

    def __init__(self, width: int, heads: int, drop: float = 0.0) -> None:
        super().__init__()
        self.drop, self.drops = drop, drop > 0
        # A tensor: compiled alone, all blocks share a graph, where a number would be a constant of each.
        self.register_buffer("rate", torch.tensor(drop), persistent=False)
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width)
        self.register_module("attn_adapter", None)
        self.register_module("mlp_adapter", None)
        self.register_parameter("prompts", None)

    def forward(self, tokens: Tensor, *carried: Tensor) -> Any:
        """Attention, then the MLP, each with its adapter added to its output; see `Inheriting`.

        Returns the tokens, or where adapters hand something on `(tokens, *carried)`.
        """
        own = tokens.shape[1]
        if self.prompts is not None:
            tokens = torch.cat([tokens, self.prompts.expand(len(tokens), -1, -1)], dim=1)
        tokens, carried = self._beside(tokens, self.norm1, self.attn, self.attn_adapter, carried)
        tokens, carried = self._beside(tokens, self.norm2, self.mlp, self.mlp_adapter, carried)
        if self.prompts is not None:
            tokens = tokens[:, :own]
        return (tokens, *carried) if carried else tokens

    def _beside(
        self,
        tokens: Tensor,
        norm: nn.Module,
        part: nn.Module,
        adapter: nn.Module | None,
        carried: tuple[Tensor, ...],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        normed = norm(tokens)
        branch = part(normed)
        if isinstance(adapter, Inheriting):
            added, *carried_on = adapter(normed, *carried)
            branch, carried = branch + added, tuple(carried_on)
        elif adapter is not None:
            branch = branch + adapter(normed)
        kept = drop_path(branch, self.rate) if self.training and self.drops else branch
        return tokens + kept, carried


class PatchEmbed(nn.Module):
    """Linear embedding of square patches, (N, 3, H, W) -> (N, L, D); weights shaped as a convolution's."""

    def __init__(self, patch_px: int, width: int) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.proj = nn.Conv2d(3, width, kernel_size=patch_px, stride=patch_px)

    def forward(self, images: Tensor) -> Tensor:
        """Cut and embed: a convolution whose stride is its kernel is one matrix product, faster as such."""
        n, c, h, w = images.shape
        p = self.patch_px
        patches = images.view(n, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
        return functional.linear(
            patches.reshape(n, -1, c * p * p), self.proj.weight.flatten(1), self.proj.bias
        )


class Trunk(nn.Module, ABC):
    """What every model on a ViT shares: `cls_token`, `pos_embed`, `patch_embed`, `blocks`, `norm`.

    The parts lie in the model itself, not in a submodule: published state dicts name them without a prefix.
    `pos_embed` is a parameter without gradient; a model that learns its positions turns `requires_grad` on.
    `drop` is the last block's rate of stochastic depth; the rate rises linearly from 0 in the first block.
    Without `last_norm` there is no `norm`, and `encode` gives what the blocks give.
    """

    loaded: str | None = None
    """What was taken of `model.init`, in words."""
    adapted: bool = False
    """Whether adapters were put into it."""

    def __init__(
        self,
        size: Size,
        image_px: int,
        patch_px: int,
        checkpoint_activations: bool,
        *,
        drop: float = 0.0,
        last_norm: bool = True,
    ) -> None:
        super().__init__()
        if patch_px < 1 or image_px < patch_px or image_px % patch_px:
            raise UserError(
                f"patches of {patch_px} px do not tile an image of {image_px} px: "
                "choose a model.image_px that is a multiple of model.patch_px"
            )
        self.size, self.image_px, self.patch_px = size, image_px, patch_px
        self.grid = image_px // patch_px
        self.checkpoint_activations = checkpoint_activations
        self.drop = drop
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(sincos_positions(size.width, self.grid), requires_grad=False)
        self.patch_embed = PatchEmbed(patch_px, size.width)
        rates = [drop * index / max(1, size.depth - 1) for index in range(size.depth)]
        self.blocks = nn.ModuleList(Block(size.width, size.heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(size.width, eps=LAYER_NORM_EPS) if last_norm else nn.Identity()

    @property
    def patches(self) -> int:
        """Number L of patches of an image."""
        return self.grid * self.grid

    def embed(self, images: Tensor) -> Tensor:
        """Patch tokens with their positions, without the class token: (N, 3, H, W) -> (N, L, D)."""
        if tuple(images.shape[1:]) != (3, self.image_px, self.image_px):
            raise UserError(
                f"images of shape {tuple(images.shape[1:])} reached a model made for (3, {self.image_px}, "
                f"{self.image_px}): set model.image_px to the images' side"
            )
        return self.patch_embed(images) + self.pos_embed[:, 1:]

    def with_class(self, patches: Tensor) -> Tensor:
        """Put the class token, at its position, before patch tokens: (N, K, D) -> (N, 1 + K, D)."""
        first = self.cls_token + self.pos_embed[:, :1]
        return torch.cat([first.expand(len(patches), -1, -1), patches], dim=1)

    def encode(self, images: Tensor, norm: bool = True) -> Tensor:
        """Features of whole normalised images, (N, 3, H, W) -> (N, 1 + L, D), after or before `norm`."""
        tokens = self.run_blocks(self.blocks, self.with_class(self.embed(images)))
        return self.norm(tokens) if norm else tokens

    def run_blocks(self, blocks: nn.ModuleList, tokens: Tensor) -> Tensor:
        """Apply blocks in turn; `checkpoint_activations` keeps only their inputs and recomputes the rest."""
        return self.carry(blocks, tokens)[0]

    def carry(self, blocks: nn.ModuleList, tokens: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `run_blocks`, and what the last adapter hands on (`Inheriting`)."""
        recompute = self.checkpoint_activations and torch.is_grad_enabled()
        # What a block draws at random (stochastic depth, adapters' dropout) the second pass must draw again.
        draws = self.training and (self.drop > 0 or self.adapted)
        carried: tuple[Tensor, ...] = ()
        for block in blocks:
            found: Any = (
                checkpoint(block, tokens, *carried, use_reentrant=False, preserve_rng_state=draws)
                if recompute
                else block(tokens, *carried)
            )
            tokens, *carried_on = found if isinstance(found, tuple) else (found,)
            carried = tuple(carried_on)
        return tokens, carried

    @abstractmethod
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What training calls."""
