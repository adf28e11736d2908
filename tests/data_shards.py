"""Small shards for the loader's tests, each picture of one colour that tells which sample it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
import torch

from facecorpus import schema
from facecorpus.shards import ShardWriter, sample_key
from fautrain.data import Batch

PX = 16


def colour(number: int) -> np.ndarray:
    """RGB of sample `number`: 8 levels of red, 8 of green, the rest in blue, 28 apart so that JPEG keeps
    them."""
    return np.array([14 + 28 * (number % 8), 14 + 28 * (number // 8 % 8), 14 + 28 * (number // 64)], np.uint8)


def picture(number: int, px: int = PX) -> bytes:
    """JPEG of a plain square."""
    return simplejpeg.encode_jpeg(
        np.broadcast_to(colour(number), (px, px, 3)).copy(), 95, colorsubsampling="444"
    )


def numbers(images: torch.Tensor) -> list[int]:
    """Which samples a batch shows."""
    levels = torch.round((images.float().mean((2, 3)) - 14) / 28).long()
    return (levels[:, 0] + 8 * levels[:, 1] + 64 * levels[:, 2]).tolist()


def write_corpus(
    out: Path, sizes: Iterable[int], content: Callable[[int], bytes] = picture, table: bool = True
) -> list[str]:
    """Shards, manifests and table as `facecorpus` lays them out; returns the keys in order. Sample n of all
    shows the colour n. Without `table` there is neither shards.parquet nor manifests."""
    (out / "shards").mkdir(parents=True)
    rows, keys = [], []
    for number, size in enumerate(sizes):
        path = out / "shards" / schema.shard_name("toy", number)
        manifest = []
        with path.open("wb") as file:
            writer = ShardWriter(file)
            for _ in range(size):
                key, data = sample_key(f"toy {len(keys)}"), content(len(keys))
                placed = writer.add(key, {"jpg": data})
                manifest.append(
                    {
                        "key": key,
                        "sample_offset": placed.sample_offset,
                        "jpg_offset": placed.payload_offsets["jpg"],
                        "jpg_bytes": len(data),
                    }
                )
                keys.append(key)
            index = writer.finish()
        rows.append(
            {
                "shard": path.name,
                "samples": size,
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "first_key": keys[-1] if size else "",
                "last_key": keys[-1] if size else "",
            }
        )
        if table:
            path.with_suffix(".tar.idx").write_bytes(index)
            pq.write_table(pa.Table.from_pylist(manifest, schema.MANIFEST), path.with_suffix(".parquet"))
    if table:
        pq.write_table(pa.Table.from_pylist(rows, schema.SHARDS), out / "shards.parquet")
    return keys


def shown(batches: Iterable[Batch]) -> list[int]:
    """The samples that count, as their pictures show them; checks that the batch says the same."""
    seen: list[int] = []
    for batch in batches:
        inside = numbers(batch.images)
        assert inside == batch.samples.tolist()
        seen += inside if batch.weight else []
    return seen
