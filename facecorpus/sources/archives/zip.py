"""Zip archives (stored, deflated, bzip2 or LZMA members; Zip64), read through their central directory."""

from __future__ import annotations

import contextlib
import stat
import struct
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.reasons import CORRUPT
from facecorpus.sources.archives.container import Container, InputError, Member, links_note, printable

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_ENTRY = struct.Struct("<4s4xH18xHHH12x")
"""Of an entry of the central directory: signature, flags, lengths of name, extra field and comment."""
_LOCAL = 30
"""Bytes of the header before a member, which has the flags again."""
_UTF8 = 0x800
_END = b"PK\x05\x06"
_MOST_COMMENT = (1 << 16) + 22


class ZipContainer(Container):
    """A zip archive; the central directory is read once, on first use."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._archive: zipfile.ZipFile | None = None
        self._infos: dict[str, zipfile.ZipInfo] = {}

    def _opened(self) -> dict[str, zipfile.ZipInfo]:
        """The regular files by path; of several with one path the first."""
        if self._archive is None:
            with contextlib.ExitStack() as undo:
                stream = undo.enter_context(storage.open_read(self.url))
                try:
                    _refuse_parts(self.url, stream)
                    self._archive = zipfile.ZipFile(cast(BinaryIO, _Lenient(stream)))
                except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
                    raise UserError(
                        f"{self.url} is not a whole zip archive: its directory, at the end, is missing or "
                        f"damaged ({error}); copy it again"
                    ) from error
                undo.pop_all()
            for info in self._archive.infolist():
                self._infos.setdefault(_path(info), info)
        return self._infos

    def _list(self) -> Iterator[Member]:
        """Every regular file in the order of the central directory."""
        links = 0
        self._opened()
        assert self._archive is not None
        for info in self._archive.infolist():
            path = _path(info)
            if path.endswith("/"):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                links += 1
                continue
            if info.flag_bits & 1:
                raise UserError(f"{self.url} is encrypted (member {path!r}); unpack it and give the folder")
            if info.compress_type not in _METHODS:
                raise UserError(
                    f"{self.url} compresses {path!r} by method {info.compress_type}; "
                    "unpack it and give the folder"
                )
            yield Member(path, -1, info.file_size)
        if links:
            self.notes.append(links_note(self.url, links))

    def _read(self, member: Member) -> bytes:
        """The inflated member, its CRC-32 checked."""
        info = self._opened().get(member.path)
        if info is None or self._archive is None:
            raise FileNotFoundError("no such member: the archive has changed since it was listed")
        try:
            return self._archive.read(info)
        except RuntimeError as error:  # encrypted, says its own header alone
            raise InputError(CORRUPT, f"damaged member ({error})") from error

    def close(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            stream = self._archive.fp
            self._archive.close()
            if stream is not None:
                stream.close()
            self._archive = None
            self._infos = {}


def _path(info: zipfile.ZipInfo) -> str:
    """The member's path; tools of Windows before 2015 put backslashes between folders."""
    windows = info.create_system == 0 and "/" not in info.filename
    return printable(info.filename.replace("\\", "/") if windows else info.filename)


def _refuse_parts(url: str, stream: BinaryIO) -> None:
    """Say so where this is one file of a zip that was split into several."""
    size = stream.seek(0, 2)
    stream.seek(max(size - _MOST_COMMENT, 0))
    tail = stream.read()
    at = tail.rfind(_END)
    disk = int.from_bytes(tail[at + 4 : at + 6], "little") if at >= 0 else 0
    if 0 < disk < 0xFFFF:
        stem = url.rpartition("/")[2].rpartition(".")[0]
        raise UserError(
            f"{url} is the last part of a zip split into {disk + 1} files ({stem}.z01 ...); join them: "
            f"zip -s 0 {url} --out whole.zip"
        )
    stream.seek(0)


class _Lenient:
    """A zip's file in which names that say they are UTF-8 and are not say so no more.

    zipfile reads the central directory in one piece and gives up at the first such name; without the flag it
    takes the name as code page 437, as unzip does.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell
        self.seekable = stream.seekable
        self.close = stream.close

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if data.startswith(b"PK\x01\x02"):
            return _without_false_flags(data)
        if data.startswith(b"PK\x03\x04") and len(data) == size == _LOCAL:
            length = int.from_bytes(data[26:28], "little")
            name = self._stream.read(length)
            self._stream.seek(-len(name), 1)
            if not _is_utf8(name):
                return (
                    data[:6] + (int.from_bytes(data[6:8], "little") & ~_UTF8).to_bytes(2, "little") + data[8:]
                )
        return data


def _without_false_flags(directory: bytes) -> bytes:
    changed = bytearray(directory)
    position = 0
    while position + _ENTRY.size <= len(directory):
        signature, flags, *lengths = _ENTRY.unpack_from(directory, position)
        if signature != b"PK\x01\x02":
            break
        start = position + _ENTRY.size
        if not _is_utf8(directory[start : start + lengths[0]]):
            struct.pack_into("<H", changed, position + 8, flags & ~_UTF8)
        position = start + sum(lengths)
    return bytes(changed)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
