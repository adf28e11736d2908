"""Random access into gzip by an index of inflate states (the zran method, by the indexed_gzip package).

The index is built while the archive is inflated for its listing, kept in a cache folder under a name that
holds the archive's stamp, and read by every worker: the archive is inflated in full only once. Without a
cache a reader builds the index as it goes forward, and can always go back.
"""

from __future__ import annotations

import hashlib
import io
import math
from typing import Any, BinaryIO, cast

import indexed_gzip

from facecorpus import storage
from facecorpus.errors import UserError

WINDOW = 32 << 10
"""Bytes that a seek point takes, in the index and in the memory of each worker (one deflate window)."""
READ_AHEAD = 4
"""Inflated at once, in units of the spacing. The package starts every read at the last seek point, so that
small reads inflate most bytes several times; at 4 an eighth is inflated twice."""
MIN_SPACING = 4 << 20


def index_url(url: str, cache: str) -> str:
    """Where the index of an archive, as it is now, belongs."""
    digest = hashlib.blake2b(f"{url}\n{storage.stamp(url)}".encode(), digest_size=8).hexdigest()
    return storage.join(cache, f"{url.rstrip('/').rsplit('/', 1)[-1]}-{digest}.gzidx")


def spacing(size: int) -> int:
    """Bytes between two seek points of an archive of `size` bytes: the least memory with READ_AHEAD.

    >>> spacing(36 << 30) >> 20
    16
    """
    return max(MIN_SPACING, math.isqrt(size * WINDOW // READ_AHEAD))


def open_indexed(url: str, cache: str | None) -> BinaryIO:
    """The inflated content of a gzip file, seekable; with the index from `cache` where it holds one.

    Raises:
        UserError: the index is damaged.
    """
    inner = storage.open_read(url)
    step = spacing(storage.size(url))
    raw: Any = indexed_gzip.IndexedGzipFile(fileobj=inner, spacing=step, buffer_size=READ_AHEAD * step)
    stream = _Inflated(raw, inner)
    if cache is not None and storage.exists(stored := index_url(url, cache)):
        try:
            with storage.open_read(stored) as index:
                # through memory, because the package wants a real file or a plain seekable object
                raw.import_index(fileobj=io.BytesIO(index.read()))
        except OSError as error:
            stream.close()
            raise UserError(f"the index {stored} is damaged ({error}); remove it and run again") from error
    return cast(BinaryIO, stream)


class _Inflated(io.RawIOBase):
    """The stream of an `IndexedGzipFile`, closing the file beneath it with itself."""

    def __init__(self, stream: Any, inner: BinaryIO) -> None:
        self._stream = stream
        self._inner = inner
        self.read = stream.read
        self.seek = stream.seek
        self.tell = stream.tell

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def export(self) -> bytes:
        """The index as the package stores it, to the end (reading alone leaves out the last read-ahead)."""
        self._stream.build_full_index()
        buffer = io.BytesIO()
        self._stream.export_index(fileobj=buffer)
        return buffer.getvalue()

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._inner.close()
        super().close()


def publish_index(url: str, stream: BinaryIO, cache: str) -> None:
    """Publish the index that a full pass through `stream` (of `open_indexed`) has built."""
    data = cast(_Inflated, stream).export()

    def write(target: BinaryIO) -> None:
        target.write(data)

    storage.publish(index_url(url, cache), write)
