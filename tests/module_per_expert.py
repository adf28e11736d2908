"""AUFormer's experts as its paper draws them: one module for each AU beside each part of each block, every
knowledge K_i in full. Written from the paper alone, for tests and for `tools/bench_moke.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fautrain.models.adapters.moke import ExpertGroup, ExpertHeads
from fautrain.models.heads import ActionUnitModel


class Expert(nn.Module):
    """MoKE (section 3.3): (N, T, D) -> (N, T, D)."""

    def __init__(self, width: int, channels: int, dilations: tuple[int, ...], side: int | None) -> None:
        super().__init__()
        self.side, self.channels = side, channels
        self.reduce = nn.Conv2d(width, channels, 1)
        self.basic = nn.Conv2d(channels, channels, 3, padding=1)
        self.fields = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate) for rate in dilations
        )
        self.compress = nn.Conv2d(len(dilations) * channels, channels, 1) if dilations else None
        self.qkv = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(3)) if side else None
        self.expand = nn.Conv2d(channels, width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        n, t, d = tokens.shape
        side = math.isqrt(t - 1)
        first = self.image(tokens[:, 0].view(n, d, 1, 1))
        rest = self.image(tokens[:, 1:].transpose(1, 2).reshape(n, d, side, side))
        return torch.cat([first.flatten(2), rest.flatten(2)], dim=2).transpose(1, 2)

    def image(self, image: Tensor) -> Tensor:
        basic = self.basic(functional.gelu(self.reduce(image)))
        known = basic
        if self.compress is not None:
            known = known + self.compress(torch.cat([field(basic) for field in self.fields], dim=1))
        if self.qkv is not None:
            known = known + self.correlated(*(conv(basic) for conv in self.qkv))
        return self.expand(functional.gelu(known))

    def correlated(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Eq. 5: the neighbours that there are, one shift of the image after the other."""
        assert self.side is not None
        reach = self.side // 2
        height, width = query.shape[2:]
        scores, values = [], []
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                there = torch.zeros(height, width, dtype=torch.bool)
                there[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)] = True
                score = query * torch.roll(key, (-dy, -dx), (2, 3)) / math.sqrt(self.channels)
                scores.append(torch.where(there, score, -math.inf))
                values.append(torch.roll(value, (-dy, -dx), (2, 3)))
        return (torch.stack(scores).softmax(dim=0) * torch.stack(values)).sum(dim=0)


class NaiveAUFormer(nn.Module):
    """An `ActionUnitModel` with adapter `moke`, computed expert by expert from copies of its weights."""

    def __init__(self, model: ActionUnitModel) -> None:
        super().__init__()
        self.model = model
        groups = [group for block in model.blocks for group in (block.attn_adapter, block.mlp_adapter)]
        self.groups = nn.ModuleList(nn.ModuleList(split(group)) for group in groups)  # type: ignore[arg-type]
        heads = model.auxiliary_head
        assert isinstance(heads, ExpertHeads)
        self.heads = nn.ModuleList(nn.Linear(model.size.width, 1) for _ in heads.bias)
        for number, head in enumerate(self.heads):
            copy(head, heads.weight[number : number + 1], heads.bias[number : number + 1])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and auxiliary logits, (N, A) each."""
        model = self.model
        tokens = model.with_class(model.embed(images))
        knowledge: list[Tensor | None] = [None] * len(self.heads)
        for number, block in enumerate(model.blocks):
            for group, norm, part in (
                (self.groups[2 * number], block.norm1, block.attn),
                (self.groups[2 * number + 1], block.norm2, block.mlp),
            ):
                normed = norm(tokens)
                knowledge = [
                    expert(normed if before is None else normed + before)
                    for expert, before in zip(group, knowledge, strict=True)  # type: ignore[call-overload]
                ]
                tokens = tokens + part(normed) + torch.stack(knowledge).mean(dim=0)  # type: ignore[arg-type]
        own = [head(known[:, 0]) for head, known in zip(self.heads, knowledge, strict=True)]  # type: ignore
        return model.head(model.norm(tokens)[:, 0]), torch.cat(own, dim=1)


def copy(module: nn.Module, weight: Tensor, bias: Tensor) -> None:
    module.load_state_dict({"weight": weight.detach().clone(), "bias": bias.detach().clone()})


def split(group: ExpertGroup) -> list[Expert]:
    """The experts of a group, each a module with its own share of the weights."""
    width, count, d = group.width, group.experts, group.channels
    rates = tuple(field.dilation[0] for field in group.fields)  # type: ignore[index]
    experts = [Expert(width, d, rates, group.neighbourhood) for _ in range(count)]
    for number, expert in enumerate(experts):

        def share(conv: nn.Module, into: nn.Module, part: slice = slice(None)) -> None:
            weight, bias = (conv.get_parameter(name).unflatten(0, (count, -1)) for name in ("weight", "bias"))
            shape = into.get_parameter("weight").shape
            copy(into, weight[number][part].reshape(shape), bias[number][part])  # noqa: B023

        share(group.down, expert.reduce)
        share(group.base, expert.basic)
        for ours, theirs in zip(group.fields, expert.fields, strict=True):
            share(ours, theirs)
        if group.compress is not None and expert.compress is not None:
            share(group.compress, expert.compress)
        if group.asks is not None and expert.qkv is not None:
            for place, conv in enumerate(expert.qkv):
                share(group.asks, conv, slice(place * d, (place + 1) * d))
        share(group.up, expert.expand)
    return experts
