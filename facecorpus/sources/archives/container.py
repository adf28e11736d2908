"""What every container offers: a listing in a stable order, and the bytes of one member in any order."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import TracebackType
from typing import ClassVar, Self

from facecorpus.errors import UserError
from facecorpus.record import Reason


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
    def members(self) -> Iterator[Member]:
        """Every regular file exactly once, in a stable order.

        Raises:
            UserError: the container is damaged, cut short, encrypted, or names a member outside itself.
        """

    @abstractmethod
    def read(self, member: Member) -> bytes:
        """The bytes of a member that `members` listed.

        Raises:
            InputError: there is no such member, or no picture in it.
            OSError: it cannot be read, or is no longer what was listed.
        """

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


def check_inside(url: str, name: str) -> None:
    """Refuse a member that names a place outside its container.

    Raises:
        UserError: the path is absolute or climbs with "..".
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(
            f"{url} holds a member named {printable(name)!r}, which lies outside the archive; "
            "repack it from a folder"
        )


def links_note(url: str, count: int) -> str:
    """The note on links that were met."""
    return f"{url}: {count} {'link is no input' if count == 1 else 'links are no inputs'}"
