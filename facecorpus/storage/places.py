"""Places by name: fsspec URLs (`s3://bucket/x`, `memory://x`) or plain local paths."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO, cast

from facecorpus.errors import UserError


def is_local(url: str) -> bool:
    """Whether the URL names a place on this machine's file system."""
    return "://" not in url or url.startswith(("file://", "local://"))


def local_path(url: str) -> Path:
    """The local path behind a plain path or a `file://` URL."""
    return Path(url.split("://", 1)[1] if "://" in url else url)


def remote(url: str) -> tuple[Any, str]:
    """fsspec's file system for the URL, and the path within it."""
    import fsspec.core  # slow to import, and plain paths do not need it

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        scheme = url.split("://", 1)[0]
        raise UserError(f"{url} needs the fsspec package for {scheme}://: {error}") from error
    except ValueError as error:
        raise UserError(f"{url} is neither a path nor an fsspec URL: {error}") from error


def join(url: str, *parts: str) -> str:
    """`url` extended by relative POSIX paths; empty ones change nothing."""
    for part in parts:
        if part:
            url = f"{url}{'' if not url or url.endswith('/') else '/'}{part}"
    return url


def absolute(url: str) -> str:
    """The same place named so that it means the same from every folder: local paths from the root."""
    return url if "://" in url else os.path.abspath(url)  # noqa: PTH100 - a link stays the link that was named


def is_within(url: str, folder: str) -> bool:
    """Whether a place is a folder or lies below it, links followed; neither need exist."""
    if is_local(url) and is_local(folder):
        return local_path(url).resolve().is_relative_to(local_path(folder).resolve())
    return f"{url.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def exists(url: str) -> bool:
    """Whether a file or folder is there."""
    if is_local(url):
        return local_path(url).exists()
    fs, path = remote(url)
    return fs.exists(path)


def is_dir(url: str) -> bool:
    """Whether the URL is a folder (on an object store: a prefix that holds something)."""
    if is_local(url):
        return local_path(url).is_dir()
    fs, path = remote(url)
    return fs.isdir(path)


def list_dir(url: str) -> list[str]:
    """Names in a folder, sorted, folders with a trailing slash.

    Raises:
        UserError: the folder is missing or may not be read.
    """
    if is_local(url):
        return sorted(e.name + ("/" if e.is_dir() else "") for e in scan(local_path(url)))
    fs, path = remote(url)
    try:
        entries = fs.ls(path, detail=True)
    except OSError as error:
        why = error.strerror or error
        raise UserError(
            f"the folder {url} cannot be read: {why}; check the address and your rights"
        ) from error
    names = [(e["name"].rstrip("/").rsplit("/", 1)[-1], e["type"]) for e in entries]
    return sorted(name + ("/" if kind == "directory" else "") for name, kind in names)


def size(url: str) -> int:
    """Size of a file in bytes."""
    if is_local(url):
        return local_path(url).stat().st_size
    fs, path = remote(url)
    return int(fs.size(path))


def sha256(url: str) -> tuple[int, str]:
    """Size of a file in bytes and its SHA-256, hexadecimal."""
    with open_read(url) as stream:
        found = hashlib.file_digest(cast(Any, stream), "sha256").hexdigest()
        return stream.seek(0, os.SEEK_END), found


def stamp(url: str) -> str:
    """A short text that changes when the file does: size and mtime, or size and the store's own tag."""
    if is_local(url):
        return local_stamp(local_path(url).stat())
    fs, path = remote(url)
    return remote_stamp(fs, path, fs.info(path))


def local_stamp(found: os.stat_result) -> str:
    """`stamp` of a local file, from its status."""
    return f"{found.st_size}-{found.st_mtime_ns}"


def remote_stamp(fs: Any, path: str, info: dict[str, Any]) -> str:
    """`stamp` of a file in a store, from what its listing says."""
    for name in ("ETag", "etag", "checksum", "md5Hash", "crc32c", "generation"):
        if info.get(name):
            return f"{info['size']}-{str(info[name]).strip(chr(34))}"
    return f"{info['size']}-{fs.ukey(path)}"


def open_read(url: str) -> BinaryIO:
    """The file opened for reading, seekable where the store allows it."""
    if is_local(url):
        return local_path(url).open("rb")
    fs, path = remote(url)
    return cast(BinaryIO, fs.open(path, "rb"))


def remove(url: str) -> None:
    """Delete one file, if it is there."""
    if is_local(url):
        local_path(url).unlink(missing_ok=True)
    else:
        fs, path = remote(url)
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(path)


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a local folder, in no order; UserError where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError as error:
        raise UserError(f"there is no folder {folder}") from error
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be read: {error.strerror}; mend its permissions"
        ) from error
