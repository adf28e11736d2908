"""What a loader process does: take a request, read, decode into shared memory, say what is there.

Workers are forked, so that they share the index of the corpus and the memory for images: anonymous mappings
made before the fork, which need no room in /dev/shm (64 MB in a default container) and are touched for the
first time only once. Over the queue goes only where a batch lies.
"""

from __future__ import annotations

import mmap
import os
import signal
import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, ClassVar, final

import cv2
import numpy as np
import torch
from torch.utils.data import get_worker_info

from facecorpus.errors import UserError
from fautrain.data.bad_samples import BadSample
from fautrain.data.decode import Decoder, Pixels, UndecodableError
from fautrain.data.fetch import ShardCache
from fautrain.data.index import PICTURES, Corpus
from fautrain.data.order import EpochOrder, Ints
from fautrain.data.plan import Plan, Request

MAX_FILL = 1000
"""Places of the order searched for a good sample before the run stops."""
OPEN_SHARDS = 256
"""Shards that a process keeps open at most; 1,024 files are a usual limit."""
STOPPING = (signal.SIGINT, signal.SIGTERM)
"""Signals to the whole group of processes: the training process alone decides what they mean."""


@final
class Pool:
    """Memory for batches, shared with forked workers: (workers, slots, images, height, width, 3) uint8.

    A worker marks a slot busy and fills it; it is free again when nobody holds the batch any more. A worker
    that finds none free (somebody keeps batches) sends a copy instead.
    """

    _alive: ClassVar[weakref.WeakValueDictionary[int, Pool]] = weakref.WeakValueDictionary()
    _numbers = count()

    def __init__(self, workers: int, slots: int, images: int, image_px: int) -> None:
        shape = (workers, slots, images, image_px, image_px, 3)
        self.images: Pixels = np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape)
        self.busy = np.frombuffer(mmap.mmap(-1, workers * slots), np.uint8).reshape(workers, slots)
        self.number = next(Pool._numbers)
        Pool._alive[self.number] = self

    def claim(self, worker: int) -> int | None:
        """A free slot of a worker, now busy."""
        free = np.flatnonzero(self.busy[worker] == 0)
        if not len(free):
            return None
        self.busy[worker, free[0]] = 1
        return int(free[0])

    def lend(self, worker: int, slot: int, images: int) -> Pixels:
        """The images in a slot, which is freed when the array and all that is made of it are gone."""
        view = self.images[worker, slot, :images]
        weakref.finalize(view, self.release, worker, slot).atexit = False
        return view

    def release(self, worker: int, slot: int) -> None:
        """Free a slot."""
        self.busy[worker, slot] = 0

    @staticmethod
    def numbered(number: int) -> Pool:
        """The pool of this process, or of its parent at the fork, with that number."""
        return Pool._alive[number]


@dataclass(frozen=True, slots=True)
class Sent:
    """A decoded micro-batch on its way to the training process."""

    request: Request
    positions: Ints
    samples: Ints
    weight: float
    bad: tuple[BadSample, ...]
    where: tuple[int, int, int] | None
    """(pool, worker, slot), or None where `images` holds them."""
    images: Any = None
    """(n, height, width, 3) uint8, array or tensor."""

    def pin_memory(self) -> Sent:
        """A copy in page-locked memory; called by DataLoader in a thread of its own."""
        source = torch.from_numpy(self.take())
        pinned = torch.empty(source.shape, dtype=torch.uint8, pin_memory=True)
        return replace(self, where=None, images=pinned.copy_(source))

    def take(self) -> Any:
        """The images, wherever they are."""
        if self.where is None:
            return self.images
        number, worker, slot = self.where
        return Pool.numbered(number).lend(worker, slot, len(self.positions))


@dataclass(frozen=True, slots=True)
class Failed:
    """A UserError on its way to the training process, which raises it without a worker's traceback."""

    message: str


@final
class ShardFiles:
    """Open shards of one process. Reads with pread, which has no file position to share."""

    def __init__(self, corpus: Corpus, cache: ShardCache, limit: int) -> None:
        self.corpus, self.cache, self.limit = corpus, cache, limit
        self._open: OrderedDict[int, int] = OrderedDict()

    def read(self, shard: int, row: int) -> bytes:
        """The picture of a sample.

        Raises:
            UndecodableError: there is none, or it is cut or cannot be read.
        """
        index = self.corpus.indexes[shard]
        size = int(index.sizes[row])
        if size < 0:
            raise UndecodableError(f"no {', '.join(PICTURES)} member")
        if shard not in self._open:
            if len(self._open) >= self.limit:
                os.close(self._open.popitem(last=False)[1])
            self._open[shard] = self.cache.open(self.corpus.shards[shard])
        self._open.move_to_end(shard)
        try:
            # What an index says may be more than there is, and than memory holds.
            there = os.fstat(self._open[shard]).st_size - int(index.offsets[row])
            data = os.pread(self._open[shard], max(0, min(size, there)), int(index.offsets[row]))
        except OSError as error:
            raise UndecodableError(f"cannot be read: {error}") from error
        if len(data) < size:
            raise UndecodableError(f"the shard is cut short: {len(data)} of {size} bytes are there")
        return data


