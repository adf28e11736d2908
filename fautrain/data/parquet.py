"""The Parquet files beside shards, read whatever their bytes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from facecorpus.errors import UserError, in_a_line

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

LONGEST_TEXT = 4096
"""Bytes of a key or name; arrays of keys take the room of the longest for each."""


def read_columns(fs: Any, path: str, fields: pa.Schema) -> pa.Table | None:
    """The columns `fields` of a Parquet file, in those types; None where it lacks one of them by name.

    Columns that are not nullable have a value in every row, and all text is UTF-8 and no longer than
    LONGEST_TEXT.

    Args:
        fs: fsspec file system.
        path: of the file in it.
        fields: names, types and whether a value may be missing.

    Raises:
        UserError: it cannot be read, or its values are of other kinds; the message names it.
    """
    try:
        with fs.open(path, "rb") as file:
            found = pq.ParquetFile(file)
            # Others write a Parquet file beside their shards too, with other columns.
            if not {*fields.names} <= {*found.schema_arrow.names}:
                return None
            table = found.read(fields.names, use_threads=False)
        table.validate(full=True)
        kept = fields.with_metadata(table.schema.metadata)
        table = pa.table([table.column(f.name).cast(f.type) for f in fields], kept)
        _check(table)
    except (pa.ArrowException, ArithmeticError, MemoryError, OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({in_a_line(error)}); rebuild the corpus, or copy it again"
        ) from error
    return table


def _check(table: pa.Table) -> None:
    for field in table.schema:
        column = table.column(field.name)
        if not field.nullable and column.null_count:
            raise ValueError(f"the column {field.name} lacks values")
        if pa.types.is_string(field.type):
            longest = pc.max(pc.binary_length(column)).as_py()
            if longest is not None and longest > LONGEST_TEXT:
                raise ValueError(f"a text of the column {field.name} has {longest} bytes")
