"""Masked autoencoder (He et al. 2022; FMAE section 3, MAE-Face section 3.1).

Images are cut into patches, most of which are hidden; a ViT encoder sees the visible ones alone, and a small
transformer decoder predicts the pixels of the hidden ones. Shapes: N images, L patches of p x p px, K
visible, D the encoder's width, E the decoder's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facecorpus.errors import UserError
from fautrain.models.flops import block_flops
from fautrain.models.masking import Masking, kept_patches, random_mask
from fautrain.models.vit import LAYER_NORM_EPS, Block, Size, Trunk, initialise, sincos_positions


class MaeOutput(NamedTuple):
    """What one pass gives; the loss compares `prediction` with `patchify(images)` where `predicted` is 1."""

    prediction: Tensor
    """(N, L, p * p * 3): predicted pixels of every patch, in the order of `patchify`."""
    mask: Tensor
    """(N, L) float32: 1 where the patch was hidden from the encoder, 0 where it was visible."""
    latent: Tensor
    """(N, 1 + K, D): the encoder's normed output, class token first."""
    predicted: Tensor
    """(N, L) float32: 1 where the loss counts: `mask`, or the part of it that was predicted."""


class MaskedAutoencoder(Trunk):
    """Encoder on visible patches, decoder on all. Key names and shapes are those of MAE's published files."""

    def __init__(
        self,
        size: Size,
        *,
        image_px: int = 224,
        patch_px: int | None = None,
        mask_ratio: float = 0.75,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__(size, image_px, patch_px or size.patch_px, checkpoint_activations)
        if decoder_depth < 1:
            raise UserError(f"model.decoder_depth is {decoder_depth}: a decoder needs at least one block")
        self.kept = kept_patches(self.patches, mask_ratio)
        self.decoder_embed = nn.Linear(size.width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        positions = sincos_positions(decoder_width, self.grid)
        self.decoder_pos_embed = nn.Parameter(positions, requires_grad=False)
        self.decoder_blocks = nn.ModuleList(Block(decoder_width, decoder_heads) for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=LAYER_NORM_EPS)
        self.decoder_pred = nn.Linear(decoder_width, self.patch_px**2 * 3)
        self.apply(initialise)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, images: Tensor, noise: Tensor | None = None, generator: torch.Generator | None = None
    ) -> MaeOutput:
        """Hide patches of images (N, 3, H, W) float, normalised, and predict them.

        `noise` (N, L) decides what is hidden (see `random_mask`); without it, it is drawn from `generator` or
        from the device's own.
        """
        patches = self.embed(images)  # (N, L, D)
        if noise is None:
            noise = torch.rand(patches.shape[:2], generator=generator, device=patches.device)
        if noise.shape != patches.shape[:2]:
            raise ValueError(f"noise of shape {tuple(noise.shape)} for patches {tuple(patches.shape[:2])}")
        masking = random_mask(noise, self.kept)
        where = masking.kept[:, :, None].expand(-1, -1, patches.shape[2])
        visible = self.with_class(patches.gather(1, where))  # (N, 1 + K, D)
        maps = self.encoder_maps(visible)
        prediction, predicted = self.predict(maps, masking)
        return MaeOutput(prediction, masking.mask, maps[-1], predicted)

    def encoder_maps(self, visible: Tensor) -> list[Tensor]:
        """What the decoder looks at, all (N, 1 + K, D) of the visible tokens: the encoder's output, last."""
        return [self.norm(self.run_blocks(self.blocks, visible))]

    def predict(self, maps: Sequence[Tensor], masking: Masking) -> tuple[Tensor, Tensor]:
        """Prediction (N, L, p * p * 3) of `encoder_maps`, and where it counts, (N, L)."""
        return self.decode(maps[-1], masking.restore), masking.mask

    def decoder_flops(self) -> int:
        """Operations of the decoder on one image in training, forward."""
        width, pixels = self.mask_token.shape[-1], self.patch_px**2 * 3
        between = 2 * (1 + self.kept) * self.size.width * width
        blocks = len(self.decoder_blocks) * block_flops(1 + self.patches, width)
        return between + blocks + 2 * self.patches * width * pixels

    def decode(self, latent: Tensor, restore: Tensor) -> Tensor:
        """Predict all patches: latent (N, 1 + K, D), restore (N, L) int64 -> (N, L, p * p * 3)."""
        tokens = self.decoder_embed(latent)  # (N, 1 + K, E)
        n, visible, e = tokens.shape
        hidden = self.mask_token.to(tokens.dtype).expand(n, restore.shape[1] + 1 - visible, -1)
        patches = torch.cat([tokens[:, 1:], hidden], dim=1)
        patches = patches.gather(1, restore[:, :, None].expand(-1, -1, e))  # (N, L, E), in place
        tokens = torch.cat([tokens[:, :1], patches], dim=1) + self.decoder_pos_embed
        tokens = self.run_blocks(self.decoder_blocks, tokens)
        return self.decoder_pred(self.decoder_norm(tokens[:, 1:]))
