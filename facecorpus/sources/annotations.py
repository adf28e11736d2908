"""Annotation files: rows of values by the name of an image, compact enough for millions of rows.

Annotations only enrich: an input without a row is still an input, and a row without an input is only counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from facecorpus.errors import UserError
from facecorpus.signature import HEAD_BYTES
from facecorpus.sources.texts import check_text, read_bytes, read_text

_SEPARATOR = re.compile(r"[,\s]+")
_NUMBER = re.compile(r"[-+]?[0-9]{1,9}(\.[0-9]{0,9})?")
_LONGEST_NAME = 255
_LARGEST = 1e9
_EYES_NOSE_MOUTH = ((36, 42), (42, 48), (30, 31), (48, 49), (54, 55))
"""Ranges of the 68 points whose means are the five."""
_IMAGE = re.compile(r"(.+)\.(?:jpe?g|png)", re.IGNORECASE)


class Annotations:
    """Rows by name, sorted, in arrays: about 16 bytes a name instead of a dictionary's 200."""

    def __init__(
        self, url: str, names: Sequence[bytes], values: npt.NDArray[Any], *, several: bool = False
    ) -> None:
        """Index the rows.

        Args:
            url: where they come from, for messages.
            names: N names, in UTF-8.
            values: (N, columns) array of numbers.
            several: whether a name may have several rows, one for each face of a picture.

        Raises:
            UserError: a name has two rows and must not, or a value is not finite or far too large.
        """
        self.url = url
        if any(len(name) > _LONGEST_NAME for name in names):
            raise UserError(
                f"{url} has a name of over {_LONGEST_NAME} bytes, which no file has; get the file again"
            )
        if not np.isfinite(values).all() or (np.abs(values) > _LARGEST).any():
            raise UserError(f"{url} has a value that is missing or beyond all pictures; get the file again")
        keys = np.asarray(names, dtype=bytes) if len(names) else np.empty(0, "S1")
        order = np.argsort(keys, kind="stable")
        self._keys, self._values = keys[order], values[order]
        self._used = np.zeros(len(keys), dtype=bool)
        self._unnamed = 0
        twice = np.flatnonzero(self._keys[1:] == self._keys[:-1])
        if len(twice) and not several:
            raise UserError(
                f"{url} has two rows for {bytes(self._keys[twice[0]]).decode(errors='replace')}; get the "
                "file again"
            )

    def __len__(self) -> int:
        return len(self._keys)

    def row(self, name: str) -> tuple[Any, ...] | None:
        """The values of a name, or None where it has no row."""
        return next(iter(self.rows(name)), None)

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """The values of every row of a name, in the order of the file."""
        key = np.bytes_(name.encode("utf-8", "replace"))
        first, after = (int(np.searchsorted(self._keys, key, side)) for side in ("left", "right"))
        self._unnamed += first == after
        self._used[first:after] = True
        return [tuple(row) for row in self._values[first:after].tolist()]

    def note(self) -> str | None:
        """How rows and inputs failed to match, once all inputs were looked up; None where they match."""
        unused = int(len(self._used) - self._used.sum())
        words = [f"{unused} of its {len(self._used)} names are not among the inputs"] if unused else []
        words += [f"{self._unnamed} inputs have no row in it"] if self._unnamed else []
        return f"{self.url}: {' and '.join(words)}" if words else None


def read_listing(url: str, columns: int, kind: type) -> Annotations:
    """Rows of a text file whose first field is an image's file name, by that name without its extension.

    Fields are separated by commas or blanks. Lines that do not start with an image's name (a count, a header)
    are passed over.

    Args:
        url: the file.
        columns: number of values that follow the name; further ones are ignored.
        kind: their type, for example `float`.

    Raises:
        UserError: the file cannot be read, holds no row, or a row that is too short or of another type.
    """
    names: list[bytes] = []
    rows: list[list[str]] = []
    for number, line in enumerate(read_text(url).splitlines(), 1):
        fields = _SEPARATOR.split(line.strip())
        image = _IMAGE.fullmatch(fields[0])
        if image is None:
            continue
        if len(fields) <= columns:
            raise UserError(
                f"{url}, line {number}: {columns} values are expected after the name; get the file again"
            )
        values = fields[1 : columns + 1]
        if wrong := [value for value in values if not _NUMBER.fullmatch(value)]:
            raise UserError(
                f"{url}, line {number}, has a value of the wrong type ({wrong[0][:20]!r}); get the file again"
            )
        names.append(image[1].encode())
        rows.append(values)
    if not rows:
        raise UserError(f"{url} has no line that starts with the name of an image; get the file again")
    try:
        return Annotations(url, names, np.array(rows).astype(kind))
    except ValueError as error:
        raise UserError(f"{url} has a value of the wrong type ({error}); get the file again") from error


def read_numbers(url: str, columns: int) -> Annotations:
    """Rows of a CSV file with a header, a name (which may be quoted) and `columns` numbers.

    Raises:
        UserError: the file is no such CSV.
    """
    data = read_bytes(url)
    check_text(url, data[:HEAD_BYTES])
    try:
        table = csv.read_csv(pa.BufferReader(data))
        numbers = [column.cast(pa.float32()).to_numpy() for column in table.columns[1:]]
        names = table.column(0).cast(pa.binary()).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        words = str(error).partition("\n")[0][:200]
        raise UserError(f"{url} is not a CSV file of a name and numbers ({words}); get it again") from error
    if len(numbers) != columns or None in names:
        raise UserError(
            f"{url} has rows of {len(numbers)} numbers, or without a name, where a name and {columns} "
            "numbers are expected; get it again"
        )
    return Annotations(url, names, np.stack(numbers, axis=1))


def read_columns(url: str, data: bytes, name: str, columns: Sequence[str]) -> Annotations:
    """Rows of a CSV file by the columns that its header names; a name may have several.

    Args:
        url: where it is, for messages.
        data: its bytes.
        name: the column that names the picture.
        columns: those of numbers to be kept, in this order; others are passed over.

    Raises:
        UserError: it is no such table.
    """
    check_text(url, data[:HEAD_BYTES])
    header = data.partition(b"\n")[0].decode("utf-8-sig", "replace")
    there = [field.strip().strip('"') for field in header.split(",")]
    if missing := [column for column in (name, *columns) if column not in there]:
        raise UserError(f"{url} has no column {missing[0]}; get the file again")
    options = csv.ConvertOptions(
        include_columns=[name, *columns],
        column_types={name: pa.binary(), **dict.fromkeys(columns, pa.float64())},
    )
    try:
        reading = csv.ReadOptions(column_names=there, skip_rows=1)
        table = csv.read_csv(pa.BufferReader(data), reading, convert_options=options)
    except (pa.ArrowException, ValueError) as error:
        words = str(error).partition("\n")[0][:200]
        raise UserError(f"{url} is not the table it should be ({words}); get it again") from error
    values = np.stack([table.column(column).to_numpy() for column in columns], axis=1)
    return Annotations(url, table.column(name).to_pylist(), values, several=True)


def five_of_68(points: Any) -> list[float]:
    """Ten numbers as `Record.given_points_px`, from 68 points (iBUG's order) in any shape of 136 numbers."""
    found = np.asarray(points, dtype=np.float64).reshape(68, 2)
    return [float(v) for first, end in _EYES_NOSE_MOUTH for v in found[first:end].mean(axis=0)]
