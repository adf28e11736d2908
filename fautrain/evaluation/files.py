"""Files that are put in place whole, in one move."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fautrain.errors import UserError


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


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Puts the file that `write` makes at `path`: after a crash it is the old or the new one, whole.

    Args:
        write: called with the name to write under, in the same folder.

    Raises:
        UserError: the folder or the file cannot be written.
    """
    aside = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(aside)
        handle = os.open(aside, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        aside.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); free space there or choose another place"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
