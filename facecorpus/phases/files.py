"""Publishing files with the hash that a done mark records."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus import storage
from facecorpus.units import Output


class Hashed(io.RawIOBase):
    """A write-only binary file that hashes (SHA-256) and counts what passes through it on its way to
    `file`."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: bytes | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Pass `data` on; returns its size in bytes."""
        self.digest.update(data)
        view = memoryview(data).cast("B")
        self.bytes += len(view)
        if self.file is not None:
            self.file.write(view)
        return len(view)

    def tell(self) -> int:
        """Bytes written so far."""
        return self.bytes

    def hexdigest(self) -> str:
        """SHA-256 of what was written."""
        return self.digest.hexdigest()


def publish_hashed(out: str, path: str, write: Callable[[BinaryIO], object]) -> Output:
    """Publish `out/path` atomically with what `write` puts into it; returns its size and SHA-256."""
    made: list[Output] = []

    def through(file: BinaryIO) -> None:
        hashed = Hashed(file)
        write(cast(BinaryIO, hashed))
        made.append(Output(path, hashed.bytes, hashed.hexdigest()))

    storage.publish(storage.join(out, path), through)
    return made[-1]


def publish_parquet(out: str, path: str, table: pa.Table) -> Output:
    """Publish a table as zstd Parquet, in one row group. Equal tables give equal bytes, however they are cut
    into chunks."""
    return publish_row_groups(out, path, table.schema, [table])


def publish_row_groups(out: str, path: str, schema: pa.Schema, groups: Iterable[pa.Table]) -> Output:
    """Publish tables of one schema as the row groups of a Parquet file, each written as it comes; one without
    rows where there is none."""

    def write(file: BinaryIO) -> None:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            table = None
            for table in groups:
                writer.write_table(table.combine_chunks(), row_group_size=max(len(table), 1))
            if table is None:
                writer.write_table(schema.empty_table())

    return publish_hashed(out, path, write)


def table_digest(table: pa.Table) -> str:
    """SHA-256 of a table's schema and values (as one Arrow IPC stream), hexadecimal."""
    hashed = Hashed()
    with pa.ipc.new_stream(hashed, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return hashed.hexdigest()
