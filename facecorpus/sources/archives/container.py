"""What every container offers: a listing in a stable order, and the bytes of one member in any order."""

from __future__ import annotations

import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import TracebackType
from typing import ClassVar, Self

from facecorpus.errors import UserError, in_a_line
from facecorpus.reasons import CORRUPT, Reason, declare
from facecorpus.record import State

BAD_NAME = declare(
    "bad_name",
    State.FAILED,
    "readable",
    "Its name leads outside its archive, or is another input's too.",
    "pack them again under plain names, each once and below the archive's top",
)
MISSING_FRAME = declare(
    "missing_frame",
    State.FAILED,
    "readable",
    "Annotated, but not in its recording, or behind the place where that breaks off.",
    "add the recordings, or the pictures of them, that the labels speak of",
)

MAX_BYTES = 1 << 29
"""Largest member that is read: no picture comes near it, and a header may state any size."""
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError),
    *(OverflowError, MemoryError, RecursionError, NotImplementedError, IndexError),
)
"""What the libraries raise for damaged bytes, besides OSError."""


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in a container. Folders, links and devices are not members."""

    path: str
    """POSIX path inside the container, printable; see `printable`."""
    offset: int
    """Byte offset in the uncompressed container by which `read` finds it, -1 where it goes by name."""
    bytes: int
    label: str | None = None
    """The label that the container itself stores with the member (RecordIO only)."""


class InputError(OSError):
    """A fault of an input itself, not of the storage, so that to try again is of no use; `str` says what."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[InputError], tuple[Reason, str]]:
        return InputError, (self.reason, str(self))


class Container(ABC):
    """An open container. `members` is meant to be run once; `read` is fastest in the order of `members`."""

    streamed: ClassVar[bool] = False
    """Whether members come out of a decoder, front to back: their sizes are not known before, and a reader
    keeps one such container open."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.notes: list[str] = []
        """After `members` has run: what it held besides members, as sentences."""

    @abstractmethod
    def _list(self) -> Iterator[Member]:
        """What `members` gives; damage may come out as it is."""

    @abstractmethod
    def _read(self, member: Member) -> bytes:
        """What `read` gives; damage may come out as it is."""

    def members(self) -> Iterator[Member]:
        """Every regular file exactly once, in a stable order.

        A member whose own name or place is at fault is listed too: `read` then says what is wrong.

        Raises:
            UserError: the container is damaged, cut short or encrypted.
            InputError: a container that is itself an input (a video) is.
        """
        try:
            yield from self._list()
        except InputError:
            raise
        except (*_DAMAGE, OSError) as error:
            raise UserError(
                f"{self.url} cannot be read to its end ({in_a_line(error)}), it may be damaged or half "
                "copied; copy it again"
            ) from error

    def read(self, member: Member) -> bytes:
        """The bytes of a member that `members` listed.

        Raises:
            InputError: there is no such member, its name leads outside the container, it is damaged, or
                larger than `MAX_BYTES`.
            OSError: it cannot be read, or is no longer what was listed.
        """
        if leads_outside(member.path):
            raise InputError(BAD_NAME, f"the name {member.path!r} leads outside; repack it from a folder")
        if member.bytes > MAX_BYTES:
            raise InputError(
                CORRUPT,
                f"it is {member.bytes:,} bytes long; no picture of more than {MAX_BYTES:,} is read",
            )
        try:
            return self._read(member)
        except _DAMAGE as error:
            raise InputError(CORRUPT, f"damaged member ({in_a_line(error)})") from error

    def close(self) -> None:  # noqa: B027 - a folder has nothing open
        """Let go of open files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def printable(name: str) -> str:
    r"""A member's path as valid Unicode: bytes that are not UTF-8 are written `\xNN`."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name


def leads_outside(name: str) -> bool:
    """Whether a member's path is absolute, climbs with "..", or names nothing."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or not path.parts


def links_note(url: str, count: int) -> str:
    """The note on links that were met."""
    return f"{url}: {count} {'link is no input' if count == 1 else 'links are no inputs'}"
