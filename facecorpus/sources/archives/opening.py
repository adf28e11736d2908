"""Which container a file is, told by its first bytes, not by its name."""

from __future__ import annotations

import tarfile
import zipfile

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.signature import HEAD_BYTES, sniff
from facecorpus.sources.archives.container import Container
from facecorpus.sources.archives.folder import FolderContainer
from facecorpus.sources.archives.parquet import PARQUET_BYTES, ParquetContainer
from facecorpus.sources.archives.recordio import MAGIC_BYTES, RecordIOContainer
from facecorpus.sources.archives.sevenzip import MAGIC as SEVEN_ZIP_MAGIC
from facecorpus.sources.archives.sevenzip import SevenZipContainer
from facecorpus.sources.archives.tar import TarContainer
from facecorpus.sources.archives.zip import ZipContainer

ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar", ".zip", ".7z", ".7z.001")
"""How the names of archives end, besides RecordIO's."""
_SUFFIXES = (*ARCHIVE_ENDINGS, ".rec")


def is_archive_name(name: str) -> bool:
    """Whether a file is called like an archive that `open_container` reads."""
    return name.lower().endswith(_SUFFIXES)


def open_container(url: str, *, under: str = "", cache: str | None = None) -> Container:
    """A folder or archive, ready to be listed and read.

    Args:
        url: the folder or file.
        under: subfolder of a folder to which the listing is limited.
        cache: folder for the seek indexes of gzipped archives.

    Raises:
        UserError: nothing is there, or it is no container that can be read.
    """
    if storage.is_dir(url):
        return FolderContainer(url, under)
    try:
        with storage.open_read(url) as stream:
            head = stream.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"there is no file or folder {url}") from error
    except OSError as error:
        raise UserError(f"{url} cannot be read ({error.strerror or error}); mend its permissions") from error
    if not head:
        raise UserError(f"{url} is an empty file, probably an interrupted copy; copy it again")
    if head.startswith(b"\x1f\x8b"):
        return TarContainer(url, gzipped=True, cache=cache)
    if head.startswith(MAGIC_BYTES):
        return RecordIOContainer(url)
    if head.startswith(PARQUET_BYTES):
        return ParquetContainer(url)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZipContainer(url)
    if head.startswith(SEVEN_ZIP_MAGIC):
        return SevenZipContainer(url)
    if head.startswith(b"PK\x07\x08"):
        raise UserError(
            f"{url} is the first part of a zip split into several files; join them: zip -s 0 "
            f"{url.rpartition('.')[0]}.zip --out whole.zip"
        )
    if _is_tar(head):
        return TarContainer(url)
    with storage.open_read(url) as stream:
        if zipfile.is_zipfile(stream):  # behind a self-extracting program
            return ZipContainer(url)
    found = sniff(head)
    remedy = f"; {found.remedy.format(url)}" if found is not None and found.remedy else ""
    if found is not None and found.unpacks:
        raise UserError(f"{url} is {found.says}, which is not read from the middle{remedy}")
    raise UserError(
        f"{url} is neither a folder nor a tar, tar.gz, zip or RecordIO archive: its first bytes are those of "
        f"{found.says if found is not None else 'no known kind of file'}{remedy}"
    )


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        # zeros are a tar without members, and a first header that was cut short still tells what it is
        return not head.strip(b"\0") or head[257:262] == b"ustar"
    return True
