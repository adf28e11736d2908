"""What is summed and timed from one line of the log to the next."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

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
    """Spent waiting for samples, as `samples`."""

    def add(self, values: Mapping[str, Tensor], samples: int) -> None:
        """One more step."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.samples += samples


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
