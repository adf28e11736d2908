"""The encoder: sizes, names, positions, first weights, and the features of timm's ViT."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facecorpus.errors import UserError
from fautrain.models.vit import SIZES, Attention, Size, sincos_positions, size_of
from tests.bare_encoder import VisionTransformer

torch.set_num_threads(1)
SMALL = Size("small-for-tests", 24, 3, 4)


def small() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(SMALL, image_px=16, patch_px=4)


def expected_shapes(width: int, depth: int, patch: int, tokens: int) -> dict[str, tuple[int, ...]]:
    """The table of published state-dict keys, encoder part."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(depth):
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{norm}.weight": (width,), f"blocks.{i}.{norm}.bias": (width,)}
        for name, wide, narrow in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes |= {f"blocks.{i}.{name}.weight": (wide, narrow), f"blocks.{i}.{name}.bias": (wide,)}
    return shapes


@pytest.mark.parametrize(
    ("name", "width", "depth", "patch", "tokens", "millions"),
    [
        ("tiny", 192, 4, 16, 197, 2.0),
        ("small", 384, 12, 16, 197, 21.7),
        ("base", 768, 12, 16, 197, 85.8),
        ("large", 1024, 24, 16, 197, 303.3),
        ("huge", 1280, 32, 14, 257, 630.8),
    ],
)
def test_published_names_shapes_and_counts(
    name: str, width: int, depth: int, patch: int, tokens: int, millions: float
) -> None:
    with torch.device("meta"):
        model = VisionTransformer(size_of(name))
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert shapes == expected_shapes(width, depth, patch, tokens)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


def test_head_width_is_64_but_in_huge() -> None:
    assert {s.name: s.width // s.heads for s in SIZES.values()} == {
        "tiny": 64,
        "small": 64,
        "base": 64,
        "large": 64,
        "huge": 80,
    }


@pytest.mark.parametrize(("width", "grid"), [(24, 4), (64, 7)])
def test_positions_are_sines_and_cosines_of_column_and_row(width: int, grid: int) -> None:
    expected = np.zeros((1 + grid * grid, width))
    quarter = width // 4
    for row in range(grid):
        for column in range(grid):
            for i in range(quarter):
                rate = 1 / 10000 ** (i / quarter)
                vector = expected[1 + row * grid + column]
                vector[i], vector[quarter + i] = math.sin(column * rate), math.cos(column * rate)
                vector[2 * quarter + i], vector[3 * quarter + i] = math.sin(row * rate), math.cos(row * rate)
    np.testing.assert_allclose(sincos_positions(width, grid)[0].numpy(), expected, atol=1e-7)


def test_positions_are_stored_and_fixed() -> None:
    model = small()
    assert not model.pos_embed.requires_grad
    assert "pos_embed" in model.state_dict()
    torch.testing.assert_close(model.pos_embed.detach(), sincos_positions(24, 4))


def test_first_weights_are_maes() -> None:
    torch.manual_seed(3)
    model = VisionTransformer(Size("wide", 256, 2, 4), image_px=32, patch_px=16)
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            matrix = part.weight.detach().flatten(1)
            # Xavier of the whole map: the patch embedding's fan-in is a flattened patch, qkv is one matrix.
            bound = math.sqrt(6 / (matrix.shape[0] + matrix.shape[1]))
            assert matrix.abs().max().item() <= bound, name
            assert matrix.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02), name
            assert part.bias is not None
            assert not part.bias.any(), name
        if isinstance(part, nn.LayerNorm):
            assert (part.weight == 1).all(), name
            assert not part.bias.any(), name
            assert part.eps == 1e-6
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.2)


def test_patch_embedding_is_the_convolution_it_is_stored_as() -> None:
    model = small()
    images = torch.randn(2, 3, 16, 16)
    expected = model.patch_embed.proj(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.patch_embed(images), expected)


def test_attention_against_its_formula() -> None:
    torch.manual_seed(1)
    attention = Attention(12, 3).double()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    x = tokens.numpy()
    weight, bias = attention.qkv.weight.detach().numpy(), attention.qkv.bias.detach().numpy()
    mixed = np.zeros_like(x)
    for n in range(2):
        qkv = x[n] @ weight.T + bias  # (5, 36): queries, then keys, then values, each head after head
        for head in range(3):
            q, k, v = (qkv[:, part * 12 + head * 4 : part * 12 + head * 4 + 4] for part in range(3))
            scores = np.exp(q @ k.T / 2.0)  # sqrt of the head's width 4
            mixed[n, :, head * 4 : head * 4 + 4] = scores / scores.sum(1, keepdims=True) @ v
    out = mixed @ attention.proj.weight.detach().numpy().T + attention.proj.bias.detach().numpy()
    np.testing.assert_allclose(attention(tokens).detach().numpy(), out, atol=1e-12)


def test_batch_of_one_equals_batch_of_many() -> None:
    model = small().double()
    images = torch.randn(5, 3, 16, 16, dtype=torch.float64)
    together = model(images)
    assert together.shape == (5, 17, 24)
    for i in range(5):
        torch.testing.assert_close(model(images[i : i + 1])[0], together[i])


def gradients(model: VisionTransformer, images: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    model(images).square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_checkpointed_activations_change_no_gradient() -> None:
    model, images = small(), torch.randn(2, 3, 16, 16)
    kept = gradients(model, images)
    model.checkpoint_activations = True
    recomputed = gradients(model, images)
    assert kept.keys() == recomputed.keys()
    assert all(torch.equal(kept[name], recomputed[name]) for name in kept)


def test_checkpointing_stores_less() -> None:
    """Bytes that autograd keeps between forward and backward."""

    def stored(model: VisionTransformer) -> int:
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(torch.randn(2, 3, 16, 16))
        return total

    model = small()
    everything = stored(model)
    model.checkpoint_activations = True
    assert stored(model) < everything / 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VisionTransformer(SMALL, image_px=30, patch_px=4), "image_px"),
        (lambda: VisionTransformer(SMALL, image_px=2, patch_px=4), "image_px"),
        (lambda: VisionTransformer(Size("odd", 30, 1, 5), image_px=8, patch_px=4), "multiple of 4"),
        (lambda: Attention(24, 5), "divisor"),
        (lambda: size_of("gigantic"), "tiny, small, base, large, huge"),
        (lambda: small()(torch.zeros(1, 3, 32, 32)), "image_px"),
        (lambda: small()(torch.zeros(1, 1, 16, 16)), r"\(1, 16, 16\)"),
    ],
)
def test_refusals_name_the_option(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(UserError, match=words):
        make()
