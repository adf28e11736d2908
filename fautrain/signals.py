"""Being told to stop: SIGTERM and SIGINT become a checkpoint after the same step on all ranks."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Generator
from types import FrameType
from typing import Any

import torch
from torch import Tensor, distributed

AGAIN_S = 1.0
"""A Ctrl-C so long after the first signal is a person's who will not wait."""


class Stop:
    """Set by SIGTERM or SIGINT: the loop writes a checkpoint at the next whole step and ends.

    Further signals change nothing: `timeout` sends its own twice, to the process and to its group, and
    whoever must have the process gone has SIGKILL. Only a second Ctrl-C, by hand, ends it at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if self.signal is None:
            self.signal, self._since = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._since >= AGAIN_S:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stop_signals() -> Generator[Stop]:
    """Catch SIGTERM and SIGINT for the time of a run, or of several: within another such time it is that."""
    outer = signal.getsignal(signal.SIGTERM)
    if isinstance(outer, Stop):
        yield outer
        return
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Agreement:
    """Lets all ranks end after the same step: at most one step later than the one in which a rank was told.

    Each step starts a sum of a few bytes on a group of its own, over CPUs, and reads that of the step before:
    no step waits for a device, or for what another rank has not long done.
    """

    def __init__(self, ranks: int) -> None:
        self._group: Any = distributed.new_group(backend="gloo") if ranks > 1 else None
        self._asked: tuple[distributed.Work, Tensor] | None = None

    def after_step(self, number: int | None) -> int:
        """The signal to stop for, or 0; `number` is what this rank was told. All ranks call it every step."""
        if self._group is None:
            return number or 0
        agreed = self._answer()
        told = torch.tensor([number or 0])
        work = distributed.all_reduce(told, distributed.ReduceOp.MAX, self._group, async_op=True)
        assert work is not None
        self._asked = work, told
        return agreed

    def close(self) -> None:
        """Take the last answer; all ranks come here after the same step, or not at all."""
        self._answer()

    def _answer(self) -> int:
        if self._asked is None:
            return 0
        work, told = self._asked
        work.wait()
        self._asked = None
        return int(told.item())
