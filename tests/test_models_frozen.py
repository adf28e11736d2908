"""Encoders that stay as they are, the class token as the feature, and adapters that learn from each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_models_heads import SMALL, model, pictures
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from fautrain.models.vit import Inheriting

torch.set_num_threads(1)


def kept(images: Tensor, made: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of what a forward pass keeps for the backward pass, parameters left out."""
    weights = {parameter.data_ptr() for parameter in made.parameters()}
    shapes: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            shapes.append(tuple(tensor.shape))
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        made(images)
    return shapes


def test_a_timm_vit_with_a_class_token_gives_the_same_logits() -> None:
    """timm's own token pooling behind its last norm, which has the same names."""
    timm = pytest.importorskip("timm")
    ours = model(subjects=0, pool="class").eval()
    nn.init.normal_(ours.head.weight)
    nn.init.normal_(ours.norm.weight)
    theirs = timm.models.vision_transformer.VisionTransformer(
        img_size=16, patch_size=4, embed_dim=24, depth=3, num_heads=4, num_classes=5, global_pool="token"
    ).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images = pictures(3)
    torch.testing.assert_close(ours(images).logits, theirs(images), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        ours.features(images), theirs.forward_head(theirs.forward_features(images), True)
    )


@pytest.mark.parametrize(
    ("pool", "learns"), [("mean", {"fc_norm", "head", "ID_head"}), ("class", {"head", "ID_head"})]
)
def test_only_heads_learn_on_a_frozen_encoder(pool: str, learns: set[str]) -> None:
    made = model(pool=pool)
    made.freeze()
    assert {name.split(".")[0] for name, p in made.named_parameters() if p.requires_grad} == learns
    out = made(pictures(2), 1.0)
    (out.logits.sum() + out.identity.sum()).backward()
    assert {name.split(".")[0] for name, p in made.named_parameters() if p.grad is not None} == learns


def test_a_frozen_encoder_keeps_nothing_for_a_backward_pass() -> None:
    made, images = model(pool="class", subjects=0), pictures(2)
    assert (2, 17, 96) in kept(images, made)  # what GELU gets, of every block
    made.freeze()
    assert kept(images, made) == [(2, 24)]  # what the head gets


class Sum(Inheriting):
    """Adds a share of the sum of all that the adapters below gave; draws at random."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, normed: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
        total = nn.functional.dropout(normed * self.scale, 0.3, self.training) + sum(carried)
        return total, total


def adapted(**options: Any) -> Any:
    made = model(subjects=0, drop_path=0.0, **options)
    made.freeze()
    for block in made.blocks:
        block.attn_adapter, block.mlp_adapter = Sum(SMALL.width), Sum(SMALL.width)
    made.auxiliary_head = nn.Sequential(nn.Flatten(), nn.Linear(17 * SMALL.width, 5))
    made.adapted = True
    return made


def test_adapters_hand_on_what_they_learn() -> None:
    """Twice in every block, from the block below too; the last gives the auxiliary head its input."""
    made, images = adapted().eval(), pictures(2)
    tokens, total = made.with_class(made.embed(images)), torch.zeros(())
    for block in made.blocks:
        for norm, part in ((block.norm1, block.attn), (block.norm2, block.mlp)):
            normed = norm(tokens)
            total = 0.1 * normed + total
            tokens = tokens + part(normed) + total
    out = made(images)
    torch.testing.assert_close(out.logits, made.head(made.fc_norm(tokens[:, 1:].mean(1))))
    torch.testing.assert_close(out.auxiliary, made.auxiliary_head(total))
    torch.testing.assert_close(made.encode(images), tokens)


def test_recomputed_activations_give_the_same_gradients() -> None:
    """What adapters draw is drawn again, though nothing is dropped by depth."""
    found = []
    for recompute in (False, True):
        made = adapted(checkpoint_activations=recompute)
        torch.manual_seed(1)
        out = made(pictures(2))
        (out.logits.sum() + out.auxiliary.square().sum()).backward()
        found.append([p.grad for p in made.parameters() if p.requires_grad])
    for plain, again in zip(*found, strict=True):
        assert plain is not None and again is not None and torch.equal(plain, again)
