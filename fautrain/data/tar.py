"""The members of an uncompressed tar, by its headers alone and whatever its bytes."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from facecorpus.signature import HEAD_BYTES, sniff
from fautrain.errors import UserError

LONGEST_NAME: Final = 4096
"""Bytes of a member's name, as file systems have it; all names of a shard take the room of its longest."""
LARGEST_RECORD: Final = 1 << 15
"""Bytes of a header that extends the next. tarfile holds it in memory and takes time by its square."""
_RECORDS: Final = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in the tar."""

    name: bytes
    """UTF-8, or whatever bytes the tar has."""
    offset: int
    size: int
    """Bytes; -1 where it is not stored in one piece (a sparse file)."""


class _Header(tarfile.TarInfo):
    """A header whose numbers can be true: with a negative size tarfile goes back in the file, for ever."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _RECORDS and header.size > LARGEST_RECORD):
            raise tarfile.HeaderError(f"a header says a size of {header.size} bytes")
        return header


class TarDamagedError(Exception):
    """The tar breaks off or has an impossible header; the message says where."""


def members(file: BinaryIO, url: str) -> Iterator[Member]:
    """The regular files of a tar in its order, up to its end mark.

    Raises:
        UserError: the file is no uncompressed tar.
        TarDamagedError: after the last good member.
    """
    file.seek(0)
    try:
        tar = tarfile.TarFile(fileobj=file, tarinfo=_Header)
    except Exception as error:  # damaged headers make tarfile raise a dozen kinds
        raise _no_tar(file, url, error) from error
    end = 0
    while True:
        try:
            header = tar.next()
        except Exception as error:
            raise TarDamagedError(f"the tar breaks off or is damaged after byte {end} ({error})") from error
        if header is None:
            break
        vars(tar)["members"].clear()  # tarfile keeps every header it has met
        name = header.name.encode("utf-8", "surrogateescape")
        if header.size < 0 or tar.offset <= end or len(name) > LONGEST_NAME:
            raise TarDamagedError(f"the header after byte {end} has an impossible size or name")
        end = tar.offset
        if header.isfile():
            yield Member(name, header.offset_data, -1 if header.issparse() else header.size)
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise TarDamagedError(f"neither a tar header nor the end mark is at byte {end}")


def _no_tar(file: BinaryIO, url: str, error: Exception) -> UserError:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    known = sniff(head)
    if known is None:
        return UserError(f"{url} is no uncompressed tar ({error}); copy it again, or mend data.shards")
    remedy = known.remedy or "give WebDataset shards, or mend data.shards"
    return UserError(f"{url} is {known.says}, no uncompressed tar; {remedy.format(url)}")
