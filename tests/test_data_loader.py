"""The loader as a run uses it: exactly once, the very next batch after a stop, bad samples named and
bounded."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from data_shards import PX, picture, shown, write_corpus

from facecorpus.errors import UserError
from fautrain.data import (
    Augment,
    Loader,
    LoaderOptions,
    LoaderState,
    held_out_loader,
    make_loader,
    open_corpus,
    shard_cache,
)
from fautrain.data import loader as dataloading

SIZES = (9, 14, 11, 6, 13)
TOTAL = sum(SIZES)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus")
    write_corpus(out, SIZES)
    return out


def loader(out: Path | str, **options: Any) -> Loader:
    cache = str(Path(out).parent / "cache") if "://" not in str(out) else str(options.pop("cache"))
    augment = Augment(options.pop("augment", "resize-flip"), options.pop("image_px", PX))
    defaults = {"batch_per_step": 12, "augment": augment, "seed": 4, "window_shards": 2, "cache": cache}
    return make_loader(open_corpus(str(out), shard_cache(cache)), LoaderOptions(**{**defaults, **options}))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (1, 3), (2, 1), (3, 2), (12, 1)])
def test_each_sample_exactly_once_over_ranks_and_workers(
    corpus: Path, world: int, accumulate: int, workers: int
) -> None:
    if workers and world > 3:
        pytest.skip("two dozen processes show no more than six")
    ranks = [
        loader(corpus, rank=r, world=world, accumulate=accumulate, workers=workers) for r in range(world)
    ]
    for epoch in range(2):
        seen = [shown(r.epoch(LoaderState(epoch))) for r in ranks]
        assert sorted(itertools.chain(*seen)) == list(range(TOTAL))
    for r in ranks:
        r.close()


def test_ranks_workers_and_accumulation_change_no_sample_and_no_pixel(corpus: Path) -> None:
    def steps(**options: Any) -> list[tuple[Any, ...]]:
        world = options.get("world", 1)
        ranks = [loader(corpus, augment="rrc-flip", rank=r, **options) for r in range(world)]
        rows = [
            (b.epoch, b.step, p, s, i.tobytes())
            for r in ranks
            for b in r.epoch()
            if b.weight
            for p, s, i in zip(b.positions.tolist(), b.samples.tolist(), b.images.numpy(), strict=True)
        ]
        for r in ranks:
            r.close()
        return sorted(rows)

    plain = steps()
    assert plain == steps(workers=2) == steps(world=3) == steps(accumulate=4, workers=1)
    assert plain != steps(seed=5)


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_at_every_step_gives_the_very_next_batch(corpus: Path, workers: int) -> None:
    whole = loader(corpus, workers=workers, accumulate=2)
    stream = [
        (b.epoch, b.step, b.micro, b.after, b.samples.tolist(), b.images.clone())
        for b in itertools.islice(whole.batches(), 2 * 2 * whole.steps_per_epoch)
    ]
    whole.close()
    for place in range(0, len(stream) - 2, 2):
        again = loader(corpus, workers=workers if place % 4 == 0 else 0, accumulate=2)
        state = stream[place][3]
        for before, batch in zip(stream[place + 2 : place + 6], again.batches(state), strict=False):
            assert (batch.epoch, batch.step, batch.micro, batch.after) == before[:4]
            assert batch.samples.tolist() == before[4] and (batch.images == before[5]).all()
        again.close()


def test_resuming_on_other_ranks_and_workers_completes_the_epoch(corpus: Path) -> None:
    steps = loader(corpus).steps_per_epoch
    for kill, (before, after) in itertools.product(range(1, steps), [((1, 2), (3, 0)), ((3, 0), (2, 1))]):
        seen: list[int] = []
        for r in range(before[0]):
            first = loader(corpus, rank=r, world=before[0], workers=before[1])
            seen += shown(itertools.islice(first.batches(), kill))
            first.close()
        for r in range(after[0]):
            second = loader(corpus, rank=r, world=after[0], workers=after[1])
            seen += shown(second.epoch(LoaderState(0, kill)))
            second.close()
        assert sorted(seen) == list(range(TOTAL))


def test_going_on_keeps_the_workers_and_a_jump_does_not_mix(corpus: Path) -> None:
    mine = loader(corpus, workers=1)
    first = shown(mine.epoch())
    source = mine._source
    second = shown(mine.epoch())  # the state goes on by itself
    third = shown(mine.epoch(LoaderState(2)))
    assert mine._source is source
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    assert shown(mine.epoch(LoaderState(0))) == first and mine._source is not source
    parted = loader(corpus, accumulate=3)
    broken = next(parted.batches(LoaderState(0, 2)))
    again = next(parted.batches())  # left within a step: the step begins anew
    assert (again.step, again.micro) == (2, 0) and (again.images == broken.images).all()
    half = next(mine.batches(LoaderState(1, 0)))
    assert shown(mine.epoch(half.after)) == second[12:]
    mine.close()


def test_kept_batches_stay_as_they_are(corpus: Path) -> None:
    """Batches lie in memory that is used again only when nobody holds them."""
    mine = loader(corpus, workers=2, prefetch=1)
    kept = list(itertools.islice(mine.batches(), 30))
    assert shown(kept[: mine.steps_per_epoch]) and len(shown(kept)) == 30 // 5 * TOTAL
    piece = next(mine.batches()).images[0]
    value = piece.clone()
    for _ in itertools.islice(mine.batches(), 20):
        pass
    assert (piece == value).all()
    mine.close()


def test_the_loader_draws_from_no_global_generator(corpus: Path) -> None:
    before = torch.get_rng_state()
    mine = loader(corpus, workers=1)
    next(mine.batches())
    mine.close()
    assert (torch.get_rng_state() == before).all()


def test_fewer_samples_than_ranks_or_batch(tmp_path: Path) -> None:
    write_corpus(tmp_path / "out", (2, 1))
    ranks = [loader(tmp_path / "out", rank=r, world=5) for r in range(5)]
    batches = [list(r.epoch()) for r in ranks]
    assert [len(b) for b in batches] == [1] * 5  # every rank takes the step
    assert sorted(itertools.chain(*(shown(b) for b in batches))) == [0, 1, 2]
    assert sum(b[0].weight for b in batches) == pytest.approx(5)


def test_train_and_held_out_share_nothing_and_miss_nothing(corpus: Path) -> None:
    train = shown(loader(corpus, held_out=0.3).epoch())
    options = LoaderOptions(
        batch_per_step=4, augment=Augment(image_px=PX), cache=str(corpus.parent / "cache"), workers=1
    )
    opened = open_corpus(str(corpus), shard_cache(options.cache))
    held = held_out_loader(opened, replace(options, held_out=0.3))
    first, second = shown(held.epoch()), shown(held.epoch())
    held.close()
    assert first == second == sorted(first) and len(first) == held.samples
    assert sorted(train + first) == list(range(TOTAL)) and 0 < len(first) < TOTAL / 2
    with pytest.raises(UserError, match="none is held out"):
        held_out_loader(opened, options)


@pytest.mark.parametrize("workers", [0, 1])
def test_shards_behind_a_url(corpus: Path, tmp_path: Path, workers: int) -> None:
    fs = fsspec.filesystem("memory")
    fs.put(str(corpus), "/remote", recursive=True)
    try:
        url = "memory://remote/shards/toy-{000000..000004}.tar"
        mine = loader(url, cache=str(tmp_path), workers=workers)
        assert shown(mine.epoch()) == shown(loader(corpus).epoch())
        mine.close()
    finally:
        fs.rm("/remote", recursive=True)


def spoilt(number: int) -> bytes:
    """Samples 3 and 30 are no pictures."""
    return b"\xff\xd8 torn" if number in (3, 30) else picture(number)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_undecodable_sample_is_named_counted_and_its_place_filled(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    keys = write_corpus(tmp_path / "out", SIZES, spoilt)
    clean = tmp_path / "clean"
    write_corpus(clean, SIZES)
    order = shown(loader(clean).epoch())
    mine = loader(tmp_path / "out", workers=workers, max_bad=0.05)
    with caplog.at_level(logging.WARNING, "fautrain.data"):
        batches = list(mine.epoch())
    for place, (was, now) in enumerate(
        zip(order, itertools.chain(*(shown([b]) for b in batches)), strict=True)
    ):
        follower = next(s for s in (order * 2)[place:] if s not in (3, 30))
        assert now == (follower if was in (3, 30) else was)
    bad = [b for batch in batches for b in batch.bad]
    assert {(b.key, b.shard) for b in bad} == {(keys[3], "toy-000000.tar"), (keys[30], "toy-000002.tar")}
    assert {b.position for b in bad} == {order.index(3), order.index(30)}
    assert mine.bad.total == 2 and keys[3] in caplog.text and keys[30] in caplog.text
    assert len(mine.bad.this_epoch) == 2
    list(mine.epoch())  # going on, the next epoch is counted anew
    assert len(mine.bad.this_epoch) == 2 and mine.bad.total == 4
    mine.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_more_bad_samples_than_allowed_stop_the_run(tmp_path: Path, workers: int) -> None:
    keys = write_corpus(tmp_path / "out", SIZES, spoilt)
    mine = loader(tmp_path / "out", workers=workers, max_bad=0.03)  # 1 of 53
    with pytest.raises(UserError, match=r"2 of 53 .*max_bad = 0.03 allows 1") as caught:
        list(mine.epoch())
    assert keys[3] in str(caught.value) and keys[30] in str(caught.value) and "\n" not in str(caught.value)
    default = loader(tmp_path / "out", workers=workers)
    with pytest.raises(UserError, match=r"1 of 53 .*max_bad = 0.001 allows 0"):
        list(default.epoch())


def test_the_bound_holds_for_all_ranks_together(tmp_path: Path) -> None:
    """20 of 80 samples are bad: wherever they fall, some rank of four stops where less than that is
    allowed."""
    write_corpus(tmp_path / "out", (40, 40), lambda n: b"" if n % 4 == 0 else picture(n))
    for seed in range(5):
        stopped = 0
        for rank in range(4):
            mine = loader(tmp_path / "out", rank=rank, world=4, seed=seed, max_bad=0.249)
            try:
                list(mine.epoch())
            except UserError:
                stopped += 1
        assert stopped
    one = loader(tmp_path / "out", max_bad=0.25)
    list(one.epoch())
    assert one.bad.total == 20


def test_a_foreign_shard_cut_short_is_named(tmp_path: Path) -> None:
    """Cut within a picture: that sample is bad, and so is the end of the shard, which hides more of them."""
    keys = write_corpus(tmp_path / "out", SIZES, table=False)
    path = tmp_path / "out" / "shards" / "toy-000001.tar"
    whole = path.read_bytes()
    place = whole.index(keys[9 + 10].encode()) + 512 + 100
    path.write_bytes(whole[:place])
    with pytest.raises(UserError, match=r"toy-000001\.tar: \(end\): .*the tar breaks off"):
        next(loader(tmp_path / "out").batches())
    mine = loader(tmp_path / "out", max_bad=0.05)
    assert mine.samples == TOTAL - 3
    list(mine.epoch())
    reasons = {b.key: b.reason for b in mine.bad.this_epoch}
    assert set(reasons) == {"(end)", keys[19]} and re.search("cut short: 100 of", reasons[keys[19]])
    # Cut between two samples, the only trace is the missing end mark.
    path.write_bytes(whole[: whole.index(keys[19].encode())])
    with pytest.raises(UserError, match="neither a tar header nor the end mark"):
        next(loader(tmp_path / "out").batches())


def test_a_shard_without_pictures_and_one_with_only_bad_ones(tmp_path: Path) -> None:
    write_corpus(tmp_path / "out", (4, 4), lambda n: b"no picture")
    with pytest.raises(UserError, match="no usable sample among 8"):
        list(loader(tmp_path / "out", max_bad=1.0).epoch())


def test_a_shard_lost_on_the_way_stops_the_run(tmp_path: Path) -> None:
    write_corpus(tmp_path / "out", (4, 4, 4))
    for workers in (0, 1):
        mine = loader(tmp_path / "out", workers=workers)
        for path in (tmp_path / "out" / "shards").glob("*.tar"):
            path.rename(path.with_suffix(".away"))
        with pytest.raises(UserError, match=r"toy-00000\d.tar has gone") as caught:
            list(mine.epoch())
        assert "\n" not in str(caught.value)
        for path in (tmp_path / "out" / "shards").glob("*.away"):
            path.rename(path.with_suffix(".tar"))


def worker_pids(count: int) -> list[int]:
    pids = [p.pid for p in multiprocessing.active_children() if p.pid]
    assert len(pids) == count  # and no earlier loader has left one behind
    return pids


def test_workers_outlive_a_sigterm_to_the_group(corpus: Path) -> None:
    """Schedulers signal every process; the step under way must still get its batches."""
    mine = loader(corpus, workers=2)
    stream = mine.batches()
    shown(itertools.islice(stream, 1))
    for pid in worker_pids(2):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    assert len(shown(itertools.islice(stream, 4 * mine.steps_per_epoch))) >= 4 * TOTAL - 12
    mine.close()


def test_a_killed_worker_is_one_sentence(corpus: Path) -> None:
    mine = loader(corpus, workers=1)
    stream = mine.batches()
    next(stream)
    os.kill(worker_pids(1)[0], signal.SIGKILL)
    with pytest.raises(UserError, match="a loader process died"):
        for _ in range(100):
            next(stream)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world": 2}, "rank 2 of 2"),
        ({"seed": -1}, "seed = -1"),
        ({"batch_per_step": 3, "world": 2, "accumulate": 2}, "less than 2 processes x 2"),
        ({"held_out": 1.0}, "none is left for training"),
    ],
)
def test_impossible_arguments_are_refused(corpus: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        loader(corpus, **options)


def test_a_state_of_another_run_is_refused(corpus: Path) -> None:
    with pytest.raises(UserError, match="must be those of the interrupted run"):
        loader(corpus).batches(LoaderState(0, 5))


@pytest.mark.gpu
def test_images_are_pinned_for_a_device(corpus: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    mine = loader(corpus, workers=2)
    for batch in itertools.islice(mine.batches(), 20):
        assert batch.images.is_pinned()
        assert shown([batch])
    mine.close()


def test_memory_for_batches_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer batches ahead change no sample; where not even one fits, the setting is named."""
    write_corpus(tmp_path / "out", SIZES)
    before = shown(loader(tmp_path / "out").epoch())
    slot = 2 * 12 * PX * PX * 3  # two workers, twelve images
    monkeypatch.setattr(dataloading, "POOL_BYTES", 4 * slot)
    small = loader(tmp_path / "out", workers=2, prefetch=50)
    assert small.plan.largest == 12 and small._affordable_prefetch() == 2
    assert shown(small.epoch()) == before
    small.close()
    monkeypatch.setattr(dataloading, "POOL_BYTES", 0)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    with pytest.raises(UserError, match=r"2 loader processes .* lower data\.workers or raise"):
        next(loader(tmp_path / "out", workers=2).batches())


def test_another_pass_keeps_the_workers_and_is_the_same(corpus: Path, tmp_path: Path) -> None:
    held = held_out_loader(
        open_corpus(str(corpus), shard_cache(tmp_path)),
        LoaderOptions(
            held_out=0.5,
            batch_per_step=5,
            augment=Augment(image_px=PX),
            cache=str(tmp_path),
            workers=2,
            prefetch=1,
        ),
    )
    first = [(b.epoch, b.step, b.samples.tolist()) for b in held.again()]
    pids = {p.pid for p in multiprocessing.active_children()}
    assert [(b.epoch, b.step, b.samples.tolist()) for b in held.again()] == first
    assert len(pids) == 2 and {p.pid for p in multiprocessing.active_children()} == pids
    next(held.again())  # broken off: the next begins at the beginning all the same
    assert [(b.epoch, b.step, b.samples.tolist()) for b in held.again()] == first
    held.close()
