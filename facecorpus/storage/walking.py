"""Every file under a folder, in an order that depends on the names alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from facecorpus.errors import UserError
from facecorpus.storage.places import is_local, local_path, local_stamp, remote, remote_stamp, scan


def walk_files(url: str) -> Iterator[tuple[str, int, str]]:
    """Every file under a folder as (relative POSIX path, size in bytes, stamp), sorted by path.

    Symbolic links are followed, except to a folder that holds the link. A link that leads nowhere is listed
    with size 0 and the stamp "missing", so that it is not lost silently; sockets, devices and pipes are not
    files. Paths whose bytes are not UTF-8 hold surrogate escapes, as everywhere in Python.

    Raises:
        UserError: a folder is missing or may not be read.
    """
    if is_local(url):
        root = local_path(url)
        yield from _walk_local(root, "", (_folder_key(root),))
        return
    fs, path = remote(url)
    if not fs.isdir(path):
        raise UserError(f"there is no folder {url}")
    root = path.rstrip("/")
    for name, info in sorted(fs.find(path, detail=True).items()):
        yield name[len(root) :].lstrip("/"), int(info["size"]), remote_stamp(fs, name, info)


def _folder_key(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError as error:
        raise UserError(f"there is no folder {folder} ({error.strerror})") from error
    return found.st_dev, found.st_ino


def _walk_local(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, int, str]]:
    listed: list[tuple[str, os.DirEntry[str], os.stat_result | None]] = []
    for entry in scan(folder):
        try:
            is_folder = entry.is_dir()
            found = entry.stat()
        except OSError:  # a dangling or circular link, or a file that went away since it was listed
            listed.append((entry.name, entry, None))
            continue
        if is_folder:
            listed.append((entry.name + "/", entry, found))
        elif entry.is_file():
            listed.append((entry.name, entry, found))
    # a folder sorts as "name/", so that the walk as a whole is in the order of the full paths
    for name, entry, found in sorted(listed, key=lambda item: item[0]):
        if found is None:
            yield prefix + name, 0, "missing"
        elif not name.endswith("/"):
            yield prefix + name, found.st_size, local_stamp(found)
        elif (found.st_dev, found.st_ino) not in above:
            yield from _walk_local(Path(entry.path), prefix + name, (*above, (found.st_dev, found.st_ino)))
