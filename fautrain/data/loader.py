"""The loader: batches of uint8 images in an order that depends on nothing but the seed.

An epoch is all samples of the shards less the held-out ones, or the rows asked for, each exactly once over
all ranks and workers; the order and every random choice are pure functions of (seed, epoch, sample). Ranks,
workers, prefetching and interruptions change nothing, so the state is (epoch, step).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fautrain.data.batches import Loader
from fautrain.data.decode import Augment
from fautrain.data.fetch import ShardCache
from fautrain.data.index import Corpus, held_out_mask, open_corpus
from fautrain.data.order import WINDOW_SHARDS, Ints
from fautrain.data.shards import default_cache
from fautrain.data.workers import Plan
from fautrain.errors import UserError

CACHE_GIB = 100.0
"""Room for remote shards: several windows of 8 shards of 0.23 GB."""


def shard_cache(folder: str | Path | None = None, gib: float = CACHE_GIB) -> ShardCache:
    """The cache in a folder (default: `fautrain` in the user's cache folder) that may grow to `gib`."""
    return ShardCache(Path(folder) if folder else default_cache(), int(gib * 2**30))


def make_loader(
    shards: str | Corpus,
    *,
    batch_per_step: int,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    accumulate: int = 1,
    workers: int = 0,
    prefetch: int = 2,
    image_px: int = 224,
    augment: str = "resize-flip",
    rrc_scale: tuple[float, float] = (0.2, 1.0),
    max_bad: float = 0.001,
    held_out: float = 0.0,
    rows: Ints | None = None,
    randaugment: str | None = None,
    cache: str | None = None,
    cache_gib: float = CACHE_GIB,
    window_shards: int | None = None,
    verify: bool = True,
    pin: bool | None = None,
) -> Loader:
    """The training loader of one rank.

    Args:
        shards: glob, brace range, comma list or folder (see `list_shards`), or a corpus already open.
        batch_per_step: samples of one step over all ranks and micro-batches.
        seed: of order and augmentation, 0 <= seed < 2**64.
        rank: of this process, 0 <= rank < world.
        world: number of processes that share each step.
        accumulate: micro-batches that each rank's part of a step is cut into, each delivered by itself.
        workers: decoding processes of this rank; 0 decodes in the calling process.
        prefetch: micro-batches each worker prepares ahead.
        image_px: width and height of the images.
        augment: `resize-flip`, `rrc-flip` or `none`.
        rrc_scale: range of the random crop's share of the area.
        max_bad: bound on unusable samples as a fraction of the epoch.
        held_out: fraction kept from training, for `held_out_loader`.
        rows: ascending rows of the corpus to train on, and no others; a shard without any is never opened.
            None: all but the held-out ones.
        randaugment: RandAugment after crop and flip, in timm's notation; None: without.
        cache: folder for remote shards, indexes of foreign shards and the memory of checked hashes.
        cache_gib: how large the remote shards in it may get together.
        window_shards: shards whose samples are mixed. None: WINDOW_SHARDS of them; with `rows` all that hold
            one, so that the epoch is a uniform permutation of the rows. Labelled shards hold one subject
            each, and a window of a few would train on a few people at a time.
        verify: hash local shards at the first start; sizes are always compared.
        pin: page-locked images; None where there is a CUDA device.

    Raises:
        UserError: an argument is out of range, or see `open_corpus`.
    """
    _check(batch_per_step, seed, rank, world, accumulate)
    room = shard_cache(cache, cache_gib)
    corpus = shards if isinstance(shards, Corpus) else open_corpus(shards, room, verify, rank, world)
    if rows is None:
        chosen, counts = _choose(corpus, held_out, held=False)
    elif held_out:
        raise UserError(
            f"data.held_out = {held_out:g} and chosen rows exclude each other; set data.held_out = 0"
        )
    else:
        chosen, counts = _chosen(corpus, rows)
    if window_shards is None:
        window_shards = WINDOW_SHARDS if rows is None else len(corpus.shards)
    plan = Plan(
        corpus,
        chosen,
        counts,
        batch_per_step,
        seed,
        rank,
        world,
        accumulate,
        Augment(augment, image_px, rrc_scale, randaugment=randaugment),
        window_shards,
    )
    pinned = pin if pin is not None else torch.cuda.is_available() and workers > 0
    return Loader(plan, room, max_bad, workers, prefetch, pinned)


def held_out_loader(
    shards: str | Corpus, *, held_out: float, batch_per_step: int, max_bad: float = 0.001, **others: Any
) -> Loader:
    """The held-out samples, in the shards' order, resized only. Call `epoch()` for each evaluation.

    Takes what `make_loader` takes but `rows`, with the same meaning; `seed`, `augment` and `randaugment` have
    no effect.
    """
    loader = make_loader(shards, batch_per_step=batch_per_step, max_bad=max_bad, **others)
    chosen, counts = _choose(loader.corpus, held_out, held=True)
    how = Augment("none", loader.plan.augment.image_px)
    plan = replace(loader.plan, chosen=chosen, counts=counts, augment=how, shuffle=False)
    return Loader(plan, loader.cache, max_bad, loader.workers, loader.prefetch, loader.pin)


def ordered_loader(
    corpus: str | Corpus,
    rows: Ints,
    *,
    batch_per_step: int,
    image_px: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    prefetch: int = 2,
    cache: str | None = None,
    cache_gib: float = CACHE_GIB,
    pin: bool | None = None,
) -> Loader:
    """These rows of the corpus once, in order, resized only. Call `epoch()` for each evaluation.

    `batch.samples` holds the rows, in ascending order within a rank and without gaps over the ranks of a
    step. Where the last step has fewer rows than there are ranks, a rank without one gets a batch of weight
    0, which is another rank's row and not to be counted.

    No row is ever replaced: one that cannot be decoded ends the iteration.

    Args:
        corpus: glob, brace range, comma list or folder (see `list_shards`), or a corpus already open.
        rows: ascending rows of the corpus.
        batch_per_step: rows of one step over all ranks.
        image_px: width and height of the images.
        rank: of this process, 0 <= rank < world.
        world: number of processes that share each step.
        workers: decoding processes of this rank, kept from one epoch to the next; 0: the calling process.
        prefetch: batches each worker prepares ahead.
        cache: see `make_loader`.
        cache_gib: see `make_loader`.
        pin: see `make_loader`.

    Raises:
        UserError: an argument is out of range, or see `open_corpus`; when iterating, a damaged row.
    """
    loader = make_loader(
        corpus,
        rows=rows,
        augment="none",
        max_bad=0.0,
        window_shards=WINDOW_SHARDS,
        batch_per_step=batch_per_step,
        image_px=image_px,
        rank=rank,
        world=world,
        workers=workers,
        prefetch=prefetch,
        cache=cache,
        cache_gib=cache_gib,
        pin=pin,
    )
    plan = replace(loader.plan, shuffle=False, fill=False)
    return Loader(plan, loader.cache, 0.0, workers, prefetch, loader.pin)


def _chosen(corpus: Corpus, rows: Ints) -> tuple[Ints, Ints]:
    """(rows, number of them in each shard)."""
    if not len(rows):
        raise UserError("no row of the corpus is chosen; choose another fold, or build the missing subjects")
    if rows[0] < 0 or rows[-1] >= len(corpus) or (np.diff(rows) <= 0).any():
        raise ValueError(f"rows must ascend within 0 <= row < {len(corpus)}, each once")
    return rows, np.diff(np.searchsorted(rows, corpus.starts))


def _choose(corpus: Corpus, fraction: float, held: bool) -> tuple[Ints | None, Ints]:
    """(chosen rows or None for all, number of them in each shard)."""
    if not fraction and not held:
        return None, np.diff(corpus.starts)
    masks = [held_out_mask(i.keys.tolist(), fraction) == held for i in corpus.indexes]
    counts = np.array([m.sum() for m in masks], np.int64)
    if not counts.sum():
        side = "held out" if held else "left for training"
        raise UserError(f"data.held_out = {fraction:g} of {len(corpus)} samples: none is {side}; change it")
    return np.flatnonzero(np.concatenate(masks)), counts


def _check(batch_per_step: int, seed: int, rank: int, world: int, accumulate: int) -> None:
    if not 0 <= rank < world:
        raise UserError(f"rank {rank} of {world} processes does not exist; start ranks 0 to {world - 1}")
    if not 0 <= seed < 2**64:
        raise UserError(f"seed = {seed} must be between 0 and 2**64 - 1")
    if accumulate < 1 or batch_per_step < world * accumulate:
        raise UserError(
            f"data.batch_per_step = {batch_per_step} is less than {world} processes x {accumulate} "
            "micro-batches; raise it, or use fewer processes or train.accumulate"
        )
