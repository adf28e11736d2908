"""What was drawn below a root, so that drawing there again removes that and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.synth.truth import TRUTH_NAME

RECORD = "drawn.json"
"""Beside the drawn data sets."""

Files = Mapping[str, list[str]]
"""The files of a data set: the SHA-256 of each by its path; two where a kill may have left the old or the
new."""


def read_record(root: Path) -> dict[str, Files]:
    """The files of every data set drawn below `root`, by the set's name.

    Raises:
        UserError: the record is damaged, or files of its name or the truth file's are somebody else's.
    """
    path = root / RECORD
    if not path.exists():
        if (root / TRUTH_NAME).exists():
            raise UserError(
                f"{root / TRUTH_NAME} is there without {RECORD}, the record of what was drawn; give another "
                "--out so that it stays as it is"
            )
        return {}
    try:
        found: Any = storage.read_json(str(path))
    except ValueError:
        found = None
    if not _is_record(found):
        raise UserError(f"{path} is damaged or not of 'facecorpus synth'; give another --out")
    return found


def _is_record(found: Any) -> TypeGuard[dict[str, Files]]:
    return isinstance(found, dict) and all(
        isinstance(files, dict) and all(isinstance(hashes, list) for hashes in files.values())
        for files in found.values()
    )


def write_record(root: Path, record: Mapping[str, Files]) -> None:
    """Replace the record."""
    storage.publish_json(str(root / RECORD), record)


def files_of(folder: Path) -> Files:
    """The files below a folder, as a record has them."""
    found = (path for path in sorted(folder.rglob("*")) if not path.is_dir() or path.is_symlink())
    # Not a file: a link that leads nowhere, a pipe.
    hashed = ((path, storage.sha256(str(path))[1] if path.is_file() else "") for path in found)
    return {path.relative_to(folder).as_posix(): [sha256] for path, sha256 in hashed}


def either(one: Files, other: Files) -> Files:
    """A record that holds with the files of the one, of the other, and of a mixture."""
    return {path: sorted({*one.get(path, []), *other.get(path, [])}) for path in one.keys() | other.keys()}


def refuse_others(root: Path, sources: Iterable[str], record: Mapping[str, Files]) -> None:
    """Refuse to replace a folder that holds anything but what was drawn.

    Raises:
        UserError: it does; the message names the first such file.
    """
    for source in sources:
        folder = root / source
        if not folder.exists():
            continue
        if source not in record or not folder.is_dir():
            raise UserError(
                f"{folder} exists and was not drawn; give another --out so that it stays as it is"
            )
        for path, hashes in files_of(folder).items():
            if hashes[0] not in record[source].get(path, []):
                raise UserError(
                    f"{folder / path} was not drawn, or was changed since; move it, or give another --out so "
                    "that it stays as it is"
                )
