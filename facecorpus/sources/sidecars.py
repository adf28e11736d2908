"""Annotations that lie among the inputs: a JSON file beside each picture, or a table in the archive."""

from __future__ import annotations

import codecs
import json
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from facecorpus.errors import UserError
from facecorpus.signature import HEAD_BYTES
from facecorpus.sources.annotations import Annotations
from facecorpus.sources.archives import Container, InputError, Member
from facecorpus.sources.source import Part, Source
from facecorpus.sources.texts import check_text

_LARGEST_JSON = 1 << 20
_LARGEST_ENTRY = 1 << 24
_CHUNK = 1 << 20

Numbers = tuple[float, ...]


class Sidecars:
    """Numbers from the JSON files of containers, by a key made from each file's path."""

    def __init__(self, key: Callable[[str], str], values: Callable[[Any], Numbers | None]) -> None:
        """Read nothing yet.

        Args:
            key: of a picture, from its path or that of its JSON file.
            values: what is kept of a JSON value; None, or any LookupError, TypeError or ValueError, where it
                is not what it should be.
        """
        self._key, self._values = key, values
        self._names: list[bytes] = []
        self._numbers = array("d")
        self._found = Annotations("", [], np.empty((0, 0)))
        self._wrong = 0

    def read(self, source: Source, part: Part) -> None:
        """Add those of one container."""
        with source.open(part.container, part.under) as container:
            for member in container.members():
                if member.path.lower().endswith(".json"):
                    self._add(container, member)

    def sort(self, title: str) -> None:
        """Make what was read ready to be looked up; `title` is what notes call it."""
        columns = len(self._numbers) // max(len(self._names), 1)
        values = np.array(self._numbers).reshape(len(self._names), columns)
        self._found = Annotations(title, self._names, values, several=True)
        self._names, self._numbers = [], array("d")

    def row(self, path: str) -> Numbers | None:
        """The numbers of a picture, by its path."""
        return self._found.row(self._key(path)) if len(self._found) else None

    def notes(self) -> list[str]:
        """What did not match, and what could not be read."""
        said = [self._found.note()] if len(self._found) else []
        if self._wrong:
            said.append(f"{self._wrong:,} JSON files beside pictures are damaged or tell nothing of a face")
        return [note for note in said if note]

    def _add(self, container: Container, member: Member) -> None:
        numbers: Numbers | None = None
        if member.bytes <= _LARGEST_JSON:
            try:
                numbers = self._values(json.loads(container.read(member)))
            except (InputError, ValueError, LookupError, TypeError, RecursionError):
                numbers = None
        if numbers is None or not np.isfinite(numbers).all():
            self._wrong += 1
            return
        self._names.append(self._key(member.path).encode())
        self._numbers.extend(numbers)


def member_bytes(source: Source, part: Part, is_it: Callable[[str], bool]) -> tuple[str, bytes] | None:
    """Path and bytes of the first member whose path passes the test, or None: a table in an archive.

    Raises:
        UserError: it cannot be read.
    """
    with source.open(part.container, part.under) as container:
        for member in container.members():
            if is_it(member.path):
                try:
                    return member.path, container.read(member)
                except OSError as error:
                    raise UserError(
                        f"{container.url} holds {member.path}, which cannot be read ({error}); get it again"
                    ) from error
    return None


def entries(url: str, chunks: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    """Key and value of each entry of a large JSON object, one by one.

    Args:
        url: where it is, for messages.
        chunks: the bytes of it, in pieces of any size.

    Raises:
        UserError: it is no such object, is cut short, or has an entry of over 16 MB.
    """
    text = _Text(url, chunks)
    text.expect("{")
    if text.peek() == "}":
        return
    while True:
        key = text.value()
        text.expect(":")
        yield str(key), text.value()
        if text.peek() == "}":
            return
        text.expect(",")


class _Text:
    """JSON that arrives in pieces."""

    def __init__(self, url: str, chunks: Iterator[bytes]) -> None:
        self._url, self._chunks = url, chunks
        self._decoder = json.JSONDecoder()
        self._text, self._at = "", 0
        self._rest = b""
        self._more()
        check_text(url, self._text[:HEAD_BYTES].encode())

    def peek(self) -> str:
        """The next character that is no blank."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n\ufeff":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise self._damaged("it ends too early")

    def expect(self, wanted: str) -> None:
        if (found := self.peek()) != wanted:
            raise self._damaged(f"{found!r} stands where {wanted!r} should")
        self._at += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise self._damaged("it is nested too deeply") from error
            except ValueError as error:
                if len(self._text) - self._at > _LARGEST_ENTRY or not self._more():
                    raise self._damaged(str(error)) from error
                continue
            rest = self._text[end : end + 3]  # a number may go on in the next piece: 0|.5, 1|e+5
            if len(rest) == 3 or (rest and rest[0] not in ".eE") or not self._more():
                self._at = end
                return value

    def _more(self) -> bool:
        piece = next(self._chunks, b"")
        if not piece:
            return False
        if not self._text and not self._at:
            piece = piece.removeprefix(codecs.BOM_UTF8)
        self._text, self._at = self._text[self._at :] + piece.decode("ascii", "replace"), 0
        return True

    def _damaged(self, how: str) -> UserError:
        return UserError(f"{self._url} is not the JSON it should be ({how}); get the file again")
