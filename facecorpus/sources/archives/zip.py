"""Zip archives (stored, deflated, bzip2 or LZMA members; Zip64), read through their central directory."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.sources.archives.container import Container, Member, check_inside, links_note

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}


class ZipContainer(Container):
    """A zip archive; the central directory is read once, on first use."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._archive: zipfile.ZipFile | None = None

    def _opened(self) -> zipfile.ZipFile:
        if self._archive is None:
            stream = storage.open_read(self.url)
            try:
                self._archive = zipfile.ZipFile(stream)
            except (zipfile.BadZipFile, UnicodeDecodeError, OSError) as error:
                stream.close()
                raise UserError(
                    f"{self.url} is not a whole zip archive: its directory, at the end, is missing or "
                    f"damaged ({error}); copy it again"
                ) from error
        return self._archive

    def members(self) -> Iterator[Member]:
        """Every regular file in the order of the central directory."""
        links = 0
        for info in self._opened().infolist():
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                links += 1
                continue
            check_inside(self.url, info.filename)
            if info.flag_bits & 1:
                raise UserError(
                    f"{self.url} is encrypted (member {info.filename!r}); unpack it and give the folder"
                )
            if info.compress_type not in _METHODS:
                raise UserError(
                    f"{self.url} compresses {info.filename!r} by method {info.compress_type}; "
                    "unpack it and give the folder"
                )
            yield Member(info.filename, -1, info.file_size)
        if links:
            self.notes.append(links_note(self.url, links))

    def read(self, member: Member) -> bytes:
        """The inflated member, its CRC-32 checked."""
        try:
            return self._opened().read(member.path)
        except KeyError as error:
            raise FileNotFoundError("no such member: the archive has changed since it was listed") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise OSError(f"damaged member ({error})") from error

    def close(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            stream = self._archive.fp
            self._archive.close()
            if stream is not None:
                stream.close()
            self._archive = None
