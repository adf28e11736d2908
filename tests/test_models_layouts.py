"""Everyone's files, in their very names and shapes, for all sizes; and those that are refused, and why.

Whole-size files are made on the meta device: names and shapes without their gigabytes.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from facecorpus.errors import UserError
from fautrain.models.convert import LoadReport, load_encoder, put_encoder
from fautrain.models.vit import Size, size_of
from fautrain.models.weights import weights_in
from tests.bare_encoder import VisionTransformer

torch.set_num_threads(1)
Shapes = dict[str, tuple[int, ...]]
PUBLISHED = {"small": (384, 12, 16), "base": (768, 12, 16), "large": (1024, 24, 16), "huge": (1280, 32, 14)}
"""Width, depth and patch side of the published encoders."""
DECODER = 512


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def block(name: str, d: int) -> Shapes:
    return {
        **norm(f"{name}.norm1", d),
        **linear(f"{name}.attn.qkv", 3 * d, d),
        **linear(f"{name}.attn.proj", d, d),
        **norm(f"{name}.norm2", d),
        **linear(f"{name}.mlp.fc1", 4 * d, d),
        **linear(f"{name}.mlp.fc2", d, 4 * d),
    }


def encoder(d: int, depth: int, patch: int) -> Shapes:
    """The state dict of facts section 5 up to the last norm."""
    shapes: Shapes = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 1 + (224 // patch) ** 2, d),
        "patch_embed.proj.weight": (d, 3, patch, patch),
        "patch_embed.proj.bias": (d,),
    }
    for index in range(depth):
        shapes |= block(f"blocks.{index}", d)
    return shapes


def decoder(d: int, patch: int) -> Shapes:
    shapes: Shapes = {
        "mask_token": (1, 1, DECODER),
        "decoder_pos_embed": (1, 1 + (224 // patch) ** 2, DECODER),
    }
    shapes |= linear("decoder_embed", DECODER, d) | norm("decoder_norm", DECODER)
    for index in range(8):
        shapes |= block(f"decoder_blocks.{index}", DECODER)
    return shapes | linear("decoder_pred", patch * patch * 3, DECODER)


def hugging_face(d: int, depth: int, patch: int, version: int) -> Shapes:
    """transformers' ViTMAEModel: as 4 writes it, on the hub, and as a state dict of 5 has it."""
    shapes: Shapes = {
        "embeddings.cls_token": (1, 1, d),
        "embeddings.position_embeddings": (1, 1 + (224 // patch) ** 2, d),
        "embeddings.patch_embeddings.projection.weight": (d, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (d,),
    }
    for index in range(depth):
        layer = f"encoder.layer.{index}" if version == 4 else f"layers.{index}"
        three = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
        output, first, second = "attention.output.dense", "intermediate.dense", "output.dense"
        if version == 5:
            three = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
            output, first, second = "attention.o_proj", "mlp.fc1", "mlp.fc2"
        for part in (*three, output):
            shapes |= linear(f"{layer}.{part}", d, d)
        shapes |= linear(f"{layer}.{first}", 4 * d, d) | linear(f"{layer}.{second}", d, 4 * d)
        shapes |= norm(f"{layer}.layernorm_before", d) | norm(f"{layer}.layernorm_after", d)
    return shapes | norm("layernorm", d)


def prefixed(before: str, shapes: Shapes) -> Shapes:
    return {before + name: shape for name, shape in shapes.items()}


def fsfm(d: int, depth: int, patch: int) -> Shapes:
    """FSFM's online network: MAE's, a second decoder of representations, and two heads."""
    shapes = encoder(d, depth, patch) | norm("norm", d) | decoder(d, patch)
    shapes |= {"mask_token": (1, 1, d), "rep_decoder_pos_embed": (1, 1 + (224 // patch) ** 2, d)}
    shapes |= (
        linear("rep_decoder_embed", d, d) | norm("rep_decoder_norm", d) | linear("rep_decoder_pred", d, d)
    )
    for index in range(2):
        shapes |= block(f"rep_decoder_blocks.{index}", d)
    for head in ("projector", "predictor"):
        shapes |= linear(f"{head}.projection_head.0", 4096, d) | norm(f"{head}.projection_head.1", 4096)
        shapes |= linear(f"{head}.projection_head.3", 256, 4096)
    return shapes


def meta(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


ARGUMENTS = argparse.Namespace(blr=1.5e-4, output_dir=pathlib.PosixPath("/out"))
FILES: dict[str, Callable[[int, int, int], Any]] = {
    "mae": lambda d, n, p: {"model": meta(encoder(d, n, p) | norm("norm", d))},
    "mae_visualize": lambda d, n, p: {"model": meta(encoder(d, n, p) | norm("norm", d) | decoder(d, p))},
    "fmae": lambda d, n, p: {
        "model": meta(encoder(d, n, p) | norm("norm", d) | decoder(d, p)),
        "optimizer": {
            "state": {0: {"exp_avg": torch.empty(2, device="meta")}},
            "param_groups": [{"lr": 1e-4}],
        },
        "epoch": 49,
        "scaler": {"scale": 65536.0},
        "args": ARGUMENTS,
    },
    "fmae_iat": lambda d, n, p: {
        "model": meta(
            encoder(d, n, p) | norm("fc_norm", d) | linear("head", 12, d) | linear("ID_head", 41, d)
        ),
        "args": ARGUMENTS,
    },
    "mae_finetuned": lambda d, n, p: {
        "model": meta(encoder(d, n, p) | norm("fc_norm", d) | linear("head", 1000, d))
    },
    "timm": lambda d, n, p: meta(encoder(d, n, p) | norm("norm", d) | linear("head", 1000, d)),
    "timm_pooled": lambda d, n, p: meta(encoder(d, n, p) | norm("fc_norm", d) | linear("head", 7, d)),
    "hf": lambda d, n, p: meta(hugging_face(d, n, p, 4)),
    "hf_pretraining": lambda d, n, p: meta(
        prefixed("vit.", hugging_face(d, n, p, 4))
        | {"decoder.mask_token": (1, 1, DECODER)}
        | linear("decoder.decoder_layers.0.intermediate.dense", 2048, DECODER)
    ),
    "hf_5": lambda d, n, p: meta(
        prefixed("vit.", hugging_face(d, n, p, 5)) | linear("decoder.decoder_layers.0.mlp.fc1", 2048, DECODER)
    ),
    "fsfm": lambda d, n, p: {"model": meta(fsfm(d, n, p)), "args": ARGUMENTS},
}


def put(size: str, content: Any) -> LoadReport:
    with torch.device("meta"):
        model = VisionTransformer(size_of(size))
    return put_encoder(model, weights_in(content, Path("file.pth")), Path("file.pth"))


@pytest.mark.parametrize("size", PUBLISHED)
@pytest.mark.parametrize("name", FILES)
def test_published_files_are_whole_encoders_of_their_size(name: str, size: str) -> None:
    content = FILES[name](*PUBLISHED[size])
    if (name, size) == ("fsfm", "small"):
        with pytest.raises(UserError, match=r"12 attention heads where model\.size=small has 6"):
            put(size, content)
        return
    report = put(size, content)
    width, depth, patch = PUBLISHED[size]
    last = () if "norm.weight" in report.loaded else ("norm.weight", "norm.bias")
    assert report.missing == last and report.interpolated is None
    assert len(report.loaded) == len(encoder(width, depth, patch)) + 2 - len(last)
    assert not any(unused.startswith(("blocks", "pos", "cls", "patch")) for unused in report.unexpected)
    other = next(other for other in PUBLISHED if other != size)
    with pytest.raises(UserError, match=f"width {width} and depth {depth}.*set model.size to {size}"):
        put(other, content)


@pytest.mark.parametrize("name", ["fmae", "timm", "hf", "hf_5"])
@pytest.mark.parametrize("part", ["pos_embed", "patch", "fc1", "norm1"])
def test_a_shape_that_is_off_is_named(name: str, part: str) -> None:
    """One tensor of ViT-B of another shape, under the file's own name for it."""
    content = FILES[name](*PUBLISHED["base"])
    tensors: dict[str, Tensor] = content.get("model", content)
    ends = {
        "pos_embed": (
            ("pos_embed", "position_embeddings"),
            (1, 196, 768),
            "196 positions, which is not a square",
        ),
        "patch": (("proj.weight", "projection.weight"), (768, 3, 14, 14), "is for 14 px patches"),
        "fc1": (
            ("fc1.weight", "intermediate.dense.weight"),
            (3071, 768),
            r"mlp.fc1.weight of shape \(3071, 768\)",
        ),
        "norm1": (("norm1.bias", "layernorm_before.bias"), (767,), r"norm1.bias of shape \(767,\)"),
    }
    suffixes, shape, words = ends[part]
    which = next(key for key in tensors if key.endswith(suffixes) and "decoder" not in key)
    tensors[which] = torch.empty(shape, device="meta")
    with pytest.raises(UserError, match=words):
        put("base", content)


@pytest.mark.parametrize("name", ["hf", "hf_5"])
def test_a_part_of_attention_that_is_missing_or_off_leaves_the_rest_by_its_name(name: str) -> None:
    key = {
        "hf": "encoder.layer.3.attention.attention.key.bias",
        "hf_5": "vit.layers.3.attention.k_proj.bias",
    }[name]
    for change in (None, torch.empty(5, device="meta")):
        content = FILES[name](*PUBLISHED["base"])
        assert content.pop(key) is not None
        if change is not None:
            content[key] = change
        with pytest.raises(
            UserError, match=r"lacks blocks.\*.attn.qkv.bias in 1 of 12 blocks \(it has blocks"
        ):
            put("base", content)


SMALL = Size("small-for-tests", 24, 2, 4)


def small(seed: int) -> VisionTransformer:
    torch.manual_seed(seed)
    model = VisionTransformer(SMALL, image_px=16, patch_px=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


def in_hugging_face_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the table of `ViTMAEModel`'s documentation, from timm's names."""
    swapped = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    borders = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
    }
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.startswith("blocks."):
            old = next(key for key in borders if name == key or name.startswith(f"{key}."))
            found[f"vit.{borders[old]}{name[len(old) :]}"] = tensor
            continue
        _, number, rest = name.split(".", 2)
        stem, leaf = rest.rsplit(".", 1)
        before = f"vit.encoder.layer.{number}."
        if stem == "attn.qkv":
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[f"{before}attention.attention.{part}.{leaf}"] = piece.clone()
        else:
            found[f"{before}{swapped[stem]}.{leaf}"] = tensor
    return found


def test_transformers_values_land_where_they_belong(tmp_path: Path) -> None:
    published, model = small(1), small(2)
    named = in_hugging_face_names(published.state_dict())
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, tmp_path / "model.safetensors")
    report = load_encoder(model, tmp_path / "model.safetensors")
    assert (report.missing, report.unexpected) == ((), ())
    ours, theirs = model.state_dict(), published.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def clip(before: str) -> Shapes:
    """FaRL's and OpenAI's vision encoder."""
    shapes: Shapes = {
        "conv1.weight": (24, 3, 4, 4),
        "class_embedding": (24,),
        "positional_embedding": (17, 24),
        "proj": (24, 8),
    }
    shapes |= norm("ln_pre", 24) | norm("ln_post", 24)
    for index in range(2):
        one = f"transformer.resblocks.{index}"
        shapes |= {f"{one}.attn.in_proj_weight": (72, 24), f"{one}.attn.in_proj_bias": (72,)}
        shapes |= linear(f"{one}.mlp.c_fc", 96, 24) | linear(f"{one}.mlp.c_proj", 24, 96)
    return prefixed(before, shapes)


def swin(before: str) -> Shapes:
    shapes: Shapes = {"patch_embed.proj.weight": (24, 3, 4, 4), "patch_embed.proj.bias": (24,)}
    shapes |= {"layers.0.blocks.0.attn.relative_position_bias_table": (169, 3)}
    return prefixed(before, shapes | block("layers.0.blocks.0", 24) | linear("global_linear.fc", 24, 24))


def random(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"state_dict": random(clip("visual.") | {"text_projection": (8, 8)})},
            "vision encoder of a CLIP .FaRL's",
        ),
        (random(prefixed("vision_model.", norm("pre_layrnorm", 24))), "vision encoder of a CLIP"),
        (random(encoder(24, 2, 4) | norm("norm_pre", 24)), "vision encoder of a CLIP"),
        (
            {"epoch": 3, "state_dict": random(swin("module.backbone.")), "optimizer": {}},
            "Swin.*the recipe aunce",
        ),
        (random(swin("")), "Swin Transformer"),
        (random({"backbone.layer1.0.conv1.weight": (8, 3, 1, 1)}), "no ViT encoder"),
    ],
)
def test_other_encoders_are_refused_by_what_they_are(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=words) as refusal:
        load_encoder(small(0), tmp_path / "other.pth")
    assert "\n" not in str(refusal.value) and str(tmp_path) in str(refusal.value)


def test_of_student_and_teacher_the_teacher_is_taken(tmp_path: Path) -> None:
    student, teacher = small(1), small(2)
    parts = {
        "student": {f"module.backbone.{name}": tensor for name, tensor in student.state_dict().items()},
        "teacher": {f"backbone.{name}": tensor for name, tensor in teacher.state_dict().items()},
    }
    torch.save(parts, tmp_path / "dino.pth")
    model = small(3)
    assert load_encoder(model, tmp_path / "dino.pth").where == "teacher"
    assert torch.equal(model.cls_token, teacher.cls_token)


class Named:
    """Pickled as a call of a class that is found by its name alone."""

    def __init__(self, kind: Any, *arguments: str) -> None:
        self.call = kind, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
@pytest.mark.parametrize("kind", ["PosixPath", "WindowsPath"])
def test_paths_of_other_systems_and_pythons_among_the_arguments(
    tmp_path: Path, module: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = type(kind, (), {"__module__": module, "__qualname__": kind})
    with monkeypatch.context() as patched:
        named = sys.modules[module] if module in sys.modules else types.ModuleType(module)
        patched.setitem(sys.modules, module, named)
        patched.setattr(named, kind, there, raising=False)
        arguments = argparse.Namespace(output_dir=Named(there, "out"))
        torch.save({"model": small(1).state_dict(), "args": arguments}, tmp_path / "file.pth")
    assert load_encoder(small(2), tmp_path / "file.pth").missing == ()
