"""Where each sample's picture lies in its shard: from the corpus' own manifests, else by one walk over the
tar.

A sample is what stock webdataset makes of a shard: adjacent members with the same key, which is the member's
name up to the first dot of its last part. Its picture is the member whose whole extension is jpg, jpeg, png
or webp, in that order. (A shard's `.tar.idx` is not needed: the manifest says more.)
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray
from tqdm import tqdm

from facecorpus import schema
from facecorpus.errors import UserError
from fautrain.data.fetch import ShardCache
from fautrain.data.order import Ints
from fautrain.data.parquet import read_columns
from fautrain.data.shards import Shard, filesystem, list_shards, reaching, verify_hashes
from fautrain.data.tar import TarDamagedError, members
from fautrain.files import publish

PICTURES = ("jpg", "jpeg", "png", "webp")
_MANIFEST = pa.schema(
    [(name, schema.MANIFEST.field(name).type, False) for name in ("key", "jpg_offset", "jpg_bytes")]
)
_MEMORY = pa.schema(
    [("key", pa.binary(), False), ("offset", pa.int64(), False), ("bytes", pa.int64(), False)]
)
_HELD_OUT_KEY = b"fautrain held-out samples"


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The samples of one shard, in tar order."""

    keys: NDArray[np.bytes_]
    """UTF-8, or whatever bytes a foreign tar has."""
    offsets: Ints
    sizes: Ints
    """Bytes of the picture; -1 where the sample has none."""
    damage: str = ""
    """What hides an unknown number of samples; empty for a whole shard."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Shards and their samples. A sample's number is its row over all shards in order: 24 to 32 bytes a row
    (about 0.25 GB for 9 million), shared by the workers, which are forked."""

    shards: tuple[Shard, ...]
    indexes: tuple[ShardIndex, ...]
    starts: Ints
    """First row of each shard, and the number of rows after the last: (shards + 1,)."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    def locate(self, sample: int) -> tuple[int, int]:
        """(shard number, row in the shard) of a sample."""
        shard = int(np.searchsorted(self.starts, sample, side="right")) - 1
        return shard, sample - int(self.starts[shard])

    def key(self, sample: int) -> str:
        """Key of a sample."""
        shard, row = self.locate(sample)
        return self.indexes[shard].keys[row].decode("utf-8", "backslashreplace")

    def fingerprint(self) -> str:
        """Hash of the keys and sizes of all samples in order: equal exactly where sample numbers mean the
        same. Wherever the shards lie, and 16 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        for index in self.indexes:
            digest.update(b"\0".join(index.keys.tolist()) + index.sizes.tobytes())
        return digest.hexdigest()


def held_out_mask(keys: Iterable[bytes], fraction: float) -> NDArray[np.bool_]:
    """Which samples are held out: those whose keyed BLAKE2b, as a fraction of its range, is below `fraction`.

    A pure function of the key: the same for any seed, shard and neighbours, and a larger fraction only adds.
    """
    limit = int(fraction * 2**64)
    return np.fromiter(
        (
            int.from_bytes(hashlib.blake2b(k, digest_size=8, key=_HELD_OUT_KEY).digest(), "big") < limit
            for k in keys
        ),
        np.bool_,
    )


def open_corpus(shards: str, cache: ShardCache, rank: int = 0, world: int = 1) -> Corpus:
    """List the shards, check them against the corpus table, and index their samples.

    Args:
        shards: see `list_shards`.
        cache: folder for remote shards, foreign shards' indexes and the memory of checked hashes.
        rank: of this process; divides the hashing.
        world: number of processes.

    Raises:
        UserError: a shard is missing, altered or unreadable, or there is no sample at all.
    """
    found = list_shards(shards)
    verify_hashes(found, cache.folder.parent, rank, world)  # remote ones are hashed when they are fetched
    with ThreadPoolExecutor(8) as pool:
        lazily = pool.map(lambda s: index_shard(s, cache), found)
        indexes = tuple(tqdm(lazily, "indexing shards", len(found), disable=None, delay=2, leave=False))
    starts = np.concatenate([[0], np.cumsum([len(i.keys) for i in indexes])]).astype(np.int64)
    if not starts[-1]:
        raise UserError(f"data.shards: the {len(found)} shards of {shards!r} hold no sample with a picture")
    return Corpus(found, indexes, starts)


