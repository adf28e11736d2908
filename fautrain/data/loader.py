"""The loader: batches of uint8 images in an order that depends on nothing but the seed.

An epoch is all samples of the shards less the held-out ones, or the rows asked for, each exactly once over
all ranks and workers; the order and every random choice are pure functions of (seed, epoch, sample). Ranks,
workers, prefetching and interruptions change nothing, so the state is (epoch, step).
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import warnings
import weakref
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch.utils.data import DataLoader

from facecorpus.errors import UserError
from fautrain.data.bad_samples import BadSample, BadSamples
from fautrain.data.dataset import STOPPING, BatchDataset, Failed, Pool, Sent, start_worker
from fautrain.data.decode import Augment
from fautrain.data.fetch import ShardCache
from fautrain.data.index import Corpus
from fautrain.data.order import Ints, LoaderState, next_state
from fautrain.data.plan import CACHE_GIB, LoaderOptions, Plan, checked_rows, split_rows
from fautrain.data.shards import default_cache


@dataclass(frozen=True, slots=True)
class Batch:
    """This rank's part of one step, or with accumulation one micro-batch of it."""

    images: torch.Tensor
    """uint8 (n, 3, image_px, image_px), RGB, channels-last strides; pinned where there is a CUDA device."""
    positions: torch.Tensor
    """int64 (n,): places in the epoch's order. (seed, epoch, position) names its random numbers."""
    samples: torch.Tensor
    """int64 (n,): rows of the corpus. Where a place was filled, the row of the sample that fills it."""
    epoch: int
    step: int
    micro: int
    weight: float
    """own samples x (world x accumulate) / samples of the step. Multiply the mean loss by it: the mean over
    ranks and micro-batches is then the mean over the step's samples. 1 in all but an uneven last step; 0 for
    a stand-in where the rest of the epoch is smaller than the number of ranks."""
    bad: tuple[BadSample, ...]
    """Samples of this part that could not be used; their places are filled."""
    after: LoaderState
    """The state once this step is done."""


POOL_BYTES = 8 << 30
"""Memory of one loader for decoded batches: workers x (prefetch + 2) x images of a micro-batch x image_px^2 x
3 bytes. Where it would be more, fewer batches are prepared ahead. 4 workers with 4 batches of 512 images of
224 px ahead take 1.7 GiB, 16 take 7 GiB."""
log = logging.getLogger("fautrain.data")

_open: weakref.WeakSet[Loader] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # Before multiprocessing, which would end the workers by a SIGTERM that they are slow to obey.
    for loader in list(_open):
        loader.close()


