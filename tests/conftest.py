"""Shared fixtures: the real photographs where this machine has them, drawn data sets, and a corpus built from
them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # One test a core: threads of NumPy and torch beside that only get in each other's way.
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

SOURCES = "celeba,vggface2,casia_webface,casia_webface_rec=casia_webface:casia_webface_rec,folder"
SMALL_UNITS = ("--set", "inputs_per_unit=12", "--set", "samples_per_shard=10")
"""Many units and shards even for a tiny set, so that a kill finds something half-done."""


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real test photographs (`lfw160.tar`, `photos.tar`, `nonfaces.tar`, `formats.tar`)."""
    value = os.environ.get("FACE_REAL_DATA")
    if not value:
        pytest.skip("FACE_REAL_DATA is not set: the real photographs are not on this machine")
    return Path(value)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of drawn miniature data sets, with `truth.jsonl`. Read only."""
    from facecorpus.synth.datasets import write_datasets

    root = tmp_path_factory.mktemp("drawn")
    write_datasets(root, preset="tiny")
    return root


def command(*arguments: str) -> list[str]:
    """The command line of `facecorpus ...` in this interpreter."""
    return [sys.executable, "-m", "facecorpus", *arguments]


def run(*arguments: str, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `facecorpus ...` in a process of its own; with `check`, fail with its words unless it exits 0."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if check and done.returncode != 0:
        pytest.fail(
            f"facecorpus {' '.join(arguments)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
    return done


def build_arguments(root: Path, out: Path, workers: int = 1, more: Sequence[str] = ()) -> list[str]:
    """Arguments that build the drawn corpus in small units."""
    return [
        "build",
        "--root",
        str(root),
        "--out",
        str(out),
        "--sources",
        SOURCES,
        "--recipe",
        "sample",
        "--workers",
        str(workers),
        "--no-report",
        *SMALL_UNITS,
        *more,
    ]


@pytest.fixture(scope="session")
def corpus(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus built from the drawn sets by one worker. Read only."""
    out = tmp_path_factory.mktemp("corpus") / "out"
    run(*build_arguments(drawn, out))
    return out


def tree(out: Path) -> dict[str, str]:
    """SHA-256 of every file whose bytes the project promises to be the same: shards, indexes, manifests,
    tables."""
    promised = [
        *out.glob("shards/*"),
        *out.glob("*.parquet"),
        *out.glob("inventory/*.parquet"),
        *out.glob("verified.json"),
        *out.glob("scores/**/*.parquet"),
        *out.glob("staged/**/*.crops"),
    ]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(promised)}
