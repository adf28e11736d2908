"""Runs the phases that look at a whole corpus on scored rows that were made up, and prints a Markdown table.

    python tools/simulate_scale.py                                  # 100,000 and 300,000 rows
    python tools/simulate_scale.py --rows 1000000 3000000 9000000   # some 400 bytes of disk a row

Everything is what a build of so many pictures leaves and reads, but for the pictures: parts of 1,000 scored
rows in eight sources, of which a tenth were rejected, 2 % are copies of the bytes of another one and 8 % near
copies of it (0 to 40 bits away). The hashes are signs of projections of 64 numbers, so that their bits depend
on one another as those of photographs do. Every step runs in a process of its own, so that its peak memory is
its own; the exponent is that of the growth of its time from the row above.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_dedup import machine, versions
from numpy.typing import NDArray

from facecorpus import ledger, recipes, schema, units
from facecorpus.phases import agreement, inventory, score, select
from facecorpus.phases.corpus import Corpus, SourceSpec
from facecorpus.units import Unit

PART, SOURCES, FACTORS, NEAREST = 1_000, 8, 64, 40
PROJECTION = np.random.default_rng(7).standard_normal((FACTORS, 256)).astype(np.float32)


def corpus(out: str) -> Corpus:
    """The corpus that the rows are of."""
    sources = tuple(SourceSpec(f"source{n}", "folder", "/nowhere") for n in range(SOURCES))
    return Corpus(out, recipes.recipe("face9m"), sources, "simulated", "none")


def parts(rows: int) -> list[tuple[str, str]]:
    """Source and name of each part, in order."""
    count = -(-rows // PART)
    return [(f"source{n * SOURCES // count}", score.part_name(f"source{n * SOURCES // count}", f"{n:016x}"))
            for n in range(count)]  # fmt: skip


def codes(numbers: NDArray[np.int64], salt: int) -> NDArray[np.uint8]:
    """Hashes (n, 32) of pictures by number: the same for copies, near for near ones."""
    of, turned = original(numbers)
    values = np.stack([np.random.default_rng([salt, n]).standard_normal(FACTORS) for n in of.tolist()])
    bits = (values.astype(np.float32) @ PROJECTION) > 0
    for row in np.flatnonzero(turned):
        rng = np.random.default_rng([salt, 1, int(numbers[row])])
        bits[row, rng.integers(0, 256, rng.integers(0, NEAREST + 1))] ^= True
    return np.packbits(bits, axis=1)


def original(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The picture that each shows, by number, and whether it is a near copy of it: 2 and 8 in 100 are."""
    far = numbers - 1 - (numbers * 7919) % np.maximum(numbers, 1)
    copy, near = numbers % 50 == 49, numbers % 25 % 12 == 11
    return np.where(copy | near, np.maximum(far, 0), numbers), near & ~copy


def scored(part: str, source: str, first: int, size: int) -> pa.Table:
    """The rows of a part."""
    numbers = np.arange(first, first + size)
    of, near = original(numbers)
    rejected = numbers % 10 == 3
    text = [f"{source}/folder{n // PART:06d}/{n:09d}.jpg" for n in numbers.tolist()]
    rng = np.random.default_rng(first)
    file = np.where(near, numbers, of)
    columns: dict[str, Any] = {
        "id": text,
        "source": [source] * size,
        "container": [""] * size,
        "member": [each.partition("/")[2] for each in text],
        "bytes": 20_000 + numbers % 9_000,
        "identity": [f"person{n // 30}" for n in of.tolist()],
        "face_index": np.zeros(size, np.int16),
        "state": np.where(rejected, "rejected", "candidate").tolist(),
        "reason": [("no_face" if no else None) for no in rejected.tolist()],
        "sha256": [f"{n:064x}"[::-1] for n in file.tolist()],
        "pixel_hash": [f"{n:032x}"[::-1] for n in file.tolist()],
        "image_format": ["jpeg"] * size,
        "width_px": np.full(size, 250, np.int32),
        "height_px": np.full(size, 250, np.int32),
        "faces_found": np.ones(size, np.int16),
        "face_score": rng.uniform(0.8, 1, size),
        "box_xyxy_px": rng.uniform(0, 250, (size, 4)).tolist(),
        "points_px": rng.uniform(0, 250, (size, 10)).tolist(),
        "matrix": rng.uniform(0, 1, (size, 6)).tolist(),
        "interocular_px": rng.uniform(20, 200, size),
        "brightness": rng.uniform(50, 200, size),
        "sharpness": rng.uniform(10, 900, size),
        "image_hash": [code.tobytes() for code in codes(numbers, 0)],
        "image_hash_quality": np.full(size, 100, np.int16),
        "crop_hash": [code.tobytes() for code in codes(numbers, 1)],
        "crop_hash_quality": np.full(size, 100, np.int16),
        "crop_offset": np.arange(size) * 20_000,
        "crop_bytes": np.full(size, 20_000, np.int32),
        "crop_sha256": [f"{n:064x}"[::-1] for n in numbers.tolist()],
    }
    fields = [(name, columns.get(name), schema.SCORES.field(name).type) for name in schema.SCORES.names]
    return pa.table(
        [pa.nulls(size, kind) if values is None else pa.array(values, kind) for _, values, kind in fields],
        schema=schema.SCORES,
    )


