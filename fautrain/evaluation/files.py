"""Files that are put in place whole, in one move."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from fautrain.errors import UserError


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
