"""Swin Transformers (Liu et al. 2021) by name, and weights under the names of timm and Microsoft, of
ME-GraphAU and AUNCE, and our own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import torch
from timm.models.swin_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from facecorpus.errors import UserError
from fautrain.models.convert import LoadReport
from fautrain.models.weights import find_weights, read_weights


class Swin(NamedTuple):
    """The dimensions that a size's name stands for."""

    width: int
    """Channels of a token in the first stage; each stage doubles them."""
    depths: tuple[int, ...]
    """Blocks of each stage."""
    heads: tuple[int, ...]


SWINS: Final = {
    "tiny": Swin(24, (1, 1, 2, 1), (1, 2, 4, 8)),  # ours, for CPUs
    "swin-t": Swin(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin-s": Swin(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin-b": Swin(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
BACKBONE: Final = re.compile(r"(patch_embed|layers|norm|absolute_pos_embed)\b.*")
"""What is the Swin Transformer's own, once what stands before it is gone."""
GRAPH: Final = re.compile(r"(?:.*\.)?((?:global_linear|afg|fgg)\..+)")
"""The graph's names, ours."""
GNN: Final = re.compile(r"(?:.*\.)?head\.gnn\.(U|V|bnv)\.(.+)")
NODE: Final = re.compile(r"(?:.*\.)?head\.class_linears\.(\d+)\.(.+)")
"""Those of ME-GraphAU and AUNCE, one module a node."""


def load_graph(model: nn.Module, where: str | Path, *, whole: bool = False) -> LoadReport:
    """Put weights into a model that has an `encoder` (`fautrain.models.graph.SwinGraph`).

    Args:
        where: as for `fautrain.models.convert.load_encoder`: a Swin Transformer alone, or one with the graph
            of ME-GraphAU or AUNCE, or ours. whole: the heads too.

    Raises:
        UserError: it cannot be read, lacks something, or is of another size.
    """
    path = find_weights(where)
    tensors, _ = read_weights(path)
    encoder = model.get_submodule("encoder")
    found = {f"encoder.{name}": t for name, t in encoder_tensors(tensors, encoder).items()}
    found |= {name: tensors[name] for name in ("head", "head_bias") if whole and name in tensors}
    alone = not whole and not any(GRAPH.fullmatch(name) for name in found)
    own = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if whole or name.startswith("encoder.backbone." if alone else "encoder.")
    }
    _check(own, found, path)
    model.load_state_dict({name: found[name] for name in own}, strict=False)
    return LoadReport(str(path), tuple(own), (), tuple(name for name in found if name not in own), None)


def encoder_tensors(tensors: Mapping[str, Tensor], encoder: nn.Module) -> dict[str, Tensor]:
    """A file's tensors under our encoder's names; what is not the encoder's is left out.

    The nodes' maps are put one after the other, a Swin Transformer of Microsoft's is renamed as timm does.
    """
    nodes: dict[str, dict[int, Tensor]] = defaultdict(dict)
    backbone: dict[str, Tensor] = {}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if node := NODE.fullmatch(name):
            nodes[f"afg.{node[2]}"][int(node[1])] = tensor
        elif gnn := GNN.fullmatch(name):
            found[f"fgg.{gnn[1].removesuffix('nv')}{'n' * (gnn[1] == 'bnv')}.{gnn[2]}"] = tensor
        elif graph := GRAPH.fullmatch(name):
            found[graph[1]] = tensor
        elif BACKBONE.fullmatch(name):
            backbone[name] = tensor
    for name, parts in nodes.items():
        ordered = [parts[number] for number in sorted(parts)]
        found[name] = torch.cat(ordered) if ordered[0].ndim else ordered[0]
    renamed = checkpoint_filter_fn(backbone, encoder.get_submodule("backbone"))
    return {f"backbone.{name}": tensor for name, tensor in renamed.items()} | found


def _check(own: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    missing = [name for name in own if name not in found]
    if missing:
        more = f" and {len(missing) - 1} more" * (len(missing) > 1)
        raise UserError(
            f"{path} lacks {missing[0]}{more}: give a Swin Transformer of timm or Microsoft, ME-GraphAU's or "
            "AUNCE's state dict, or a run of AUNCE, of the size that model.size says"
        )
    for name, tensor in own.items():
        if found[name].shape != tensor.shape:
            raise UserError(
                f"{path} has {name.removeprefix('encoder.')} of shape {tuple(found[name].shape)}, the "
                f"model's is {tuple(tensor.shape)}: choose the model.size, model.reduction and outputs that "
                "it is for"
            )
