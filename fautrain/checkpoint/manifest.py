"""The manifest of a checkpoint: every file's size and SHA-256, and its own, so that any change is noticed."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from fautrain.checkpoint.disk import describe_files, write_json
from fautrain.files import MANIFEST, STEP_NAME, json_bytes, sha256

FORMAT = 1
"""Version of the directory's layout."""
FILE_NAME = re.compile(
    r"(config|manifest|optimizer|progress|versions|rank-\d{5,})\.json|"
    r"(model|optimizer|progress|rank-\d{5,})\.safetensors"
)
"""What a checkpoint's files are called; anything else in its directory is the user's."""


def write_manifest(folder: Path, step: int, world: int) -> None:
    """Writes the manifest over all other files of `folder`, forced to disk."""
    files = describe_files(path for path in folder.iterdir() if path.name != MANIFEST)
    write_json(folder / MANIFEST, _sealed({"format": FORMAT, "step": step, "world": world, "files": files}))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        ValueError: it is missing, unreadable or altered; the message says which.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError("missing: the checkpoint was not finished")
    found = path.read_bytes()
    try:
        data = json.loads(found)
        body = {key: data[key] for key in ("format", "step", "world", "files")}
        sound = _is_sound(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        data, body, sound = {}, {}, False
    if not sound:
        raise ValueError("torn: it cannot be read")
    if found != json_bytes(_sealed(body)):
        raise ValueError("altered: it does not agree with its own SHA-256")
    if data["format"] != FORMAT:
        raise ValueError(f"of format {data['format']}, and this version of fautrain reads {FORMAT}")
    return data


def _is_sound(body: dict[str, Any]) -> bool:
    """Whether it says what a manifest says, of files in its own directory alone."""
    return type(body["step"]) is type(body["world"]) is int and all(
        FILE_NAME.fullmatch(name) and type(entry["bytes"]) is int and type(entry["sha256"]) is str
        for name, entry in body["files"].items()
    )


def verify(folder: str | Path) -> list[str]:
    """Faults of a checkpoint, one line each that begins with the file's name; none if it is whole.

    Reads and hashes every byte.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [f"{folder}: there is no such directory"]
    try:
        manifest = read_manifest(folder)
    except (ValueError, OSError) as error:
        return [f"{MANIFEST}: {error}"]
    named = STEP_NAME.fullmatch(folder.name)
    faults: list[str] = []
    if named and int(named[1]) != manifest["step"]:
        faults.append(f"{MANIFEST}: of step {manifest['step']}, in a directory called {folder.name}")
    faults += size_faults(folder, manifest)
    short = {fault.partition(":")[0] for fault in faults}
    for name, entry in manifest["files"].items():
        if name not in short and (fault := _hash_fault(folder / name, entry["sha256"])):
            faults.append(fault)
    return faults


def size_faults(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Files that are missing or of another size: cheap, and notices what a crash or a full disk does."""
    faults: list[str] = []
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name}: missing")
        elif (size := path.stat().st_size) != entry["bytes"]:
            faults.append(f"{name}: {size:,} bytes instead of {entry['bytes']:,}")
    return faults


def looks_whole(folder: Path) -> bool:
    """Whether the manifest is sound and every file there in its size; no file is hashed."""
    try:
        return not size_faults(folder, read_manifest(folder))
    except (ValueError, OSError):
        return False


def _hash_fault(path: Path, expected: str) -> str | None:
    try:
        found = sha256(path)
    except OSError as error:
        return f"{path.name}: unreadable ({error.strerror})"
    return (
        None
        if found == expected
        else f"{path.name}: altered, its SHA-256 is {found[:12]}..., not {expected[:12]}..."
    )


def _sealed(body: dict[str, Any]) -> dict[str, Any]:
    """`body` with the SHA-256 of its JSON."""
    return {**body, "sha256": hashlib.sha256(json_bytes(body)).hexdigest()}
