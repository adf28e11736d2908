"""7z archives, whole or in parts (`NAME.7z.001`, ...), through the library py7zr.

A solid 7z can only be decompressed from the front of a block, so members come out in order, as the frames of
a video do: a reader that goes forward decompresses each block once.
"""

from __future__ import annotations

import importlib
import io
import itertools
import queue
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar, cast

from facecorpus import storage
from facecorpus.errors import UserError, in_a_line
from facecorpus.reasons import CORRUPT
from facecorpus.sources.archives.container import MAX_BYTES, Container, InputError, Member, printable

MAGIC = b"7z\xbc\xaf\x27\x1c"
_FIRST = ".001"
_AHEAD = 4
"""Members that are decompressed before they are asked for, at most."""


def seven_zip_parts(url: str) -> list[str]:
    """The files that an archive lies in: itself, and where it is called `NAME.001` all that follow."""
    if not url.endswith(_FIRST):
        return [url]
    stem = url.removesuffix(_FIRST)
    numbered = (f"{stem}.{number:03d}" for number in itertools.count(2))
    return [url, *itertools.takewhile(storage.exists, numbered)]


class SevenZipContainer(Container):
    """A 7z archive."""

    streamed: ClassVar[bool] = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._library = _library(url)
        self._places: dict[str, int] | None = None
        self._flow: _Flow | None = None

    def _open(self) -> Any:
        try:
            return self._library.SevenZipFile(cast(BinaryIO, _Joined(seven_zip_parts(self.url))), "r")
        except (self._library.exceptions.ArchiveError, OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(
                f"{self.url} is not a whole 7z archive: its directory, at the end, is missing or damaged "
                f"({in_a_line(error) or type(error).__name__}); see that all its parts are there and whole"
            ) from error

    def _list(self) -> Iterator[Member]:
        """Every regular file in the order of the archive."""
        with self._open() as archive:
            if archive.needs_password():
                raise UserError(f"{self.url} is encrypted; unpack it and give the folder")
            for entry in archive.files:
                if not entry.is_directory and not entry.is_symlink:
                    yield Member(printable(entry.filename), -1, int(entry.uncompressed or 0))

    def _read(self, member: Member) -> bytes:
        """The member; those before it in its block are decompressed and passed over."""
        if self._places is None:
            self._places = {found.path: place for place, found in enumerate(self._list())}
        place = self._places.get(member.path)
        if place is None:
            raise FileNotFoundError("no such member: the archive has changed since it was listed")
        if not member.bytes:
            return b""
        if self._flow is None or not self._flow.will_come(member.path):
            self.close()
            later = [path for path, at in self._places.items() if at >= place]
            self._flow = _Flow(self._open(), later, self._library)
        return self._flow.read(member.path)

    def close(self) -> None:
        """Stop decompressing."""
        if self._flow is not None:
            self._flow.stop()
            self._flow = None


class _StoppedError(Exception):
    """The reader has gone: no more is decompressed."""


class _Flow:
    """Members as they come out of the decompressor, which runs in a thread a few members ahead."""

    def __init__(self, archive: Any, paths: list[str], library: Any) -> None:
        self._archive, self._to_come = archive, dict.fromkeys(paths)
        self._out: queue.Queue[tuple[str, bytes] | BaseException | None] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._factory = _factory(library, self._give)
        self._thread = threading.Thread(target=self._run, args=(list(paths),), daemon=True)
        self._thread.start()

    def will_come(self, path: str) -> bool:
        return path in self._to_come

    def read(self, path: str) -> bytes:
        while path in self._to_come:
            found = self._out.get()
            if isinstance(found, BaseException):
                self._to_come.clear()
                raise InputError(CORRUPT, f"damaged member ({in_a_line(found)})")
            if found is None:
                self._to_come.clear()
                break
            self._to_come.pop(found[0], None)
            if found[0] == path:
                return found[1]
        raise InputError(CORRUPT, "the archive does not give it out: it is damaged")

    def stop(self) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._out.get(timeout=0.05)
            except queue.Empty:
                continue
        self._archive.close()

    def _run(self, paths: list[str]) -> None:
        try:
            self._archive.extract(targets=paths, recursive=False, factory=self._factory)
            self._put(None)
        except _StoppedError:
            return
        except BaseException as error:
            self._put(error)

    def _give(self, path: str, data: bytes) -> None:
        if not self._put((path, data)):
            raise _StoppedError

    def _put(self, found: tuple[str, bytes] | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._out.put(found, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False


def _factory(library: Any, give: Any) -> Any:
    """What py7zr asks for a place to write each member to."""

    class Sink(library.io.Py7zIO):
        def __init__(self, path: str) -> None:
            self._path, self._data = path, bytearray()

        def write(self, s: bytes | bytearray) -> int:
            if len(self._data) + len(s) <= MAX_BYTES:
                self._data += s
            return len(s)

        def read(self, size: int | None = None) -> bytes:
            return bytes(self._data)

        def seek(self, offset: int, whence: int = 0) -> int:
            return offset

        def flush(self) -> None:
            return

        def size(self) -> int:
            return len(self._data)

        def close(self) -> None:
            give(printable(self._path), bytes(self._data))
            self._data = bytearray()

    class Factory(library.io.WriterFactory):
        def create(self, filename: str) -> Sink:
            return Sink(filename)

    return Factory()


def _library(url: str) -> Any:
    try:
        library = importlib.import_module("py7zr")
        importlib.import_module("py7zr.io")
    except ImportError:
        raise UserError(
            f"{url} is a 7z archive, which is read through the library py7zr: pip install "
            "'facecorpus[sources]', or unpack the archive with 7z x and give the folder"
        ) from None
    return library


class _Joined(io.RawIOBase):
    """Files one behind the other, as one."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        ends = [storage.size(url) for url in urls]
        self._starts = [sum(ends[:place]) for place in range(len(ends) + 1)]
        self._at, self._open, self._stream = 0, -1, cast(BinaryIO, io.BytesIO())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._starts[-1])[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = self._starts[-1] - self._at
        size = left if size < 0 else min(size, left)
        out = bytearray()
        while len(out) < size:
            part = next(k for k in range(len(self._urls)) if self._at < self._starts[k + 1])
            if part != self._open:
                self._stream.close()
                self._open, self._stream = part, storage.open_read(self._urls[part])
            self._stream.seek(self._at - self._starts[part])
            piece = self._stream.read(min(size - len(out), self._starts[part + 1] - self._at))
            if not piece:
                break
            out += piece
            self._at += len(piece)
        return bytes(out)

    def close(self) -> None:
        self._stream.close()
        super().close()
