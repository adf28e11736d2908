"""What a loader is asked for: which samples each rank gets, when, and how they look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np

from facecorpus.errors import UserError
from fautrain.data.decode import Augment
from fautrain.data.index import Corpus, held_out_mask
from fautrain.data.order import WINDOW_SHARDS, Ints, LoaderState, Share, next_state, share, steps_per_epoch

Request: TypeAlias = tuple[int, int, int]
"""(epoch, step, micro-batch)."""
CACHE_GIB = 100.0
"""Room for remote shards: several windows of 8 shards of 0.23 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """How batches are made, whichever samples they hold.

    Raises:
        UserError: a value is out of range.
    """

    batch_per_step: int
    """Samples of one step over all ranks and micro-batches."""
    seed: int = 0
    """Of order and augmentation, 0 <= seed < 2**64."""
    rank: int = 0
    """Of this process, 0 <= rank < world."""
    world: int = 1
    """Number of processes that share each step."""
    accumulate: int = 1
    """Micro-batches that each rank's part of a step is cut into, each delivered by itself."""
    augment: Augment = field(default=Augment())
    """What happens to a picture in training; otherwise it is resized only."""
    held_out: float = 0.0
    """Fraction kept from training, for `held_out_loader`."""
    max_bad: float = 0.001
    """Bound on unusable samples as a fraction of the epoch."""
    window_shards: int | None = None
    """Shards whose samples are mixed. None: WINDOW_SHARDS of them; for training on chosen rows all of them,
    so that the epoch is a uniform permutation of the rows. Labelled shards hold one subject each, and a
    window of a few would train on a few people at a time."""
    workers: int = 0
    """Decoding processes of this rank, kept from one epoch to the next; 0 decodes in the calling process."""
    prefetch: int = 2
    """Micro-batches each worker prepares ahead."""
    cache: str | None = None
    """Folder for remote shards, indexes of foreign shards and the memory of checked hashes; None: `fautrain`
    in the user's cache folder."""

    def __post_init__(self) -> None:
        rank, world, accumulate = self.rank, self.world, self.accumulate
        if not 0 <= rank < world:
            raise UserError(f"rank {rank} of {world} processes does not exist; start ranks 0 to {world - 1}")
        if not 0 <= self.seed < 2**64:
            raise UserError(f"seed = {self.seed} must be between 0 and 2**64 - 1")
        if accumulate < 1 or self.batch_per_step < world * accumulate:
            raise UserError(
                f"data.batch_per_step = {self.batch_per_step} is less than {world} processes x {accumulate} "
                "micro-batches; raise it, or use fewer processes or train.accumulate"
            )


@dataclass(frozen=True)
class Plan:
    """All that decides which samples a rank sees, when, and how they look."""

    corpus: Corpus
    rows: Ints | None
    """Of the corpus, ascending: they make up the epoch; None for all."""
    options: LoaderOptions
    shuffle: bool = True
    fill: bool = True
    """The place of a sample that cannot be used is filled by the next good one; else it stops the run."""

    @cached_property
    def counts(self) -> Ints:
        """The epoch's samples of each shard."""
        starts = self.corpus.starts
        return np.diff(starts if self.rows is None else np.searchsorted(self.rows, starts))

    @property
    def samples(self) -> int:
        """Samples in an epoch."""
        return int(self.counts.sum())

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(self.samples, self.options.batch_per_step)

    @property
    def largest(self) -> int:
        """Most samples in one of this rank's micro-batches."""
        return -(-min(self.options.batch_per_step, self.samples) // self._parts)

    @property
    def _parts(self) -> int:
        """Micro-batches of a step, over all ranks."""
        return self.options.world * self.options.accumulate

    @property
    def window_shards(self) -> int:
        """Shards whose samples are mixed."""
        return self.options.window_shards or WINDOW_SHARDS

    def share(self, step: int, micro: int) -> Share:
        """Places in the epoch's order of one of this rank's micro-batches."""
        part = self.options.rank * self.options.accumulate + micro
        return share(self.samples, self.options.batch_per_step, step, part, self._parts)

    def requests(self, state: LoaderState) -> Iterator[Request]:
        """The requests from `state` on, without end."""
        while True:
            for micro in range(self.options.accumulate):
                yield state.epoch, state.step, micro
            state = next_state(state, self.steps)


def checked_rows(corpus: Corpus, rows: Ints) -> Ints:
    """`rows`, which ascend and lie within the corpus.

    Raises:
        UserError: there is none. ValueError: they do not.
    """
    if not len(rows):
        raise UserError("no row of the corpus is chosen; choose another fold, or build the missing subjects")
    if rows[0] < 0 or rows[-1] >= len(corpus) or (np.diff(rows) <= 0).any():
        raise ValueError(f"rows must ascend within 0 <= row < {len(corpus)}, each once")
    return rows


def split_rows(corpus: Corpus, fraction: float, held: bool) -> Ints | None:
    """The rows of the held-out samples, or of the others; None for all.

    Raises:
        UserError: there is none.
    """
    if not fraction and not held:
        return None
    rows = np.flatnonzero(
        np.concatenate([held_out_mask(i.keys.tolist(), fraction) == held for i in corpus.indexes])
    )
    if not len(rows):
        side = "held out" if held else "left for training"
        raise UserError(f"data.held_out = {fraction:g} of {len(corpus)} samples: none is {side}; change it")
    return rows
