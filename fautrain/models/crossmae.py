"""Cross-attention masked autoencoder, CrossMAE (Fu et al., arXiv 2401.14391, section 3), from its text.

The encoder is MAE's. The decoder has no self-attention: each hidden patch is predicted for itself, by asking
the visible tokens. So a part of the hidden patches can be predicted and the others left out, and each block
may ask another mixture of the encoder's layers. Shapes as in `fautrain.models.mae`, M patches predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.masking import Masking, predicted_patches
from fautrain.models.vit import LAYER_NORM_EPS, MLP_RATIO, Mlp, Size, initialise


class CrossAttention(nn.Module):
    """Multi-head attention of queries (N, M, E) over visible tokens (N, T, D) -> (N, M, E)."""

    def __init__(self, width: int, heads: int, memory_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(memory_width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """Let every query attend to all tokens of `memory`."""
        n, m, e = tokens.shape
        query = self.q(tokens).view(n, m, self.heads, -1)
        key, value = self.kv(memory).view(n, memory.shape[1], 2, self.heads, -1).unbind(2)
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        )
        return self.proj(mixed.transpose(1, 2).reshape(n, m, e))


class CrossBlock(nn.Module):
    """Pre-norm block of cross-attention and an MLP: queries (N, M, E), memory (N, T, D) -> (N, M, E)."""

    def __init__(self, width: int, heads: int, memory_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = CrossAttention(width, heads, memory_width)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """Attention, then the MLP, each added to its input."""
        tokens = tokens + self.attn(self.norm1(tokens), memory)
        return tokens + self.mlp(self.norm2(tokens))


class FeatureFusion(nn.Module):
    """Inter-block attention: decoder block b looks at the sum over j of `w[b, j]` times encoder map j.

    The weights start from a normal of variance 1 / n for n maps (the paper's, recalled). Each sum is normed,
    as maps of a pre-norm encoder grow with depth; that is ours.
    """

    def __init__(self, maps: int, blocks: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, maps))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=LAYER_NORM_EPS) for _ in range(blocks))
        nn.init.normal_(self.weight, std=maps**-0.5)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (N, T, D) of the encoder -> as many (N, T, D) as there are decoder blocks."""
        mixed = torch.einsum("bj,jntd->bntd", self.weight, torch.stack([*maps]))
        return [norm(memory) for norm, memory in zip(self.norms, mixed, strict=True)]


class CrossMaskedAutoencoder(MaskedAutoencoder):
    """MAE's encoder with a decoder of cross-attention; in training only some hidden patches are predicted.

    `prediction_ratio` is the paper's gamma, the predicted share of all L patches (None: all hidden ones). In
    evaluation all hidden patches are predicted: each is its own query, so the others' predictions stay the
    same. Without `fuse_features` all decoder blocks look at the encoder's output.
    """

    def __init__(
        self,
        size: Size,
        *,
        prediction_ratio: float | None = 0.25,
        fuse_features: bool = True,
        decoder_width: int = 512,
        decoder_depth: int = 12,
        decoder_heads: int = 16,
        **options: Any,
    ) -> None:
        super().__init__(
            size,
            decoder_width=decoder_width,
            decoder_depth=decoder_depth,
            decoder_heads=decoder_heads,
            **options,
        )
        self.predicted = predicted_patches(self.patches, self.kept, prediction_ratio)
        del self.decoder_embed  # the blocks project what they look at themselves
        self.decoder_blocks = nn.ModuleList(
            CrossBlock(decoder_width, decoder_heads, size.width) for _ in range(decoder_depth)
        )
        self.decoder_blocks.apply(initialise)
        self.fusion = FeatureFusion(size.depth + 1, decoder_depth, size.width) if fuse_features else None

    def encoder_maps(self, visible: Tensor) -> list[Tensor]:
        """The embedded patches, what each encoder block gives, and the encoder's output for the last's."""
        maps = [visible]
        for index in range(len(self.blocks)):
            maps.append(self.run_blocks(self.blocks[index : index + 1], maps[-1]))
        return [*maps[:-1], self.norm(maps[-1])]

    def predict(self, maps: Sequence[Tensor], masking: Masking) -> tuple[Tensor, Tensor]:
        """As of the base; where nothing is predicted, the prediction is 0."""
        chosen = masking.hidden[:, : self.predicted] if self.training else masking.hidden
        memories = self.fusion(maps) if self.fusion is not None else [maps[-1]] * len(self.decoder_blocks)
        positions = self.decoder_pos_embed[0, 1:][chosen]  # (N, M, E)
        tokens = self.mask_token + positions
        for block, memory in zip(self.decoder_blocks, memories, strict=True):
            tokens = block(tokens, memory)
        pixels = self.decoder_pred(self.decoder_norm(tokens))  # (N, M, p * p * 3)
        prediction = pixels.new_zeros(len(chosen), self.patches, pixels.shape[2])
        where = chosen[:, :, None].expand_as(pixels)
        predicted = torch.zeros_like(masking.mask).scatter(1, chosen, 1.0)
        return prediction.scatter(1, where, pixels), predicted

    def decoder_flops(self) -> int:
        """Operations of the decoder on one image in training, forward."""
        width, memory_width, visible = self.mask_token.shape[-1], self.size.width, 1 + self.kept
        queries = 2 * self.predicted * width * width * (2 + 2 * MLP_RATIO)
        keys = 2 * visible * memory_width * 2 * width
        attention = 2 * 2 * self.predicted * visible * width
        fusion = 2 * visible * memory_width * (1 + self.size.depth) if self.fusion is not None else 0
        blocks = len(self.decoder_blocks) * (queries + keys + attention + fusion)
        return blocks + 2 * self.predicted * width * self.patch_px**2 * 3
