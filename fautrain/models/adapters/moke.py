"""Mixture-of-Knowledge Experts (AUFormer, sections 3.2 and 3.3), all experts of a group computed as one.

Beside the attention and beside the MLP of every block stands a group of A experts, one for each action unit.
Expert i takes the same normed tokens as the part beside it, plus the knowledge K_i of its predecessor, the
expert of the same AU in the group below (Eq. 2), and the group adds the mean of its A knowledges to the
residual (Eq. 3 and 4). Shapes: N images, T = 1 + g * g tokens, D the width, d channels of an expert.

Two facts make it cheap. Experts are channels: A convolutions of d channels are one convolution with A groups.
And knowledge is of rank d: an expert ends in a map from d channels to D, so K_i need never exist. With `up_i`
(D, d) and `b_i` (D,) of the predecessor and `down_i` (d, D) of the expert, `down_i (x + up_i h_i + b_i)` is
`down_i x + (down_i up_i) h_i + down_i b_i`, of which the middle factor is d x d.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fautrain.config import ModelConfig
from fautrain.models.adapters import adapter, image_of, only_whole_images, patches_of, put_beside
from fautrain.models.vit import Inheriting, Trunk

CHANNELS = 4
"""d where `model.adapter_width` is not set (section 4.1)."""


def context(query: Tensor, key: Tensor, value: Tensor, side: int, channels: int) -> Tensor:
    """Context-aware operator (Eq. 5) on images (N, C, g, g) each: each position asks its side x side
    neighbourhood, every channel for itself; `channels` is d of the scale. Where the image ends there is no
    neighbour."""
    g, reach = query.shape[-1], side // 2

    def around(image: Tensor, beyond: float = 0.0) -> list[Tensor]:
        """The image shifted by each neighbour's place."""
        padded = functional.pad(image, (reach,) * 4, value=beyond)
        return [padded[..., y : y + g, x : x + g] for y in range(side) for x in range(side)]

    query = query / math.sqrt(channels)
    ends = around(key.new_zeros(g, g), -math.inf)
    # Neighbours come first: over the last dimension a softmax of nine numbers is ten times slower.
    scores = torch.stack([query * near + end for near, end in zip(around(key), ends, strict=True)])
    weighted = zip(scores.softmax(dim=0), around(value), strict=True)
    return torch.stack([weight * near for weight, near in weighted]).sum(dim=0)


