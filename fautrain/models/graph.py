"""ME-GraphAU's first stage (Luo et al., IJCAI 2022, section 3.1), AUNCE's encoder: a Swin Transformer, a node
for each output (AFG) and a graph among the nodes (FGG).

Shapes: N images, T tokens, A outputs (nodes), C channels of a node.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fautrain.config.aunce import SwinGraphConfig
from fautrain.models.flops import BACKWARD_FACTOR
from fautrain.models.predictor import Predictor, full_precision
from fautrain.models.swin import SWINS


class Normed(nn.Module):
    """Linear, batch norm over all tokens, ReLU: (N, T, C) -> (N, T, C')."""

    def __init__(self, channels: int, out: int, fan_out: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, out)
        self.bn = nn.BatchNorm1d(out)
        nn.init.normal_(self.fc.weight, std=(2 / fan_out) ** 0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform every token alone."""
        return functional.relu(self.bn(self.fc(tokens).flatten(0, 1))).unflatten(0, tokens.shape[:2])


class FacialGraph(nn.Module):
    """FGG: every node hears the `neighbours` most similar ones, (N, A, C) -> (N, A, C).

    Who hears whom is no part of the gradient. A node is its own neighbour where it is similar enough.
    """

    def __init__(self, nodes: int, channels: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = min(neighbours, nodes)
        self.U = nn.Linear(channels, channels)
        self.V = nn.Linear(channels, channels)
        self.bn = nn.BatchNorm1d(nodes)
        for linear in (self.U, self.V):
            nn.init.normal_(linear.weight, std=(2 / channels) ** 0.5)

    def forward(self, nodes: Tensor) -> Tensor:
        """`ReLU(x + BN(D^-1/2 A D^-1/2 V(x) + U(x)))`, A the edges and D how many each node hears."""
        heard = normalised_edges(nodes.detach(), self.neighbours) @ self.V(nodes)
        return functional.relu(nodes + self.bn(heard + self.U(nodes)))


def normalised_edges(nodes: Tensor, neighbours: int) -> Tensor:
    """(N, A, A): edges from each node to those whose dot product with it is among the largest, ties included,
    each divided by the square roots of the degrees of its ends."""
    similarity = nodes @ nodes.transpose(1, 2)
    edges = (similarity >= similarity.topk(neighbours).values[..., -1:]).to(nodes.dtype)
    scale = edges.sum(dim=-1).rsqrt()
    return scale[..., :, None] * edges * scale[..., None, :]


class SwinGraph(nn.Module):
    """Pictures to a unit vector for each output, (N, 3, crop_px, crop_px) -> (N, A, C).

    Of larger pictures it sees the middle. AFG is A maps of the same tokens, each with a batch norm of its
    own: here one map to A x C channels, which is the same and one product of matrices.
    """

    def __init__(self, config: SwinGraphConfig, outputs: int, checkpoint_activations: bool = False) -> None:
        super().__init__()
        shape = SWINS[config.size]
        self.config, self.outputs, self.crop_px = config, outputs, config.crop_px
        self.backbone = SwinTransformer(
            img_size=config.crop_px,
            patch_size=config.patch_px,
            num_classes=0,
            embed_dim=shape.width,
            depths=shape.depths,
            num_heads=shape.heads,
            drop_path_rate=config.drop_path,
        )
        self.backbone.set_grad_checkpointing(checkpoint_activations)
        width = int(self.backbone.num_features)
        self.channels = width // config.reduction
        self.global_linear = Normed(width, self.channels, self.channels)
        self.afg = Normed(self.channels, outputs * self.channels, self.channels)
        self.fgg = FacialGraph(outputs, self.channels, config.neighbours)

    def nodes(self, images: Tensor) -> Tensor:
        """(N, A, C), before they are made unit vectors."""
        tokens = self.backbone.forward_features(middle(images, self.crop_px)).flatten(1, 2)
        with full_precision(images.device):  # the norms' statistics and the choice of neighbours
            nodes = self.afg(self.global_linear(tokens.float())).mean(dim=1)
            return self.fgg(nodes.unflatten(1, (self.outputs, self.channels)))

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors (N, A, C) float32 of normalised images."""
        return functional.normalize(self.nodes(images), dim=-1)


class Logits(NamedTuple):
    """What one pass gives."""

    logits: Tensor
    """(N, A), before any sigmoid."""


class SwinGraphModel(Predictor):
    """The encoder, and for each output a linear map of its unit vector to a logit."""

    def __init__(self, config: SwinGraphConfig, outputs: int, checkpoint_activations: bool = False) -> None:
        super().__init__()
        self.encoder = SwinGraph(config, outputs, checkpoint_activations)
        self.frozen = config.frozen != "no"
        self.still = config.frozen == "still"
        head = nn.Linear(self.encoder.channels, outputs)  # drawn as PyTorch draws it
        self.head = nn.Parameter(head.weight.detach().clone())
        self.head_bias = nn.Parameter(head.bias.detach().clone())
        self.encoder.requires_grad_(not self.frozen)

    def train(self, mode: bool = True) -> SwinGraphModel:
        """As ever, but a frozen encoder may stay as it is in evaluation."""
        super().train(mode)
        if self.still:
            self.encoder.eval()
        return self

    def vectors(self, images: Tensor) -> Tensor:
        """(N, A, C): without gradients' memory where the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.encoder(images)

    def features(self, images: Tensor) -> Tensor:
        """The outputs' unit vectors one after the other, (N, A C)."""
        return self.vectors(images).flatten(1)

    def forward(self, images: Tensor) -> Logits:
        """Logits of normalised images (N, 3, H, W)."""
        vectors = self.vectors(images)
        with full_precision(images.device):
            return Logits((vectors * self.head).sum(dim=-1) + self.head_bias)

    def training_flops(self) -> int:
        """Of the encoder, forward alone where it is frozen; the heads are nothing beside it."""
        return encoder_flops(self.encoder) * (1 if self.frozen else BACKWARD_FACTOR)


def middle(images: Tensor, px: int) -> Tensor:
    """The middle (..., px, px) of images (..., H, W)."""
    top, left = (images.shape[-2] - px) // 2, (images.shape[-1] - px) // 2
    return images[..., top : top + px, left : left + px]


def encoder_flops(encoder: SwinGraph) -> int:
    """Matrix products of one image, forward, as torch counts them on its meta device."""
    return _counted(encoder.config, encoder.outputs)


@functools.cache
def _counted(config: SwinGraphConfig, outputs: int) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder = SwinGraph(config, outputs).eval()
        encoder(torch.zeros(1, 3, encoder.crop_px, encoder.crop_px))
    return counter.get_total_flops()
