"""Progress for a person: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

EVERY_S = 10.0
"""Seconds between plain lines."""


class Progress:
    """Counts `unit`s done out of `total`; a context manager."""

    def __init__(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self.start, self.first, self.last = time.monotonic(), done, time.monotonic()
        self.bar = (
            tqdm(total=total, desc=label, unit=f" {unit}", initial=done, smoothing=0.1, dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif kind is None and self.total > self.first:
            self._line(time.monotonic())

    def update(self, count: int) -> None:
        """Another `count` units are done."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif (now := time.monotonic()) - self.last > EVERY_S and self.done < self.total:
            self._line(now)

    def _line(self, now: float) -> None:
        self.last = now
        seconds = max(now - self.start, 1e-9)
        rate = (self.done - self.first) / seconds
        left = (
            f", {(self.total - self.done) / rate:.0f} s left" if rate > 0 and self.done < self.total else ""
        )
        counted = f"{self.label}: {self.done:,} of {self.total:,} {self.unit}"
        print(f"{counted} in {seconds:.1f} s, {rate:,.0f}/s{left}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """A line for the person, on standard error."""
    print(text, file=sys.stderr, flush=True)
