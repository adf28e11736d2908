"""How many threads compute on the CPU."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

FLOPS_PER_THREAD: Final = 2e9
"""Of one picture's training step (forward and backward). Below it threads wait for each other more than they
compute: on a machine with other work the tiny model was 3 to 19 times slower with two threads than with one.
"""
FOR_A_GPU: Final = 4
"""Threads at most where a GPU computes: the CPU makes a few small tensors a step."""
CGROUP_CPUS: Final = Path("/sys/fs/cgroup/cpu.max")


class Threads(NamedTuple):
    """A number of threads and where it comes from, in words."""

    number: int
    why: str


def sleep_when_idle() -> None:
    """Let OpenMP's threads sleep between loops, where the user has not said otherwise, instead of spinning on
    cores that the loader's processes or others could use. Only before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def choose_threads(flops: float, gpu: bool) -> Threads:
    """Threads of one process: what OMP_NUM_THREADS says, else its share of the cores, fewer for small models.

    A function of the model and the machine, not of its load: the number of threads decides in which order
    numbers are added, and a run that goes on must add them as before.

    Args:
        flops: operations of one picture's training step. gpu: whether a GPU makes them.
    """
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if told.isdigit() and int(told):
        return Threads(int(told), "OMP_NUM_THREADS")
    cores = available_cores()
    share = max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    most = FOR_A_GPU if gpu else max(1, int(flops / FLOPS_PER_THREAD))
    number = min(share, most)
    return Threads(number, f"of {cores} cores" + ("" if gpu or number == share else ", for so small a model"))


def available_cores() -> int:
    """Cores that this process may use: those it is bound to, less what its container's quota withholds."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = CGROUP_CPUS.read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no cgroup of version 2, or "max": no quota
    return cores


@contextmanager
def one_thread() -> Generator[None]:
    """Hold torch, BLAS and OpenMP to one thread inside the block.

    Several threads add in another order, so a result would hang on the machine's number of cores (and t-SNE
    makes another picture of the last bit). The probe's matrices are also so small that threads which wait for
    each other on a busy machine made it dozens of times slower.
    """
    import torch  # not above: `sleep_when_idle` comes before it
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
