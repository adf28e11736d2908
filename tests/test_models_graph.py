"""ME-GraphAU's first stage against a loop over nodes; Swin's weights by all their names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from facecorpus.errors import UserError
from fautrain.config import SwinGraphConfig
from fautrain.models.graph import FacialGraph, Normed, SwinGraphModel, encoder_flops, middle, normalised_edges
from fautrain.models.swin import SWINS, encoder_tensors, load_graph

TINY = SwinGraphConfig(size="tiny", image_px=64, drop_path=0.1)
TIMM = {
    "swin-t": "swin_tiny_patch4_window7_224",
    "swin-s": "swin_small_patch4_window7_224",
    "swin-b": "swin_base_patch4_window7_224",
}


def model(config: SwinGraphConfig = TINY, outputs: int = 4, seed: int = 0) -> SwinGraphModel:
    torch.manual_seed(seed)
    made = SwinGraphModel(config, outputs)
    for module in made.modules():  # statistics that a file must bring
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return made


@pytest.mark.parametrize("training", [True, False])
def test_nodes_are_a_map_and_a_batch_norm_each(training: bool) -> None:
    torch.manual_seed(0)
    together = Normed(6, 3 * 6, 6).double().train(training)
    together.bn.running_var.uniform_(0.5, 2)
    tokens = torch.randn(5, 7, 6, dtype=torch.float64)
    each: list[Tensor] = []
    for node in range(3):
        part = slice(6 * node, 6 * node + 6)
        fc, bn = nn.Linear(6, 6).double(), nn.BatchNorm1d(6).double().train(training)
        fc.weight.data, fc.bias.data = together.fc.weight.data[part], together.fc.bias.data[part]
        bn.running_var = together.bn.running_var[part].clone()
        # As ME-GraphAU does: channels before tokens, for PyTorch's batch norm of sequences.
        each.append(functional.relu(bn(fc(tokens).permute(0, 2, 1))).permute(0, 2, 1))
    torch.testing.assert_close(
        together(tokens).unflatten(2, (3, 6)), torch.stack(each, 2), rtol=1e-10, atol=1e-12
    )


def test_who_hears_whom_by_hand() -> None:
    nodes = torch.tensor([[[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]]], dtype=torch.float64)
    # Dot products: (4, 2, 0), (2, 2, 3), (0, 3, 9). Two neighbours: (0, 1), (all: a tie), (1, 2).
    edges = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    degree = torch.tensor([2.0, 3.0, 2.0], dtype=torch.float64)
    expected = edges / (degree[:, None] * degree[None]).sqrt()
    torch.testing.assert_close(normalised_edges(nodes, 2)[0], expected)


def test_the_graph_against_loops() -> None:
    """Row by row, in training mode: batch norm over pictures and channels, one mean and variance a node."""
    torch.manual_seed(0)
    graph, nodes = FacialGraph(5, 4, 3).double(), torch.randn(2, 5, 4, dtype=torch.float64).relu()
    before = torch.empty_like(nodes)
    for n in range(2):
        similarity = nodes[n] @ nodes[n].T
        heard = [[j for j in range(5) if row[j] >= sorted(row.tolist())[-3]] for row in similarity]
        for i in range(5):
            before[n, i] = graph.U(nodes[n, i])
            for j in heard[i]:
                before[n, i] += graph.V(nodes[n, j]) / (len(heard[i]) * len(heard[j])) ** 0.5
    mean, variance = before.mean(dim=(0, 2)), before.var(dim=(0, 2), unbiased=False)
    normed = (before - mean[:, None]) / (variance[:, None] + graph.bn.eps).sqrt()
    torch.testing.assert_close(graph(nodes), (nodes + normed).relu(), rtol=1e-10, atol=1e-12)


def test_the_encoder_gives_unit_vectors_of_the_middle() -> None:
    made, images = model().eval(), torch.randn(2, 3, 64, 64)
    vectors = made.vectors(images)
    assert (vectors.shape, made.encoder.crop_px) == ((2, 4, 192), 56)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, 4))
    assert torch.equal(vectors, made.vectors(middle(images, 56))) and made.features(images).shape == (2, 768)
    assert middle(torch.arange(6).expand(1, 1, 6, 6), 2)[0, 0].tolist() == [[2, 3], [2, 3]]
    logits = made(images).logits
    torch.testing.assert_close(logits[:, 1], vectors[:, 1] @ made.head[1] + made.head_bias[1])
    for px in (96, 112, 224):
        assert (
            model(replace(TINY, image_px=px), 2).eval().features(torch.randn(1, 3, px, px)).isfinite().all()
        )


def test_a_frozen_encoder_keeps_nothing_for_gradients() -> None:
    images = torch.randn(3, 3, 64, 64)
    still, moving, free = (model(replace(TINY, frozen=kind)).train() for kind in ("still", "moving", "no"))
    assert not still.encoder.training and moving.encoder.training and free.encoder.training
    before = {kind: made.encoder.fgg.bn.running_mean.clone() for kind, made in enumerate((still, moving))}
    for made in (still, moving, free):
        made(images).logits.sum().backward()
        held = {name for name, p in made.named_parameters() if p.grad is not None}
        assert ({"head", "head_bias"} == held) == made.frozen
    assert still.vectors(images).grad_fn is None and moving.vectors(images).grad_fn is None
    assert torch.equal(still.encoder.fgg.bn.running_mean, before[0])
    assert not torch.equal(moving.encoder.fgg.bn.running_mean, before[1])
    assert (
        still.training_flops() == encoder_flops(still.encoder)
        and free.training_flops() == 3 * still.training_flops()
    )


def test_flops_of_the_published_swin() -> None:
    """timm's card of Swin-B says 15.4 G multiply-adds at 224 px; AFG adds 49 x 1024 x 12 x 1024 of them."""
    with torch.device("meta"):
        made = SwinGraphModel(SwinGraphConfig(), 12)
    ours = 2 * (15.4e9 + 49 * 1024 * 1024 * 13 + 12 * 1024 * 1024 * 2)
    assert encoder_flops(made.encoder) == pytest.approx(ours, rel=0.02)


