"""Loaders of chosen rows: those and no others, mixed over all their shards in training, in order in tests."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import simplejpeg
import torch
from data_shards import PX, picture, shown, write_corpus

from facecorpus.errors import UserError
from fautrain.data import (
    Augment,
    Corpus,
    Loader,
    LoaderOptions,
    LoaderState,
    make_loader,
    open_corpus,
    ordered_loader,
    shard_cache,
)
from fautrain.data.order import EpochOrder

SIZES = (9, 14, 11, 6, 13)
STARTS = np.cumsum((0, *SIZES))
ROWS = np.array([0, 3, 4, 8, *range(34, 40), 40, 41, 47, 50, 52])
"""In the first and the last two shards: 15 rows."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def opened(out: Path | str, cache: Path) -> Corpus:
    return open_corpus(str(out), shard_cache(cache))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder / "out", SIZES)
    return opened(folder / "out", folder / "cache")


def loader_options(**options: Any) -> LoaderOptions:
    augment = Augment(options.pop("augment", "resize-flip"), PX)
    return LoaderOptions(**{"batch_per_step": 4, "augment": augment, **options})


def training(corpus: Corpus, **options: Any) -> Loader:
    rows = options.pop("rows", ROWS)
    return make_loader(corpus, loader_options(seed=4, **options), rows)


def in_order(corpus: Corpus, rows: Any = ROWS, **options: Any) -> Loader:
    return ordered_loader(corpus, np.asarray(rows), loader_options(**options))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 2), (3, 1)])
