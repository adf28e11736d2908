"""What is summed and timed from one line of the log to the next."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

GOOD = "good"
"""Among the values of a step: 1, or 0 where it was skipped and all its values are 0."""


@dataclass
class Window:
    """Steps since the last line of the log."""

    sums: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Of the values of steps, on the device where they are made. A checkpoint keeps them: the next line is
    the same whether the run was interrupted or not."""
    samples: int = 0
    """Since the last line, or since this process went on from a checkpoint: what the time was spent on."""
    waited_s: float = 0.0
    """Spent waiting for samples, as `samples`, on a CPU."""
    waits: list[tuple[torch.cuda.Event, torch.cuda.Event]] = field(
        default_factory=list[tuple[torch.cuda.Event, torch.cuda.Event]]
    )
    """On a GPU, begin and end of each wait, in the device's own order of work."""

    def add(self, values: Mapping[str, Tensor], samples: int) -> None:
        """One more step."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.samples += samples

    @contextlib.contextmanager
    def waiting(self, device: torch.device) -> Generator[None]:
        """Time that counts as waiting. A GPU still busy with what it was given before waits for nothing."""
        if device.type == "cuda":
            wait = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            wait[0].record()
            yield
            wait[1].record()
            self.waits.append(wait)
            return
        began = time.perf_counter()
        yield
        self.waited_s += time.perf_counter() - began

    def waited(self) -> float:
        """Seconds waited; the device must have settled."""
        return self.waited_s + sum(begin.elapsed_time(end) for begin, end in self.waits) / 1000


class Stopwatch:
    """Time spent in training steps: all but that of pauses, which are for evaluations and checkpoints.

    `settle` waits for the device: what was begun before a pause is not done in it, and the other way round.
    """

    def __init__(self, settle: Callable[[], None]) -> None:
        self._settle = settle
        self._start, self._lap = time.perf_counter(), 0.0

    def total(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._start

    def lap(self) -> float:
        """Seconds since the last call."""
        before, self._lap = self._lap, self.total()
        return self._lap - before

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Time that does not count."""
        self._settle()
        began = time.perf_counter()
        try:
            yield
        finally:
            self._settle()
            self._start += time.perf_counter() - began
