"""A folder of files, walked in the order of their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from facecorpus import storage
from facecorpus.sources.archives.container import Container, Member, printable

ORIGIN = "origin.json"
"""Says where the pictures of the folder that it lies in come from, as in {"synthetic": true, "by": "..."}: no
input itself."""

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


class FolderContainer(Container):
    """Every file under a folder but its `ORIGIN`, hidden ones too; see `storage.walk_files` for links."""

    def __init__(self, url: str, under: str = "") -> None:
        """Open the folder `url`; list only the files below its subfolder `under`."""
        super().__init__(url)
        self._under = under

    def _list(self) -> Iterator[Member]:
        """The files in the order of their paths."""
        for path, size, _ in storage.walk_files(storage.join(self.url, self._under)):
            if path != ORIGIN:
                yield Member(printable(storage.join(self._under, path)), -1, size)

    def _read(self, member: Member) -> bytes:
        """The whole file."""
        url = storage.join(self.url, member.path)
        try:
            stream = storage.open_read(url)
        except FileNotFoundError:
            stream = storage.open_read(storage.join(self.url, _raw_name(member.path)))
        with stream:
            return stream.read()


def _raw_name(path: str) -> str:
    r"""The file name behind a path that `printable` wrote with `\xNN`."""
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), os.fsencode(path))
    return os.fsdecode(raw)
