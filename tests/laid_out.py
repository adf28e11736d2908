"""Data sets laid out by tests: files and tars with these contents."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def put(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_tar(path: Path, members: Mapping[str, bytes], mode: str = "") -> None:
    """Compressed where the name says so, or as `mode` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = mode or ("w:gz" if path.suffix == ".gz" else "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