@contextlib.contextmanager
def worker_deaths() -> Generator[None]:
    """Turn what DataLoader raises when one of its processes died into one sentence; a signal handler of its
    own raises it too, wherever the loop happens to be.

    Raises:
        UserError: one has.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a loader process died ({error}); if memory ran out, lower data.workers or data.prefetch"
        ) from error


@final
class Loader:
    """Batches of one rank. Made by `make_loader`, `held_out_loader` and `ordered_loader`."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.options = plan, plan.options
        self.cache = shard_cache(plan.options.cache)
        self.bad = BadSamples(plan.options.max_bad)
        """Accounting of unusable samples; `bad.total` and `bad.this_epoch` may be logged."""
        self._source: Generator[Sent | Failed] | None = None
        self._next = LoaderState()
        self._within_step = False
        _open.add(self)
        self._begun: int | None = None
        """Epoch that the accounting of bad samples has begun."""

    @property
    def corpus(self) -> Corpus:
        """The shards and their samples."""
        return self.plan.corpus

    @property
    def samples(self) -> int:
        """Samples in an epoch, over all ranks."""
        return self.plan.samples

    @property
    def steps_per_epoch(self) -> int:
        """ceil(samples / batch_per_step), for any number of ranks."""
        return self.plan.steps

    def batches(self, state: LoaderState | None = None) -> Iterator[Batch]:
        """Batches from the first of step `state`, through all epochs to come, without end.

        Going on where the last iteration ended (also with `state` None) keeps the workers and what they have
        prepared; any other place starts them anew.

        Raises:
            UserError: too many bad samples, a lost shard, or a state beyond the epoch's end.
        """
        state = state or self._next
        if state.epoch < 0 or not 0 <= state.step < self.plan.steps:
            raise UserError(
                f"the state {state} is not within an epoch of {self.plan.steps} steps: data.shards, "
                "data.held_out and data.batch_per_step must be those of the interrupted run"
            )
        if self._source is None or self._within_step or self._next != state:
            self.close()
            self._source, self._next = self._start(state), state
        return self._run(self._source, state)

    def epoch(self, state: LoaderState | None = None) -> Iterator[Batch]:
        """Batches from `state` to the end of its epoch. See `batches`."""
        for batch in self.batches(state):
            yield batch
            if batch.after.epoch > batch.epoch and batch.micro == self.options.accumulate - 1:
                return

    def again(self) -> Iterator[Batch]:
        """A pass over all samples of an ordered loader, as its first epoch; the workers of the pass before go
        on where that came to its end."""
        if self.plan.shuffle:
            raise ValueError("every epoch of a shuffled loader is another")
        follows = not self._next.step and not self._within_step
        for batch in self.epoch(LoaderState(self._next.epoch if follows else self._next.epoch + 1)):
            yield replace(batch, epoch=0)

    def _run(self, source: Iterator[Sent | Failed], state: LoaderState) -> Iterator[Batch]:
        last = self.options.accumulate - 1
        while True:
            after = next_state(state, self.plan.steps)
            for micro in range(last + 1):
                try:
                    if self._begun != state.epoch:
                        self._begin_epoch(state)
                    batch = self._receive(source, after)
                except UserError:
                    self.close()
                    raise
                assert (batch.epoch, batch.step, batch.micro) == (state.epoch, state.step, micro)
                self._within_step = micro < last
                self._next = state if self._within_step else after
                yield batch
            state = after

    def _receive(self, source: Iterator[Sent | Failed], after: LoaderState) -> Batch:
        with worker_deaths():
            sent = next(source)
        if isinstance(sent, Failed):
            raise UserError(sent.message)
        self.bad.add(sent.bad)
        images = sent.take()
        if isinstance(images, np.ndarray):
            images = torch.from_numpy(images)
        return Batch(
            images.permute(0, 3, 1, 2),
            torch.from_numpy(sent.positions),
            torch.from_numpy(sent.samples),
            *sent.request,
            sent.weight,
            sent.bad,
            after,
        )

    def _begin_epoch(self, state: LoaderState) -> None:
        plan, options, self._begun = self.plan, self.options, state.epoch
        self.bad.start((plan.samples - state.step * options.batch_per_step) // options.world)
        if options.rank == 0:
            hidden = zip(plan.corpus.shards, plan.corpus.indexes, strict=True)
            self.bad.add(BadSample(state.epoch, -1, s.url, "(end)", i.damage) for s, i in hidden if i.damage)

    def _start(self, state: LoaderState) -> Generator[Sent | Failed]:
        plan, options = self.plan, self.options
        if not options.workers:
            batches = BatchDataset(plan, self.cache, None)
            return (batches[request] for request in plan.requests(state))
        # A worker has at most `prefetch` batches waiting; one more is being read here, one more being filled.
        prefetch = self._affordable_prefetch()
        pool = Pool(options.workers, prefetch + 2, plan.largest, options.augment.image_px)
        loader: DataLoader[Any] = DataLoader(
            BatchDataset(plan, self.cache, pool),  # type: ignore[arg-type]
            batch_size=None,
            sampler=plan.requests(state),
            num_workers=options.workers,
            prefetch_factor=prefetch,
            collate_fn=lambda sent: sent,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=start_worker,
            multiprocessing_context="fork",
            generator=torch.Generator(),  # else a number is drawn from the global one, which is the model's
        )
        return _stream(loader)

    def _affordable_prefetch(self) -> int:
        """`prefetch`, or what of it POOL_BYTES hold.

        Raises:
            UserError: not even one batch ahead fits into half of the machine's memory.
        """
        options = self.options
        slot = options.workers * self.plan.largest * options.augment.image_px**2 * 3
        prefetch = max(1, min(options.prefetch, POOL_BYTES // max(1, slot) - 2))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if slot * (prefetch + 2) > max(POOL_BYTES, memory // 2):
            raise UserError(
                f"{options.workers} loader processes with three batches each need {3 * slot / 2**30:.0f} "
                "GiB, more than half of this machine's memory; lower data.workers or raise train.accumulate"
            )
        if prefetch < options.prefetch:
            log.warning("data.prefetch is %d: more would take over %d GiB", prefetch, POOL_BYTES >> 30)
        return prefetch

    def close(self) -> None:
        """Stop the workers. The next iteration starts them again."""
        if self._source is not None:
            self._source.close()
        self._source, self._begun, self._within_step = None, None, False


def _stream(loader: DataLoader[Any]) -> Generator[Sent | Failed]:
    """What the workers send. DataLoader ends them when its iterator goes, which is in this frame alone, so
    they end when the generator is closed, whoever still holds it."""
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads; a worker takes no lock that those could hold.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            source: Any = iter(loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    workers: list[BaseProcess] = [*source._workers]
    try:
        yield from source
    finally:
        del source
        for worker in workers:
            if worker.is_alive():
                worker.kill()  # it is stuck in a read, and deaf to the SIGTERM that DataLoader sent it


def shard_cache(folder: str | Path | None = None, gib: float = CACHE_GIB) -> ShardCache:
    """The cache in a folder (default: `fautrain` in the user's cache folder) that may grow to `gib`."""
    return ShardCache(Path(folder) if folder else default_cache(), int(gib * 2**30))


def make_loader(corpus: Corpus, options: LoaderOptions, rows: Ints | None = None) -> Loader:
    """The training loader of one rank.

    Args:
        rows: ascending rows of the corpus to train on, and no others; a shard without any is never opened.
            None: all but the held-out ones.

    Raises:
        UserError: there is nothing to train on.
    """
    if rows is None:
        return Loader(Plan(corpus, split_rows(corpus, options.held_out, held=False), options))
    if options.held_out:
        raise UserError(
            f"data.held_out = {options.held_out:g} and chosen rows exclude each other; set data.held_out = 0"
        )
    options = replace(options, window_shards=options.window_shards or len(corpus.shards))
    return Loader(Plan(corpus, checked_rows(corpus, rows), options))


def held_out_loader(corpus: Corpus, options: LoaderOptions) -> Loader:
    """The held-out samples, in the shards' order, resized only. Call `again()` for each evaluation.

    Raises:
        UserError: none is held out.
    """
    rows = split_rows(corpus, options.held_out, held=True)
    return Loader(Plan(corpus, rows, _resized(options), shuffle=False))


def ordered_loader(corpus: Corpus, rows: Ints, options: LoaderOptions) -> Loader:
    """These ascending rows of the corpus once, in order, resized only. Call `again()` for each evaluation.

    `batch.samples` holds the rows, in ascending order within a rank and without gaps over the ranks of a
    step. Where the last step has fewer rows than there are ranks, a rank without one gets a batch of weight
    0, which is another rank's row and not to be counted.

    No row is ever replaced: one that cannot be decoded ends the iteration.

    Raises:
        UserError: no row is chosen; when iterating, a damaged row.
    """
    options = replace(_resized(options), max_bad=0.0)
    return Loader(Plan(corpus, checked_rows(corpus, rows), options, shuffle=False, fill=False))


def _resized(options: LoaderOptions) -> LoaderOptions:
    return replace(options, augment=Augment("none", options.augment.image_px))
