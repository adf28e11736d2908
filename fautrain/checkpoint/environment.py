"""What of its process a checkpoint keeps: the states of the random number generators, and the versions."""

from __future__ import annotations

import functools
import platform
import random
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch


def rng_state() -> dict[str, Any]:
    """States of Python's, numpy's and torch's generators, and of the current CUDA device's if in use."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=True),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Sets the generators to what `rng_state` gave; without a CUDA device its state is passed over."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


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
