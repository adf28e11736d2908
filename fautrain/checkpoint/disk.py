"""Directories that survive a crash: files forced to disk and described, words for what went wrong."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from facecorpus.errors import UserError
from fautrain.files import json_bytes, sha256, sync

_TORN = re.compile(r"\.tmp[A-Za-z0-9]{6}")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def write_json(path: Path, data: Any) -> None:
    """Writes `data` and forces it to disk."""
    path.write_bytes(json_bytes(data))
    sync(path)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes dense CPU tensors as safetensors and forces them to disk. Tensors may share memory."""
    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        shared = tensor.numel() > 0 and tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        own[name] = tensor.clone() if shared else tensor
    path.touch()
    mode = path.stat().st_mode
    save_file(own, path, dict(metadata) if metadata else None)
    # Newer safetensors leave a file that its owner alone can read; a group shares its checkpoints.
    path.chmod(mode)
    sync(path)


def forget_torn(folder: Path) -> None:
    """Removes what safetensors (from 0.8 on) left of files that it was killed at; nobody may write there."""
    for path in folder.glob(".tmp*"):
        if _TORN.fullmatch(path.name):
            path.unlink(missing_ok=True)


def describe_files(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file, by its name, in the order of names."""
    ordered = sorted(paths)
    with ThreadPoolExecutor(max_workers=4) as pool:
        hashes = list(pool.map(sha256, ordered))
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in zip(ordered, hashes, strict=True)
    }


def put_in_place(aside: Path, target: Path) -> None:
    """Renames directory `aside` to `target`. What `target` was before is at `aside` afterwards.

    Where a `target` exists the two names are exchanged in one step, so that there is always one; on file
    systems that cannot do so it is moved away first, and a crash between the two leaves neither.
    """
    if not target.exists():
        aside.rename(target)
    elif not _exchange(aside, target):
        away = aside.with_name(f"{aside.name}-old")
        target.rename(away)
        aside.rename(target)
        away.rename(aside)
    sync(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two names (Linux renameat2); False where the system or the file system cannot."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    return function(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0


def remove_files(folder: Path, names: re.Pattern[str]) -> None:
    """Removes from a directory the files with such names, and the directory where that leaves it empty.

    Killed half-way, it leaves nothing under the directory's name; where there is anything else, that
    stays in its place.
    """
    own, others = _divided(folder, names)
    if others:
        for path in own:
            path.unlink(missing_ok=True)
        return
    away = folder.with_name(f".{folder.name.lstrip('.')}.gone-{os.getpid()}")
    if folder.name != away.name:
        folder.rename(away)
    for path in own:
        (away / path.name).unlink(missing_ok=True)
    away.rmdir()


def move_others(folder: Path, target: Path, names: re.Pattern[str]) -> None:
    """Moves what has other names from a directory into another."""
    for path in _divided(folder, names)[1]:
        path.rename(target / path.name)


def _divided(folder: Path, names: re.Pattern[str]) -> tuple[list[Path], list[Path]]:
    """The files of a directory with such names, and everything else in it."""
    found = sorted(folder.iterdir())
    own = [path for path in found if names.fullmatch(path.name) and not path.is_dir()]
    return own, [path for path in found if path not in own]


def error_number(error: BaseException) -> int | None:
    """The system's error number behind an exception of Python's or of safetensors', if there is one."""
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, SafetensorError):
        found = re.search(r"os error (\d+)|code: (\d+)", str(error))
        return int(found[1] or found[2]) if found else None
    return None


def explained(error: Exception, target: Path) -> Exception:
    """`error`, met while writing `target`, as a UserError with the remedy where the user can do something."""
    number = error_number(error)
    if number is None:
        return error
    remedies = {
        errno.ENOSPC: "free some space, lower train.keep, or choose another place for the run",
        errno.EDQUOT: "free some of your quota, lower train.keep, or choose another place for the run",
        errno.EROFS: "choose a place for the run that can be written to",
        errno.EACCES: "make it writable or choose another place for the run",
        errno.EPERM: "make it writable or choose another place for the run",
    }
    remedy = remedies.get(number, "mend it or choose another place for the run")
    free = ""
    if number in (errno.ENOSPC, errno.EDQUOT):
        free = f" ({shutil.disk_usage(target.parent).free / 1e6:,.0f} MB free)"
    return UserError(
        f"the checkpoint {target} could not be written: {os.strerror(number)}{free}; {remedy}. "
        "Checkpoints written before are untouched"
    )