def index_shard(shard: Shard, cache: ShardCache) -> ShardIndex:
    """The index of a shard: from the manifest beside it, from the cache, or from a walk over its headers."""
    index = _from_manifest(shard)
    if index is None:
        memory = _memory(shard, cache)
        index = _recall(memory) if memory.exists() else None
        if index is None:
            fd = cache.open(shard)
            try:
                index = walk_tar(fd, shard)
            finally:
                os.close(fd)
            _remember(memory, index)
    if shard.samples is not None and len(index.keys) != shard.samples:
        raise UserError(
            f"{shard.url} has {len(index.keys)} samples by its index and {shard.samples} by the corpus "
            "table; rebuild the corpus"
        )
    return index


def _from_manifest(shard: Shard) -> ShardIndex | None:
    fs, path = filesystem(posixpath.splitext(shard.url)[0] + ".parquet")
    with reaching(path):
        if not fs.exists(path):
            return None
    table = read_columns(fs, path, _MANIFEST)
    return None if table is None else ShardIndex(*_arrays(table))


def _arrays(table: pa.Table) -> tuple[NDArray[np.bytes_], Ints, Ints]:
    keys = table.column(0).cast(pa.binary()).to_pylist()
    offsets, sizes = (table.column(n).to_numpy().astype(np.int64) for n in (1, 2))
    return np.array(keys, dtype=np.bytes_), offsets, sizes


def _memory(shard: Shard, cache: ShardCache) -> Path:
    version = cache.place(shard).name
    if shard.local:
        stat = Path(shard.url).stat()
        version = f"{Path(shard.url).resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    digest = hashlib.blake2b(version.encode(), digest_size=16).hexdigest()
    return cache.folder.parent / "index" / f"{digest}.parquet"


def _recall(memory: Path) -> ShardIndex | None:
    try:
        table = read_columns(LocalFileSystem(), str(memory), _MEMORY)
    except UserError:
        return None
    if table is None:
        return None
    damage = (table.schema.metadata or {}).get(b"damage", b"").decode("utf-8", "replace")
    return ShardIndex(*_arrays(table), damage)


def _remember(memory: Path, index: ShardIndex) -> None:
    columns = [index.keys.tolist(), index.offsets, index.sizes]
    table = pa.table(columns, _MEMORY.with_metadata({"damage": index.damage}))
    # A cache that cannot be written costs the walk again at the next start.
    with contextlib.suppress(UserError):
        publish(memory, lambda aside: pq.write_table(table, aside))


def walk_tar(fd: int, shard: Shard) -> ShardIndex:
    """Index an uncompressed tar by its headers alone.

    A tar that ends too early or is damaged gives the samples that are named before and says so in `damage`; a
    sample that is cut is among them and fails when it is read.

    Raises:
        UserError: this is no uncompressed tar.
    """
    rows: list[tuple[bytes, int, int]] = []
    current, best, damage = None, len(PICTURES), ""
    with reaching(shard.url), io.FileIO(fd, closefd=False) as raw, io.BufferedReader(raw, 4096) as file:
        try:
            for member in members(file, shard.url):
                folder, base = posixpath.split(member.name)
                stem, dot, extension = base.partition(b".")
                if not dot or not stem:
                    continue
                key = posixpath.join(folder, stem)
                if key != current:
                    rows.append((key, -1, -1))
                    current, best = key, len(PICTURES)
                kind = extension.decode("ascii", "replace").lower()
                if kind in PICTURES[:best]:
                    best = PICTURES.index(kind)
                    rows[-1] = (key, member.offset, member.size)
        except TarDamagedError as error:
            damage = str(error)
    if rows and not any(size >= 0 for _, _, size in rows):
        damage, rows = damage or f"none of its {len(rows)} samples has a {', '.join(PICTURES)} member", []
    return ShardIndex(
        np.array([r[0] for r in rows], dtype=np.bytes_),
        np.array([r[1] for r in rows], dtype=np.int64),
        np.array([r[2] for r in rows], dtype=np.int64),
        damage,
    )
