"""Tar archives, plain or in gzip: listed once from front to back, then read by offset."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.sources.archives.container import Container, Member, check_inside, links_note, printable
from facecorpus.sources.archives.gzip_index import open_indexed, publish_index

_CHUNK = 1 << 20


class TarContainer(Container):
    """A tar archive in any of tarfile's dialects (v7, USTAR, GNU long names, PAX)."""

    def __init__(self, url: str, *, gzipped: bool = False, cache: str | None = None) -> None:
        """Open the archive.

        Args:
            url: where it is.
            gzipped: the tar is compressed with gzip.
            cache: folder that keeps the seek index of a gzipped tar, to be inflated in full only once.
        """
        super().__init__(url)
        self._gzipped = gzipped
        self._cache = cache
        self._stream: BinaryIO | None = None

    def members(self) -> Iterator[Member]:
        """Every regular file in the order of the archive. Hard links count as links."""
        links = 0
        # without a stored index, because gzip's checksums are verified only on the way from the start
        with open_indexed(self.url, None) if self._gzipped else storage.open_read(self.url) as stream:
            for info in _headers(self.url, stream):
                links += info.issym() or info.islnk()
                if not info.isreg():
                    continue
                check_inside(self.url, info.name)
                if info.issparse():
                    raise UserError(
                        f"{self.url} stores {printable(info.name)!r} as a sparse file; "
                        "repack the archive without tar's --sparse"
                    )
                # "./a" and "a//b" are ways of writing "a" and "a/b"
                path = str(PurePosixPath(info.name))
                yield Member(printable(path), info.offset_data, info.size)
            if self._gzipped and self._cache is not None:
                publish_index(self.url, stream, self._cache)
        if links:
            self.notes.append(links_note(self.url, links))

    def read(self, member: Member) -> bytes:
        """The payload at the member's offset."""
        if self._stream is None:
            self._stream = (
                open_indexed(self.url, self._cache) if self._gzipped else storage.open_read(self.url)
            )
        self._stream.seek(member.offset)
        return self._stream.read(member.bytes)

    def close(self) -> None:
        """Close the archive."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _headers(url: str, stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar up to its end mark, which must be there and be the end."""
    try:
        archive = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115 - `stream` is the caller's
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"{url} does not begin with a tar header ({error}): it is no tar, or cut short; copy it again"
        ) from error
    try:
        yield from _until_none(archive)
        position = archive.offset
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"{url} is not a whole tar archive, probably half copied ({error}); copy it again"
        ) from error
    _check_end(url, stream, position)


def _until_none(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    following: Callable[[], tarfile.TarInfo | None] = archive.next
    seen: list[tarfile.TarInfo] = vars(archive)["members"]
    while (info := following()) is not None:
        seen.clear()  # tarfile keeps every header it has met: gigabytes for millions of members
        yield info


def _check_end(url: str, stream: BinaryIO, position: int) -> None:
    """tarfile takes a bad header, or none, for the end: look whether the end mark is there, and last."""
    try:
        stream.seek(position)
        block = stream.read(tarfile.BLOCKSIZE)
        if len(block) < tarfile.BLOCKSIZE:
            raise UserError(f"{url} has no end mark at byte {position}, so it was cut short; copy it again")
        if any(block):
            raise UserError(f"{url} is damaged at byte {position}: no tar header is there; copy it again")
        position += tarfile.BLOCKSIZE
        while chunk := stream.read(_CHUNK):
            if any(chunk) and chunk.strip(b"\0"):
                raise UserError(
                    f"{url} goes on after its end mark at byte {position}: it is several archives in one; "
                    "split it, or unpack and repack it"
                )
            position += len(chunk)
    except OSError as error:
        raise UserError(f"{url} is damaged after byte {position} ({error}); copy it again") from error
