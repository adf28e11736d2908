"""The encoder alone, as published ViTs are."""

from __future__ import annotations

from torch import Tensor, nn

from fautrain.models.vit import Size, Trunk, initialise


class VisionTransformer(Trunk):
    """The encoder alone: normalised images (N, 3, H, W) -> tokens (N, 1 + L, D) after the last norm."""

    def __init__(
        self,
        size: Size,
        image_px: int = 224,
        patch_px: int | None = None,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__(size, image_px, patch_px or size.patch_px, checkpoint_activations)
        self.apply(initialise)
        nn.init.normal_(self.cls_token, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Features of whole images."""
        return self.encode(images)
