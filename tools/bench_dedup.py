"""Measures hashing, the Hamming join and dedup as a whole, and prints a Markdown table.

    python tools/bench_dedup.py                               # 100,000 and 1,000,000 records, one thread
    python tools/bench_dedup.py --records 9000000 --workers 16

Codes are random with a tenth of planted neighbours. Real hashes are less even: the join of LFW's image hashes
takes about 1.6 times and of its crop hashes about 2 times as many comparisons as that of random codes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facecorpus.dedup.hashes import perceptual_hash
from facecorpus.dedup.join import hamming_join
from facecorpus.dedup.resolve import DedupRules, resolve

PLANTED_BITS = 40
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure dedup and print a Markdown table.")
    parser.add_argument(
        "--records", type=int, nargs="+", default=[100_000, 1_000_000], help="numbers of records"
    )
    parser.add_argument("--radius", type=int, nargs="+", default=[31, 39], help="radii of the join, in bits")
    parser.add_argument("--workers", type=int, default=1, help="threads of the join")
    parser.add_argument("--join-only", action="store_true", help="leave out dedup as a whole")
    options = parser.parse_args()

    cv2.setNumThreads(1)
    print(f"{machine()}; {versions()}; {options.workers} thread(s)\n")
    print("| what | records | seconds | rate | found | peak memory |")
    print("|---|---|---|---|---|---|")
    for side in (224, 640):
        rgb = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        seconds = min(timed(lambda rgb=rgb: perceptual_hash(rgb))[0] for _ in range(500))
        print(f"| perceptual hash, {side} px | 1 | {seconds:.6f} | {1 / seconds:,.0f}/s | | |")
    few = planted_codes(1000)
    seconds, _ = timed(lambda: (hamming_join(few, 31), resolve(planted_table(1000), DedupRules())))
    print(f"| compiling or loading compiled code (once) | | {seconds:.2f} | | | |")
    for records in options.records:
        codes = planted_codes(records)
        for radius in options.radius:
            seconds, pairs = timed(
                lambda codes=codes, radius=radius: hamming_join(codes, radius, workers=options.workers)
            )
            report(f"Hamming join, radius {radius}", records, seconds, f"{len(pairs.u):,} pairs")
        if not options.join_only:
            table = planted_table(records)
            seconds, result = timed(lambda table=table: resolve(table, DedupRules(), workers=options.workers))
            found = records - result["duplicate_of"].null_count
            report("resolve, default rules", records, seconds, f"{found:,} duplicates")


def report(what: str, records: int, seconds: float, found: str) -> None:
    rate = records / seconds
    print(f"| {what} | {records:,} | {seconds:.2f} | {rate:,.0f}/s | {found} | {peak_gb():.2f} GB |")


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """Wall seconds of a call, and what it returned."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def planted_codes(records: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random codes uint8 (N, 32), a tenth of which lie 0 to 40 bits from another one."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (records, 32), dtype=np.uint8)
    copies = records // 10
    codes[:copies] = codes[rng.integers(copies, records, copies)]
    for _ in range(PLANTED_BITS):
        bit = rng.integers(0, 256, copies)
        turned = rng.random(copies) < rng.random()
        codes[np.arange(copies)[turned], bit[turned] // 8] ^= (1 << (bit[turned] % 8)).astype(np.uint8)
    return codes


def planted_table(records: int) -> pa.Table:
    """Candidates of eight sources with planted near-duplicates (of image and crop) and copies."""
    rng = np.random.default_rng(1)
    row = np.arange(records)
    file = rng.integers(0, 10 * records, records)
    hashes = {
        f"{kind}_hash": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(32), records, [None, pa.py_buffer(planted_codes(records, seed).tobytes())]
        )
        for seed, kind in enumerate(("image", "crop"))
    }
    return pa.table(
        {
            "id": pa.array([f"source{k % 8}/folder/{k:09d}.jpg" for k in range(records)]),
            "source": pa.array([f"source{k % 8}" for k in range(records)]),
            "identity": pa.array(
                [f"person{k % (records // 10 + 1)}" if k % 5 else None for k in range(records)]
            ),
            "photo_id": pa.array([f"photo{k // 16}" if k % 8 == 0 else None for k in range(records)]),
            "face_index": pa.array(np.zeros(records, np.int16)),
            "sha256": pa.array([f"{k:064x}" for k in file]),
            "pixel_hash": pa.array([f"{k:032x}" for k in file]),
            **hashes,
            "image_hash_quality": pa.array(np.full(records, 100, np.int16)),
            "crop_hash_quality": pa.array(np.full(records, 100, np.int16)),
            "interocular_px": pa.array(rng.uniform(20, 200, records).astype(np.float32)),
            "face_score": pa.array(rng.uniform(0.8, 1, records).astype(np.float32)),
            "bytes": pa.array(10_000 + row % 5000),
            "width_px": pa.array(np.full(records, 250, np.int32)),
            "height_px": pa.array(np.full(records, 250, np.int32)),
        }
    )


def peak_gb() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def machine() -> str:
    """Processor, number of cores in use by this process, and system."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in info.read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.processor()
    return f"{processor}, {len(os.sched_getaffinity(0))} core(s), {platform.system()}"


def versions() -> str:
    """Python and the libraries that set the pace."""
    libraries = ("numpy", "numba", "pyarrow", "opencv-python-headless")
    return ", ".join(
        [f"Python {platform.python_version()}"]
        + [f"{name} {importlib.metadata.version(name)}" for name in libraries]
    )


if __name__ == "__main__":
    main()
