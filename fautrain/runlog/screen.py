"""Progress for a person: a tqdm bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm

EVERY_S = 10.0
"""Seconds between plain lines."""
RECENT = 20
"""Times of so many latest calls of `show` give the speed that the time left is told from."""

WORDS = {
    "loss": "loss {:.4f}",
    "images_per_s": "{:,.0f} img/s",
    "mfu": "MFU {:.1%}",
    "data_wait": "data wait {:.1%}",
}
"""The values that are shown while training, in this order; `mfu` and `data_wait` are fractions."""


class Screen:
    """Counts steps out of `total`, of which `first` were done before this process."""

    def __init__(self, total: int, first: int = 0, stream: TextIO | None = None) -> None:
        self.total, self.done = total, first
        self.stream = sys.stderr if stream is None else stream
        self.marks: deque[tuple[float, int]] = deque([(time.monotonic(), first)], maxlen=RECENT)
        self.said: float | None = None
        self.bar = (
            tqdm(total=total, initial=first, desc="train", unit=" step", dynamic_ncols=True, file=self.stream)
            if self.stream.isatty()
            else None
        )

    def advance(self, step: int) -> None:
        """`step` steps are done. Cheap: meant for every step."""
        if self.bar is not None:
            self.bar.update(step - self.done)
        self.done = step

    def show(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Shows the latest numbers of training: beside the bar, or on a line if the last is long ago."""
        self.advance(step)
        now = time.monotonic()
        self.marks.append((now, step))
        words = [f"epoch {epoch:.2f}", *describe(values)]
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(words))
        elif self.said is None or now - self.said >= EVERY_S or step >= self.total:
            self.said = now
            left = f", {duration(seconds)} left" if (seconds := self.seconds_left()) else ""
            self._print(f"step {step:,} of {self.total:,}: {', '.join(words)}{left}")

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self.bar is not None:
            self.bar.clear()
        self._print(text)
        if self.bar is not None:
            self.bar.refresh()

    def seconds_left(self) -> float | None:
        """Seconds to the last step at the latest speed; None where that is not known."""
        (start, first), (now, step) = self.marks[0], self.marks[-1]
        return (self.total - step) * (now - start) / (step - first) if step > first else None

    def close(self) -> None:
        """Ends the bar."""
        if self.bar is not None:
            self.bar.close()

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


def describe(values: Mapping[str, float]) -> list[str]:
    """The values of `WORDS` that there are, in words."""
    return [text.format(values[name]) for name, text in WORDS.items() if name in values]


def duration(seconds: float) -> str:
    """A time span in two units at most.

    >>> [duration(s) for s in (7.4, 95, 3 * 3600 + 120, 200_000)]
    ['7 s', '1 min 35 s', '3 h 2 min', '2 d 7 h']
    """
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole} s"
