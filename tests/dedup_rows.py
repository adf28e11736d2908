"""Builds tables of candidates for the dedup tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from facecorpus.dedup.resolve import COLUMNS

TYPES = {
    "interocular_px": pa.float32(),
    "face_score": pa.float32(),
    "bytes": pa.int64(),
    "width_px": pa.int32(),
    "height_px": pa.int32(),
    "face_index": pa.int16(),
    "image_hash": pa.binary(32),
    "image_hash_quality": pa.int16(),
    "crop_hash": pa.binary(32),
    "crop_hash_quality": pa.int16(),
}
SCHEMA = pa.schema([(name, TYPES.get(name, pa.string())) for name in COLUMNS])

DEFAULTS = {
    "source": "s",
    "face_index": 0,
    "face_score": 0.9,
    "bytes": 1000,
    "width_px": 100,
    "height_px": 100,
    "image_hash_quality": 100,
    "crop_hash_quality": 100,
}


def code(seed: int, *flips: int | Sequence[int]) -> bytes:
    """A random hash, and some of its bits turned: codes of different seeds lie about 128 bits apart."""
    bits = np.random.default_rng(seed).integers(0, 2, 256, dtype=np.uint8)
    for flip in flips:
        bits[flip] ^= 1
    return np.packbits(bits).tobytes()


def near(seed: int, bits: int, start: int = 0) -> bytes:
    """The hash of `seed` with `bits` bits turned, from bit `start` on."""
    return code(seed, range(start, start + bits))


def candidates(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows with `DEFAULTS`; the interocular distance falls from row to row, so earlier rows are better."""
    filled = [
        {**DEFAULTS, "id": f"{row.get('source', 's')}/{k}", "interocular_px": 2.0 ** (100 - k / 8), **row}
        for k, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(filled, schema=SCHEMA)


def hamming(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()
