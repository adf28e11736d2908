"""JSON and Parquet files, published whole and with bytes that depend on their content alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Sequence
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
    names = list(columns) if columns is not None else None
    with open_read(url) as stream, whole_parquet(url):
        file = pq.ParquetFile(stream)
        if names is not None and (lacking := set(names) - set(file.schema_arrow.names)):
            raise ValueError(f"it has no column {min(lacking)}")
        if row_group is None:
            table = file.read(names, use_threads=False)
        else:
            table = file.read_row_group(row_group, names, use_threads=False)
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
