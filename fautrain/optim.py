"""Optimisers, weight-decay groups, learning-rate schedule and layer-wise decay of MAE (its appendix A)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

from fautrain.config import OptimConfig

LR_REFERENCE_BATCH: Final = 256
"""A base learning rate is stated for this global batch and grows in proportion to it."""
POSITIONS: Final = ("pos_embed", "decoder_pos_embed")
TOKENS: Final = ("cls_token", "mask_token")
BLOCK: Final = re.compile(r"blocks\.(\d+)\.")
INSIDE: Final = re.compile(r"(decoder_)?blocks\.\d+\.")
"""Where Muon's matrices are: in blocks. Embeddings and heads, the borders of a network, are AdamW's."""


def effective_lr(base_lr: float, global_batch: int) -> float:
    """`base_lr * global_batch / 256`; the global batch counts all ranks and accumulated steps.

    >>> effective_lr(1.5e-4, 4096)
    0.0024
    """
    return base_lr * global_batch / LR_REFERENCE_BATCH


def lr_at(step: int, total_steps: int, warmup_steps: int, peak: float, floor: float = 0.0) -> float:
    """Learning rate of optimiser step `step` (from 0): linearly from 0 to `peak`, half a cosine to `floor`.

    The warm-up reaches `peak` at step `warmup_steps`; `floor` would be reached at `total_steps`, one step
    after the last, and holds from there on.
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group the scheduled rate times its own `lr_scale`, if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def _decays(name: str, parameter: nn.Parameter, tokens: bool) -> bool:
    last = name.rpartition(".")[2]
    return parameter.ndim > 1 and last not in POSITIONS and (tokens or last not in TOKENS)


def layer_of(name: str, depth: int) -> int:
    """Which of the layers 0 to `depth + 1` a parameter of a ViT with `depth` blocks belongs to.

    Embedding, class token and positions are layer 0, block b is layer b + 1, and what follows the blocks
    (norms, heads) is the last.
    """
    if name.startswith(("cls_token", "pos_embed", "patch_embed.")):
        return 0
    block = BLOCK.match(name)
    return int(block[1]) + 1 if block else depth + 1


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    layer_decay: float | None = None,
    decay_tokens: bool = False,
    muon: bool = False,
) -> list[dict[str, Any]]:
    """Groups of the parameters that train, in the model's order: with weight decay and without.

    Without: whatever has one dimension (biases, norms) and learnt positions and tokens, which are vectors too
    although they are stored with more dimensions. With `decay_tokens` the class and mask token are decayed:
    the released pretraining code looks at dimensions alone. An empty group is left out.

    With `layer_decay` (Clark et al. 2020; MAE's appendix A.1) there are two such groups for each layer i of
    `layer_of`, and `lr_scale = layer_decay ** (last - i)` in each: 1 for the heads, least for the embedding.
    With `muon` the matrices of `INSIDE` have groups of their own, and each group says `muon`, true or false.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    depth = len({found[1] for name, _ in model.named_parameters() if (found := BLOCK.match(name))})
    groups: dict[tuple[int, bool, bool], dict[str, Any]] = {}
    layers = range(depth + 2) if layer_decay is not None else (0,)
    for layer in layers:
        scale = {} if layer_decay is None else {"lr_scale": layer_decay ** (depth + 1 - layer)}
        for decays, inside in ((True, True), (True, False), (False, False)):
            kind = {"muon": inside} if muon else {}
            decay = weight_decay if decays else 0.0
            groups[layer, decays, inside] = {"params": [], "weight_decay": decay, **scale, **kind}
    for name, parameter in trained:
        layer = 0 if layer_decay is None else layer_of(name, depth)
        inside = muon and parameter.ndim == 2 and INSIDE.match(name) is not None
        groups[layer, _decays(name, parameter, decay_tokens), inside]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _members(groups: Iterable[dict[str, Any]]) -> Iterator[nn.Parameter]:
    for group in groups:
        yield from group["params"]


def make_adamw(
    model: nn.Module,
    lr: float,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    layer_decay: float | None = None,
    decay_tokens: bool = False,
) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`: one fused kernel where the device has it, else its usual form."""
    groups = parameter_groups(model, weight_decay, layer_decay, decay_tokens)
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=_fusable(groups))
    set_lr(optimizer, lr)
    return optimizer


def _fusable(groups: Iterable[dict[str, Any]]) -> bool:
    return all(p.device.type in ("cuda", "cpu") and p.is_floating_point() for p in _members(groups))


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) on the groups that say `muon`, AdamW on the others.

    A step of Muon is the nearest orthogonal matrix to the momentum, by five Newton-Schulz iterations, times
    `0.2 sqrt(max(rows, columns))`, the size of AdamW's steps (Liu et al. 2025, arXiv 2502.16982),
    so that learning rate and weight decay mean what they mean to AdamW. A step with `found_inf` changes
    nothing; unlike fused AdamW it waits for the device to know.
    """

    found_inf: Tensor | None = None

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], momentum: float
    ) -> None:
        inside, rest = ([group for group in groups if group["muon"] is kind] for kind in (True, False))
        self._parts: dict[bool, torch.optim.Optimizer] = {}
        if inside:
            self._parts[True] = torch.optim.Muon(
                inside, lr, momentum=momentum, adjust_lr_fn="match_rms_adamw"
            )
        if rest:
            self._parts[False] = torch.optim.AdamW(rest, lr, betas, fused=_fusable(rest))
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both."""
        del closure
        if self.found_inf is not None and self.found_inf.item():
            return
        for kind, part in self._parts.items():
            # Groups and state are this optimizer's: a checkpoint that was loaded has put others in place.
            part.param_groups = [group for group in self.param_groups if group["muon"] is kind]
            part.state = self.state
            part.step()


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer that a run's `optim` says, with a learning rate of 0 until `set_lr`."""
    if config.name == "adamw":
        return make_adamw(
            model,
            0.0,
            config.weight_decay,
            betas=config.betas,
            layer_decay=config.layer_decay,
            decay_tokens=config.decay_tokens,
        )
    groups = parameter_groups(model, config.weight_decay, config.layer_decay, config.decay_tokens, muon=True)
    optimizer = Muon(groups, 0.0, config.betas, config.momentum)
    set_lr(optimizer, 0.0)
    return optimizer
