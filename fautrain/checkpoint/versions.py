"""What a checkpoint was made with."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("facecorpus", "torch", "accelerate", "timm", "safetensors", "numpy", "webdataset")
"""Distributions whose versions are recorded; `facecorpus` is the one that holds fautrain."""


@functools.cache
def versions() -> dict[str, str | None]:
    """Versions of Python, the packages and CUDA, the device's name, fautrain's git commit; None if absent."""
    found: dict[str, str | None] = {"python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    found["cuda"] = torch.version.cuda if torch.cuda.is_available() else None
    found["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    found["git"] = git_commit(Path(__file__).parent)
    return found


def git_commit(folder: Path) -> str | None:
    """The commit that `folder`'s code is at, with `-dirty` if it was changed since; None if not in git."""
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    commit = _git(folder, "rev-parse", "HEAD") if tracked else None
    if commit is None:
        return None
    return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "-uno", ".") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where it cannot or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
