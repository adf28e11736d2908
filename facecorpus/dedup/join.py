"""Exact Hamming self-join of 256-bit codes: every pair within a radius, none missed, none twice.

Multi-index hashing (Norouzi, Punjani, Fleet: "Fast Exact Search in Hamming Space with Multi-Index Hashing",
TPAMI 2014): a code is cut into 16 bands of 16 bits. If two codes differ in at most r bits, then by the
pigeonhole principle some band b differs in at most f_b bits as soon as the sum of (f_b + 1) over the bands
exceeds r. So each band is grouped by its key, and only groups whose keys differ in at most f_b bits are
compared, in full. A pair that several bands bring together is reported by the first of them.

Equal codes are set aside first (`distinct_codes`), so a million copies of one code cost nothing.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BANDS = 16
MAX_RADIUS = 63
"""Beyond it each band would probe more than 700 groups and the join would no longer pay."""

Codes = NDArray[np.uint8]
"""uint8 (N, 32)."""

# Frequency order makes neighbouring bits of a perceptual hash of aligned faces alike, and a band of such bits
# has few distinct keys. Taking bit (i, (i + b) mod 16) for band b gives every band one bit of each vertical
# and of each horizontal frequency, and so nearly even groups. Any fixed permutation leaves the distances as
# they are.
_ROWS = np.arange(16)
_BIT_ORDER = (16 * _ROWS[None, :] + (_ROWS[None, :] + _ROWS[:, None]) % 16).ravel()
_PERMUTE_CHUNK = 1 << 16


class TooManyPairsError(ValueError):
    """More pairs lie within the radius than the caller allowed."""


class Pairs(NamedTuple):
    """Pairs of rows, u < v, sorted by (u, v), each once."""

    u: NDArray[np.int32]
    v: NDArray[np.int32]
    distance: NDArray[np.int16]
    """Bits in which the two codes differ."""


def distinct_codes(codes: Codes) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The distinct codes, in the order of their first row.

    Args:
        codes: uint8 (N, 32).

    Returns:
        first int32 (M,): the smallest row that holds each code, ascending; code_of_row int32 (N,): index into
            it.
    """
    words = _words(codes)
    order = np.argsort(words[:, 0], kind="stable")
    # Nearly all codes differ in their first word, so only the others are sorted by all four.
    equal = np.diff(words[order, 0]) == 0
    tied = np.zeros(order.size, bool)
    tied[1:] |= equal
    tied[:-1] |= equal
    order[tied] = order[tied][np.lexsort(words[order[tied]].T[::-1])]
    ranked = words[order]
    starts = np.ones(order.size, bool)
    starts[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    group = np.cumsum(starts) - 1
    # The sorts are stable, so the first row of each run is the smallest.
    first = order[starts]
    by_row = np.argsort(first, kind="stable")
    number = np.empty(first.size, np.int32)
    number[by_row] = np.arange(first.size, dtype=np.int32)
    code_of_row = np.empty(order.size, np.int32)
    code_of_row[order] = number[group]
    return first[by_row].astype(np.int32), code_of_row


def hamming_join(
    codes: Codes,
    radius: int,
    *,
    workers: int = 1,
    max_pairs: int = 1 << 30,
) -> Pairs:
    """Every pair of rows whose codes differ in at most `radius` bits.

    Args:
        codes: uint8 (N, 32). n equal ones make n^2 pairs, so take `distinct_codes` first.
        radius: 0 to 63 bits.
        workers: threads; the result does not depend on it.
        max_pairs: a bound on the number of pairs, and so on memory (10 bytes each while joining, 26 while
            sorting).

    Raises:
        TooManyPairsError: more than `max_pairs` pairs.
        ValueError: `codes` or `radius` is not as stated.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(f"radius must be 0 to {MAX_RADIUS} bits, got {radius}")
    words = _words(codes, _BIT_ORDER)
    flips = _flips(radius)
    bands = [b for b in range(BANDS) if flips[b] >= 0]
    if codes.shape[0] < 2:
        return _sorted(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int16))

    from facecorpus.dedup import join_kernel

    def join(band: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16], bool]:
        return join_kernel.join_band(words, band, flips, _masks(int(flips[band])), radius, max_pairs)

    parts = []
    found = 0
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for u, v, distance, overflow in pool.map(join, bands):
            parts.append((u, v, distance))
            found += u.size
            if overflow or found > max_pairs:
                pool.shutdown(cancel_futures=True)
                raise TooManyPairsError(f"more than {max_pairs} pairs lie within {radius} bits")
    u, v, distance = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _sorted(u, v, distance)


def _words(codes: Codes, bit_order: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
    """Codes as uint64 (N, 4), their bits rearranged if asked."""
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != 32:
        raise ValueError(f"expected codes uint8 (N, 32), got {codes.dtype} {codes.shape}")
    if codes.shape[0] >= 1 << 31:
        raise ValueError("at most 2**31 - 1 codes can be joined at once")
    if bit_order is None:
        return np.ascontiguousarray(codes).view(np.uint64)
    words = np.empty((codes.shape[0], 4), np.uint64)
    for at in range(0, codes.shape[0], _PERMUTE_CHUNK):
        bits = np.unpackbits(codes[at : at + _PERMUTE_CHUNK], axis=1)
        words[at : at + _PERMUTE_CHUNK] = np.packbits(np.take(bits, bit_order, axis=1), axis=1).view(
            np.uint64
        )
    return words


def _flips(radius: int) -> NDArray[np.int64]:
    """How many bits each band lets differ (-1: unused), with the sum of (flips + 1) equal to radius + 1."""
    share, rest = divmod(radius + 1, BANDS)
    return np.where(np.arange(BANDS) < rest, share, share - 1).astype(np.int64)


def _masks(flips: int) -> NDArray[np.int64]:
    """Every 16-bit number with at most `flips` ones, by number of ones."""
    return np.array(
        [sum(1 << bit for bit in ones) for n in range(flips + 1) for ones in combinations(range(16), n)],
        np.int64,
    )


def _sorted(u: NDArray[np.int32], v: NDArray[np.int32], distance: NDArray[np.int16]) -> Pairs:
    order = np.argsort((u.astype(np.int64) << 32) | v, kind="stable")
    return Pairs(u[order], v[order], distance[order])
