"""Compiled inner loops of the Hamming join. Imports numba, so it is imported only where a join runs.

Types of the compiled functions are stated in their docstrings; numba specialises them on first call and
caches the machine code on disk. The cache watches only the file a function is written in: after a change to
`hamming` or `popcount`, remove the `*.nbi` files beside `cluster_kernel.py`.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba.extending import intrinsic

BANDS = 16
KEYS = 1 << 16


def _popcount(typing_context: Any, value: Any) -> Any:
    """Number of one bits of a uint64, by the processor's own instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return nb.uint64(nb.uint64), generate


popcount: Any = intrinsic(_popcount)


@nb.njit(cache=True, nogil=True, inline="always")
def hamming(words: Any, a: int, b: int) -> Any:
    """Distance in bits between rows `a` and `b` of uint64 (N, 4), int64."""
    return np.int64(
        popcount(words[a, 0] ^ words[b, 0])
        + popcount(words[a, 1] ^ words[b, 1])
        + popcount(words[a, 2] ^ words[b, 2])
        + popcount(words[a, 3] ^ words[b, 3])
    )


@nb.njit(cache=True, nogil=True)
def band_key(words: Any, row: int, band: int) -> Any:
    """The 16 bits of a code that make its key in `band`, int64."""
    return np.int64((words[row, band >> 2] >> np.uint64(16 * (band & 3))) & np.uint64(0xFFFF))


@nb.njit(cache=True, nogil=True)
def bucket(words: Any, band: int) -> Any:
    """Rows grouped by their key in `band` (a counting sort).

    Returns (order int32 (N,), start int64 (65537,)): the rows with key k are order[start[k]:start[k + 1]],
    ascending.
    """
    n = words.shape[0]
    start = np.zeros(KEYS + 1, np.int64)
    for row in range(n):
        start[band_key(words, row, band) + 1] += 1
    for key in range(KEYS):
        start[key + 1] += start[key]
    fill = start[:-1].copy()
    order = np.empty(n, np.int32)
    for row in range(n):
        key = band_key(words, row, band)
        order[fill[key]] = row
        fill[key] += 1
    return order, start


@nb.njit(cache=True, nogil=True)
def _seen_before(words: Any, a: int, b: int, band: int, flips: Any) -> bool:
    """Whether an earlier band already brings rows `a` and `b` together."""
    for earlier in range(band):
        different = band_key(words, a, earlier) ^ band_key(words, b, earlier)
        if np.int64(popcount(np.uint64(different))) <= flips[earlier]:
            return True
    return False


@nb.njit(cache=True, nogil=True)
def _least_bits(w0: Any, w1: Any, others0: Any, others1: Any) -> Any:
    """Smallest distance in the first 128 bits; without branches, and over slices, so that it becomes vector
    code."""
    least = np.uint64(256)
    for j in range(others0.shape[0]):
        least = min(least, popcount(w0 ^ others0[j]) + popcount(w1 ^ others1[j]))
    return least


@nb.njit(cache=True, nogil=True)
def join_band(words: Any, band: int, flips: Any, masks: Any, radius: int, max_pairs: int) -> Any:
    """Pairs of rows within `radius` whose keys in `band` differ by one of `masks`, and not so in an earlier
    band.

    Args:
        words: uint64 (N, 4), distinct codes.
        band: 0 to 15.
        flips: int64 (16,), how many bits of its key each band lets differ (-1: the band is not used).
        masks: int64 (P,), every 16-bit number with at most flips[band] ones, 0 first.
        radius: bits.
        max_pairs: stop when there are more.

    Returns:
        u int32 (P,), v int32 (P,), distance int16 (P,), with u < v; and whether there were more than
        `max_pairs`.
    """
    order, start = bucket(words, band)
    # Copies in bucket order: the comparisons below then read memory in a straight line.
    first_half = (words[:, 0][order], words[:, 1][order])
    capacity = 1024
    u = np.empty(capacity, np.int32)
    v = np.empty(capacity, np.int32)
    distance = np.empty(capacity, np.int16)
    count = 0
    for key in range(KEYS):
        if start[key] == start[key + 1]:
            continue
        for m in range(masks.shape[0]):
            other = key ^ masks[m]
            if other < key or start[other] == start[other + 1]:
                continue
            end = start[other + 1]
            for i in range(start[key], start[key + 1]):
                begin = i + 1 if other == key else start[other]
                # Unrelated codes differ in about half of the bits, so half of the code nearly always settles
                # it.
                least = _least_bits(
                    first_half[0][i], first_half[1][i], first_half[0][begin:end], first_half[1][begin:end]
                )
                if least > np.uint64(radius):
                    continue
                a = order[i]
                for j in range(begin, end):
                    b = order[j]
                    bits = hamming(words, a, b)
                    if bits > radius or _seen_before(words, a, b, band, flips):
                        continue
                    if count == max_pairs:
                        return u[:count], v[:count], distance[:count], True
                    if count == capacity:
                        capacity *= 2
                        u = _grown(u, capacity)
                        v = _grown(v, capacity)
                        distance = _grown(distance, capacity)
                    u[count] = min(a, b)
                    v[count] = max(a, b)
                    distance[count] = bits
                    count += 1
    return u[:count], v[:count], distance[:count], False


@nb.njit(cache=True, nogil=True)
def _grown(values: Any, capacity: int) -> Any:
    grown = np.empty(capacity, values.dtype)
    grown[: values.shape[0]] = values
    return grown
