"""A small model, losses and batch for test_reversal.py; as a program, their gradients by two DDP processes.

`torchrun --nproc_per_node 2 reversal_ddp.py OUT.safetensors`: each process takes half of the batch in two
parts, of which only the last sums gradients over the processes.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import sys
from typing import Literal, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fautrain.losses.au import au_loss
from fautrain.losses.identity import identity_loss
from fautrain.models.heads import ActionUnitModel
from fautrain.models.vit import Size

SAMPLES, AUS, SUBJECTS = 8, 5, 6
PARTS = 2
CASES = list(itertools.product((1, 2, 3), ("bce", "ce"), (0.0, 0.5, 2.0)))
"""Layers of the identity head, loss, lambda."""


class Step(nn.Module):
    """Model and losses, as a task joins them."""

    def __init__(self, model: ActionUnitModel, kind: Literal["bce", "ce"]) -> None:
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, images: Tensor, targets: Tensor, identities: Tensor, lam: Tensor) -> Tensor:
        out = self.model(images, lam)
        return au_loss(out.logits, targets) + identity_loss(out.identity, identities, self.kind)


def drawn_step(layers: int, kind: str, drop_path: float = 0.0) -> Step:
    """In float64, with heads large enough that no part of the gradient is tiny."""
    torch.manual_seed(3)
    model = ActionUnitModel(
        Size("small", 16, 2, 2),
        AUS,
        subjects=SUBJECTS,
        identity_layers=layers,
        image_px=8,
        patch_px=4,
        drop_path=drop_path,
    )
    nn.init.normal_(model.head.weight, std=0.5)
    return Step(model.double(), cast(Literal["bce", "ce"], kind))


def drawn_batch() -> tuple[Tensor, Tensor, Tensor]:
    """Images, targets and identities."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(SAMPLES, 3, 8, 8, dtype=torch.float64, generator=generator)
    targets = torch.rand(SAMPLES, AUS, generator=generator).round()
    return images, targets, torch.randint(SUBJECTS, (SAMPLES,), generator=generator)


def case_name(layers: int, kind: str, lam: float) -> str:
    """What a case's gradients begin with in the file."""
    return f"{layers}/{kind}/{lam}/"


def main(out: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, world = distributed.get_rank(), distributed.get_world_size()
    parts = [
        tuple(tensor.chunk(world)[rank].chunk(PARTS)[part] for tensor in drawn_batch())
        for part in range(PARTS)
    ]
    found: dict[str, Tensor] = {}
    for layers, kind, lam in CASES:
        step = drawn_step(layers, kind)
        wrapped = DistributedDataParallel(step)
        for number, part in enumerate(parts):
            with contextlib.nullcontext() if number == PARTS - 1 else wrapped.no_sync():
                (wrapped(*part, torch.tensor(lam)) / PARTS).backward()
        for name, parameter in step.model.named_parameters():
            assert parameter.grad is not None, name
            found[case_name(layers, kind, lam) + name] = parameter.grad
    if rank == 0:
        save_file(found, out)
    # The wrappers go before the group that they reduce over, and the process without a farewell: a thread of
    # gloo's ended one once while the interpreter went down ("terminate called without an active exception").
    del wrapped, step
    gc.collect()
    distributed.barrier()
    distributed.destroy_process_group()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
