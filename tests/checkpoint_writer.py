"""Run by the checkpoint tests in processes of their own: writes checkpoints that follow from the step.

python checkpoint_writer.py RUN_DIR FIRST COUNT KEEP            one process
python checkpoint_writer.py RUN_DIR STEP RANK WORLD BARRIER     one of several, with a barrier of files
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fautrain.checkpoint import State, save

WAIT_S = 60.0


def state_of(step: int, rank: int = 0, width: int = 64) -> State:
    """A state of which every bit is a function of step and rank."""
    made = torch.Generator().manual_seed(step)
    model = {
        "blocks.0.weight": torch.randn(width, width, generator=made),
        "blocks.0.bias": torch.randn(width, generator=made).to(torch.bfloat16),
        "cls_token": torch.randn(1, 1, width, generator=made, dtype=torch.float64),
    }
    moments = {
        index: {"step": torch.tensor(float(step)), "exp_avg": torch.randn(width, width, generator=made)}
        for index in range(3)
    }
    group = {"lr": 1e-3 / (step + 1), "betas": (0.9, 0.95), "eps": 1e-8, "fused": None, "params": [0, 1, 2]}
    return State(
        step=step,
        model=model,
        optimizer={"state": moments, "param_groups": [group]},
        loader={"epoch": step // 10, "step": step % 10, "seed": 7},
        counters={"samples": step * 512, "best": float("inf"), "loss": 1 / (step + 3), "skipped": 0},
        extra={"scaler": {"scale": 65536.0}},
        config={"name": "test", "optim": {"lr": 1e-3}},
        rng=generators_of(step, rank),
    )


def generators_of(step: int, rank: int) -> dict[str, Any]:
    """States of generators that were seeded with step and rank."""
    return {
        "python": random.Random(1000 * step + rank).getstate(),
        "numpy": np.random.RandomState(1000 * step + rank).get_state(legacy=True),
        "torch": torch.Generator().manual_seed(1000 * step + rank).get_state(),
    }


def file_barrier(folder: Path, rank: int, world: int) -> Callable[[], None]:
    """A barrier of processes that share nothing but a directory."""
    calls = 0

    def barrier() -> None:
        nonlocal calls
        calls += 1
        (folder / f"{calls}-{rank}").touch()
        until = time.monotonic() + WAIT_S
        while len(list(folder.glob(f"{calls}-*"))) < world:
            if time.monotonic() > until:
                raise TimeoutError(f"rank {rank} waits at barrier {calls}")
            time.sleep(0.005)

    return barrier


def file_share(folder: Path, rank: int, barrier: Callable[[], None]) -> Callable[[str], str]:
    """What rank 0 tells the others, through that directory."""

    def share(value: str) -> str:
        told = folder / "told"
        if rank == 0:
            told.write_text(value)
        barrier()
        return told.read_text()

    return share


def main() -> None:
    """Writes what the command line asks for, with a line per published checkpoint."""
    torch.set_num_threads(1)
    run_dir = Path(sys.argv[1])
    if len(sys.argv) == 5:
        first, count, keep = map(int, sys.argv[2:])
        print("ready", flush=True)
        for step in range(first, first + count):
            save(run_dir, state_of(step), keep=keep)
            print(step, flush=True)
    else:
        step, rank, world = map(int, sys.argv[2:5])
        barrier = file_barrier(Path(sys.argv[5]), rank, world)
        state = state_of(step, rank) if rank == 0 else State(step=step, rng=generators_of(step, rank))
        share = file_share(Path(sys.argv[5]), rank, barrier)
        print(save(run_dir, state, keep=3, rank=rank, world=world, barrier=barrier, share=share))


if __name__ == "__main__":
    main()
