"""Writing files so that nothing is ever visible half-written.

On a local file system a file is written aside in the same folder, under a hidden name that ends in
`.part-MACHINE-PID` and so is never taken for a finished file, then fsynced, renamed, and the folder fsynced.
An object store gets one put of the whole object, which it shows only when complete.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from facecorpus.errors import UserError
from facecorpus.storage.places import is_local, local_path, remote

STALE_SECONDS = 24 * 3600
"""Age after which an aside file of another machine counts as left over."""

_ASIDE = re.compile(r"\.(?P<name>.+)\.part-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)")
_BUFFER = 1 << 20
_ONE_PUT = 32 << 20
"""Objects up to this many bytes go to an object store from memory, larger ones from a temporary file."""


def publish(url: str, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file, then show it under its name, whole and durable, in place of what was there.

    Args:
        url: where the file shall be; missing folders are made.
        write: is given the open binary stream. Whatever it raises is raised again, and nothing is visible.

    Raises:
        UserError: the disk is full, or the place may not be written.
    """
    if is_local(url):
        _publish_local(local_path(url), write)
    else:
        _publish_remote(url, write)


def _publish_local(path: Path, write: Callable[[BinaryIO], object]) -> None:
    aside = path.with_name(f".{path.name}.part-{_machine()}-{os.getpid()}")
    raw: _Aside | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = _Aside(aside)
        stream = io.BufferedWriter(raw, _BUFFER)
        write(cast(BinaryIO, stream))
        stream.flush()
        os.fsync(raw.fileno())
        stream.close()
        aside.replace(path)
        _fsync_folder(path.parent)
    except BaseException as error:
        if raw is not None:
            raw.forget()
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and _is_about(error, aside, path):
            raise _write_error(error, path, 1) from error
        raise


class _Aside(io.FileIO):
    """The aside file; an error of its own `write` is told from one that the caller's code raises."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "wb")
        self._path = path

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise _write_error(error, self._path, len(memoryview(data).cast("B"))) from error

    def forget(self) -> None:
        """Close without caring whether what is left can be written."""
        with contextlib.suppress(OSError):
            super().close()


def _is_about(error: OSError, *paths: Path) -> bool:
    """Whether the error is ours (mkdir, open, fsync, rename) rather than of what the caller reads."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
    named = Path(os.fsdecode(error.filename))
    return named in paths or any(named in path.parents for path in paths)


def _write_error(error: OSError, path: Path, count: int) -> UserError:
    folder = path.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"no space left in {folder}: at least {count} bytes more are needed; free some and run the "
            "same command again: finished parts are kept"
        )
    if error.errno == errno.EFBIG:
        return UserError(
            f"a file in {folder} would be larger than this process may write; raise the limit (ulimit -f) "
            "and run the same command again: finished parts are kept"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(
            f"{folder} may not be written ({error.strerror}); mend its permissions or choose another"
        )
    return UserError(
        f"writing in {folder} failed: {error.strerror}; mend that and run the same command again"
    )


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no fsync of folders
            raise
    finally:
        os.close(handle)


def _publish_remote(url: str, write: Callable[[BinaryIO], object]) -> None:
    fs, path = remote(url)
    with tempfile.SpooledTemporaryFile(max_size=_ONE_PUT) as stream:
        write(cast(BinaryIO, stream))
        length = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        if "/" in path.strip("/"):
            fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        try:
            if length <= _ONE_PUT:
                fs.pipe_file(path, stream.read())
            else:
                stream.flush()
                fs.put_file(f"/proc/self/fd/{stream.fileno()}", path)
        except PermissionError as error:
            raise UserError(f"{url} may not be written: {error}") from error


@functools.cache
def _machine() -> str:
    """Eight hexadecimal digits that name this boot of this machine and its space of process ids."""
    words = [socket.gethostname()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        try:
            words.append(str(source.readlink()) if source.is_symlink() else source.read_text())
        except OSError:
            continue
    return hashlib.blake2b("\n".join(words).encode(), digest_size=4).hexdigest()


def stands_for(name: str) -> str | None:
    """The name of the file that an aside file is to become; None where `name` is none of an aside file."""
    match = _ASIDE.fullmatch(name)
    return match["name"] if match else None


def clean_asides(url: str, ours: Callable[[str], bool]) -> list[str]:
    """Remove what writers that were killed left aside anywhere under a folder; returns the removed paths.

    An aside file is left over when its process on this machine is gone, or when it is another machine's (or
    of an earlier boot) and has not been written for a day. Object stores have none.

    Args:
        url: the folder.
        ours: whether a file, by its POSIX path relative to the folder, is one that may be written here; the
            asides of others are left alone.
    """
    if not is_local(url) or not local_path(url).is_dir():
        return []
    root = local_path(url)
    removed: list[str] = []
    for folder, _, names in os.walk(root):
        for name in names:
            match = _ASIDE.fullmatch(name)
            path = Path(folder) / name
            if (
                match
                and ours(path.with_name(match["name"]).relative_to(root).as_posix())
                and _is_left_over(path, match["machine"], int(match["pid"]))
            ):
                path.unlink(missing_ok=True)
                removed.append(str(path))
    return sorted(removed)


def _is_left_over(path: Path, machine: str, pid: int) -> bool:
    if machine == _machine():
        return not _runs(pid)
    try:
        return time.time() - path.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:  # its writer has just finished
        return False


def _runs(pid: int) -> bool:
    """Whether a process runs.

    One that has ended stays in /proc until somebody asks for its exit status, which the first process of a
    container may be slow to do or never does.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"  # the name before may hold anything
