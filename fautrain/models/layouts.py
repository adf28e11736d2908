"""Names that others give to the tensors of a ViT, and encoders that are none: what files look like.

Ours are timm's and MAE's: `cls_token`, `pos_embed`, `patch_embed.proj`, `blocks.N.*`, `norm`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

import torch
from torch import Tensor

TIMM: Final = "patch_embed.proj.weight"
HUGGING_FACE: Final = "embeddings.patch_embeddings.projection.weight"
ANCHORS: Final = (TIMM, HUGGING_FACE)
"""What stands before one of these names stands before the whole encoder: `module.` of DDP, `_orig_mod.`
of `torch.compile`, `model.` of Lightning, `encoder.` or `backbone.` of a larger model, `vit.` of
transformers."""
_BORDERS: Final = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
}
_LAYER: Final = re.compile(r"(?:encoder\.layer|layers)\.(\d+)\.(.+)")
_INSIDE: Final = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.attention.query": "attn.q",
    "attention.attention.key": "attn.k",
    "attention.attention.value": "attn.v",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "attention.q_proj": "attn.q",
    "attention.k_proj": "attn.k",
    "attention.v_proj": "attn.v",
    "attention.o_proj": "attn.proj",
}
"""transformers 4 first (the files on the hub), then what 5 calls otherwise; its `mlp` is called as ours."""
_OTHERS: Final = {
    r"(.*\.)?(ln_pre|pre_layrnorm|norm_pre)\.weight": """the vision encoder of a CLIP (FaRL's, OpenAI's,
        open_clip's), which norms its tokens before the first block and mostly has another activation, so that
        its weights mean something else in this ViT""",
    r"(.*\.)?layers\.\d+\.blocks\.\d+\.attn\.relative_position_bias_table": """a Swin Transformer
        (ME-GraphAU's, AUNCE's, timm's), which is no ViT: it is for the recipe aunce""",
}
"""What no plain ViT has, and what has it."""
_FSFM: Final = "rep_decoder_embed.weight"


def own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers' ViT, ViT-MAE and kin under our names; what is not known keeps its own.

    Query, key and value become one `qkv`, in this order, where all three are there and of one shape.
    """
    if HUGGING_FACE not in tensors:
        return dict(tensors)
    named = {_own_name(name): tensor for name, tensor in tensors.items()}
    for name in [name for name in named if re.fullmatch(r"blocks\.\d+\.attn\.q\.(weight|bias)", name)]:
        three = [name.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(part in named and named[part].shape == named[name].shape for part in three):
            named[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat([named.pop(part) for part in three])
    return named


def _own_name(name: str) -> str:
    layer = _LAYER.fullmatch(name)
    before, rest = (f"blocks.{layer[1]}.", layer[2]) if layer else ("", name)
    stem, _, leaf = rest.rpartition(".")
    known = _INSIDE if layer else _BORDERS
    if rest in known:
        return before + known[rest]
    return f"{before}{known[stem]}.{leaf}" if stem in known else before + rest


def other_encoder(tensors: Mapping[str, Tensor]) -> str | None:
    """What a file holds instead of a plain ViT, in words for its refusal; None where nothing says so."""
    for pattern, words in _OTHERS.items():
        if any(re.fullmatch(pattern, name) for name in tensors):
            return " ".join(words.split())
    return _twelve_heads(tensors)


def _twelve_heads(tensors: Mapping[str, Tensor]) -> str | None:
    """Heads leave no trace in shapes: FSFM's ViT-S would load and compute something else."""
    tokens = tensors.get("cls_token")
    if _FSFM in tensors and tokens is not None and tokens.shape[-1] == 384:
        return (
            "FSFM's or FS-VFM's ViT-S, which has 12 attention heads where model.size=small has 6: "
            "take its ViT-B or ViT-L"
        )
    return None


def prefixes(names: Collection[str]) -> list[str]:
    """What stands before each encoder that is among `names`."""
    return [name.removesuffix(anchor) for anchor in ANCHORS for name in names if name.endswith(anchor)]
