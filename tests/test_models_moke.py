"""AUFormer's experts against one module for each expert, the paper's counts, and a pixel's own image."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from module_per_expert import NaiveAUFormer
from test_models_frozen import kept
from torch import Tensor, nn

from fautrain.config import ActionUnitModelConfig, ExpertConfig
from fautrain.models.adapters.moke import ExpertGroup, context
from fautrain.models.build import build
from fautrain.models.heads import ActionUnitModel

torch.set_num_threads(1)


def auformer(outputs: int = 3, size: str = "tiny", px: int = 80, **moke: Any) -> ActionUnitModel:
    """AUFormer with every weight drawn, so that nothing is zero that could hide a mistake."""
    config = ActionUnitModelConfig(
        size=size,  # type: ignore[arg-type]
        image_px=px,
        drop_path=0.0,
        pool="class",
        frozen=True,
        adapter="moke",
        moke=ExpertConfig(**moke),
    )
    model = build(config, outputs).eval()
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3 / math.sqrt(parameter[0].numel()))
    return model


def images(count: int, px: int = 80, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 3, px, px, generator=torch.Generator().manual_seed(1)).to(dtype)


def learnt(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(("outputs", "millions"), [(12, 2.213), (8, 1.475)])
def test_an_expert_has_7620_parameters(outputs: int, millions: float) -> None:
    """The paper's sizes, on the meta device: 12 AUs (BP4D), 8 (DISFA, CASME II)."""
    with torch.device("meta"):
        config = ActionUnitModelConfig(size="base", pool="class", frozen=True, adapter="moke")
        model = build(config, outputs)
    groups = [part for part in model.modules() if isinstance(part, ExpertGroup)]
    assert len(groups) == 24
    assert {sum(p.numel() for p in group.parameters()) for group in groups} == {7620 * outputs}
    assert learnt(model) == 24 * 7620 * outputs + 2 * 769 * outputs
    assert round(learnt(model) / 1e6, 3) == millions


VARIANTS: list[dict[str, Any]] = [
    {},
    {"dilations": (1, 2)},
    {"dilations": ()},
    {"neighbourhood": None},
    {"neighbourhood": 5},
]


@pytest.mark.parametrize("moke", VARIANTS, ids=str)
def test_experts_side_by_side_are_a_loop_over_experts(moke: dict[str, Any]) -> None:
    """Logits, auxiliary logits and gradients of a loop over modules, in float64."""
    model = auformer(**moke).double()
    naive = NaiveAUFormer(model).double()
    out, (logits, auxiliary) = model(images(2)), naive(images(2))
    torch.testing.assert_close(out.logits, logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(out.auxiliary, auxiliary, rtol=0, atol=1e-12)
    (out.logits.sum() + out.auxiliary.square().sum()).backward()
    (logits.sum() + auxiliary.square().sum()).backward()
    group, experts = model.blocks[0].mlp_adapter, naive.groups[1]
    assert isinstance(group, ExpertGroup) and group.up.weight.grad is not None
    theirs = torch.cat([expert.expand.weight.grad for expert in experts])  # type: ignore[union-attr]
    torch.testing.assert_close(group.up.weight.grad, theirs[..., 0], rtol=1e-9, atol=1e-12)
    theirs = torch.cat([expert.reduce.weight.grad for expert in experts])  # type: ignore[union-attr]
    torch.testing.assert_close(group.down.weight.grad, theirs[..., 0, 0], rtol=1e-9, atol=1e-12)


def test_the_loop_in_float32_is_within_1e_6() -> None:
    model = auformer()
    batch = images(2, dtype=torch.float32)
    with torch.no_grad():
        out, (logits, auxiliary) = model(batch), NaiveAUFormer(model)(batch)
    assert logits.abs().max() > 0.1 and auxiliary.abs().max() > 0.1
    torch.testing.assert_close(out.logits, logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(out.auxiliary, auxiliary, rtol=1e-6, atol=1e-6)


def test_the_class_token_is_an_image_of_its_own() -> None:
    """The trap of a class token among the patches: neither side changes what the other's experts say."""
    group = ExpertGroup(16, 2, 4, 5).eval()
    for parameter in group.parameters():
        nn.init.normal_(parameter)
    tokens = torch.randn(2, 26, 16)
    changed = tokens.clone()
    changed[:, 0] += 1
    one, other = group(tokens)[0], group(changed)[0]
    assert torch.equal(one[:, 1:], other[:, 1:]) and not torch.equal(one[:, 0], other[:, 0])
    changed = tokens.clone()
    changed[:, 1:] += 1
    assert torch.equal(one[:, 0], group(changed)[0][:, 0])
    # And as any image of one pixel: a grid of one patch gives the patch what the class token gets.
    single = ExpertGroup(16, 2, 4, 1).eval()
    single.load_state_dict(group.state_dict())
    twice = tokens[:, :1].expand(-1, 2, -1)
    first, second = single(twice)[0].unbind(1)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first, one[:, 0])


def test_context_by_hand() -> None:
    """Equal keys: the mean of the neighbours that exist, four in a corner, six at a side."""
    value = torch.arange(9.0).view(1, 1, 3, 3)
    same = torch.ones_like(value)
    found = context(same, same, value, 3, 1)[0, 0]
    assert found[0, 0].item() == pytest.approx((0 + 1 + 3 + 4) / 4)
    assert found[0, 1].item() == pytest.approx((0 + 1 + 2 + 3 + 4 + 5) / 6)
    assert found[1, 1].item() == pytest.approx(4)
    # One key of ln 2 * sqrt(d) more than the others has twice their weight.
    key = torch.zeros_like(value)
    key[0, 0, 1, 1] = math.log(2) * 2
    assert context(same, key, value, 3, 4)[0, 0, 0, 0].item() == pytest.approx((0 + 1 + 3 + 2 * 4) / 5)


def test_experts_begin_as_nothing() -> None:
    """The frozen encoder's own features, whatever the experts."""
    config = ActionUnitModelConfig(size="tiny", image_px=80, pool="class", drop_path=0.0)
    plain = build(config, 3).eval()
    model = build(ActionUnitModelConfig(**{**vars(config), "adapter": "moke", "frozen": True}), 3).eval()
    batch = images(2, dtype=torch.float32)
    assert torch.equal(plain(batch).logits, model(batch).logits)
    assert model(batch).auxiliary is not None


def test_without_collaboration_there_is_one_expert() -> None:
    model = auformer(collaborate=False)
    assert model.auxiliary_head is None
    assert {part.experts for part in model.modules() if isinstance(part, ExpertGroup)} == {1}
    assert model(images(1, dtype=torch.float32)).auxiliary is None


def test_knowledge_is_inherited_or_not() -> None:
    """Without inheritance the first group says nothing to the second but through the tokens."""
    batch = torch.randn(1, 26, 16)
    for inherit in (True, False):
        group = ExpertGroup(16, 2, 4, 5, inherit=inherit)
        for parameter in group.parameters():
            nn.init.normal_(parameter)
        _, *handed = group(batch)
        same = torch.equal(group(batch)[0], group(batch, *handed)[0])
        assert same == (not inherit)


def test_a_frozen_encoder_keeps_no_inputs_of_its_maps() -> None:
    """What the second map of the four MLPs had is kept only where its weights learn."""
    model = auformer()
    hidden = (26, 4 * model.size.width)
    assert kept(images(1, dtype=torch.float32), model).count(hidden) == 0
    model.requires_grad_()
    assert kept(images(1, dtype=torch.float32), model).count(hidden) == 4