def test_each_chosen_row_exactly_once_over_ranks_and_workers(
    corpus: Corpus, world: int, accumulate: int, workers: int
) -> None:
    ranks = [
        training(corpus, rank=r, world=world, accumulate=accumulate, workers=workers) for r in range(world)
    ]
    assert {(r.samples, r.steps_per_epoch) for r in ranks} == {(15, 4)}
    epochs = [list(itertools.chain(*(shown(r.epoch()) for r in ranks))) for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == ROWS.tolist() and epochs[0] != epochs[1]
    for r in ranks:
        r.close()


def test_resuming_chosen_rows_on_other_ranks_and_workers_completes_the_epoch(corpus: Corpus) -> None:
    whole = shown(training(corpus).epoch())
    for kill in range(1, 4):
        before, rest = [], []
        for r in range(2):
            first = training(corpus, rank=r, world=2, workers=r)
            before += shown(itertools.islice(first.batches(), kill))
            first.close()
        for r in range(3):
            rest += shown(training(corpus, rank=r, world=3).epoch(LoaderState(0, kill)))
        assert sorted(before) == sorted(whole[: 4 * kill]) and sorted(rest) == sorted(whole[4 * kill :])


def test_all_rows_in_the_same_windows_are_the_loader_without_rows(corpus: Corpus) -> None:
    everything = training(corpus, rows=np.arange(len(corpus)), window_shards=2)
    plain = training(corpus, rows=None, window_shards=2)
    for mine, other in zip(everything.epoch(), plain.epoch(), strict=True):
        assert (mine.images == other.images).all() and (mine.samples == other.samples).all()


def test_chosen_rows_are_mixed_over_all_their_shards(tmp_path: Path) -> None:
    """Twelve subjects of 16 frames: windows of eight would keep four of them from the first 64 places."""
    write_corpus(tmp_path / "out", [16] * 12)
    corpus = opened(tmp_path / "out", tmp_path / "cache")

    def subjects(rows: Any, **options: Any) -> int:
        first = itertools.islice(training(corpus, rows=rows, **options).batches(), 64 // 4)
        return len({corpus.locate(s)[0] for s in shown(first)})

    everything = np.arange(len(corpus))
    assert subjects(everything) == 12
    assert subjects(everything, window_shards=8) == 8
    assert subjects(None) == 8  # without rows nothing has changed


def test_shards_without_samples_take_no_place_in_a_window() -> None:
    for epoch in range(5):
        order = EpochOrder(np.array([0, 5, 0, 0, 5, 0, 5]), seed=1, epoch=epoch, window_shards=2)
        assert sorted(order.shards_of(0).tolist() + order.shards_of(1).tolist()) == [1, 4, 6]
        assert order.window_of(9) == 0 and order.window_of(10) == 1
        assert sorted(order.take(0, 15).tolist()) == list(range(15))


@pytest.mark.parametrize("make", [training, in_order])
def test_a_shard_without_a_chosen_row_is_not_opened(tmp_path: Path, make: Any) -> None:
    write_corpus(tmp_path / "out", SIZES)
    corpus = opened(tmp_path / "out", tmp_path / "cache")
    for number in (1, 2):
        (tmp_path / "out" / "shards" / f"toy-00000{number}.tar").unlink()
    assert sorted(shown(make(corpus).epoch())) == ROWS.tolist()
    with pytest.raises(UserError, match=r"toy-000001\.tar has gone"):
        list(make(corpus, rows=np.array([3, 9])).epoch())


def test_a_remote_shard_without_a_chosen_row_is_not_fetched(tmp_path: Path) -> None:
    write_corpus(tmp_path / "out", SIZES)
    fs = fsspec.filesystem("memory")
    fs.put(str(tmp_path / "out"), "/rows", recursive=True)
    try:
        corpus = opened("memory://rows", tmp_path / "cache")
        mine = training(corpus, window_shards=1, cache=str(tmp_path / "cache"))
        assert sorted(shown(mine.epoch())) == ROWS.tolist()
        fetched = {p.name[-14:] for p in mine.cache.folder.glob("*.tar")}
        assert fetched == {"toy-000000.tar", "toy-000003.tar", "toy-000004.tar"}
    finally:
        fs.rm("/rows", recursive=True)


def test_impossible_rows_are_refused(corpus: Corpus) -> None:
    with pytest.raises(UserError, match=r"data.held_out = 0.1 and chosen rows exclude each other"):
        training(corpus, held_out=0.1)
    for make in (training, in_order):
        with pytest.raises(UserError, match="no row of the corpus is chosen"):
            make(corpus, rows=np.zeros(0, np.int64))
        for wrong in ([2, 1], [1, 1], [-1, 3], [52, 53]):
            with pytest.raises(ValueError, match="must ascend within 0 <= row < 53"):
                make(corpus, rows=np.array(wrong))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_ordered_gives_each_row_once_ascending_and_as_it_is(corpus: Corpus, world: int, workers: int) -> None:
    """15 rows in steps of 4: the last step has 3, fewer than four ranks."""
    ranks = [in_order(corpus, rank=r, world=world, workers=workers) for r in range(world)]
    sources = set()
    for _ in range(3):
        steps = list(zip(*(r.epoch() for r in ranks), strict=True))
        assert len(steps) == 4 == ranks[0].steps_per_epoch
        assert [s for step in steps for s in shown(step)] == ROWS.tolist()
        stand_ins = [b for step in steps for b in step if not b.weight]
        assert len(stand_ins) == (1 if world == 4 else 0)
        sources.add(tuple(id(r._source) for r in ranks))
    assert len(sources) == 1  # the workers are kept
    for r in ranks:
        r.close()


def test_ordered_neither_crops_nor_flips(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], (32, 32, 3)).copy()
    write_corpus(tmp_path / "out", (40,), lambda _: simplejpeg.encode_jpeg(ramp, 95))
    corpus = opened(tmp_path / "out", tmp_path / "cache")
    (batch,) = in_order(corpus, np.arange(40), batch_per_step=40).epoch()
    columns = batch.images.float().mean((0, 1, 2))
    assert (columns.diff() > 10).all() and columns[0] < 10 and columns[-1] > 245
    assert (batch.images == batch.images[:1]).all()


@pytest.mark.parametrize("world", [1, 3])
def test_ordered_of_a_single_row(corpus: Corpus, world: int) -> None:
    ranks = [in_order(corpus, [41], rank=r, world=world) for r in range(world)]
    batches = [list(r.epoch()) for r in ranks]
    assert [len(b) for b in batches] == [1] * world
    assert [s for b in batches for s in shown(b)] == [41]


@pytest.mark.parametrize("workers", [0, 1])
def test_ordered_names_a_damaged_row_and_replaces_none(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    keys = write_corpus(tmp_path / "out", SIZES, lambda n: b"\xff\xd8 torn" if n == 40 else picture(n))
    corpus = opened(tmp_path / "out", tmp_path / "cache")
    mine = in_order(corpus, workers=workers)
    seen: list[int] = []
    with (
        caplog.at_level(logging.WARNING, "fautrain.data"),
        pytest.raises(UserError, match=rf"toy-000004\.tar: {keys[40]}: .*repair or rebuild") as caught,
    ):
        for batch in mine.epoch():
            seen += shown([batch])
    assert seen == ROWS[:8].tolist() and not caplog.text and "\n" not in str(caught.value)
    others = in_order(corpus, ROWS[ROWS != 40], workers=workers)
    assert shown(others.epoch()) == [r for r in ROWS.tolist() if r != 40]
    others.close()
    filled = training(corpus, max_bad=0.1)  # in training its place is filled
    assert len(list(filled.epoch())) == 4 and filled.bad.total == 1
