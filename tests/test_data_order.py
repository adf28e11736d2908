"""The order of samples: exactly once, pure, mixed, the same for any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fautrain.data.order import (
    EpochOrder,
    LoaderState,
    next_state,
    permutation,
    share,
    steps_per_epoch,
)

counts_of_shards = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(lambda c: sum(c) > 0)


def order(counts: list[int], seed: int = 3, epoch: int = 0, window: int = 4, shuffle: bool = True):
    return EpochOrder(np.array(counts), seed, epoch, window, shuffle)


def one_rank(samples: int, batch: int, rank: int, world: int, accumulate: int, start: int = 0) -> list[int]:
    """Positions that a rank counts from step `start` on."""
    taken: list[int] = []
    for step in range(start, steps_per_epoch(samples, batch)):
        for micro in range(accumulate):
            piece = share(samples, batch, step, rank * accumulate + micro, world * accumulate)
            assert piece.start < piece.stop <= samples  # no rank is ever without a batch
            taken += range(piece.start, piece.stop) if piece.weight else []
    return taken


@settings(max_examples=60, deadline=None)
@given(counts_of_shards, st.integers(0, 2**64 - 1), st.integers(0, 5), st.integers(1, 5))
def test_an_epoch_is_a_permutation_however_it_is_cut(
    counts: list[int], seed: int, epoch: int, window: int
) -> None:
    total = sum(counts)
    whole = order(counts, seed, epoch, window).take(0, total)
    assert sorted(whole.tolist()) == list(range(total))
    # Another object, asked backwards and one by one, gives the same.
    again = order(counts, seed, epoch, window)
    assert [int(again.take(p, p + 1)[0]) for p in reversed(range(total))] == whole[::-1].tolist()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300), st.integers(1, 64), st.integers(1, 7), st.integers(1, 3))
def test_each_position_is_counted_once_over_ranks(
    samples: int, batch: int, world: int, accumulate: int
) -> None:
    taken = [p for rank in range(world) for p in one_rank(samples, batch, rank, world, accumulate)]
    assert sorted(taken) == list(range(samples))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_resuming_on_other_ranks_loses_and_repeats_nothing(data: st.DataObject) -> None:
    samples, batch = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 64))
    steps = steps_per_epoch(samples, batch)
    kill = data.draw(st.integers(0, steps - 1))
    before, after = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    done = [
        p for rank in range(before) for p in one_rank(samples, batch, rank, before, 1) if p < kill * batch
    ]
    rest = [p for rank in range(after) for p in one_rank(samples, batch, rank, after, 1, kill)]
    assert sorted(done + rest) == list(range(samples))


@given(st.integers(1, 300), st.integers(1, 64), st.integers(1, 7))
def test_weights_make_the_mean_over_ranks_the_mean_over_samples(samples: int, batch: int, world: int) -> None:
    values = np.random.default_rng(0).normal(size=samples)
    for step in range(steps_per_epoch(samples, batch)):
        pieces = [share(samples, batch, step, r, world) for r in range(world)]
        mean = np.mean([p.weight * values[p.start : p.stop].mean() for p in pieces])
        assert mean == pytest.approx(values[step * batch : (step + 1) * batch].mean())


def test_full_steps_weigh_one() -> None:
    assert {share(64, 16, s, r, 4).weight for s in range(4) for r in range(4)} == {1.0}


def test_seed_and_epoch_change_the_order() -> None:
    counts = [30] * 8
    orders = [order(counts, seed, epoch).take(0, 240).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4
    large = [tuple(permutation(20, 2**64 - n, 1, 0)) for n in (1, 2, 3)]
    assert len(set(large)) == 3  # all 64 bits count


def test_order_is_pinned() -> None:
    """The words of Philox are the same on every machine and numpy; a changed order would break resuming."""
    assert permutation(8, seed=1, purpose=2, epoch=3, number=4).tolist() == [6, 3, 1, 0, 5, 2, 4, 7]
    assert order([5, 4, 3], seed=7, epoch=1, window=2).take(0, 12).tolist() == [
        6,
        9,
        8,
        7,
        5,
        10,
        11,
        4,
        0,
        1,
        3,
        2,
    ]


def test_windows_mix_their_shards_and_only_them() -> None:
    counts, window = [100] * 9, 3
    o = order(counts, window=window)
    taken = o.take(0, 900) // 100
    for w in range(3):
        inside = taken[w * 300 : (w + 1) * 300]
        assert set(inside.tolist()) == set(o.shards_of(w).tolist())
        # Of 30 neighbours about ten come from each shard: none fewer than 2 (the seed is fixed).
        for start in range(0, 300, 30):
            assert min(np.unique(inside[start : start + 30], return_counts=True)[1]) >= 2
            assert len(set(inside[start : start + 30].tolist())) == 3
    # Over epochs every shard meets every other.
    met = {
        frozenset((int(a), int(b)))
        for epoch in range(60)
        for w in range(3)
        for a in order(counts, epoch=epoch, window=window).shards_of(w)
        for b in order(counts, epoch=epoch, window=window).shards_of(w)
        if a != b
    }
    assert len(met) == 36


def test_permutation_is_uniform() -> None:
    """Each of 5 values is at each of 5 places in a fifth of 4,000 permutations: chi-square, 16 degrees."""
    table = np.zeros((5, 5))
    for epoch in range(4000):
        table[np.arange(5), permutation(5, 0, 2, epoch)] += 1
    assert ((table - 800) ** 2 / 800).sum() < 39.3  # p = 0.001


def test_without_shuffle_the_order_is_the_shards_order() -> None:
    assert order([3, 0, 4], shuffle=False).take(0, 7).tolist() == list(range(7))


def test_positions_outside_the_epoch_are_refused() -> None:
    with pytest.raises(IndexError, match=r"5\.\.8 of an epoch of 7"):
        order([3, 4]).take(5, 8)


def test_next_state_rolls_over() -> None:
    assert next_state(LoaderState(2, 3), 5) == LoaderState(2, 4)
    assert next_state(LoaderState(2, 4), 5) == LoaderState(3, 0)
