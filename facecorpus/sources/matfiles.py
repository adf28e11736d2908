"""MATLAB's `.mat` files of version 5, through SciPy.

SciPy trusts what a file says of itself, and a damaged one can end the process. So its elements are walked
first: of known types, within one another, of plain arrays, cells, structs and text alone.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from facecorpus.errors import UserError, in_a_line

_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18))
"""Types of elements that hold numbers or text."""
_MATRIX, _COMPRESSED, _FLAGS = 14, 15, 6
_CLASSES = frozenset((1, 2, 4, *range(6, 16)))
"""Cells, structs, text, numbers; no objects, functions or sparse arrays."""
_HEADER = 128
_DEEPEST = 6
_LARGEST = 1 << 31
_TAG = struct.Struct("<II")


def load(url: str, name: str, data: bytes) -> Any:
    """The variable `name` of a file, as SciPy gives it.

    Raises:
        UserError: SciPy is not installed, or it is no such file.
    """
    try:
        from scipy.io import loadmat  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise UserError(f"{url} needs SciPy to be read; run: pip install 'facecorpus[sources]'") from error
    try:
        if data[126:128] != b"IM":
            raise ValueError("no header of version 5")
        _walk(data, _HEADER, len(data), 0)
        return loadmat(io.BytesIO(data), variable_names=[name])[name]
    except Exception as error:  # SciPy raises whatever damaged bytes lead to
        raise UserError(f"{url} is not a whole {name}.mat ({in_a_line(error)}); get it again") from error


def _walk(data: bytes, start: int, end: int, depth: int) -> None:
    """Check the elements between two places; those of a matrix begin with its class.

    Raises:
        ValueError: one is not what a plain file holds.
    """
    first = depth > 0
    while start < end:
        if end - start < _TAG.size:
            raise ValueError(f"an element at byte {start} is cut short")
        kind, size = _TAG.unpack_from(data, start)
        payload, following = start + 8, start + 8 + size + (-size % 8 if kind != _COMPRESSED else 0)
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, size, payload, following = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        if following > end or size > following - payload:
            raise ValueError(f"an element at byte {start} is longer than what holds it")
        if first and (kind != _FLAGS or size != 8 or data[payload] not in _CLASSES):
            raise ValueError(f"an array at byte {start} is of no plain class")
        if kind == _MATRIX and depth < _DEEPEST:
            _walk(data, payload, payload + size, depth + 1)
        elif kind == _COMPRESSED and depth == 0:
            inflated = zlib.decompressobj().decompress(data[payload:following], _LARGEST)
            _walk(inflated, 0, len(inflated), 0)
        elif kind not in _NUMBERS:
            raise ValueError(f"an element at byte {start} is of type {kind}")
        start, first = following, False
