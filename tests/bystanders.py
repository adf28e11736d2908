"""Files of the user's in the way of the tools, old enough to look forgotten."""

from __future__ import annotations

import os
from pathlib import Path


def put(folder: Path, *names: str) -> dict[Path, bytes]:
    made: dict[Path, bytes] = {}
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made[path] = f"mine: {name}".encode()
        path.write_bytes(made[path])
        os.utime(path, (0, 0))
    return made


def assert_there(made: dict[Path, bytes]) -> None:
    lost = [str(path) for path, data in made.items() if not path.exists() or path.read_bytes() != data]
    assert not lost