class ExpertGroup(Inheriting):
    """A experts side by side. What they know is handed on as `hidden (N, T, A d), up (A, D, d), bias (A, D)`,
    of which K_i is `up_i hidden_i + bias_i`."""

    def __init__(
        self,
        width: int,
        experts: int,
        channels: int,
        grid: int,
        *,
        dilations: tuple[int, ...] = (1, 3, 5),
        neighbourhood: int | None = 3,
        inherit: bool = True,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.width, self.experts, self.channels, self.grid = width, experts, channels, grid
        self.neighbourhood, self.inherit, self.scale = neighbourhood, inherit, scale
        every = experts * channels

        def conv(into: int, out: int, size: int, dilation: int = 1) -> nn.Conv2d:
            padding = dilation * (size // 2)
            return nn.Conv2d(into, out, size, padding=padding, dilation=dilation, groups=experts)

        self.down = nn.Linear(width, every)
        self.base = conv(every, every, 3)
        self.fields = nn.ModuleList(conv(every, every, 3, rate) for rate in dilations)
        self.compress = conv(len(dilations) * every, every, 1) if dilations else None
        self.asks = conv(every, 3 * every, 1) if neighbourhood else None
        self.up = nn.Conv1d(every, experts * width, 1, groups=experts)
        self._initialise()

    def _initialise(self) -> None:
        """As Convpass, on whose code the paper builds: nothing is added at first, the first convolution
        passes on what it gets; the others keep PyTorch's first weights."""
        for weight in self.down.weight.view(self.experts, self.channels, -1):
            nn.init.xavier_uniform_(weight)
        for parameter in (self.down.bias, self.base.weight, self.base.bias, self.up.weight, self.up.bias):
            assert parameter is not None
            nn.init.zeros_(parameter)
        for weight in self.base.weight.data[:, :, 1, 1].view(self.experts, self.channels, -1):
            nn.init.eye_(weight)

    def forward(self, normed: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
        """See `Inheriting`: the mean of the experts' knowledge, and what each of them knows."""
        hidden = functional.gelu(self._reduced(normed, *carried))
        mixed = torch.cat([self._of_class(hidden[:, :1]), self._of_patches(hidden[:, 1:])], dim=1)
        hidden = functional.gelu(mixed)
        up = self.up.weight.view(self.experts, self.width, self.channels) * self.scale
        assert self.up.bias is not None
        bias = self.up.bias.view(self.experts, self.width) * self.scale
        mean = up.transpose(0, 1).flatten(1) / self.experts  # (D, A d)
        return functional.linear(hidden, mean, bias.mean(dim=0)), hidden, up, bias

    def _reduced(self, normed: Tensor, *carried: Tensor) -> Tensor:
        """`down_i (x + K_i)` of all experts, (N, T, A d)."""
        reduced = self.down(normed)
        if not carried or not self.inherit:
            return reduced
        hidden, up, bias = carried
        down = self.down.weight.view(self.experts, self.channels, self.width)
        inherited = functional.linear(
            hidden, torch.block_diag(*(down @ up)), (down @ bias[:, :, None]).flatten()
        )
        return reduced + inherited

    def _of_patches(self, hidden: Tensor) -> Tensor:
        """M'' + K_MRF + K_CA of patch tokens, (N, L, A d)."""
        basic = self.base(image_of(hidden, self.grid))
        mixed = basic
        if self.compress is not None:
            mixed = mixed + self.compress(self._joined([field(basic) for field in self.fields], 1))
        if self.asks is not None and self.neighbourhood:
            asked = self.asks(basic).unflatten(1, (self.experts, 3, self.channels)).unbind(2)
            query, key, value = (part.flatten(1, 2) for part in asked)
            mixed = mixed + context(query, key, value, self.neighbourhood, self.channels)
        return patches_of(mixed)

    def _of_class(self, hidden: Tensor) -> Tensor:
        """The same of the class token as an image of 1 x 1, (N, 1, A d): a convolution has its centre tap
        there, and a neighbourhood one position, whose weight is 1."""
        basic = self._centre(self.base, hidden)
        mixed = basic
        if self.compress is not None:
            fields = [self._centre(field, basic) for field in self.fields]
            mixed = mixed + self._centre(self.compress, self._joined(fields, 2))
        if self.asks is not None:
            asked = self._centre(self.asks, basic).unflatten(2, (self.experts, 3, self.channels))
            mixed = mixed + asked[:, :, :, 2].flatten(2)
        return mixed

    def _joined(self, parts: list[Tensor], dim: int) -> Tensor:
        """Parts of A d channels each as one, the channels of an expert together."""
        split = [part.unflatten(dim, (self.experts, self.channels)) for part in parts]
        return torch.cat(split, dim=dim + 1).flatten(dim, dim + 1)

    def _centre(self, conv: nn.Module, tokens: Tensor) -> Tensor:
        """A convolution of images of 1 x 1, given as tokens (N, 1, C)."""
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        middle = conv.kernel_size[0] // 2
        taps = conv.weight[:, :, middle, middle].unflatten(0, (self.experts, -1))
        mixed = torch.einsum("ntai,aoi->ntao", tokens.unflatten(2, (self.experts, -1)), taps)
        return mixed.flatten(2) + conv.bias


class ExpertHeads(nn.Module):
    """A linear map for each expert, from the class token of its knowledge to its AU's logit (section 3.4)."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(experts, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(experts).uniform_(-bound, bound))

    def forward(self, hidden: Tensor, up: Tensor, bias: Tensor) -> Tensor:
        """Logits (N, A) of what the last group hands on."""
        known = hidden[:, 0].to(self.weight.dtype).unflatten(1, (len(self.bias), -1))  # (N, A, d)
        knowledge = torch.einsum("nad,aed->nae", known, up) + bias
        return (knowledge * self.weight).sum(dim=-1) + self.bias


@adapter("moke")
def experts(model: Trunk, config: ModelConfig) -> None:
    """A group beside every attention and MLP, and the heads of the last one."""
    whole, options = only_whole_images(model, config, "moke")
    moke, outputs, width = options.moke, whole.head.out_features, whole.size.width
    count = outputs if moke.collaborate else 1
    put_beside(
        whole,
        lambda: ExpertGroup(
            width,
            count,
            options.adapter_width or CHANNELS,
            whole.grid,
            dilations=moke.dilations,
            neighbourhood=moke.neighbourhood,
            inherit=moke.collaborate and moke.inherit,
            scale=options.adapter_scale,
        ),
    )
    if moke.collaborate and moke.auxiliary:
        whole.auxiliary_head = ExpertHeads(width, outputs)
