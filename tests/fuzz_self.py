"""Readers that break the rule of `fuzzing.py`, to see that it would be noticed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from fuzzing import Target

GOOD = b"good"


def _write(folder: Path) -> Path:
    (folder / "file").write_bytes(GOOD)
    return folder / "file"


def _good(path: Path) -> bool:
    return path.read_bytes() == GOOD


def _raises(path: Path) -> None:
    if not _good(path):
        _ = 1 / 0


def _hangs(path: Path) -> None:
    if not _good(path):
        time.sleep(60)


def _dies(path: Path) -> None:
    if not _good(path):
        os.kill(os.getpid(), signal.SIGKILL)


def _grows(path: Path) -> None:
    if not _good(path):
        bytearray(2 << 30)


TARGETS = tuple(
    Target(name, _write, read)
    for name, read in (
        ("raises", _raises),
        ("hangs", _hangs),
        ("dies", _dies),
        ("grows", _grows),
        ("reads", _good),
    )
)