# -- weights -------------------------------------------------------------------------------------------------


def microsoft(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names of a Swin as the original code has them: a stage's last layer makes it smaller."""

    def name(found: re.Match[str]) -> str:
        return f"layers.{int(found[1]) - 1}.downsample"

    renamed = {re.sub(r"layers\.(\d+)\.downsample", name, key): tensor for key, tensor in state.items()}
    buffers = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64)}
    return renamed | buffers | {"layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}


def me_graphau(made: SwinGraphModel, prefix: str = "module.") -> dict[str, Tensor]:
    """Our encoder's weights as ME-GraphAU's and AUNCE's files name them: a module for each node."""
    own, channels = made.encoder.state_dict(), made.encoder.channels
    swin = {n.removeprefix("backbone."): t for n, t in own.items() if n.startswith("backbone.")}
    state = {f"backbone.{name}": tensor for name, tensor in microsoft(swin).items()}
    for name, tensor in own.items():
        if name.startswith("afg."):
            for node in range(made.encoder.outputs):
                part = tensor[node * channels : (node + 1) * channels] if tensor.ndim else tensor
                state[f"head.class_linears.{node}.{name.removeprefix('afg.')}"] = part.clone()
        elif name.startswith("fgg."):
            state[f"head.gnn.{name.removeprefix('fgg.').replace('bn.', 'bnv.')}"] = tensor
        elif name.startswith("global_linear."):
            state[name] = tensor
    state["head.sc"] = own["fgg.U.weight"][: made.encoder.outputs].clone()
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("size", TIMM)
def test_the_published_sizes_are_timm_s_and_their_files_fit(size: str) -> None:
    """On the meta device: names and shapes of timm, Microsoft and ME-GraphAU (half the width)."""
    with torch.device("meta"):
        published = timm.create_model(TIMM[size], num_classes=1000).state_dict()
        made = SwinGraphModel(SwinGraphConfig(size=size, reduction=2), 12)  # type: ignore[arg-type]
        original = microsoft({n: t for n, t in published.items() if not n.startswith("head.")})
        files = (published, original | {"head.weight": torch.zeros(1000, made.encoder.channels)})
        graph = encoder_tensors(
            {n.removeprefix("backbone."): t for n, t in me_graphau(made, "").items()}, made.encoder
        )
    own = made.encoder.state_dict()
    assert {n: t.shape for n, t in graph.items()} == {n: t.shape for n, t in own.items()}
    backbone = {name: t.shape for name, t in own.items() if name.startswith("backbone.")}
    assert (made.encoder.channels, own["afg.fc.weight"].shape[0]) == (
        SWINS[size].width * 4,
        SWINS[size].width * 48,
    )
    for file in files:
        found = {name: t.shape for name, t in encoder_tensors(file, made.encoder).items()}
        assert {name: shape for name, shape in found.items() if name in backbone} == backbone


@pytest.mark.parametrize("layout", ["timm", "microsoft", "me-graphau", "aunce", "ours"])
def test_weights_by_all_their_names(tmp_path: Path, layout: str) -> None:
    source, made = model(seed=1), model(seed=2)
    swin = {
        n.removeprefix("encoder.backbone."): t for n, t in source.state_dict().items() if ".backbone." in n
    }
    path = tmp_path / "weights.pth"
    if layout == "ours":
        path = tmp_path / "model.safetensors"
        save_file(source.state_dict(), path)
    elif layout == "timm":
        torch.save(swin, path)
    elif layout == "microsoft":
        torch.save({"model": microsoft(swin)}, path)
    elif layout == "me-graphau":
        torch.save({"epoch": 3, "state_dict": me_graphau(source), "optimizer": {"state": {}}}, path)
    else:
        torch.save(me_graphau(source, ""), path)
    report = str(load_graph(made, path))
    alone = layout in ("timm", "microsoft")
    for name, tensor in made.state_dict().items():
        taken = name.startswith("encoder.backbone." if alone else "encoder.")
        assert torch.equal(tensor, source.state_dict()[name]) or not taken, name
    loaded = sum(name.startswith("encoder.backbone." if alone else "encoder.") for name in made.state_dict())
    assert report.startswith(f"{path}: {loaded} tensors loaded")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(made.eval().vectors(images), source.eval().vectors(images)) != alone


def test_a_whole_model_and_nothing_less(tmp_path: Path) -> None:
    source, path = model(seed=1), tmp_path / "model.safetensors"
    save_file(source.state_dict(), path)
    made = model(seed=2)
    load_graph(made, path, whole=True)
    assert all(torch.equal(t, source.state_dict()[n]) for n, t in made.state_dict().items())
    save_file({n: t for n, t in source.state_dict().items() if "fgg.U" not in n}, path)
    with pytest.raises(UserError, match=r"lacks encoder.fgg.U.weight and 1 more: give a Swin"):
        load_graph(made, path)
    with pytest.raises(UserError, match=r"of shape \(768, 192\), the model's is \(960, 192\): choose"):
        save_file(source.state_dict(), path)
        load_graph(model(outputs=5), path)
    before = {n: t.clone() for n, t in made.state_dict().items()}
    other = SwinGraphModel(replace(TINY, size="swin-t"), 4)
    with pytest.raises(UserError, match=r"of the size that model.size says|choose the model.size"):
        load_graph(other, path)
    assert all(torch.equal(t, before[n]) for n, t in made.state_dict().items())
