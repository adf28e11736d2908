"""Selecting: the one decision on every row, on any machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_corpus import draw_pictures, part_of, prepare

import facecorpus
from facecorpus import pipeline
from facecorpus.errors import UserError
from facecorpus.phases import inventory, score, select
from facecorpus.units import Done


def test_a_read_only_package_without_a_home_has_its_kernels_all_the_same(tmp_path: Path) -> None:
    """A file stands where numba's folder would be made: nobody, root included, can write there."""
    package = tmp_path / "site" / "facecorpus"
    shutil.copytree(
        Path(facecorpus.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "synth")
    )
    (package / "dedup" / "__pycache__").touch()
    script = "from facecorpus.dedup.clusters import load_compiled\nprint(load_compiled())\n"
    script += (
        "from facecorpus.dedup import cluster_kernel\nprint(cluster_kernel.near_leaders.stats.cache_path)"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(package.parent),
        "HOME": "/proc/none",
        "XDG_CACHE_HOME": "/proc/none",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    is_cold, place = done.stdout.split()
    assert is_cold == "True" and Path(place).is_relative_to(tmp_path)
    assert not list(tmp_path.glob("facecorpus-numba-*")), "the folder of its own is left behind"


def test_rows_have_one_end_each_and_shards_their_places(tmp_path: Path) -> None:
    out = tmp_path / "out"
    corpus = prepare(draw_pictures(tmp_path / "root", 4), out)
    with pytest.raises(UserError, match="folder has not been listed"):
        pipeline.run(corpus, select.PHASE)
    pipeline.run(corpus, inventory.PHASE)
    with pytest.raises(UserError, match=r"part folder/part-[0-9a-f]{16} .* is not scored yet"):
        pipeline.run(corpus, select.PHASE)
    pipeline.run(corpus, score.PHASE)
    pipeline.run(corpus, select.PHASE)
    rows = pq.read_table(out / select.SELECTION).to_pylist()
    ends = {row["id"].split("/")[1]: (row["state"], row["shard"] is not None) for row in rows}
    kept = [name for name, end in ends.items() if end == ("kept", True)]
    assert len(rows) == 6 and len(kept) == 4
    assert ends["notes.txt"] == ("rejected", False)
    assert {ends["0.jpg"], ends["again.jpg"]} == {("kept", True), ("duplicate", False)}
    placed = pq.ParquetFile(out / select.PLACEMENT)
    assert [placed.metadata.row_group(n).num_rows for n in range(placed.num_row_groups)] == [3, 1]

    part = part_of(out, "0.jpg")
    (out / f"scores/{part}.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(UserError, match=rf"{part}\.parquet is not a whole Parquet file"):
        select.run(corpus, select.plan(corpus, Done(corpus.out))[0])
