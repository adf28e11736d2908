"""The one door to files that are written: each is the old or the new one, whole, at every moment."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from facecorpus.errors import UserError

STEP_NAME: Final = re.compile(r"step-(\d{8,})")
"""What is called after a step: a checkpoint's directory, and a picture but for its ending."""

MODEL_FILE: Final = "model.safetensors"
"""The weights in the folder of a checkpoint or of a final model,"""
MANIFEST: Final = "manifest.json"
"""and what a checkpoint writes there last."""


def step_name(step: int) -> str:
    """Name of what belongs to that step."""
    return f"step-{step:08d}"


def sync(path: Path) -> None:
    """Forces the file's bytes, or the directory's names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of the file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_bytes(data: Any) -> bytes:
    """`data` as JSON for people and programs; the same data give the same bytes."""
    return (json.dumps(data, indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file of ours.

    Args:
        remedy: what to do where there is none, as the end of the sentence.

    Raises:
        UserError: the file cannot be read, or holds no JSON object.
    """
    try:
        found: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); {remedy}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "it is nested without end"
        raise UserError(f"{path} is damaged ({reason}); {remedy}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged (it is no JSON object); {remedy}")
    return cast(dict[str, Any], found)


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Puts the file that `write` makes at `path`: after a crash it is the old or the new one, whole.

    Args:
        write: called with the name to write under, in the same folder.
    """
    aside = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        write(aside)
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def publish(
    path: Path,
    content: bytes | str | Callable[[Path], object],
    remedy: str = "free space there or choose another place",
) -> None:
    """Puts a file at `path` as `replace` does, its folder made where there is none.

    Args:
        content: of the file, text as UTF-8; or what writes it, as in `replace`.

    Raises:
        UserError: the folder or the file cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, (lambda aside: aside.write_bytes(data)) if isinstance(data, bytes) else data)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); {remedy}") from None


def refuse_others(folder: Path, names: Sequence[str], ours: Callable[[set[str]], bool]) -> None:
    """Refuses to write where files of the same names are somebody else's.

    Args:
        folder: where they shall be.
        names: what is to be written, the first a JSON object.
        ours: whether its keys are those of an earlier result, so that the other files are of it too.

    Raises:
        UserError: there is such a file.
    """
    there = [name for name in names if (folder / name).exists()]
    if not there:
        return
    try:
        found = json.loads((folder / names[0]).read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not ours(set(found)):
        raise UserError(
            f"{folder / there[0]} would be replaced, and no {names[0]} says that fautrain wrote it; move it "
            "away, or give another --out"
        )