@final
class BatchDataset:
    """The map-style data set DataLoader sees: request -> batch. Also what is used without workers."""

    def __init__(self, plan: Plan, cache: ShardCache, pool: Pool | None) -> None:
        self.plan, self.cache, self.pool = plan, cache, pool
        self.decoder = Decoder(plan.options.augment, plan.options.seed)
        self.files = ShardFiles(plan.corpus, cache, limit=min(4 * plan.window_shards, OPEN_SHARDS))
        self._order: EpochOrder | None = None
        self._window = (-1, -1)

    def order(self, epoch: int) -> EpochOrder:
        """The order of an epoch; that of the last epoch asked for is kept."""
        if self._order is None or self._order.epoch != epoch:
            plan = self.plan
            self._order = EpochOrder(plan.counts, plan.options.seed, epoch, plan.window_shards, plan.shuffle)
        return self._order

    def __getitem__(self, request: Request) -> Sent | Failed:
        try:
            return self._make(request)
        except UserError as error:
            return Failed(str(error))

    def _make(self, request: Request) -> Sent:
        epoch, step, micro = request
        plan, info = self.plan, get_worker_info()
        worker = info.id if info else 0
        mine = plan.share(step, micro)
        positions = np.arange(mine.start, mine.stop)
        self._fetch_ahead(epoch, mine.start, worker)
        slot = self.pool.claim(worker) if self.pool else None
        px, where = plan.options.augment.image_px, None
        if self.pool and slot is not None:
            images, where = self.pool.images[worker, slot], (self.pool.number, worker, slot)
        else:
            images: Pixels = np.empty((len(positions), px, px, 3), np.uint8)
        samples, bad = self._samples(epoch, mine.start, mine.stop), list[BadSample]()
        for i, sample in enumerate(samples.tolist()):
            found = self._place(images[i], epoch, sample, mine.start + i)
            if found and not plan.fill:
                raise UserError(f"the sample {found}; it must not be left out: repair or rebuild its shard")
            if found:
                samples[i] = self._fill(images[i], epoch, found)
            # A taker's stand-in with weight 0 is somebody else's sample, and counted there.
            bad += [found] if found and mine.weight else []
        return Sent(request, positions, samples, mine.weight, tuple(bad), where, None if where else images)

    def _samples(self, epoch: int, start: int, stop: int) -> Ints:
        rows = self.order(epoch).take(start, stop)
        return rows if self.plan.rows is None else self.plan.rows[rows]

    def _place(self, out: Pixels, epoch: int, sample: int, position: int) -> BadSample | None:
        corpus = self.plan.corpus
        shard, row = corpus.locate(sample)
        try:
            self.decoder(self.files.read(shard, row), out, epoch, sample)
        except UndecodableError as error:
            return BadSample(epoch, position, corpus.shards[shard].name, corpus.key(sample), str(error))
        return None

    def _fill(self, out: Pixels, epoch: int, bad: BadSample) -> int:
        """Put the next good sample of the order (cyclically) into `out`."""
        places = min(self.plan.samples, MAX_FILL)
        for distance in range(1, places):
            position = (bad.position + distance) % self.plan.samples
            sample = int(self._samples(epoch, position, position + 1)[0])
            if self._place(out, epoch, sample, position) is None:
                return sample
        raise UserError(f"no usable sample among {places} in a row, beginning with {bad}; repair the shards")

    def _fetch_ahead(self, epoch: int, position: int, worker: int) -> None:
        order = self.order(epoch)
        window = order.window_of(position)
        if (epoch, window) == self._window:
            return
        self._window = (epoch, window)
        shards = [self.plan.corpus.shards[s] for s in order.shards_of(window + 1)]
        turn = (self.plan.options.rank + worker) % len(shards) if shards else 0
        self.cache.fetch_ahead(shards[turn:] + shards[:turn])


def start_worker(worker: int) -> None:
    """Runs first in each worker. Ctrl-C and SIGTERM reach the whole group; a run told to stop still needs its
    workers for the step it is in, however long that takes. It stops them itself, and DataLoader's watchdog
    does where it was killed."""
    cv2.setNumThreads(0)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
