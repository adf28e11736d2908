"""Digests of rows, for tables that must say the same: by arithmetic on whole columns, some 10 us a row.

They find damage and mistakes, not forgers: two rows that differ have the same one with a chance of 2^-64,
unless somebody makes them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_NULL = np.uint64(0xD1B54A32D192ED03)


def row_digests(table: pa.Table, names: Sequence[str]) -> Words:
    """A 64-bit digest of some columns of each row, (N,)."""
    found = np.zeros(len(table), np.uint64)
    for name in names:
        found = _stirred(found * _ODD + _of(table[name].combine_chunks()))
    return found


def _stirred(words: Words) -> Words:
    """Every bit of a word spread over all of them (the end of MurmurHash3)."""
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return words ^ (words >> np.uint64(33))


def _of(array: Any) -> Words:
    """A word for each value, nulls included."""
    kind = array.type
    if kinds.is_map(kind):
        inner = _stirred(_of(array.keys) * _ODD + _of(array.items))
        words = _folded(inner, np.asarray(array.offsets))
    elif kinds.is_fixed_size_list(kind):
        size, start = kind.list_size, array.offset
        inner = _of(array.values.slice(start * size, len(array) * size))
        words = _folded(inner, np.arange(len(array) + 1) * size)
    elif kinds.is_string(kind) or kinds.is_binary(kind) or kinds.is_fixed_size_binary(kind):
        words = _of_bytes(array.cast(pa.binary()))
    else:
        zeros = array.fill_null(False if kinds.is_boolean(kind) else 0)
        values = zeros.to_numpy(zero_copy_only=False)
        words = values.view(f"u{values.itemsize}").astype(np.uint64)
    if array.null_count:
        words = np.where(array.is_valid().to_numpy(zero_copy_only=False), words, _NULL)
    return _stirred(words)


def _of_bytes(array: Any) -> Words:
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4)
    held = np.frombuffer(data or b"", np.uint8)
    return _folded(held[ends[0] : ends[-1]].astype(np.uint64), ends - ends[0])


def _folded(words: Words, ends: NDArray[Any]) -> Words:
    """A word for each run of words, which depends on their order and number."""
    starts, sizes = ends[:-1], np.diff(ends)
    place = np.arange(len(words)) - np.repeat(starts, sizes)
    power = np.cumprod(np.full(int(sizes.max(initial=0)) + 1, _ODD, np.uint64))
    sums = np.concatenate([[np.uint64(0)], np.cumsum((words + np.uint64(1)) * power[place], dtype=np.uint64)])
    return sums[ends[1:]] - sums[starts] + sizes.astype(np.uint64) * power[0]
