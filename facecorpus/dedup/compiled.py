"""Loads the compiled loops where numba can keep their machine code, and says whether it has it already."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any


def load() -> bool:
    """Import the kernels; returns whether they will be compiled at their first call, which takes a while.

    numba keeps machine code beside the module or in the user's cache folder. Where neither may be written it
    refuses to define a function; it then gets a folder of this process's own, and compiles each time.
    """
    from numba.core import config  # slow to import, and only a search for duplicates needs it

    try:
        from facecorpus.dedup import cluster_kernel
    except RuntimeError:
        settings: Any = config
        settings.CACHE_DIR = tempfile.mkdtemp(prefix="facecorpus-numba-")
        atexit.register(shutil.rmtree, settings.CACHE_DIR, ignore_errors=True)
        from facecorpus.dedup import cluster_kernel
    return not _is_kept(cluster_kernel.near_leaders, Path(cluster_kernel.__file__))


def _is_kept(function: Any, source: Path) -> bool:
    """Whether there is an index of machine code for the function that is newer than its source."""
    folder = Path(function.stats.cache_path)
    found = folder.glob(f"{source.stem}.{function.__name__}*.nbi")
    return any(path.stat().st_mtime >= source.stat().st_mtime for path in found)
