"""Arithmetic of training and what devices can do, for model FLOPs utilisation (MFU).

Only matrix products count, a multiply-add as two operations. What is counted is what the method needs:
recomputation under activation checkpointing is not, so checkpointing lowers MFU as it should.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fautrain.models.vit import MLP_RATIO, Trunk

if TYPE_CHECKING:
    from fautrain.models.mae import MaskedAutoencoder

BACKWARD_FACTOR: Final = 3
"""Forward plus backward over forward: backward has two products for each one, by input and by weight."""

PEAK_FLOPS: Final[dict[str, float]] = {
    "GB200": 2500e12,
    "B200": 2250e12,
    "H200": 989e12,
    "GH200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "A40": 150e12,
    "A30": 165e12,
    "RTX 6000 Ada": 364e12,
    "RTX A6000": 155e12,
    "RTX 5090": 210e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
"""Dense bf16 peak with float32 accumulation, FLOP/s, by part of the device's name; from data sheets.

The sheets print twice as much "with sparsity", which dense training cannot use.
"""


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 peak of a device in FLOP/s, or None where it is not known (a CPU): then there is no MFU.

    `device_name` is what `torch.cuda.get_device_name` says. The longest matching entry wins, and it must be
    whole words: `L4` is not `L40S`.

    >>> peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("NVIDIA L40S"), peak_flops("x86_64")
    (989000000000000.0, 362000000000000.0, None)
    """
    words = f" {device_name.replace('-', ' ')} ".lower()
    known = [name for name in PEAK_FLOPS if f" {name.lower()} " in words]
    return PEAK_FLOPS[max(known, key=len)] if known else None


def block_flops(tokens: int, width: int) -> int:
    """One transformer block on one sequence, forward: linear maps, then the two attention products."""
    linear = 2 * tokens * width * width * (3 + 1 + 2 * MLP_RATIO)
    attention = 2 * 2 * tokens * tokens * width
    return linear + attention


def vit_training_flops(model: Trunk) -> int:
    """One whole image of training: forward, and backward through what learns.

    That is 3 x the embedding and the blocks. Of a frozen encoder the backward pass makes no products by
    weight, so it is 2 x the blocks where adapters learn in them, and forward alone where none do. Adapters
    use each of their weights once a token. Heads on the mean of the tokens are less than a ten-thousandth of
    it and left out.
    """
    width, depth, tokens = model.size.width, model.size.depth, 1 + model.patches
    embed = 2 * model.patches * model.patch_px**2 * 3 * width
    put_in = sum(p.numel() for p in model.blocks.parameters()) - depth * _block_weights(width)
    blocks, adapters = depth * block_flops(tokens, width), 2 * tokens * put_in
    if model.patch_embed.proj.weight.requires_grad:
        return BACKWARD_FACTOR * (embed + blocks + adapters)
    return embed + (2 * blocks + BACKWARD_FACTOR * adapters if put_in else blocks)


def _block_weights(width: int) -> int:
    """Parameters of a block without anything put into it: four linear maps and two norms."""
    return (4 + 2 * MLP_RATIO) * width * width + (9 + MLP_RATIO) * width


def mae_forward_flops(model: MaskedAutoencoder) -> int:
    """One image, forward: all patches embedded, the encoder on visible ones, the decoder on its own."""
    embed = 2 * model.patches * model.patch_px**2 * 3 * model.size.width
    encoder = model.size.depth * block_flops(1 + model.kept, model.size.width)
    return embed + encoder + model.decoder_flops()


def mae_training_flops(model: MaskedAutoencoder) -> int:
    """One image of training, forward and backward: `3 x` the forward pass."""
    return BACKWARD_FACTOR * mae_forward_flops(model)
