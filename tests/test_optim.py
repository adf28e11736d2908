"""Schedule, learning-rate scaling and weight-decay groups against the words of MAE's appendix."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.vit import Size
from fautrain.optim import effective_lr, lr_at, make_adamw, parameter_groups, set_lr


def small_mae() -> MaskedAutoencoder:
    return MaskedAutoencoder(
        Size("small", 16, 2, 2), image_px=16, patch_px=4, decoder_width=8, decoder_depth=1, decoder_heads=2
    )


def by_epoch(epoch: float, epochs: float, warmup: float, peak: float, floor: float) -> float:
    """MAE's schedule in fractional epochs: a line through the warm-up, then half of a cosine wave."""
    if epoch < warmup:
        return peak * epoch / warmup
    angle = math.pi * (epoch - warmup) / (epochs - warmup)
    return floor + (peak - floor) * (1 + math.cos(angle)) / 2


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 40), st.floats(0, 1e-5))
def test_schedule_by_steps_is_the_schedule_by_epochs(
    steps_per_epoch: int, epochs: int, warmup: int, floor: float
) -> None:
    warmup = min(warmup, epochs - 1)
    for step in range(0, steps_per_epoch * epochs, max(1, steps_per_epoch * epochs // 17)):
        lr = lr_at(step, steps_per_epoch * epochs, steps_per_epoch * warmup, 1e-3, floor)
        assert lr == pytest.approx(by_epoch(step / steps_per_epoch, epochs, warmup, 1e-3, floor), abs=1e-15)


def test_schedule_at_its_corners() -> None:
    assert lr_at(0, 100, 10, 1.0) == 0
    assert lr_at(5, 100, 10, 1.0) == 0.5
    assert lr_at(10, 100, 10, 1.0) == 1.0
    assert lr_at(55, 100, 10, 1.0) == pytest.approx(0.5)
    assert lr_at(55, 100, 10, 1.0, floor=0.2) == pytest.approx(0.6)
    assert lr_at(100, 100, 10, 1.0, floor=0.2) == pytest.approx(0.2)
    assert lr_at(150, 100, 10, 1.0, floor=0.2) == pytest.approx(0.2)
    assert lr_at(0, 100, 0, 1.0) == 1.0
    assert lr_at(3, 3, 3, 1.0) == 1.0


def test_lr_scaling_of_the_published_runs() -> None:
    assert effective_lr(1.5e-4, 4096) == pytest.approx(2.4e-3)  # MAE, MAE-Face
    assert effective_lr(1.5e-4, 512) == pytest.approx(3e-4)  # FMAE
    assert effective_lr(5e-4, 64) == pytest.approx(1.25e-4)  # FMAE, fine-tuning


def test_what_decays() -> None:
    model = small_mae()
    model.pos_embed.requires_grad_()  # as in fine-tuning
    decayed, kept = parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.05, 0.0)
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    matrices = {name_of[id(p)] for p in decayed["params"]}
    vectors = {name_of[id(p)] for p in kept["params"]}
    assert {"cls_token", "mask_token", "pos_embed"} <= vectors
    assert all(name.endswith("weight") for name in matrices)
    assert all(
        "norm" in name or name.endswith("bias") for name in vectors - {"cls_token", "mask_token", "pos_embed"}
    )
    assert matrices | vectors == set(name_of.values()) - {"decoder_pos_embed"}
    assert {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "decoder_pred.weight"} <= matrices


def test_fixed_positions_are_not_trained() -> None:
    model = small_mae()
    trained = [p for group in parameter_groups(model, 0.05) for p in group["params"]]
    assert not any(p is model.pos_embed or p is model.decoder_pos_embed for p in trained)


def test_empty_group_is_left_out() -> None:
    assert len(parameter_groups(nn.LayerNorm(4), 0.05)) == 1


def test_adamw_steps_as_loshchilov_and_hutter_write() -> None:
    """Two steps against the algorithm written out: decay apart from the gradient, moments without bias."""
    model = nn.Linear(2, 1).double()
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer = make_adamw(model, 0.1, weight_decay=0.05, betas=(0.9, 0.95))
    expected = {"weight": weight, "bias": bias}
    first = {k: torch.zeros_like(v) for k, v in expected.items()}
    second = {k: torch.zeros_like(v) for k, v in expected.items()}
    for t, lr in enumerate((0.1, 0.02), start=1):
        set_lr(optimizer, lr)
        for (name, parameter), decay in zip(model.named_parameters(), (0.05, 0.0), strict=True):
            gradient = torch.full_like(parameter, 0.3 * t) * torch.arange(1, parameter.numel() + 1)
            parameter.grad = gradient.clone()
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.95 * second[name] + 0.05 * gradient**2
            moved = (first[name] / (1 - 0.9**t)) / ((second[name] / (1 - 0.95**t)).sqrt() + 1e-8)
            expected[name] = expected[name] - lr * decay * expected[name] - lr * moved
        optimizer.step()
    torch.testing.assert_close(model.weight.detach(), expected["weight"])
    torch.testing.assert_close(model.bias.detach(), expected["bias"])


def test_adamw_is_fused_where_it_can_be() -> None:
    assert make_adamw(small_mae(), 1e-3).defaults["fused"] is True
    with torch.device("meta"):
        assert make_adamw(small_mae(), 1e-3).defaults["fused"] is False


def test_set_lr_keeps_the_groups_scales() -> None:
    optimizer = make_adamw(small_mae(), 1e-3)
    optimizer.param_groups[0]["lr_scale"] = 0.65
    set_lr(optimizer, 1e-2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([6.5e-3, 1e-2])
