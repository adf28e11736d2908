"""Phase 3: decide. Duplicates are found over the whole corpus, and every row gets its one terminal state.

A single unit: it reads columns, not images, and runs in minutes. It leaves two tables: `selection.parquet`,
the verdict on every row, and `placement.parquet`, the kept rows in shard order with a row group per shard.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from facecorpus import schema, shards, storage, units
from facecorpus.dedup import compiled
from facecorpus.dedup.resolve import resolve
from facecorpus.errors import UserError
from facecorpus.phases import score
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.files import publish_parquet
from facecorpus.record import State
from facecorpus.units import Unit

PHASE = "select"
SELECTION = "selection.parquet"
PLACEMENT = "placement.parquet"

_HANDED_ON = [name for name in schema.MANIFEST.names if name in schema.SCORES.names]
PLACED = pa.schema(
    [("key", pa.string()), ("unit", pa.string()), *((n, schema.SCORES.field(n).type) for n in _HANDED_ON)]
    + [(name, schema.SCORES.field(name).type) for name in ("crop_offset", "crop_bytes", "crop_sha256")]
)


def plan(corpus: Corpus) -> list[Unit]:
    """The one unit; its digest covers every scored part and the rules of dedup and sharding."""
    parts = score.plan(corpus)
    recipe = corpus.recipe
    code = units.digest(
        schema.VERSION,
        [(part.name, part.digest, _mark_hash(corpus, part)) for part in parts],
        recipe.dedup,
        recipe.samples_per_shard,
        recipe.group_by,
        recipe.seed,
    )
    return [
        Unit(PHASE, "all", code, sum(part.size for part in parts), {"parts": [part.name for part in parts]})
    ]


def _mark_hash(corpus: Corpus, part: Unit) -> list[str]:
    mark = units.read_mark(corpus.out, score.PHASE, part.name)
    if mark is None or mark["digest"] != part.digest:
        raise UserError(
            f"part {part.name} of {corpus.out} is not scored yet; run 'facecorpus score' or 'build' first"
        )
    return [output["sha256"] for output in mark["outputs"]]


def run(corpus: Corpus, unit: Unit) -> dict[str, Any]:
    """Decide on every row; returns the number of shards and {state: rows}."""
    scored, names, rows = _read(corpus, unit.spec["parts"])
    states = np.array(scored["state"].to_pylist(), dtype=object)
    places = np.flatnonzero(states == State.CANDIDATE)
    candidates = scored.take(pa.array(places))
    rules = corpus.recipe.dedup
    cores = len(os.sched_getaffinity(0))  # threads; the result does not depend on them
    if rules is not None and compiled.load():
        print("select: compiling the search for duplicates, about 20 s", file=sys.stderr, flush=True)
    verdicts = _all_different(len(places)) if rules is None else resolve(candidates, rules, workers=cores)
    keys = pa.array([shards.sample_key(i) for i in candidates["id"].to_pylist()])
    kept = verdicts["duplicate_of"].is_null().to_numpy()
    order = _shuffled(keys.filter(pa.array(kept)).to_pylist(), corpus.recipe.seed)
    groups = _groups(candidates.filter(pa.array(kept)), corpus.recipe.group_by)
    order = order[np.argsort(groups[order], kind="stable")]
    sizes = _shard_sizes(np.bincount(groups).tolist(), corpus.recipe.samples_per_shard)
    shard = np.empty(len(order), dtype=np.int32)
    shard[order] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

    total = len(scored)
    states[places] = np.where(kept, str(State.KEPT), str(State.DUPLICATE))
    decided: dict[str, pa.Array] = {
        "state": pa.array(states, pa.string()),
        "key": _spread(keys, places, total),
        "shard": _spread(pa.array(shard), places[kept], total),
        "unit": names,
        "row": rows,
    }
    for column in _VERDICT:
        values = verdicts[column].combine_chunks().cast(schema.SELECTION.field(column).type)
        decided[column] = _spread(values, places, total)
    columns = [decided[name] if name in decided else scored[name] for name in schema.SELECTION.names]
    selection = pa.Table.from_arrays(columns, schema=schema.SELECTION)

    chosen = pa.array(places[kept][order])
    columns = [decided[name] if name in ("key", "unit") else scored[name] for name in PLACED.names]
    placed = pa.Table.from_arrays([column.take(chosen) for column in columns], schema=PLACED)
    outputs = [
        publish_parquet(corpus.out, SELECTION, selection),
        publish_parquet(corpus.out, PLACEMENT, placed, row_groups=sizes or None),
    ]
    summary = {"shards": len(sizes), **Counter(states.tolist())}
    units.finish(corpus.out, unit, outputs, summary)
    return summary


_VERDICT = ("cluster", "duplicate_of", "duplicate_kind", "duplicate_distance", "identity_conflict")


def _all_different(count: int) -> pa.Table:
    return pa.table({name: pa.nulls(count, schema.SELECTION.field(name).type) for name in _VERDICT})


def _read(corpus: Corpus, parts: Sequence[str]) -> tuple[pa.Table, pa.Array, pa.Array]:
    """All scored rows in inventory order, with the name of the unit and the row in it."""
    tables: list[pa.Table] = []
    for part in parts:
        tables.append(storage.read_table(storage.join(corpus.out, score.rows_path(part))))
    lengths = [len(table) for table in tables]
    names = pa.array(np.repeat(np.array(parts, dtype=object), lengths), pa.string())
    rows = pa.array(np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]), pa.int32())
    return pa.concat_tables(tables).combine_chunks(), names, rows


def _shuffled(keys: Sequence[str], seed: int) -> np.ndarray:
    """Order of the kept samples across shards: by keyed hash, so that sources mix and no worker count
    matters.

    Raises:
        UserError: two ids share a key (a 64-bit collision; expected once in 10^9 corpora of a million
        samples).
    """
    if len(set(keys)) != len(keys):
        raise UserError(
            "two inputs have the same sample key; rename one of the sources with NAME=ADAPTER in --sources"
        )
    ranks = [(shards.shuffle_order(key, seed), key) for key in keys]
    return np.array(sorted(range(len(keys)), key=ranks.__getitem__), dtype=np.int64)


def _groups(kept: pa.Table, group_by: str) -> np.ndarray:
    """The group of each kept sample, numbered from 0 by source and identity; all in one where none are asked
    for."""
    if group_by == "none":
        return np.zeros(len(kept), dtype=np.int64)
    columns = (kept[name].to_pylist() for name in ("source", "identity"))
    people = [(source, identity or "") for source, identity in zip(*columns, strict=True)]
    numbers = {person: number for number, person in enumerate(sorted(set(people)))}
    return np.array([numbers[person] for person in people], dtype=np.int64)


def _shard_sizes(groups: Sequence[int], size: int) -> list[int]:
    """Samples of each shard: every group is cut into shards of `size`, of which the last is smaller.

    >>> _shard_sizes([5, 2], 3)
    [3, 2, 2]
    """
    return [min(size, total - start) for total in groups for start in range(0, total, size)]


def _spread(values: pa.Array, places: np.ndarray, total: int) -> pa.Array:
    """`values` at `places` of a column of `total` rows, null elsewhere."""
    index = np.full(total, -1, dtype=np.int64)
    index[places] = np.arange(len(places))
    return values.take(pa.array(index, mask=index < 0))