def write(out: str, rows: int) -> None:
    """The scored parts, and the marks of the inventories."""
    opened, counts = corpus(out), dict.fromkeys((f"source{n}" for n in range(SOURCES)), 0)
    for number, (source, part) in enumerate(parts(rows)):
        path = Path(out, score.rows_path(part))
        path.parent.mkdir(parents=True, exist_ok=True)
        size = min(PART, rows - number * PART)
        pq.write_table(scored(part, source, number * PART, size), path, compression="zstd")
        counts[source] += size
    for source, count in counts.items():
        unit = Unit(inventory.NAME, source, "", count)
        units.publish_mark(opened.out, unit, units.mark_of(unit, [], {"inputs": count, "parts": []}))


def unit(rows: int) -> Unit:
    """The one that selects."""
    return Unit(select.NAME, "all", "", rows, {"parts": [part for _, part in parts(rows)]})


def selecting(out: str, rows: int) -> str:
    outputs, summary = select.run(corpus(out), unit(rows))
    units.publish_mark(out, unit(rows), units.mark_of(unit(rows), outputs, summary))
    return f"{summary['kept']:,} kept, {len(summary['placed']):,} shards"


def verifying(out: str, rows: int) -> str:
    mark = units.read_mark(out, select.NAME, "all")
    assert mark is not None
    found, _ = agreement.check(corpus(out), unit(rows).spec["parts"], mark["summary"])
    return f"{len(found)} faults"


def counting(out: str, rows: int) -> str:
    opened = corpus(out)
    found = ledger.close(inventory.counts(opened), select.read_selection(opened, ledger.COLUMNS))
    return f"{sum(each.closes for each in found.values())} of {len(found)} sources close"


STEPS: dict[str, Callable[[str, int], str]] = {
    "select": selecting,
    "verify the selection": verifying,
    "ledger": counting,
}


def measured(step: str, out: str, rows: int) -> dict[str, Any]:
    """Seconds, peak memory in GB and what came of a step, in a process of its own."""
    command = [sys.executable, __file__, "--step", step, "--out", out, "--rows", str(rows)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the phases over a whole corpus.")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 300_000])
    parser.add_argument("--out", help="folder to keep the rows in; default one that is removed")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        began = time.perf_counter()
        found = STEPS[options.step](options.out, options.rows[0])
        took, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps({"seconds": took, "gb": peak, "found": found}))
        return
    print(f"{machine()}; {versions()}\n")
    print("| what | rows | seconds | exponent | peak memory | found |\n|---|---|---|---|---|---|")
    before: dict[str, tuple[int, float]] = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.out) as folder:
            write(folder, rows)
            for step in STEPS:
                each = measured(step, folder, rows)
                grown = "–"
                if step in before:
                    less, took = before[step]
                    grown = f"{math.log(each['seconds'] / took) / math.log(rows / less):.2f}"
                before[step] = rows, each["seconds"]
                cells = f"{each['seconds']:.1f} | {grown} | {each['gb']:.2f} GB | {each['found']}"
                print(f"| {step} | {rows:,} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
