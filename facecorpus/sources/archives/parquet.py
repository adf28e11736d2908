"""Parquet files with a column of pictures: Hugging Face's `{bytes, path}`, or plain binary.

A picture is found by its row, which stands where archives have a byte offset. Reading goes forwards, some
rows at a time, as a row group may hold gigabytes; the listing reads the small columns alone, so that the
sizes of the pictures are not known before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from facecorpus import storage
from facecorpus.errors import UserError, in_a_line
from facecorpus.reasons import CORRUPT, EMPTY
from facecorpus.sources.archives.container import MAX_BYTES, Container, InputError, Member

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

PARQUET_BYTES = b"PAR1"
PICTURES = (
    "image",
    "img",
    "picture",
    "photo",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "image_bytes",
    "bytes",
    "content",
)
"""Columns that are taken for the pictures where several could hold them, in this order."""
PEOPLE = ("identity", "identity_id", "person", "person_id", "subject", "subject_id", "celeb_id", "celebrity")
"""Columns that say who is shown. `label` and `class` may mean anything, and are not read."""
_ROWS = 16
_LISTED_ROWS = 4096
_BUFFER = 1 << 20
"""Read ahead in a column; without, the library reads a row group's whole column into memory."""


class ParquetContainer(Container):
    """One Parquet file. Members are called by the path stored with each picture where these are unique, else
    by their row, counting from 0."""

    streamed = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._stream: BinaryIO | None = None
        self._rows: Iterator[tuple[int, pa.Array]] = iter(())
        self._first, self._batch = 0, pa.array([], pa.binary())
        self._damaged: dict[int, int] = {}
        """Row group -> the row from which on it is damaged."""

    def _list(self) -> Iterator[Member]:
        """A member for each row; no picture is read."""
        with storage.open_read(self.url) as stream, storage.whole_parquet(self.url):
            file = pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)
            column = self._column(file.schema_arrow)
            names = self._names(file, column)
            people = next((name for name in PEOPLE if name in file.schema_arrow.names), None)
            titles = _class_names(file.schema_arrow, people)
            row = 0
            for batch in self._small(file, people):
                rows = range(row, row + len(batch))
                labels = batch.column(0).to_pylist() if people is not None else [None] * len(batch)
                paths = names.slice(row, len(batch)).to_pylist() if names is not None else map(str, rows)
                for number, path, label in zip(rows, paths, labels, strict=True):
                    yield Member(path, number, 0, _title(label, titles))
                row += len(batch)

    def _small(self, file: pq.ParquetFile, people: str | None) -> Iterator[Any]:
        """Batches of the column of people; where there is none, empty ones of the same lengths."""
        if people is not None:
            yield from file.iter_batches(_LISTED_ROWS, columns=[people], use_threads=False)
            return
        total = file.metadata.num_rows
        for start in range(0, total, _LISTED_ROWS):
            yield range(min(_LISTED_ROWS, total - start))

    def _column(self, schema: pa.Schema) -> str:
        """Name of the column that holds the pictures."""
        fields = [field.name for field in schema if _bytes_of(field.type) is not None]
        features = _features(schema)
        images = [name for name in fields if features.get(name, {}).get("_type") == "Image"]
        fields = images or fields
        named = [name for name in PICTURES if name in fields]
        if named or len(fields) == 1:
            return (named or fields)[0]
        told = f"several ({', '.join(fields)})" if fields else "none"
        raise UserError(
            f"{self.url} has no column of pictures called {', '.join(PICTURES[:3])} or the like: of its "
            f"columns ({', '.join(schema.names[:12])}), {told} could hold them; rename one, or "
            "leave the file out"
        )

    def _names(self, file: pq.ParquetFile, column: str) -> Any:
        """The paths stored with the pictures; None where there are none, or they repeat or are missing."""
        kind = file.schema_arrow.field(column).type
        if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
            return None
        names = file.read([f"{column}.path"], use_threads=False).column(0).combine_chunks()
        if isinstance(names, pa.ChunkedArray):
            names = pa.concat_arrays(names.chunks) if names.num_chunks else pa.array([], names.type)
        paths = names.field("path") if pa.types.is_struct(names.type) else names
        if names.null_count or paths.null_count or not pa.types.is_string(paths.type):
            return None
        unique = pc.count_distinct(paths).as_py() == len(paths) and pc.min(pc.binary_length(paths)).as_py()
        return paths if unique else None

    def _read(self, member: Member) -> bytes:
        """The picture in the member's row."""
        if self._stream is None:
            self._stream = storage.open_read(self.url)
            self._file = pq.ParquetFile(self._stream, buffer_size=_BUFFER, pre_buffer=False)
            counts = [self._file.metadata.row_group(n).num_rows for n in range(self._file.num_row_groups)]
            self._ends = np.cumsum(counts, dtype=np.int64)
        group = int(np.searchsorted(self._ends, member.offset, side="right"))
        if group >= len(self._ends):
            raise OSError("there is no such row any more; copy the file again")
        if member.offset >= self._damaged.get(group, member.offset + 1):
            raise InputError(CORRUPT, "damaged row group (see the rows before)")
        try:
            value = self._seek(member.offset, group)
        except (pa.ArrowException, OSError) as error:
            self._rows, self._batch = iter(()), self._batch[:0]
            if getattr(error, "errno", None) is not None:  # the storage's
                raise
            self._damaged[group] = member.offset
            raise InputError(CORRUPT, f"damaged row group ({in_a_line(error)})") from error
        if value is None:
            raise InputError(EMPTY, "the row holds no bytes, perhaps the name of a file elsewhere alone")
        if len(value) > MAX_BYTES:
            raise InputError(CORRUPT, f"it is {len(value):,} bytes long")
        return value

    def _seek(self, row: int, group: int) -> bytes | None:
        first_of_group = int(self._ends[group - 1]) if group else 0
        at = self._first + len(self._batch)
        if row < self._first or at < first_of_group or not len(self._batch):
            self._rows = self._values(group, first_of_group)
            self._first, self._batch = next(self._rows)
        while row >= self._first + len(self._batch):
            self._first, self._batch = next(self._rows)
        value: bytes | None = self._batch[row - self._first].as_py()
        return value

    def _values(self, group: int, row: int) -> Iterator[tuple[int, pa.Array]]:
        """(first row, pictures) from a row group on."""
        column = self._column(self._file.schema_arrow)
        kind = self._file.schema_arrow.field(column).type
        leaf = f"{column}.bytes" if pa.types.is_struct(kind) else column
        groups = range(group, self._file.num_row_groups)
        for batch in self._file.iter_batches(_ROWS, row_groups=groups, columns=[leaf], use_threads=False):
            values = batch.column(0)
            if pa.types.is_struct(values.type):
                values = pc.struct_field(values, "bytes")
            yield row, values
            row += len(batch)

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._rows = iter(())
            self._stream.close()
            self._stream = None


def _bytes_of(kind: pa.DataType) -> pa.DataType | None:
    """The type of the pictures in a column of this type; None where it can hold none."""
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return _bytes_of(kind.field(index).type) if index >= 0 else None
    return kind if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else None


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """What Hugging Face's datasets library says of the columns."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def _class_names(schema: pa.Schema, column: str | None) -> list[str]:
    names = _features(schema).get(column or "", {}).get("names")
    return [str(name) for name in names] if isinstance(names, list) else []


def _title(label: Any, titles: list[str]) -> str | None:
    if isinstance(label, int) and 0 <= label < len(titles):
        return titles[label]
    return str(label) if isinstance(label, str | int) and label != "" else None
