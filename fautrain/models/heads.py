"""A ViT with a head for action units and one for who is shown (FMAE-IAT, Fig. 1).

Names in the state dict are those of FMAE-IAT's released code. Shapes: N images, D the width, A action units,
K subjects.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from torch import Tensor, nn

from facecorpus.errors import UserError
from fautrain.models.flops import vit_training_flops
from fautrain.models.predictor import Predictor, full_precision
from fautrain.models.reversal import reverse_gradient
from fautrain.models.vit import LAYER_NORM_EPS, Size, Trunk, initialise, initialise_truncated

HEAD_STD: Final = 2e-5
"""Of the AU head's first weights: all probabilities start at what its bias says."""


class AUOutput(NamedTuple):
    """What one pass gives, before any sigmoid or softmax."""

    logits: Tensor
    """(N, A): action units."""
    identity: Tensor | None
    """(N, K): subjects; None without an identity head."""
    auxiliary: Tensor | None = None
    """(N, A): action units again, as the adapters' own heads say; None where they have none."""


def identity_head(width: int, subjects: int, layers: int) -> nn.Linear | nn.Sequential:
    """One linear map D -> K, or an MLP with GELU that halves the width before it: D -> D/2 (-> D/4) -> K."""
    if layers not in (1, 2, 3):
        raise UserError(f"an identity head of {layers} layers is not known: set identity.layers to 1, 2 or 3")
    if layers == 1:
        return nn.Linear(width, subjects)
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(width, width // 2), nn.GELU()]
        width //= 2
    return nn.Sequential(*parts, nn.Linear(width, subjects))


class ActionUnitModel(Trunk, Predictor):
    """Encoder, mean of the patch tokens, `fc_norm`, `head`; with `subjects`, `ID_head` behind a reversal.

    The encoder's last `norm` is left out, `fc_norm` takes its place; positions are learnt. With `pool` as
    `class` the features are instead the class token after the encoder's own `norm`, without `fc_norm`, as in
    a ViT that was trained with labels. `drop_path` is the last block's rate of stochastic depth. `initial` is
    how the encoder's first weights are drawn: `xavier` as MAE does, beginning with sine-cosine positions, or
    `trunc_normal` as timm does, positions included.
    """

    auxiliary_head: nn.Module | None
    """Place for heads on what the last adapter hands on (`Inheriting`): `(*carried) -> (N, A)`."""

    def __init__(
        self,
        size: Size,
        aus: int,
        *,
        subjects: int = 0,
        identity_layers: int = 1,
        image_px: int = 224,
        patch_px: int | None = None,
        drop_path: float = 0.1,
        checkpoint_activations: bool = False,
        initial: str = "xavier",
        pool: str = "mean",
    ) -> None:
        super().__init__(
            size,
            image_px,
            patch_px or size.patch_px,
            checkpoint_activations,
            drop=drop_path,
            last_norm=pool == "class",
        )
        self.pool = pool
        self.pos_embed.requires_grad_()
        if initial == "trunc_normal":
            self.apply(initialise_truncated)
            for token in (self.pos_embed, self.cls_token):
                nn.init.trunc_normal_(token, std=0.02)
        else:
            self.apply(initialise)
            nn.init.normal_(self.cls_token, std=0.02)
        # After `initialise`: the heads' biases and the identity head's weights are PyTorch's own.
        self.fc_norm = nn.LayerNorm(size.width, eps=LAYER_NORM_EPS) if pool == "mean" else nn.Identity()
        self.head = nn.Linear(size.width, aus)
        nn.init.trunc_normal_(self.head.weight, std=HEAD_STD)
        self.ID_head = identity_head(size.width, subjects, identity_layers) if subjects else None
        self.register_module("auxiliary_head", None)

    def freeze(self) -> None:
        """Let nothing of the encoder learn; heads, adapters that are put in later and `fc_norm` do."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(("fc_norm.", "head.", "ID_head.")))

    def features(self, images: Tensor) -> Tensor:
        """What both heads see: normalised images (N, 3, H, W) -> (N, D)."""
        return self._pooled(self.encode(images, norm=False))

    def _pooled(self, tokens: Tensor) -> Tensor:
        pooled = tokens[:, 0] if self.pool == "class" else tokens[:, 1:].mean(dim=1)
        return self.fc_norm(self.norm(pooled))  # one of the two does nothing

    def forward(self, images: Tensor, reversal: Tensor | float = 0.0) -> AUOutput:
        """Logits of normalised images (N, 3, H, W).

        `reversal` is lambda (Eq. 3): the identity loss reaches `features` multiplied by minus it, whereas
        `ID_head` gets its own gradient. 0 lets the head learn and leaves the features alone.
        """
        tokens, carried = self.carry(self.blocks, self.with_class(self.embed(images)))
        features = self._pooled(tokens)
        with full_precision(features.device):
            logits = self.head(features)
            identity = None if self.ID_head is None else self.ID_head(reverse_gradient(features, reversal))
            auxiliary = None if self.auxiliary_head is None else self.auxiliary_head(*carried)
            return AUOutput(logits, identity, auxiliary)

    def training_flops(self) -> int:
        """Of the trunk: the heads are nothing beside it."""
        return vit_training_flops(self)
