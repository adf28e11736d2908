"""Schedule, learning-rate scaling and weight-decay groups against the words of MAE's appendix."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fautrain.checkpoint.state import read_nested, write_nested
from fautrain.config import OptimConfig
from fautrain.models.heads import ActionUnitModel
from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.vit import Size, size_of
from fautrain.optim import effective_lr, lr_at, make_adamw, make_optimizer, parameter_groups, set_lr


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


def test_the_released_pretraining_code_decays_the_tokens_too() -> None:
    """timm 0.3.2's `add_weight_decay`, of MAE and FMAE: all but what has one dimension or is a bias."""
    model = small_mae()
    decayed, _ = parameter_groups(model, 0.05, decay_tokens=True)
    names = {name for name, p in model.named_parameters() if any(p is q for q in decayed["params"])}
    assert names == {
        name
        for name, p in model.named_parameters()
        if p.requires_grad and p.ndim > 1 and not name.endswith(".bias")
    }


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


def action_unit_model() -> ActionUnitModel:
    size = Size("small", 16, 3, 2)
    return ActionUnitModel(size, 5, subjects=7, identity_layers=2, image_px=16, patch_px=4)


def scales(model: nn.Module, layer_decay: float | None) -> dict[str, tuple[float, float]]:
    """Learning-rate scale and weight decay by parameter."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        name_of[id(p)]: (group["lr_scale"], group["weight_decay"])
        for group in parameter_groups(model, 0.05, layer_decay)
        for p in group["params"]
    }


def test_layer_decay_by_name() -> None:
    """L = 3 blocks: 0.65 ** (4 - i) for the embedding (i = 0) and blocks (1, 2, 3), 1 for what follows."""
    found = scales(action_unit_model(), 0.65)
    assert found.keys() == dict(action_unit_model().named_parameters()).keys()
    expected = {
        "cls_token": (0.65**4, 0.0),
        "pos_embed": (0.65**4, 0.0),
        "patch_embed.proj.weight": (0.65**4, 0.05),
        "patch_embed.proj.bias": (0.65**4, 0.0),
        "blocks.0.norm1.weight": (0.65**3, 0.0),
        "blocks.0.attn.qkv.weight": (0.65**3, 0.05),
        "blocks.1.mlp.fc1.weight": (0.65**2, 0.05),
        "blocks.2.mlp.fc2.weight": (0.65, 0.05),
        "blocks.2.mlp.fc2.bias": (0.65, 0.0),
        "fc_norm.weight": (1.0, 0.0),
        "head.weight": (1.0, 0.05),
        "head.bias": (1.0, 0.0),
        "ID_head.0.weight": (1.0, 0.05),
        "ID_head.2.bias": (1.0, 0.0),
    }
    for name, (scale, decay) in expected.items():
        assert found[name] == (pytest.approx(scale), decay), name


def test_layer_decay_counts_frozen_blocks() -> None:
    model = action_unit_model()
    for parameter in model.blocks[0].parameters():
        parameter.requires_grad_(False)
    assert scales(model, 0.5)["cls_token"][0] == 0.5**4
    assert scales(model, 0.5)["blocks.2.norm1.weight"][0] == 0.5


def test_layer_decay_of_the_published_encoders() -> None:
    for size, depth in (("base", 12), ("large", 24)):
        with torch.device("meta"):
            model = ActionUnitModel(size_of(size), 12, subjects=41)
        groups = parameter_groups(model, 0.05, 0.65)
        assert len(groups) == 2 * (depth + 2)
        assert groups[0]["lr_scale"] == pytest.approx(0.65 ** (depth + 1))
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_adamw_gives_each_layer_its_rate() -> None:
    optimizer = make_adamw(action_unit_model(), 1e-3, layer_decay=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
        [1e-3 * 0.5**power for power in (4, 4, 3, 3, 2, 2, 1, 1, 0, 0)]
    )
    set_lr(optimizer, 1e-2)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-2 * 0.5**power for power in range(5)}


def test_layer_decay_one_is_none() -> None:
    """Neither the grouping nor the scale of 1 changes a bit."""
    found: list[dict[str, torch.Tensor]] = []
    for decay in (None, 1.0):
        torch.manual_seed(0)
        model = action_unit_model()
        optimizer = make_adamw(model, 1e-3, layer_decay=decay)
        for _ in range(2):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, 0.1) + parameter.detach()
            optimizer.step()
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_without_layer_decay_groups_have_no_scale() -> None:
    assert [set(group) for group in parameter_groups(small_mae(), 0.05)] == [{"params", "weight_decay"}] * 2


MUON = OptimConfig(name="muon", weight_decay=0.1, momentum=0.9)


def with_gradients(seed: int = 0) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    model = small_mae()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


def test_muon_takes_the_matrices_of_the_blocks_alone() -> None:
    model = small_mae()
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = make_optimizer(model, MUON).param_groups
    taken = {name_of[id(p)] for group in groups if group["muon"] for p in group["params"]}
    inside = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    blocks = ("blocks.0", "blocks.1", "decoder_blocks.0")
    assert taken == {f"{block}.{part}.weight" for block in blocks for part in inside}
    others = {name_of[id(p)] for group in groups if not group["muon"] for p in group["params"]}
    assert taken | others == {name for name, p in model.named_parameters() if p.requires_grad}
    assert {"patch_embed.proj.weight", "decoder_embed.weight", "decoder_pred.weight", "cls_token"} < others


def test_muons_step_is_the_nearest_orthogonal_matrix_of_adamws_size() -> None:
    """Against a singular value decomposition in float64: directions are the momentum's, singular values lie
    around 1 (Newton-Schulz in five steps, bf16), the root mean square is 0.2."""
    model = with_gradients()
    optimizer = make_optimizer(model, MUON)
    set_lr(optimizer, 0.01)
    before = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    optimizer.step()
    for name in ("blocks.0.attn.qkv.weight", "blocks.1.mlp.fc2.weight", "decoder_blocks.0.mlp.fc1.weight"):
        weight = model.get_parameter(name)
        assert weight.grad is not None
        rows, columns = weight.shape
        step = (before[name] * (1 - 0.01 * 0.1) - weight.detach().double()) / 0.01
        left, _, right = torch.linalg.svd(weight.grad.double(), full_matrices=False)
        turned = left.T @ (step / (0.2 * math.sqrt(max(rows, columns)))) @ right.T
        assert (turned.diagonal() > 0.5).all() and (turned.diagonal() < 1.3).all(), name
        assert (turned - turned.diagonal().diag()).abs().max() < 0.1, name
        assert step.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.25)


def test_muon_leaves_the_rest_to_adamw() -> None:
    ours, theirs = with_gradients(), with_gradients()
    for model, optimizer in ((ours, make_optimizer(ours, MUON)), (theirs, make_adamw(theirs, 0.0, 0.1))):
        set_lr(optimizer, 0.01)
        optimizer.step()
        del model
    for (name, one), (_, two) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        taken = name.startswith(("blocks.", "decoder_blocks.")) and one.ndim == 2
        assert torch.equal(one, two) != taken, name


def test_muon_skips_a_step_that_is_not_finite() -> None:
    model = with_gradients()
    optimizer = make_optimizer(model, MUON)
    set_lr(optimizer, 0.01)
    optimizer.step()
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    state = {id(p): {k: v.clone() for k, v in entry.items()} for p, entry in optimizer.state.items()}
    model.blocks[0].attn.qkv.weight.grad.fill_(math.nan)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert all(torch.equal(kept[name], p) for name, p in model.named_parameters())
    for parameter, entry in optimizer.state.items():
        assert all(torch.equal(state[id(parameter)][k], v) for k, v in entry.items())
    optimizer.found_inf = torch.tensor(0.0)
    model.blocks[0].attn.qkv.weight.grad.fill_(0.1)
    optimizer.step()
    assert not torch.equal(kept["cls_token"], model.cls_token)


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_muon_goes_on_from_a_checkpoint(tmp_path: Path, layer_decay: float | None) -> None:
    config = OptimConfig(name="muon", layer_decay=layer_decay)
    models = [with_gradients(), with_gradients()]
    one, two = (make_optimizer(model, config) for model in models)
    for optimizer in (one, two):
        set_lr(optimizer, 0.01)
        optimizer.step()
    write_nested(tmp_path, "optimizer", one.state_dict())
    again = make_optimizer(models[0], config)
    again.load_state_dict(read_nested(tmp_path, "optimizer"))
    for optimizer in (again, two):
        optimizer.step()
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_muon_with_layer_decay_gives_each_layer_its_rate() -> None:
    groups = make_optimizer(action_unit_model(), OptimConfig(name="muon", layer_decay=0.5)).param_groups
    assert {group["lr_scale"] for group in groups if group["muon"]} == {0.5**3, 0.5**2, 0.5}
