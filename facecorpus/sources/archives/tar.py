"""Tar archives, plain or in gzip: listed once from front to back, then read by offset."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.reasons import CORRUPT
from facecorpus.sources.archives.container import Container, InputError, Member, links_note, printable
from facecorpus.sources.archives.gzip_index import open_indexed, publish_index
from facecorpus.tarheaders import headers, open_tar

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

    def _list(self) -> Iterator[Member]:
        """Every regular file in the order of the archive, then its hard links: files by another name."""
        links = 0
        hard: dict[str, str] = {}
        # without a stored index, because gzip's checksums are verified only on the way from the start
        with open_indexed(self.url, None) if self._gzipped else storage.open_read(self.url) as stream:
            for info in self._headers(stream):
                links += info.issym()
                if info.islnk():
                    hard[info.name] = info.linkname
                if info.isreg():
                    yield _member(info.name, info)
            if self._gzipped and self._cache is not None:
                publish_index(self.url, stream, self._cache)
        yield from self._linked(hard)
        if links:
            self.notes.append(links_note(self.url, links))

    def _linked(self, hard: dict[str, str]) -> Iterator[Member]:
        """The hard links, each the bytes of the file that it names; rare, so the headers are read again."""
        wanted = {str(PurePosixPath(target)) for target in hard.values()}
        found: dict[str, tarfile.TarInfo] = {}
        if wanted:
            with open_indexed(self.url, None) if self._gzipped else storage.open_read(self.url) as stream:
                for info in headers(_opened(self.url, stream)):
                    if info.isreg() and str(PurePosixPath(info.name)) in wanted:
                        found[str(PurePosixPath(info.name))] = info
        for name, target in hard.items():
            yield _member(name, found.get(str(PurePosixPath(target))))

    def _read(self, member: Member) -> bytes:
        """The payload at the member's offset."""
        if member.offset < 0:
            raise InputError(
                CORRUPT,
                "it is stored as a sparse file or as a link to a file that is not there; "
                "repack the archive without tar's --sparse",
            )
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

    def _headers(self, stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
        """The headers of a tar up to its end mark."""
        archive = _opened(self.url, stream)
        try:
            yield from headers(archive)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise UserError(
                f"{self.url} is not a whole tar archive, probably half copied ({error}); copy it again"
            ) from error
        self._check_end(stream, archive.offset)

    def _check_end(self, stream: BinaryIO, position: int) -> None:
        """tarfile takes a bad header, or none, for the end: look whether the end mark is there, and last."""
        url = self.url
        stream.seek(position)
        block = stream.read(tarfile.BLOCKSIZE)
        if not block:
            self._check_gzip()
            self.notes.append(
                f"{url} has no end mark: what was written was read, but it may have been cut short at byte "
                f"{position}; compare its size with the original's"
            )
            return
        if len(block) < tarfile.BLOCKSIZE:
            raise UserError(f"{url} ends within a header at byte {position}: cut short; copy it again")
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

    def _check_gzip(self) -> None:
        """Where a cut gzip file ends between two members of the tar, what could be inflated looks whole."""
        if self._gzipped:
            try:
                with storage.open_read(self.url) as inner, gzip.GzipFile(fileobj=inner) as stream:
                    while stream.read(_CHUNK):
                        pass
            except (EOFError, OSError, zlib.error) as error:
                raise UserError(
                    f"{self.url} is not a whole gzip file, probably half copied ({error}); copy it again"
                ) from error


def _member(name: str, info: tarfile.TarInfo | None) -> Member:
    """A file called `name` with the payload of `info`; with none where that is not there in one piece."""
    # "./a" and "a//b" are ways of writing "a" and "a/b"
    path = printable(str(PurePosixPath(name)))
    if info is None or info.issparse():
        return Member(path, -1, info.size if info is not None else 0)
    return Member(path, info.offset_data, info.size)


def _opened(url: str, stream: BinaryIO) -> tarfile.TarFile:
    try:
        return open_tar(stream)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"{url} does not begin with a tar header ({error}): it is no tar, or cut short; copy it again"
        ) from error
