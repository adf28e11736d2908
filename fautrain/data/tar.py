"""The members of an uncompressed tar, by its headers alone and whatever its bytes."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from facecorpus.errors import UserError
from facecorpus.signature import HEAD_BYTES, sniff
from facecorpus.tarheaders import BoundedHeader, headers, open_tar

LONGEST_NAME: Final = 4096
"""Bytes of a member's name, as file systems have it; all names of a shard take the room of its longest."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in the tar."""

    name: bytes
    """UTF-8, or whatever bytes the tar has."""
    offset: int
    size: int
    """Bytes; -1 where it is not stored in one piece (a sparse file)."""


class _Header(BoundedHeader):
    # tarfile takes time by the square of a record's size.
    largest_record = 1 << 15


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
        tar = open_tar(file, _Header)
    except Exception as error:  # damaged headers make tarfile raise a dozen kinds
        raise _no_tar(file, url, error) from error
    end = 0
    try:
        for header in headers(tar):
            name = header.name.encode("utf-8", "surrogateescape")
            if len(name) > LONGEST_NAME:
                raise tarfile.ReadError(f"a name has {len(name)} bytes")
            end = tar.offset
            if header.isfile():
                yield Member(name, header.offset_data, -1 if header.issparse() else header.size)
    except Exception as error:
        raise TarDamagedError(f"the tar breaks off or is damaged after byte {end} ({error})") from error
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
