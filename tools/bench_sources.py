"""Measures the inventory of tars, a folder tree and a Parquet file of many members; prints a Markdown table.

    python tools/bench_sources.py                                   # 10,000 and 100,000 members
    python tools/bench_sources.py --members 1000000 --only tar

The members are tiny: an inventory reads their names, sizes and places, not the pictures. Every measurement
runs in a process of its own, so that its peak memory is its own. What is measured is what `facecorpus
inventory` does with a source: stamps, every record, and the rows written as Parquet.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus import schema
from facecorpus.record import to_table
from facecorpus.sources.base import make_source, stamp_of

BATCH = 1_000
"""Records that are turned into rows at once, as many as an inventory's row group holds."""
PICTURE = b"\xff\xd8\xff\xe0 a tiny member"


def write_tar(place: Path, members: int) -> Path:
    """A plain tar of folders of 1,000 files."""
    path = place / "members.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(members):
            info = tarfile.TarInfo(_name(number))
            info.size = len(PICTURE)
            archive.addfile(info, io.BytesIO(PICTURE))
            archive.members.clear()
    return path


def write_shards(place: Path, members: int) -> Path:
    """What img2dataset writes: jpg, json and txt of each of a third as many samples, 10,000 a shard."""
    samples = range(members // 3)
    for start in samples[::10_000]:
        with tarfile.open(place / f"{start // 10_000:05d}.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            for number in samples[start : start + 10_000]:
                url = json.dumps({"url": f"https://pictures.example/{number}.jpg", "status": "success"})
                for ending, data in (("jpg", PICTURE), ("json", url.encode()), ("txt", b"a picture")):
                    info = tarfile.TarInfo(f"{number:09d}.{ending}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
                archive.members.clear()
    return place


def write_tree(place: Path, members: int) -> Path:
    """Folders of 1,000 files."""
    for number in range(members):
        path = place / _name(number)
        if number % 1000 == 0:
            path.parent.mkdir()
        path.write_bytes(PICTURE)
    return place


def write_parquet(place: Path, members: int) -> Path:
    """Rows of `{bytes, path}` and who is shown."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = pa.schema([("image", kind), ("identity", pa.int64())])
    path = place / "train-00000-of-00001.parquet"
    with pq.ParquetWriter(path, columns) as writer:
        for start in range(0, members, 10_000):
            numbers = range(start, min(start + 10_000, members))
            images = [{"bytes": PICTURE, "path": _name(number)} for number in numbers]
            rows = pa.table(
                {"image": pa.array(images, kind), "identity": [n // 50 for n in numbers]}, columns
            )
            writer.write_table(rows)
    return path


def _name(number: int) -> str:
    return f"{number // 1000:07d}/{number % 1000:03d}.jpg"


KINDS: dict[str, tuple[str, Callable[[Path, int], Path]]] = {
    "tar": ("archive", write_tar),
    "shards": ("webdataset", write_shards),
    "tree": ("folder", write_tree),
    "parquet": ("parquet", write_parquet),
}


def measure(adapter: str, place: str) -> None:
    """List one source as the inventory does, and print what it took as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, begun, count = time.perf_counter(), time.process_time(), 0
    source = make_source(adapter, "bench", place)
    stamps = source.stamps()
    records = source.inventory()
    with tempfile.TemporaryFile() as file, pq.ParquetWriter(file, schema.INVENTORY) as writer:
        while batch := list(itertools.islice(records, BATCH)):
            writer.write_table(to_table(batch, schema.INVENTORY))
            count += sum(stamp_of(record, stamps) is not None for record in batch)
    seconds, busy = time.perf_counter() - start, time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"records": count, "seconds": seconds, "cpu": busy, "peak_kb": peak, "before_kb": before}
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure inventories and print a Markdown table.")
    parser.add_argument(
        "--members", type=int, nargs="+", default=[10_000, 100_000], help="numbers of members"
    )
    parser.add_argument("--only", choices=KINDS, nargs="+", default=list(KINDS), help="kinds of source")
    parser.add_argument("--temporary", type=Path, help="folder to make the sources in")
    parser.add_argument("--measure", nargs=2, metavar=("ADAPTER", "PLACE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pyarrow", "numpy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}\n")
    print("| source | members | records | seconds | CPU s | per CPU s | peak memory | at its start |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, members in itertools.product(options.only, options.members):
        adapter, write = KINDS[kind]
        with tempfile.TemporaryDirectory(dir=options.temporary) as folder:
            place = write(Path(folder), members)
            line = [sys.executable, __file__, "--measure", adapter, str(place)]
            found = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
        peak, before = found["peak_kb"] / 1024, found["before_kb"] / 1024
        rate = members / found["cpu"]
        print(
            f"| {kind} | {members:,} | {found['records']:,} | {found['seconds']:.2f} | {found['cpu']:.2f} "
            f"| {rate:,.0f} "
            f"| {peak:,.0f} MB | {before:,.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
