"""Phase 4: write the shards, a byte copy of the staged crops in shuffled order. One unit per shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, BinaryIO

import pyarrow as pa

from facecorpus import schema, shards, storage, units
from facecorpus.errors import UserError
from facecorpus.phases import gather, score, select
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.files import publish_hashed, publish_parquet
from facecorpus.phases.phase import Made, Phase, work
from facecorpus.record import Record, from_table
from facecorpus.units import Done, Unit

NAME = "materialise"
LIST = "list"
FOLDER = "shards"
SHARDS = "shards.parquet"
_SIDECAR = ("id", "source", "identity", "split", "video", "frame", "labels")


def paths(shard: str) -> tuple[str, str, str]:
    """The files that a unit writes: the shard, its index and its manifest."""
    stem = f"{FOLDER}/{shard.removesuffix('.tar')}"
    return f"{stem}.tar", f"{stem}.tar.idx", f"{stem}.parquet"


def plan(corpus: Corpus, done: Done) -> list[Unit]:
    """One unit per shard; its digest covers the crops in it and their order, so other shards' changes leave
    it alone.

    Raises:
        UserError: nothing has been selected yet.
    """
    (selected,) = select.PHASE.plan(corpus, done)
    mark = done.of(selected)
    if mark is None or not done.holds(selected):
        raise UserError(f"{corpus.out} has no up-to-date selection; run 'facecorpus select' or 'build' first")
    name, sidecars = corpus.recipe.name, corpus.recipe.sidecar_json
    runs = gather.runs_of(done, selected)
    return [
        Unit(
            NAME,
            schema.shard_name(name, number),
            units.digest(schema.VERSION, name, sidecars, code),
            rows,
            {"number": number, "group": group, "runs": runs.get(number, [])},
        )
        for group, (number, rows, code) in enumerate(mark["summary"]["placed"])
    ]


def plan_gather(corpus: Corpus, done: Done) -> list[Unit]:
    """What to put together before the shards that lack are written."""
    wanted = plan(corpus, done)
    return gather.plan(corpus, done, len(wanted), sum(not done.holds(unit) for unit in wanted))


def run(corpus: Corpus, unit: Unit) -> Made:
    """Write one shard with its manifest and index."""
    table = select.read_placed(corpus, unit.spec["group"])
    crops = _crops(corpus, table, gather.read(corpus, unit.spec["runs"]))
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
        publish_hashed(corpus.out, beside, lambda file: file.write(index)),
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
    return outputs, summary


def list_unit(corpus: Corpus, plan: Sequence[Unit], done: Done) -> Unit:
    """The unit that writes `shards.parquet`: the summaries of all shards.

    Raises:
        UserError: a shard is not written yet.
    """
    rows: list[Mapping[str, Any]] = []
    for unit in plan:
        mark = done.of(unit)
        if mark is None:
            raise UserError(f"shard {unit.name} is not written yet; run 'facecorpus materialise' or 'build'")
        rows.append(mark["summary"])
    code = units.digest(schema.VERSION, rows, corpus.crops().decode())
    return Unit(LIST, "shards", code, len(rows), {"rows": rows})


def list_shards(corpus: Corpus, unit: Unit) -> pa.Table:
    """The table `shards.parquet`."""
    crops = schema.SHARDS.with_metadata({schema.CROPS: corpus.crops()})
    return pa.Table.from_pylist(unit.spec["rows"], schema=crops)


def finish(corpus: Corpus, plan: Sequence[Unit], done: Done) -> None:
    """Publish `shards.parquet`, and remove what was gathered for the shards."""
    units.claim(done, gather.NAME, {})
    unit = list_unit(corpus, plan, done)
    if not done.holds(unit):
        done.marks(LIST)[unit.name] = work(_write_list, corpus, unit)


def shipped(done: Done) -> list[Mapping[str, Any]]:
    """What the marks tell of each shard: the rows of `shards.parquet`."""
    return [mark["summary"] for _, mark in sorted(done.marks(NAME).items())]


def _write_list(corpus: Corpus, unit: Unit) -> Made:
    return [publish_parquet(corpus.out, SHARDS, list_shards(corpus, unit))], {}


def _crops(corpus: Corpus, table: pa.Table, gathered: dict[str, bytes]) -> list[bytes]:
    """The crops of the rows: those gathered, and the others from their staged files, each opened once and
    read in order of offset.

    Raises:
        UserError: a staged crop is not the one that was scored.
    """
    crops = [gathered.get(key, b"") for key in table["key"].to_pylist()]
    units_of, offsets, sizes = (table[name].to_pylist() for name in ("unit", "crop_offset", "crop_bytes"))
    lacking = (i for i in range(len(crops)) if not crops[i])
    order = sorted(lacking, key=lambda i: (units_of[i], offsets[i]))
    for unit, rows in groupby(order, key=lambda i: units_of[i]):
        with storage.open_read(storage.join(corpus.out, score.crops_path(unit))) as file:
            for i in rows:
                file.seek(offsets[i])
                crops[i] = file.read(sizes[i])
    for i, expected in enumerate(table["crop_sha256"].to_pylist()):
        if hashlib.sha256(crops[i]).hexdigest() != expected:
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


GATHER = Phase(gather.NAME, "rows", plan_gather, gather.run, lambda unit: [gather.path(unit.name)])
PHASE = Phase(NAME, "samples", plan, run, lambda unit: paths(unit.name), finish)
