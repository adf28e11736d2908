"""What AffectNet's lists (2017) and arrays (2021) tell of its pictures, as rows of numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.sources.annotations import Annotations, five_of_68
from facecorpus.sources.texts import check_text

_COLUMNS = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks"),
    *("expression", "valence", "arousal"),
)
UNKNOWN = -1e6
"""Stands for a number that a row does not give."""
_ABOUT = {"exp": 0, "val": 1, "aro": 2}


def read_lists(location: str, lists: Sequence[tuple[str, int]]) -> Annotations:
    """Rows by `FOLDER/STEM`: the list's number, box (x, y, width, height), and as `Arrays` has them.

    Args:
        location: the source's.
        lists: their paths below it, each with its number.

    Raises:
        UserError: one is no such list.
    """
    names: list[bytes] = []
    values: list[np.ndarray[Any, Any]] = []
    for path, number in lists:
        url = storage.join(location, path)
        for batch in _batches(url):
            columns = batch.to_pydict()
            stems = (PurePosixPath(name.replace("\\", "/")) for name in columns[_COLUMNS[0]])
            names += [f"{stem.parent.name}/{stem.stem}".encode() for stem in stems]
            numbers = [[_number(text) for text in columns[c]] for c in (*_COLUMNS[1:5], *_COLUMNS[6:])]
            points = [_five(text) for text in columns["facial_landmarks"]]
            splits = np.full((len(points), 1), number)
            values.append(np.hstack([splits, np.transpose(numbers), np.array(points).reshape(-1, 10)]))
    urls = " and ".join(storage.join(location, path) for path, _ in lists)
    rows = np.vstack(values) if values else np.empty((0, 18))
    return Annotations(urls, names, rows, several=True)


class Arrays:
    """Expression, valence, arousal and ten numbers of points, by the number of a picture of 2021."""

    def __init__(self) -> None:
        self._rows = np.empty((0, 13))
        self.unread = 0
        """Files that held no plain array."""

    def row(self, number: int) -> Sequence[float] | None:
        """What is known of a picture; None where nothing is."""
        return self._rows[number].tolist() if 0 <= number < len(self._rows) else None

    def add(self, number: int, about: str, data: bytes) -> None:
        """Keep what one file says: "exp", "val", "aro" or "lnd". Arrays with pickles in them are not read."""
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False).reshape(-1)
            value = five_of_68(array) if about == "lnd" else [float(array[0])]
            if not np.isfinite(value).all() or np.abs(value).max() > -UNKNOWN:
                raise ValueError(value)
        except Exception:  # NumPy raises whatever damaged bytes lead to
            self.unread += 1
            return
        if number >= len(self._rows):
            grown = np.full((max(2 * number, 1024), 13), UNKNOWN)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        at = slice(3, 13) if about == "lnd" else slice(_ABOUT[about], _ABOUT[about] + 1)
        self._rows[number, at] = value


def _batches(url: str) -> Iterator[pa.RecordBatch]:
    """Rows of a list, as text; with or without a header.

    Raises:
        UserError: it is no such list.
    """
    try:
        with storage.open_read(url) as stream:
            check_text(url, head := stream.read(4096))
            stream.seek(0)
            skip = int(head.lstrip(b"\xef\xbb\xbf").lower().startswith(b"subdirectory"))
            read = csv.ReadOptions(column_names=_COLUMNS, skip_rows=skip, use_threads=False)
            convert = csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string()))
            yield from csv.open_csv(stream, read_options=read, convert_options=convert)
    except (pa.ArrowException, OSError) as error:
        words = str(error).partition("\n")[0][:200]
        raise UserError(f"{url} is no list of AffectNet's ({words}); get it again") from error


def _number(text: str) -> float:
    """A number, or `UNKNOWN` (AffectNet writes NULL)."""
    try:
        value = float(text)
    except ValueError:
        return UNKNOWN
    return value if abs(value) < -UNKNOWN else UNKNOWN


def _five(text: str) -> Sequence[float]:
    """The five points of 68, written `x;y;...`; unknown where there are not 68."""
    numbers = [_number(part) for part in text.split(";")]
    if len(numbers) != 136 or UNKNOWN in numbers:
        return [UNKNOWN] * 10
    return five_of_68(np.array(numbers))
