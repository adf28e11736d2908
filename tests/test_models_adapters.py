"""Adapter, LoRA, VPT and Convpass: nothing at first, where the papers put them, and what they do by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from facecorpus.errors import UserError
from fautrain.config import ActionUnitModelConfig, MaeModelConfig
from fautrain.models.adapters import ADAPTERS
from fautrain.models.adapters.convpass import Convpass
from fautrain.models.build import build, build_mae
from fautrain.models.heads import ActionUnitModel

torch.set_num_threads(1)
DEPTH, WIDTH = 4, 192
"""Of the tiny encoder."""
LEARNT = {
    "adapter": 2 * DEPTH * (2 * 8 * WIDTH + 8 + WIDTH),
    "lora": DEPTH * 2 * 2 * 8 * WIDTH,
    "vpt": DEPTH * 10 * WIDTH,
    "convpass": 2 * DEPTH * (2 * 8 * WIDTH + 8 + WIDTH + 9 * 8 * 8 + 8),
    "moke": 2 * DEPTH * 3 * (2 * 4 * WIDTH + 4 + WIDTH + 4 * 148 + 52 + 60) + 3 * (WIDTH + 1),
}
"""Parameters besides the head's, of 3 outputs."""


def adapted(name: str | None, **options: Any) -> ActionUnitModel:
    base: dict[str, Any] = {"size": "tiny", "image_px": 48, "pool": "class", "frozen": True, "drop_path": 0.0}
    return build(ActionUnitModelConfig(**{**base, "adapter": name, **options}), 3)


def images() -> Tensor:
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def disturbed(model: nn.Module) -> nn.Module:
    """With adapters and heads drawn anew, none of which is zero."""
    torch.manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1)
    return model


def test_every_adapter_is_tested_here() -> None:
    assert {name for name in ADAPTERS if name in LEARNT} == set(LEARNT)


@pytest.mark.parametrize("name", LEARNT)
def test_adapters_learn_and_nothing_else(name: str) -> None:
    model = disturbed(adapted(name).train())
    out = model(images())
    (out.logits.sum() + (0 if out.auxiliary is None else out.auxiliary.sum())).backward()
    learnt = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in learnt.values()) == LEARNT[name] + 3 * (WIDTH + 1)
    assert all(p.grad is not None and p.grad.any() for p in learnt.values())
    assert all(p.grad is None for n, p in model.named_parameters() if n not in learnt)
    # The encoder's weights keep the names under which they are published.
    plain = adapted(None).state_dict()
    assert plain.keys() <= model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[n]) for n, tensor in plain.items() if n not in learnt)


@pytest.mark.parametrize("name", ["adapter", "lora", "convpass", "moke"])
def test_an_adapter_adds_nothing_at_first(name: str) -> None:
    plain, model = adapted(None).eval(), adapted(name).eval()
    torch.testing.assert_close(model(images()).logits, plain(images()).logits, rtol=0, atol=0)
    assert not torch.equal(disturbed(model)(images()).logits, plain(images()).logits)


@pytest.mark.parametrize("name", LEARNT)
def test_a_width_can_be_chosen(name: str) -> None:
    few, many = (sum(p.numel() for p in adapted(name, adapter_width=width).parameters()) for width in (2, 3))
    assert few < many


def test_lora_changes_queries_and_values_by_a_product() -> None:
    model = disturbed(adapted("lora", adapter_scale=0.5)).eval()
    plain = adapted(None).eval()
    for block, own in zip(model.blocks, plain.blocks, strict=True):
        query, value = (
            0.5 * part.up.weight @ part.down.weight for part in (block.attn.qkv.query, block.attn.qkv.value)
        )  # type: ignore
        own.attn.qkv.weight.data += torch.cat([query, torch.zeros_like(query), value])  # type: ignore
    plain.head.load_state_dict(model.head.state_dict())
    torch.testing.assert_close(model(images()).logits, plain(images()).logits, rtol=1e-4, atol=1e-5)


def test_prompts_are_attended_to_and_gone_after_the_block() -> None:
    model = disturbed(adapted("vpt", adapter_width=2)).eval()
    tokens = model.with_class(model.embed(images()))
    for block in model.blocks:
        both = torch.cat([tokens, block.prompts.expand(2, -1, -1)], dim=1)  # type: ignore[operator]
        both = both + block.attn(block.norm1(both))  # type: ignore[operator]
        tokens = (both + block.mlp(block.norm2(both)))[:, :10]  # type: ignore[operator]
    torch.testing.assert_close(model.encode(images(), norm=False), tokens)


def test_convpass_convolves_patches_and_the_class_token_apart() -> None:
    made = disturbed(Convpass(16, 4, 5, scale=2.0).eval())
    tokens = torch.randn(1, 26, 16)
    hidden = tokens @ made.down.weight.T + made.down.bias
    hidden = hidden * torch.sigmoid(1.702 * hidden)
    image = functional.conv2d(
        hidden[:, 1:].mT.reshape(1, 4, 5, 5), made.conv.weight, made.conv.bias, padding=1
    )
    first = hidden[:, :1] @ made.conv.weight[:, :, 1, 1].T + made.conv.bias
    mixed = torch.cat([first, image.flatten(2).mT], dim=1)
    mixed = mixed * torch.sigmoid(1.702 * mixed)
    torch.testing.assert_close(made(tokens), 2 * (mixed @ made.up.weight.T + made.up.bias))
    dropped = made.train()(tokens)
    assert not torch.allclose(dropped, made.eval()(tokens))


def test_first_weights_of_convpass_and_vpt_are_the_papers() -> None:
    made = Convpass(16, 4, 5, scale=1.0)
    assert torch.equal(made.conv.weight[:, :, 1, 1], torch.eye(4)) and made.conv.weight.sum() == 4
    assert not made.up.weight.any() and made.down.weight.abs().max() <= math.sqrt(6 / 20)
    bound = math.sqrt(6 / (3 * 16 * 16 + WIDTH))
    prompts = torch.cat([block.prompts for block in adapted("vpt", adapter_width=50).blocks])  # type: ignore
    assert 0.99 * bound < prompts.abs().max() <= bound


@pytest.mark.parametrize("name", [None, *LEARNT])
def test_the_arithmetic_of_training_is_that_of_its_operators(name: str | None) -> None:
    """Counted forward and backward by PyTorch; prompts are tokens, which the formula takes for weights."""
    model = adapted(name, image_px=112)
    with FlopCounterMode(display=False) as counter:
        out = model(torch.randn(1, 3, 112, 112))
        (out.logits.sum() + (0 if out.auxiliary is None else out.auxiliary.sum())).backward()
    counted = counter.get_total_flops()
    assert model.training_flops() == pytest.approx(counted, rel=0.25 if name == "vpt" else 0.03)


@pytest.mark.parametrize("name", ["convpass", "moke"])
def test_an_adapter_that_needs_whole_images_refuses_pretraining(name: str) -> None:
    with pytest.raises(UserError, match=f"model.adapter={name} works on whole images"):
        build_mae(MaeModelConfig(size="tiny", image_px=48, adapter=name))


def test_adapters_for_tokens_pretrain_too() -> None:
    for name in ("adapter", "lora", "vpt"):
        model = build_mae(MaeModelConfig(size="tiny", image_px=48, adapter=name))
        assert model(images(), torch.rand(2, 9))[0].isfinite().all()
