"""PNG chunks (W3C PNG, third edition, section 5): size, orientation and whether the bytes are whole.

Pillow decodes the pixels but does not check the CRC of the pixel data, and refuses a good picture for a
damaged comment; so the chunks are checked here, and only those that make the picture are passed on.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from facecorpus.images.exif import header_of, orientation_of
from facecorpus.images.picture import Header, ImageError
from facecorpus.reasons import CORRUPT

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MAX_CHUNKS = 1_000_000


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end of payload) of each chunk; the last may reach beyond the data."""
    position = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        kind = data[position + 4 : position + 8]
        start = position + 8
        position = start + int.from_bytes(data[start - 8 : start - 4], "big") + 4
        yield kind, start, position - 4
        if kind == b"IEND":
            return


def read_header(data: bytes) -> Header:
    """Size, orientation (`eXIf`) and number of frames (`acTL`)."""
    width = height = orientation = 0
    frames = 1
    for kind, start, end in _chunks(data):
        if kind == b"IHDR" and end - start == 13 and _intact(data, start, end):
            width, height = (int.from_bytes(data[start + i : start + i + 4], "big") for i in (0, 4))
        elif kind == b"eXIf" and not orientation:
            orientation = orientation_of(data[start:end])
        elif kind == b"acTL":
            frames = max(1, int.from_bytes(data[start : min(end, start + 4)], "big"))
    if not (width and height):
        raise ImageError(CORRUPT, "the PNG has no valid header")
    return header_of("png", width, height, orientation or 1, frames)


def picture_only(data: bytes) -> bytes:
    """The chunks of the (first) picture alone; `ImageError(CORRUPT)` where one is damaged or cut short."""
    view = memoryview(data)
    parts = [view[: len(_SIGNATURE)]]
    for kind, start, end in _chunks(data):
        if kind not in _PICTURE:
            continue
        if end + 4 > len(data):
            raise ImageError(CORRUPT, "the PNG is truncated")
        if not _intact(view, start, end):
            raise ImageError(CORRUPT, f"the PNG is damaged: wrong checksum in chunk {kind.decode()}")
        parts.append(view[start - 8 : end + 4])
    return b"".join(parts)


def _intact(data: bytes | memoryview, start: int, end: int) -> bool:
    """Whether the CRC of a chunk's type and payload is the one that follows."""
    return zlib.crc32(data[start - 4 : end]) == int.from_bytes(data[end : end + 4], "big")
