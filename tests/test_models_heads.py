"""The action-unit model: published names, what its heads see, drop path, batches of one and of many."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facecorpus.errors import UserError
from fautrain.losses.au import au_loss
from fautrain.losses.identity import identity_loss
from fautrain.models.heads import ActionUnitModel
from fautrain.models.vit import Size, drop_path, size_of
from tests.bare_encoder import VisionTransformer

torch.set_num_threads(1)
SMALL = Size("small-for-tests", 24, 3, 4)


def model(seed: int = 0, **options: Any) -> ActionUnitModel:
    torch.manual_seed(seed)
    return ActionUnitModel(SMALL, 5, **{"image_px": 16, "patch_px": 4, "subjects": 7, **options})


def pictures(count: int, px: int = 16) -> Tensor:
    return torch.randn(count, 3, px, px, generator=torch.Generator().manual_seed(9))


HEADS = {
    0: {},
    1: {"ID_head.weight": (7, 24), "ID_head.bias": (7,)},
    2: {
        "ID_head.0.weight": (12, 24),
        "ID_head.0.bias": (12,),
        "ID_head.2.weight": (7, 12),
        "ID_head.2.bias": (7,),
    },
    3: {
        "ID_head.0.weight": (12, 24),
        "ID_head.0.bias": (12,),
        "ID_head.2.weight": (6, 12),
        "ID_head.2.bias": (6,),
        "ID_head.4.weight": (7, 6),
        "ID_head.4.bias": (7,),
    },
}
"""Released names and shapes by number of layers; 0 is no identity head."""


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_names_and_shapes_are_the_released_ones(layers: int) -> None:
    made = model(identity_layers=max(1, layers), subjects=7 if layers else 0)
    encoder = VisionTransformer(SMALL, image_px=16, patch_px=4).state_dict()
    expected = {name: tuple(t.shape) for name, t in encoder.items() if not name.startswith("norm.")}
    expected |= {"fc_norm.weight": (24,), "fc_norm.bias": (24,), "head.weight": (5, 24), "head.bias": (5,)}
    expected |= HEADS[layers]
    assert {name: tuple(t.shape) for name, t in made.state_dict().items()} == expected
    kinds = [type(part) for part in made.ID_head] if isinstance(made.ID_head, nn.Sequential) else []
    assert kinds == [nn.Linear, nn.GELU] * (layers - 1) + [nn.Linear] * (layers > 1)


def test_first_weights() -> None:
    torch.manual_seed(0)
    made = ActionUnitModel(Size("wide", 256, 1, 4), 200, subjects=300, image_px=16, patch_px=8)
    assert made.head.weight.std().item() == pytest.approx(2e-5, rel=0.02)
    assert made.head.weight.abs().max().item() < 2
    bound = 1 / math.sqrt(256)
    for uniform in (made.head.bias, made.ID_head.weight, made.ID_head.bias):  # pyright: ignore
        assert uniform.abs().max().item() <= bound
        assert uniform.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert made.fc_norm.weight.eq(1).all() and not made.fc_norm.bias.any() and made.fc_norm.eps == 1e-6
    assert made.blocks[0].norm1.eps == 1e-6
    assert made.pos_embed.requires_grad


def test_features_are_the_normed_mean_of_the_patch_tokens() -> None:
    made, images = model().eval(), pictures(3)
    tokens = made.with_class(made.embed(images))
    for block in made.blocks:
        tokens = block(tokens)
    mean = sum(tokens[:, 1 + place] for place in range(16)) / 16
    centred = mean - mean.mean(1, keepdim=True)
    expected = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    features = made.features(images)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)
    out = made(images, 0.0)
    torch.testing.assert_close(out.logits, features @ made.head.weight.T + made.head.bias)
    assert out.logits.shape == (3, 5)
    assert out.identity.shape == (3, 7)


def test_without_subjects_there_is_no_identity() -> None:
    made = model(subjects=0)
    assert made(pictures(2), 2.0).identity is None
    assert made.ID_head is None


def test_a_timm_vit_gives_the_same_logits() -> None:
    """timm's own average pooling with `fc_norm`, given our weights."""
    timm = pytest.importorskip("timm")
    ours = model(subjects=0).eval()
    nn.init.normal_(ours.head.weight)
    theirs = timm.models.vision_transformer.VisionTransformer(
        img_size=16, patch_size=4, embed_dim=24, depth=3, num_heads=4, num_classes=5, global_pool="avg"
    ).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images = pictures(3)
    with torch.no_grad():
        torch.testing.assert_close(ours(images).logits, theirs(images), atol=1e-5, rtol=0)


def test_everything_trains() -> None:
    """Positions and class token too: DDP would wait for a parameter without gradient."""
    made = model(identity_layers=3)
    nn.init.normal_(made.head.weight)
    out = made(pictures(4), 1.0)
    (au_loss(out.logits, torch.ones(4, 5)) + identity_loss(out.identity, torch.arange(4))).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("size", [SMALL, size_of("tiny")])
