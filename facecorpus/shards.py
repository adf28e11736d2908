"""WebDataset shards, byte for byte the same every time: the writer, the index and a picking reader.

Plain USTAR (POSIX.1-1988): no PAX or GNU records, mtime 0, owner 0, mode 0444, members of a sample adjacent
and sorted, two zero blocks at the end and no further padding. `tarfile` and stock `webdataset` read them; the
headers are built here because `tarfile` pads files to 10 KiB records and is slower by the cost of its
`TarInfo` objects.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facecorpus import schema

BLOCK = 512
_KEY = re.compile(r"[A-Za-z0-9_\-]{1,90}")


def sample_key(record_id: str) -> str:
    """Key of the sample made from a record: 16 hexadecimal digits of BLAKE2b(id), so free of dots and
    paths."""
    return hashlib.blake2b(record_id.encode(), digest_size=schema.KEY_DIGITS // 2).hexdigest()


def key_codes(record_ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """The keys of samples as numbers, which sort as the keys do: uint64 (N,)."""
    ids = (i.encode() for chunk in record_ids.chunks for i in chunk.to_pylist())
    return _hashed(ids, len(record_ids))


def key_names(codes: NDArray[np.uint64]) -> pa.StringArray:
    """The keys of `key_codes`, written out: (N,)."""
    text = codes.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(len(codes) + 1, dtype=np.int32) * schema.KEY_DIGITS
    return pa.StringArray.from_buffers(len(codes), pa.py_buffer(offsets), pa.py_buffer(text))


def shuffle_ranks(codes: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Where samples stand in the shuffle across sources: 64 bits of BLAKE2b of the key, keyed with the
    recipe's seed; uint64 (N,)."""
    keys = (f"{code:016x}".encode() for code in map(int, codes))
    return _hashed(keys, len(codes), seed.to_bytes(8, "big"))


def _hashed(texts: Iterable[bytes], count: int, key: bytes = b"") -> NDArray[np.uint64]:
    """64 bits of BLAKE2b of each text, without a Python object for each at once."""
    digests = (hashlib.blake2b(text, digest_size=8, key=key).digest() for text in texts)
    return np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64, count)


def member_header(name: str, size: int) -> bytes:
    """The 512-byte USTAR header of a regular file.

    Raises:
        ValueError: the name has more than 100 bytes or the size 8 GiB or more (neither fits without
        extensions).
    """
    encoded = name.encode("ascii")
    if len(encoded) > 100 or not 0 <= size < 8 << 30:
        raise ValueError(f"{name} with {size} bytes does not fit a USTAR header")
    head = bytearray(BLOCK)
    struct.pack_into(
        "100s8s8s8s12s12s8s1s",
        head,
        0,
        encoded,
        b"0000444\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"00000000000\0",
        b" " * 8,
        b"0",
    )
    head[257:265] = b"ustar\x0000"
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


@dataclass(slots=True)
class Placed:
    """Where a sample landed in its shard, in bytes from the start of the tar."""

    sample_offset: int
    payload_offsets: dict[str, int]
    """Extension -> offset of the payload."""


@dataclass(slots=True)
class ShardWriter:
    """Writes samples to an open binary file."""

    file: BinaryIO
    offset: int = 0
    placed: list[Placed] = field(default_factory=list[Placed])

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self.offset += len(data)

    def add(self, key: str, members: Mapping[str, bytes]) -> Placed:
        """Append one sample, `members` mapping extension (without a dot) to payload."""
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no sample key: letters, digits, '-' and '_' only")
        placed = Placed(self.offset, {})
        for extension in sorted(members):
            payload = members[extension]
            self._write(member_header(f"{key}.{extension}", len(payload)))
            placed.payload_offsets[extension] = self.offset
            self._write(payload)
            self._write(bytes(-len(payload) % BLOCK))
        self.placed.append(placed)
        return placed

    def finish(self) -> bytes:
        """Write the end-of-archive mark; returns the index: uint64 little-endian sample offsets, then their
        end."""
        index = struct.pack(f"<{len(self.placed) + 1}Q", *(p.sample_offset for p in self.placed), self.offset)
        self._write(bytes(2 * BLOCK))
        return index


def read_index(data: bytes) -> list[int]:
    """Sample offsets from a `.tar.idx`, the last one being the end of the last sample.

    Raises:
        ValueError: it is cut.
    """
    if not data or len(data) % 8:
        raise ValueError(f"an index of {len(data)} bytes is cut: every offset has 8")
    return list(struct.unpack(f"<{len(data) // 8}Q", data))


def parse_members(data: bytes | memoryview) -> Iterable[tuple[str, int, int]]:
    """(name, payload offset, size) of every member of a tar written here, checking each header.

    Raises:
        ValueError: a header is not what the writer would have written, or the end mark is missing or not
        last.
    """
    offset = 0
    while offset + 2 * BLOCK < len(data):
        head = bytes(data[offset : offset + BLOCK])
        name = head[:100].rstrip(b"\0").decode("ascii", "replace")
        try:
            size = int(head[124:135], 8)
            good = head == member_header(name, size)
        except ValueError:
            good, size = False, 0
        if not good:
            raise ValueError(f"the tar header at byte {offset} is damaged")
        yield name, offset + BLOCK, size
        offset += BLOCK + size + -size % BLOCK
    if offset + 2 * BLOCK != len(data) or any(data[offset:]):
        raise ValueError(f"the end-of-archive mark expected at byte {offset} is missing")
