"""Accounting of samples that cannot be used: each one is named, counted and logged, and they are bounded."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from facecorpus.errors import UserError

log = logging.getLogger("fautrain.data")
SHOWN = 5
"""Bad samples named in the message that stops a run."""


@dataclass(frozen=True, slots=True)
class BadSample:
    """A place of the epoch whose sample could not be used. Its place is filled by the next good sample of the
    order."""

    epoch: int
    position: int
    """Position in the epoch's order; -1 for damage that hides an unknown number of samples (a shard that ends
    within a tar header or without its end mark)."""
    shard: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.shard}: {self.key}: {self.reason}"


@final
class BadSamples:
    """The bad samples of this rank, and the bound on them.

    The bound is `max_bad` x the samples that this rank has yet to see in the epoch when it (re)starts. Each
    rank keeping to that, the run keeps to `max_bad` of the epoch as a whole, without talking to the others.
    """

    def __init__(self, max_bad: float) -> None:
        self.max_bad = max_bad
        self.total = 0
        """All bad samples this rank has met since it started."""
        self.this_epoch: list[BadSample] = []
        self._due = 0

    def start(self, due: int) -> None:
        """A new epoch, or the rest of one, of which this rank sees `due` samples."""
        self.this_epoch = []
        self._due = due

    def add(self, found: Iterable[BadSample]) -> None:
        """Count and log bad samples.

        Raises:
            UserError: there are now more than the bound.
        """
        for bad in found:
            self.total += 1
            self.this_epoch.append(bad)
            log.warning("unusable sample %s (place filled by the next good one)", bad)
        count, allowed = len(self.this_epoch), math.floor(self.max_bad * self._due)
        if count > allowed:
            named = "; ".join(str(b) for b in self.this_epoch[:SHOWN]) + (" ..." if count > SHOWN else "")
            raise UserError(
                f"{count} of {self._due} samples of this epoch cannot be used and data.max_bad = "
                f"{self.max_bad:g} allows {allowed}: {named} (repair these shards, or raise data.max_bad)"
            )
