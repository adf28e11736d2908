"""One thread for small sums."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Generator[None]:
    """Hold torch, BLAS and OpenMP to one thread inside the block.

    Several threads add in another order, so a result would hang on the machine's number of cores (and t-SNE
    makes another picture of the last bit). The probe's matrices are also so small that threads which wait for
    each other on a busy machine made it dozens of times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
