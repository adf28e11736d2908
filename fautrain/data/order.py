"""Which sample comes when: pure arithmetic on (seed, epoch), without files, processes or state.

An epoch is a permutation of the samples 0..N-1 (rows of the shards in their listed order). Shards are
permuted, taken in windows of a few, and the samples of a window are permuted together; so reading stays
within a window of shards while neighbours in a batch come from all of them. Step k takes positions [k B, (k +
1) B) of that order, B being the global batch; each of `parts` takers (ranks x micro-batches) takes a
contiguous piece.

Randomness is Philox-4x64 (Salmon et al., SC 2011) used as the counter-based function it is: the key holds the
seed and the purpose, the counter holds what the numbers are for. Only raw words are drawn, whose stream numpy
guarantees for all versions.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]

SHARDS, WINDOW, AUGMENT, RANDAUGMENT = 1, 2, 3, 4
"""Purposes: second word of the Philox key."""

WINDOW_SHARDS = 8
"""Shards whose samples are mixed: with 10,000 samples a shard, 80,000 samples and about 2 GB at 224 px."""


@dataclass(frozen=True, slots=True)
class LoaderState:
    """Where a run stands: the next step to take. This and the run's seed are all the loader remembers."""

    epoch: int = 0
    step: int = 0


def permutation(length: int, seed: int, purpose: int, epoch: int, number: int = 0) -> Ints:
    """A uniform permutation of range(length), a pure function of the other arguments."""
    return np.argsort(generator(seed, purpose, epoch, number).random_raw(length), kind="stable")


def generator(seed: int, purpose: int, epoch: int, number: int) -> np.random.Philox:
    """Random words for one purpose and one thing, all arguments being 64-bit words."""
    # As uint64 arrays: a list with a seed above 2**63 would pass through float64.
    key = np.array([seed, purpose], np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, epoch, number], np.uint64))


@final
class EpochOrder:
    """The order of one epoch over shards of `counts` samples; windows are permuted when first asked for.
    Shards without a sample take no place in a window."""

    def __init__(
        self, counts: Ints, seed: int, epoch: int, window_shards: int = WINDOW_SHARDS, shuffle: bool = True
    ) -> None:
        self.seed, self.epoch, self.shuffle = seed, epoch, shuffle
        self.counts = np.asarray(counts, np.int64)
        number = len(self.counts)
        shards = permutation(number, seed, SHARDS, epoch) if shuffle else np.arange(number, dtype=np.int64)
        self.shard_order: Ints = shards[self.counts[shards] > 0]
        self.row_starts = np.cumsum(self.counts) - self.counts
        self.window_shards = window_shards
        sizes = np.add.reduceat(
            self.counts[self.shard_order], np.arange(0, len(self.shard_order), window_shards)
        )
        self.window_starts = np.concatenate([[0], np.cumsum(sizes)])
        self._windows: OrderedDict[int, Ints] = OrderedDict()

    def __len__(self) -> int:
        return int(self.window_starts[-1])

    def window_of(self, position: int) -> int:
        """Number of the window that holds a position."""
        return int(np.searchsorted(self.window_starts, position, side="right")) - 1

    def shards_of(self, window: int) -> Ints:
        """The shards of a window; none beyond the last window."""
        return self.shard_order[window * self.window_shards : (window + 1) * self.window_shards]

    def _window(self, window: int) -> Ints:
        if window in self._windows:
            self._windows.move_to_end(window)
            return self._windows[window]
        shards = self.shards_of(window).tolist()
        first, size = self.row_starts, self.counts
        rows = np.concatenate([int(first[s]) + np.arange(int(size[s]), dtype=np.int64) for s in shards])
        if self.shuffle:
            rows = rows[permutation(len(rows), self.seed, WINDOW, self.epoch, window)]
        self._windows[window] = rows
        if len(self._windows) > 3:
            self._windows.popitem(last=False)
        return rows

    def take(self, start: int, stop: int) -> Ints:
        """The samples at positions [start, stop) of the epoch."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"positions {start}..{stop} of an epoch of {len(self)} samples")
        pieces: list[Ints] = []
        window = self.window_of(start)
        while start < stop:
            first, end = int(self.window_starts[window]), int(self.window_starts[window + 1])
            piece = self._window(window)[start - first : min(stop, end) - first]
            pieces.append(piece)
            start += len(piece)
            window += 1
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def steps_per_epoch(samples: int, batch_per_step: int) -> int:
    """ceil(samples / batch): the last, smaller step is taken too, whatever the number of ranks."""
    return -(-samples // batch_per_step)


@dataclass(frozen=True, slots=True)
class Share:
    """What one taker has of one step: positions [start, stop) and its weight."""

    start: int
    stop: int
    weight: float
    """own samples x takers / samples of the step: 1 in every step that divides evenly. The mean over takers
    of weight x (mean loss of the taker) is the mean loss over the step's samples."""


def share(samples: int, batch_per_step: int, step: int, part: int, parts: int) -> Share:
    """The piece of step `step` that taker `part` of `parts` has.

    A taker left without a sample (the rest of the epoch is smaller than `parts`) gets the step's first sample
    with weight 0, so that all ranks take every step and yet each sample counts exactly once.
    """
    first = step * batch_per_step
    size = min(batch_per_step, samples - first)
    start, stop = first + size * part // parts, first + size * (part + 1) // parts
    if start == stop:
        return Share(first, first + 1, 0.0)
    return Share(start, stop, (stop - start) * parts / size)


def next_state(state: LoaderState, steps: int) -> LoaderState:
    """The state after one more step, in epochs of `steps` steps."""
    if state.step + 1 < steps:
        return LoaderState(state.epoch, state.step + 1)
    return LoaderState(state.epoch + 1, 0)
