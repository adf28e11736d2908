"""JSON and Parquet files, published whole and with bytes that depend on their content alone."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus.errors import UserError, in_a_line
from facecorpus.storage.places import exists, open_read
from facecorpus.storage.publishing import publish


def read_json(url: str) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is not JSON.
    """
    with open_read(url) as stream:
        return json.loads(stream.read())


def publish_json(url: str, obj: Any) -> None:
    """Publish as indented JSON with sorted keys and a final newline: equal objects give equal bytes."""
    publish(url, lambda stream: stream.write(json_bytes(obj)))


def holds_json(url: str, obj: Any) -> bool:
    """Whether the file is there as `publish_json` writes it."""
    if not exists(url):
        return False
    with open_read(url) as stream:
        return stream.read() == json_bytes(obj)


def json_bytes(obj: Any) -> bytes:
    """What `publish_json` writes."""
    return (json.dumps(obj, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def read_table(url: str, columns: Sequence[str] | None = None, *, row_group: int | None = None) -> pa.Table:
    """A Parquet file, some of its columns, or one of its row groups, as a table.

    Raises:
        UserError: it is not a whole Parquet file, or lacks the columns or the row group.
    """
    with _opened(url, columns) as file:
        if row_group is None:
            return _validated(file.read(columns, use_threads=False))
        return _validated(file.read_row_group(row_group, columns, use_threads=False))


def read_row_groups(url: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a Parquet file, or some columns of them, one after the other.

    Raises:
        UserError: as for `read_table`.
    """
    with _opened(url, columns) as file:
        for group in range(file.num_row_groups):
            yield _validated(file.read_row_group(group, columns, use_threads=False))


def read_rows(url: str, columns: Sequence[str], first: int, count: int) -> pa.Table:
    """Rows `first` to `first + count` of a Parquet file, without the row groups beside them.

    Raises:
        UserError: as for `read_table`.
    """
    with _opened(url, columns) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        ends = list(itertools.accumulate(sizes, initial=0))
        wanted = [g for g in range(len(sizes)) if ends[g] < first + count and first < ends[g + 1]]
        table = _validated(file.read_row_groups(wanted, columns, use_threads=False))
        return table.slice(first - ends[wanted[0]] if wanted else 0, count)


@contextlib.contextmanager
def _opened(url: str, columns: Sequence[str] | None) -> Generator[pq.ParquetFile]:
    with open_read(url) as stream, whole_parquet(url):
        file = pq.ParquetFile(stream)
        if columns is not None and (lacking := set(columns) - set(file.schema_arrow.names)):
            raise ValueError(f"it has no column {min(lacking)}")
        yield file


def _validated(table: pa.Table) -> pa.Table:
    table.validate(full=True)  # text that is no UTF-8, offsets that lead nowhere
    return table


@contextlib.contextmanager
def whole_parquet(url: str) -> Generator[None]:
    """Turns whatever Arrow raises on a damaged Parquet file into a UserError that names the file."""
    try:
        yield
    except (
        pa.ArrowException,
        ArithmeticError,
        LookupError,
        MemoryError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        said = in_a_line(error)
        raise UserError(f"{url} is not a whole Parquet file ({said}); remove it and run again") from error
