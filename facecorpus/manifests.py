"""Where the TOML files with the facts of data sets and benchmarks are: `manifests/` of the repository."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path


def folder() -> Traversable:
    """The folder: within the installed package, or beside the package in a source tree."""
    installed = resources.files("facecorpus") / "_manifests"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "manifests"
