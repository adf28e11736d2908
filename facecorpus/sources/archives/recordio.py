"""RecordIO files (MXNet's and InsightFace's `train.rec`), read without MXNet.

A record is u32 magic, u32 (cflag << 29 | length), payload, padding to 4 bytes, all little-endian. A payload
that holds the magic word on a 4-byte boundary is split there: cflag 1 first, 2 middle, 3 last part, each with
a header of its own, and the magic word between two parts is left out. An image record's payload is an
`IRHeader` (u32 flag, f32 label, u64 id, u64 id2), then `flag` f32 labels if flag > 0, then the encoded image.

InsightFace's files begin with a record without an image, and end with one such record per identity (ranges of
keys); files made by plain im2rec have neither. Both are read: a record with labels but without an image is
not an input.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.sources.archives.container import Container, Member

MAGIC_BYTES = b"\x0a\x23\xd7\xce"
_HEAD = struct.Struct("<4sI")
_IMAGE = struct.Struct("<IfQQ")
_MAX_LABEL = 1 << 24
"""Whole numbers from here on are not exact in the format's f32 labels."""


class RecordIOContainer(Container):
    """A `.rec` file. Members are called by their key in the `.idx` beside it, or else by their number."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._stream: BinaryIO | None = None
        self._end = 0

    def _list(self) -> Iterator[Member]:
        """The image records in the order of the file; offsets are those of the records."""
        keys = _read_index(self.url)
        unique = keys is None or len(np.unique(keys[1])) == len(keys[1])
        without_image = 0
        number = 0
        with storage.open_read(self.url) as stream:
            end = storage.size(self.url)
            position = 0
            while position < end:
                parts, following = _record_parts(self.url, stream, position, end)
                name = str(number) if keys is None else _key(self.url, keys, number, position)
                member = _member(self.url, stream, position, parts, name if unique else str(number))
                if member is None:
                    without_image += 1
                else:
                    yield member
                number += 1
                position = following
        if keys is not None and number != len(keys[0]):
            raise _not_its_index(self.url, f"it lists {len(keys[0])} records of {number}")
        if not unique:
            self.notes.append(
                f"{index_beside(self.url)} names records by keys that repeat; they are called by their number"
            )
        if without_image:
            self.notes.append(
                f"{self.url} holds {without_image} index records without an image, which are not inputs"
            )

    def _read(self, member: Member) -> bytes:
        """The encoded image of the record at the member's offset."""
        if self._stream is None:
            self._stream = storage.open_read(self.url)
            self._end = storage.size(self.url)
        try:
            parts, _ = _record_parts(self.url, self._stream, member.offset, self._end)
        except UserError as error:
            raise OSError("no whole record begins there any more; copy the file again") from error
        payload = MAGIC_BYTES.join(_read_at(self._stream, start, length) for start, length in parts)
        flag = _IMAGE.unpack_from(payload)[0]
        return payload[_IMAGE.size + 4 * flag :]

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _read_at(stream: BinaryIO, position: int, length: int) -> bytes:
    stream.seek(position)
    return stream.read(length)


def _record_parts(url: str, stream: BinaryIO, position: int, end: int) -> tuple[list[tuple[int, int]], int]:
    """(start, length) of the parts of the record at `position`, and where the next record starts."""
    start_of_record = position
    parts: list[tuple[int, int]] = []
    while True:
        head = _read_at(stream, position, _HEAD.size)
        if len(head) < _HEAD.size:
            raise UserError(
                f"{url} ends within the record at byte {start_of_record}: it was cut short; copy it again"
            )
        magic, word = _HEAD.unpack(head)
        kind, length = word >> 29, word & ((1 << 29) - 1)
        if magic != MAGIC_BYTES or kind > 3 or (kind in (0, 1)) != (not parts):
            raise UserError(f"{url} is damaged at byte {position}: no record starts there; copy it again")
        parts.append((position + _HEAD.size, length))
        position += _HEAD.size + length
        if position > end:
            raise UserError(
                f"{url} ends within the record at byte {start_of_record}: it was cut short; copy it again"
            )
        position += -length % 4
        if kind in (0, 3):
            return parts, position


def _member(
    url: str, stream: BinaryIO, position: int, parts: list[tuple[int, int]], key: str
) -> Member | None:
    """The image record at `position` as a member, or None where it holds labels alone."""
    total = sum(length for _, length in parts) + len(MAGIC_BYTES) * (len(parts) - 1)
    payload = _payload_start(stream, parts, _IMAGE.size + 4)
    if total < _IMAGE.size:
        raise UserError(f"{url} is no file of images: the record at byte {position} has no image header")
    flag, label = _IMAGE.unpack_from(payload)[:2]
    size = total - _IMAGE.size - 4 * flag
    if size < 0 and not position:
        raise UserError(
            f"{url} holds records, but the first is no packed image (it would have {flag} labels): others "
            "pack other things, as SageMaker does; give a file that im2rec made"
        )
    if size < 0:
        raise UserError(
            f"{url} is damaged at byte {position}: the record says it has {flag} labels; copy it again"
        )
    if flag and not size:
        return None
    if flag:
        label = struct.unpack_from("<f", payload, _IMAGE.size)[0]
    return Member(key, position, size, _class_name(label))


def _payload_start(stream: BinaryIO, parts: list[tuple[int, int]], wanted: int) -> bytes:
    payload = b""
    for number, (start, length) in enumerate(parts):
        payload += (MAGIC_BYTES if number else b"") + _read_at(stream, start, min(length, wanted))
        if len(payload) >= wanted:
            break
    return payload


def _class_name(label: float) -> str | None:
    if not 0 <= label < _MAX_LABEL:
        return None
    return str(int(label)) if label == int(label) else str(label)


_Index = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def index_beside(url: str) -> str | None:
    """The `.idx` that belongs to a `.rec`, where there is one."""
    index = url.removesuffix(".rec") + ".idx"
    return index if url.endswith(".rec") and storage.exists(index) else None


def _read_index(url: str) -> _Index | None:
    """Offsets and keys of the `.idx` beside a `.rec`, by increasing offset; None where there is none."""
    index = index_beside(url)
    if index is None:
        return None
    with storage.open_read(index) as stream:
        text = stream.read()
    try:
        table = np.array(text.split(), dtype=np.int64).reshape(-1, 2)
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{index} is not lines of two numbers (key, offset); remove it to read the .rec alone"
        ) from error
    table = table[np.argsort(table[:, 1], kind="stable")]
    return table[:, 1], table[:, 0]


def _key(url: str, keys: _Index, number: int, position: int) -> str:
    offsets, names = keys
    if number >= len(offsets) or offsets[number] != position:
        raise _not_its_index(url, f"it has no record at byte {position}")
    return str(names[number])


def _not_its_index(url: str, what: str) -> UserError:
    index = index_beside(url)
    return UserError(f"{index} does not belong to {url}: {what}; remove the .idx to read the .rec alone")
