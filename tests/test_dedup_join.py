"""The Hamming self-join against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facecorpus.dedup.join import MAX_RADIUS, Pairs, TooManyPairsError, distinct_codes, hamming_join

Codes = NDArray[np.uint8]


def brute_force(codes: Codes, radius: int) -> Pairs:
    """Every pair, by comparing each row with all later ones."""
    words = np.ascontiguousarray(codes).view(np.uint64)
    found: list[tuple[NDArray[np.int32], ...]] = []
    for row in range(len(words) - 1):
        bits = np.bitwise_count(words[row + 1 :] ^ words[row]).sum(axis=1)
        near = np.flatnonzero(bits <= radius)
        found.append((np.full(near.size, row, np.int32), (near + row + 1).astype(np.int32), bits[near]))
    if not found:
        return Pairs(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int16))
    u, v, distance = (np.concatenate(column) for column in zip(*found, strict=True))
    return Pairs(u, v, distance.astype(np.int16))


def planted(n: int, radius: int, seed: int) -> Codes:
    """Random codes; a fifth are neighbours at up to radius + 5 bits, some close to each other in one band,
    some equal."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    for row in range(n // 5, 2 * n // 5):
        bits = np.unpackbits(codes[rng.integers(0, n // 5)])
        flipped = rng.choice(256, rng.integers(0, radius + 6), replace=False)
        bits[flipped] ^= 1
        codes[row] = np.packbits(bits)
    codes[2 * n // 5 : n // 2] = codes[rng.integers(0, max(1, n // 50), n // 2 - 2 * n // 5)]
    # Skew: many codes that agree in all but the last bytes crowd the same groups of most bands.
    codes[n // 2 : 6 * n // 10, :24] = codes[0, :24]
    return codes[rng.permutation(n)]


def assert_same(a: Pairs, b: Pairs) -> None:
    for got, wanted in zip(a, b, strict=True):
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("radius", [0, 1, 7, 15, 16, 31, 39, 47, MAX_RADIUS])
def test_equals_brute_force(radius: int) -> None:
    codes = planted(1500, radius, radius)
    wanted = brute_force(codes, radius)
    assert len(wanted.u) > 100
    assert_same(hamming_join(codes, radius), wanted)


def test_equals_brute_force_on_10k_codes() -> None:
    codes = planted(10_000, 31, 1)
    assert_same(hamming_join(codes, 31), brute_force(codes, 31))


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(0, MAX_RADIUS), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_equals_brute_force_on_few_alike_codes(seed: int, n: int, radius: int, prototypes: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2, (prototypes, 256), dtype=np.uint8)
    flips = rng.random((n, 256)) < rng.uniform(0, radius / 256 + 0.02, (n, 1))
    codes = np.packbits(base[rng.integers(0, prototypes, n)] ^ flips, axis=1).reshape(n, 32)
    assert_same(hamming_join(codes, radius), brute_force(codes, radius))


def test_differences_spread_as_evenly_as_they_can_are_found() -> None:
    # The hardest case of the pigeonhole argument: as many differing bits in every band.
    zero = np.zeros(32, np.uint8)
    for radius in (15, 31, 32, 39, 47):
        bits = np.zeros(256, np.uint8)
        step = 256 / radius
        bits[(np.arange(radius) * step).astype(int)] = 1
        for shift in range(0, 256, 5):
            codes = np.stack([zero, np.packbits(np.roll(bits, shift))])
            assert hamming_join(codes, radius).distance.tolist() == [radius]
            assert hamming_join(codes, radius - 1).distance.tolist() == []


def test_workers_and_order_of_rows_do_not_matter() -> None:
    codes = planted(2000, 31, 4)
    pairs = hamming_join(codes, 31)
    assert_same(hamming_join(codes, 31, workers=3), pairs)
    order = np.random.default_rng(0).permutation(len(codes))
    shuffled = hamming_join(codes[order], 31)
    u, v = order[shuffled.u], order[shuffled.v]
    again = sorted(
        zip(np.minimum(u, v).tolist(), np.maximum(u, v).tolist(), shuffled.distance.tolist(), strict=True)
    )
    assert again == list(zip(pairs.u.tolist(), pairs.v.tolist(), pairs.distance.tolist(), strict=True))


def test_distinct_codes_are_numbered_by_first_row() -> None:
    codes = np.array([[9] * 32, [3] * 32, [9] * 32, [0] * 32, [3] * 32], np.uint8)
    first, code_of_row = distinct_codes(codes)
    assert first.tolist() == [0, 1, 3]
    assert code_of_row.tolist() == [0, 1, 0, 2, 1]
    first, code_of_row = distinct_codes(np.tile(codes[0], (100_000, 1)))
    assert first.tolist() == [0] and not code_of_row.any()


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_join(n: int) -> None:
    assert [column.size for column in hamming_join(np.zeros((n, 32), np.uint8), 31)] == [0, 0, 0]


def test_more_pairs_than_allowed_are_refused() -> None:
    codes = np.tile(np.arange(32, dtype=np.uint8), (100, 1))
    codes[:, 0] = np.arange(100)
    with pytest.raises(TooManyPairsError, match="more than 50 pairs"):
        hamming_join(codes, 31, max_pairs=50)
    assert len(hamming_join(codes, 31, max_pairs=4950).u) == 4950
    codes[:, 0] = 0
    with pytest.raises(TooManyPairsError):
        hamming_join(codes, 31, max_pairs=4949)
    assert len(hamming_join(codes, 31, max_pairs=4950).u) == 4950


@pytest.mark.parametrize("radius", [-1, MAX_RADIUS + 1])
def test_radius_out_of_range_is_refused(radius: int) -> None:
    with pytest.raises(ValueError, match="radius must be 0 to 63"):
        hamming_join(np.zeros((3, 32), np.uint8), radius)


def test_other_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="expected codes uint8"):
        hamming_join(np.zeros((3, 8), np.uint8), 3)
