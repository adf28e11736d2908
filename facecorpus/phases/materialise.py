"""Phase 4: write the shards, a byte copy of the staged crops in shuffled order. One unit per shard."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus import schema, shards, storage, units
from facecorpus.errors import UserError
from facecorpus.phases import score, select
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.files import publish_hashed, publish_parquet, table_digest
from facecorpus.record import Record, from_table
from facecorpus.units import Unit

PHASE = "materialise"
LIST = "list"
FOLDER = "shards"
SHARDS = "shards.parquet"
_SIDECAR = ("id", "source", "identity", "split", "video", "frame", "labels")


def paths(shard: str) -> tuple[str, str, str]:
    """The files that a unit writes: the shard, its index and its manifest."""
    stem = f"{FOLDER}/{shard.removesuffix('.tar')}"
    return f"{stem}.tar", f"{stem}.tar.idx", f"{stem}.parquet"


def plan(corpus: Corpus) -> list[Unit]:
    """One unit per shard; its digest covers the crops in it and their order, so other shards' changes leave
    it alone.

    Raises:
        UserError: nothing has been selected yet.
    """
    (selected,) = select.plan(corpus)
    if not units.is_done(corpus.out, selected):
        raise UserError(f"{corpus.out} has no up-to-date selection; run 'facecorpus select' or 'build' first")
    plans: list[Unit] = []
    url = storage.join(corpus.out, select.PLACEMENT)
    with storage.open_read(url) as file, storage.whole_parquet(url):
        placed = pq.ParquetFile(file)
        for number in range(placed.num_row_groups if placed.metadata.num_rows else 0):
            table = placed.read_row_group(number, use_threads=False)
            code = units.digest(
                schema.VERSION, corpus.recipe.name, corpus.recipe.sidecar_json, table_digest(table)
            )
            name = schema.shard_name(corpus.recipe.name, number)
            plans.append(Unit(PHASE, name, code, len(table), {"number": number}))
    return plans


def run(corpus: Corpus, unit: Unit) -> dict[str, Any]:
    """Write one shard with its manifest and index."""
    table = read_placed(corpus, unit)
    crops = _crops(corpus, table)
    placed: list[shards.Placed] = []
    index = b""

    def write(file: BinaryIO) -> None:
        nonlocal index
        writer = shards.ShardWriter(file)
        for key, crop, record in zip(table["key"].to_pylist(), crops, from_table(table), strict=True):
            writer.add(key, {schema.JPG: crop, **sidecar(corpus, record)})
        index = writer.finish()
        placed[:] = writer.placed

    where, beside, described = paths(unit.name)
    tar = publish_hashed(corpus.out, where, write)
    outputs = [
        tar,
        publish_hashed(corpus.out, beside, lambda file: (file.write(index), None)[1]),
        publish_parquet(corpus.out, described, manifest(table, placed)),
    ]
    keys = table["key"].to_pylist()
    summary = {
        "shard": unit.name,
        "samples": len(keys),
        "bytes": tar.bytes,
        "sha256": tar.sha256,
        "first_key": keys[0],
        "last_key": keys[-1],
    }
    units.finish(corpus.out, unit, outputs, summary)
    return summary


def read_placed(corpus: Corpus, unit: Unit) -> pa.Table:
    """Rows of `placement.parquet` that make up a shard, in its order."""
    return storage.read_table(storage.join(corpus.out, select.PLACEMENT), row_group=unit.spec["number"])


def list_unit(corpus: Corpus, plans: list[Unit]) -> Unit:
    """The unit that writes `shards.parquet`."""
    code = units.digest(schema.VERSION, [(u.name, u.digest) for u in plans], corpus.crops().decode())
    return Unit(LIST, "shards", code, len(plans))


def list_shards(corpus: Corpus, plans: list[Unit]) -> pa.Table:
    """The table `shards.parquet`, from the done marks.

    Raises:
        UserError: a shard is not written yet.
    """
    rows: list[dict[str, Any]] = []
    for unit in plans:
        mark = units.read_mark(corpus.out, PHASE, unit.name)
        if mark is None or mark["digest"] != unit.digest:
            raise UserError(f"shard {unit.name} is not written yet; run 'facecorpus materialise' or 'build'")
        rows.append(mark["summary"])
    return pa.Table.from_pylist(rows, schema=schema.SHARDS.with_metadata({schema.CROPS: corpus.crops()}))


def finish(corpus: Corpus, plans: list[Unit]) -> pa.Table:
    """Publish `shards.parquet`."""
    table = list_shards(corpus, plans)
    units.finish(corpus.out, list_unit(corpus, plans), [publish_parquet(corpus.out, SHARDS, table)])
    return table


def _crops(corpus: Corpus, table: pa.Table) -> list[bytes]:
    """The staged crops of the rows, each staged file opened once and read in order of offset.

    Raises:
        UserError: a staged crop is not the one that was scored.
    """
    units_of, offsets, sizes = (table[name].to_pylist() for name in ("unit", "crop_offset", "crop_bytes"))
    crops: list[bytes] = [b""] * len(units_of)
    order = sorted(range(len(units_of)), key=lambda i: (units_of[i], offsets[i]))
    current, file = None, None
    try:
        for i in order:
            if units_of[i] != current:
                if file is not None:
                    file.close()
                current = units_of[i]
                file = storage.open_read(storage.join(corpus.out, score.crops_path(current)))
            assert file is not None
            file.seek(offsets[i])
            crops[i] = file.read(sizes[i])
    finally:
        if file is not None:
            file.close()
    for i, expected in enumerate(table["crop_sha256"].to_pylist()):
        if shards.sha256(crops[i]) != expected:
            path = score.crops_path(units_of[i])
            raise UserError(
                f"{path} of {corpus.out} has changed since it was scored; delete it and run the command again"
            )
    return crops


def sidecar(corpus: Corpus, record: Record) -> dict[str, bytes]:
    """The members of a sample besides its picture."""
    if not corpus.recipe.sidecar_json:
        return {}
    values = {name: getattr(record, name) for name in _SIDECAR if getattr(record, name) is not None}
    return {schema.JSON: json.dumps(values, sort_keys=True, separators=(",", ":")).encode()}


def manifest(table: pa.Table, placed: list[shards.Placed]) -> pa.Table:
    """The manifest of a shard, from its rows of the placement and where they landed."""
    return pa.Table.from_arrays(
        [_column(name, table, placed) for name in schema.MANIFEST.names], schema=schema.MANIFEST
    )


def _column(name: str, table: pa.Table, placed: list[shards.Placed]) -> pa.Array | pa.ChunkedArray:
    kind = schema.MANIFEST.field(name).type
    if name == "sample_offset":
        return pa.array([p.sample_offset for p in placed], kind)
    if name == "jpg_offset":
        return pa.array([p.payload_offsets[schema.JPG] for p in placed], kind)
    return table[{"jpg_bytes": "crop_bytes", "jpg_sha256": "crop_sha256"}.get(name, name)]