def test_batch_of_one_equals_batch_of_many(size: Size) -> None:
    torch.manual_seed(0)
    px, patch = (16, 4) if size is SMALL else (224, 16)
    made = ActionUnitModel(size, 8, subjects=27, image_px=px, patch_px=patch).eval()
    nn.init.normal_(made.head.weight, std=0.05)
    images = pictures(5, px)
    with torch.no_grad():
        together = made(images)
        for place in range(5):
            one = images[place : place + 1]
            alone, features = made(one), made.features(one)
            torch.testing.assert_close(features[0], made.features(images)[place], atol=1e-6, rtol=0)
            torch.testing.assert_close(alone.logits[0], together.logits[place], atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(alone.identity[0], together.identity[place], atol=1e-6, rtol=1e-6)


def test_logits_keep_float32_under_autocast() -> None:
    made = model().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out, features = made(pictures(2)), made.features(pictures(2))
    assert features.dtype == torch.float32
    assert out.logits.dtype == out.identity.dtype == torch.float32
    torch.testing.assert_close(out.logits, features @ made.head.weight.T + made.head.bias)


def test_drop_path_rises_linearly_over_depth() -> None:
    assert [block.drop for block in model(drop_path=0.1).blocks] == [0.0, 0.05, 0.1]
    assert [block.drop for block in VisionTransformer(SMALL, image_px=16, patch_px=4).blocks] == [0.0] * 3


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    branch = torch.ones(20_000, 2, 3)
    dropped = drop_path(branch, 0.3)
    assert dropped.shape == branch.shape and dropped.dtype == branch.dtype
    rows = dropped.flatten(1)
    assert (rows == rows[:, :1]).all()
    values = rows[:, 0].unique()
    torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.7]))
    # Five standard deviations of a mean of 20,000 such draws.
    assert rows[:, 0].mean().item() == pytest.approx(1.0, abs=5 * math.sqrt(0.3 / 0.7 / 20_000))


def test_drop_path_scales_exactly_in_half_precision() -> None:
    torch.manual_seed(0)
    kept = drop_path(torch.ones(100, 1, dtype=torch.bfloat16), 0.1).max()
    assert kept.item() == pytest.approx(1 / 0.9, rel=1e-6)


def test_drop_path_is_for_training_alone() -> None:
    made, images = model(drop_path=0.9), pictures(4)
    made.eval()
    assert torch.equal(made.features(images), made.features(images))
    assert torch.equal(made.features(images), model(drop_path=0.0).eval().features(images))
    made.train()
    assert not torch.equal(made.features(images), made.features(images))


def test_drop_path_comes_from_the_global_generator() -> None:
    made, images = model(drop_path=0.5), pictures(8)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = made.features(images)
    torch.set_rng_state(state)
    assert torch.equal(made.features(images), first)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_checkpointed_activations_drop_what_was_dropped(rate: float) -> None:
    found: list[dict[str, Tensor]] = []
    for checkpointed in (False, True):
        made = model(drop_path=rate, checkpoint_activations=checkpointed)
        nn.init.normal_(made.head.weight)
        torch.manual_seed(11)
        out = made(pictures(6), 0.5)
        (out.logits.square().mean() + out.identity.square().mean()).backward()
        found.append({name: p.grad for name, p in made.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_whole_model_compiles_into_one_graph() -> None:
    """With autocast off for the heads and the reversal inside; a new lambda compiles nothing anew."""
    compilations = 0

    def count(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        nonlocal compilations
        compilations += 1
        return graph.forward

    made, images = model(), pictures(4)
    compiled = torch.compile(made, fullgraph=True, backend=count)
    for lam in (0.5, 2.0):
        found: list[dict[str, Tensor]] = []
        for call in (made, compiled):
            made.zero_grad()
            torch.manual_seed(0)
            with torch.autocast("cpu", torch.bfloat16):
                out = call(images, torch.tensor(lam))
            (out.logits.square().sum() + out.identity.square().sum()).backward()
            found.append({name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None})
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert compilations == 1


def test_blocks_of_many_rates_share_one_compiled_graph() -> None:
    """Sharded training compiles block by block; one graph for each rate would pass the compiler's limit."""
    compilations = 0

    def count(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        nonlocal compilations
        compilations += 1
        return graph.forward

    made = ActionUnitModel(Size("deep", 8, 12, 2), 2, image_px=8, patch_px=4, drop_path=0.2)
    for block in made.blocks:
        block.forward = torch.compile(block.forward, backend=count)
    with torch.no_grad():
        made(pictures(2, 8))
    assert 0 < compilations <= 3


@pytest.mark.parametrize("layers", [0, 4])
def test_an_unknown_identity_head_is_refused(layers: int) -> None:
    with pytest.raises(UserError, match=rf"{layers} layers.*identity\.layers to 1, 2 or 3"):
        model(identity_layers=layers)


def test_first_weights_as_timm_draws_them() -> None:
    """What the released fine-tuning code starts from without pretrained weights."""
    torch.manual_seed(0)
    model = ActionUnitModel(
        size_of("tiny"), 3, image_px=32, patch_px=16, initial="trunc_normal"
    ).requires_grad_(False)
    drawn = torch.cat([m.weight.flatten() for m in model.blocks.modules() if isinstance(m, nn.Linear)])
    assert abs(float(drawn.std()) - 0.02) < 1e-4 and abs(float(drawn.mean())) < 1e-4
    assert all(abs(float(t.std()) - 0.02) < 0.003 for t in (model.pos_embed, model.cls_token))
    # torch's Conv2d: uniform within 1 / sqrt(fan in).
    bound = (3 * 16 * 16) ** -0.5
    assert 0.99 * bound < float(model.patch_embed.proj.weight.abs().max()) <= bound
    assert float(model.head.weight.abs().max()) < 1e-3
