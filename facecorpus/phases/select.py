"""Phase 3: decide. Duplicates are found over the whole corpus, and every row gets its one terminal state.

A single unit: it reads columns, not images, and runs in minutes. It leaves two tables: `selection.parquet`,
the verdict on every row, and `placement.parquet`, the kept rows in shard order with a row group per shard.

Its mark keeps the ranges of hashes that the shards own. They are fixed by the first selection and only ever
split, so that a later one changes the shards whose samples change, and no other.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facecorpus import schema, shards, storage, units
from facecorpus.dedup.clusters import load_compiled
from facecorpus.dedup.resolve import resolve
from facecorpus.errors import UserError
from facecorpus.phases import score
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.cutting import Range, Ranks, place
from facecorpus.phases.files import publish_parquet, table_digest
from facecorpus.phases.phase import Made, Phase
from facecorpus.progress import say
from facecorpus.record import State
from facecorpus.units import Done, Unit

NAME = "select"
SELECTION = "selection.parquet"
PLACEMENT = "placement.parquet"

_HANDED_ON = [name for name in schema.MANIFEST.names if name in schema.SCORES.names]
PLACED = pa.schema(
    [("key", pa.string()), ("unit", pa.string()), *((n, schema.SCORES.field(n).type) for n in _HANDED_ON)]
    + [(name, schema.SCORES.field(name).type) for name in ("crop_offset", "crop_bytes", "crop_sha256")]
)


_PLACE_ONLY = ["unit", "crop_offset"]
"""Columns of the placement that say where a crop is staged; no byte of a shard comes from them."""


def plan(corpus: Corpus, done: Done) -> list[Unit]:
    """The one unit; its digest covers every scored part and the rules of dedup and sharding."""
    parts = score.PHASE.plan(corpus, done)
    code = units.digest(
        [(part.name, part.digest, _hashes(corpus, done, part)) for part in parts],
        corpus.recipe.dedup,
        _rules_of_cutting(corpus),
    )
    return [
        Unit(NAME, "all", code, sum(part.size for part in parts), {"parts": [part.name for part in parts]})
    ]


def _hashes(corpus: Corpus, done: Done, part: Unit) -> list[str]:
    mark = done.of(part)
    if mark is None:
        raise UserError(
            f"part {part.name} of {corpus.out} is not scored yet; run 'facecorpus score' or 'build' first"
        )
    return [output["sha256"] for output in mark["outputs"]]


def _rules_of_cutting(corpus: Corpus) -> str:
    """Digest of what the ranges of the shards depend on: where it changes, they are cut anew."""
    recipe = corpus.recipe
    return units.digest(schema.VERSION, recipe.name, recipe.samples_per_shard, recipe.group_by, recipe.seed)


def run(corpus: Corpus, unit: Unit) -> Made:
    """Decide on every row; the mark tells the shards and {state: rows}."""
    scored, names, rows = read_scored(corpus, unit.spec["parts"])
    states = np.array(scored["state"].to_pylist(), dtype=object)
    places = np.flatnonzero(states == State.CANDIDATE)
    candidates = scored.take(pa.array(places))
    verdicts = _verdicts(corpus, candidates)
    chosen = verdicts["duplicate_of"].is_null().to_numpy()
    states[places] = np.where(chosen, str(State.KEPT), str(State.DUPLICATE))
    keys = pa.array([shards.sample_key(i) for i in candidates["id"].to_pylist()])
    owned, shard, order = _shared_out(
        corpus, keys.filter(pa.array(chosen)), candidates.filter(pa.array(chosen))
    )
    kept = places[chosen]
    decided: dict[str, pa.Array] = {
        "state": pa.array(states, pa.string()),
        "key": _spread(keys, places, len(scored)),
        "shard": _spread(pa.array(shard), kept, len(scored)),
        "unit": names,
        "row": rows,
    }
    for column in _VERDICT:
        values = verdicts[column].combine_chunks().cast(schema.SELECTION.field(column).type)
        decided[column] = _spread(values, places, len(scored))
    both = {**{name: scored[name] for name in scored.column_names}, **decided}
    selection = pa.Table.from_arrays([both[name] for name in schema.SELECTION.names], schema=schema.SELECTION)
    shipped = pa.Table.from_arrays([both[name] for name in PLACED.names], schema=PLACED)
    numbers, sizes = (found.tolist() for found in np.unique(shard, return_counts=True))
    outputs = [
        publish_parquet(corpus.out, SELECTION, selection),
        publish_parquet(corpus.out, PLACEMENT, shipped.take(pa.array(kept[order])), row_groups=sizes or None),
    ]
    tables = (read_placed(corpus, group).drop_columns(_PLACE_ONLY) for group in range(len(numbers)))
    return outputs, {
        "cut": _rules_of_cutting(corpus),
        "ranges": [(each.number, each.group, f"{each.start:016x}") for each in owned],
        "placed": list(zip(numbers, sizes, map(table_digest, tables), strict=True)),
        **Counter(states.tolist()),
    }


def _verdicts(corpus: Corpus, candidates: pa.Table) -> pa.Table:
    """Which candidates are copies, of which and how."""
    if (rules := corpus.recipe.dedup) is None:
        nothing = {name: pa.nulls(len(candidates), schema.SELECTION.field(name).type) for name in _VERDICT}
        return pa.table(nothing)
    if load_compiled():
        say("select: compiling the search for duplicates, about 20 s")
    # Threads; the result does not depend on them.
    return resolve(candidates, rules, workers=len(os.sched_getaffinity(0)))


def _shared_out(
    corpus: Corpus, keys: pa.Array, kept: pa.Table
) -> tuple[list[Range], NDArray[np.int32], NDArray[np.int64]]:
    """The ranges of the shards, the shard of each kept sample, and the order of all by shard and within it.

    Raises:
        UserError: two ids share a key (a 64-bit collision; expected once in 10^9 corpora of a million
            samples).
    """
    names = keys.to_pylist()
    if len(set(names)) != len(names):
        raise UserError(
            "two inputs have the same sample key; rename one of the sources with NAME=ADAPTER in --sources"
        )
    owned, shard, ranks = share_out(corpus, names, kept, units.read_mark(corpus.out, NAME, "all"))
    return owned, shard, np.lexsort((np.array(names, dtype=str), ranks, shard))


def read_placed(corpus: Corpus, group: int) -> pa.Table:
    """Rows of one shard, in its order: a row group of `placement.parquet`."""
    return storage.read_table(storage.join(corpus.out, PLACEMENT), row_group=group)


_VERDICT = ("cluster", "duplicate_of", "duplicate_kind", "duplicate_distance", "identity_conflict")


def read_scored(corpus: Corpus, parts: Sequence[str]) -> tuple[pa.Table, pa.Array, pa.Array]:
    """All scored rows in inventory order, with the name of the unit and the row in it."""
    tables = [storage.read_table(storage.join(corpus.out, score.rows_path(part))) for part in parts]
    lengths = [len(table) for table in tables]
    names = pa.array(np.repeat(np.array(parts, dtype=object), lengths), pa.string())
    rows = pa.array(np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]), pa.int32())
    return pa.concat_tables(tables).combine_chunks(), names, rows


def share_out(
    corpus: Corpus, keys: Sequence[str], kept: pa.Table, mark: Mapping[str, Any] | None
) -> tuple[list[Range], NDArray[np.int32], Ranks]:
    """The ranges of the shards; the shard of each kept sample, and its rank, which is its order in there.

    Args:
        corpus: the corpus.
        keys: of the samples.
        kept: their source and identity.
        mark: of an earlier selection, whose ranges stay.
    """
    recipe, before, groups = corpus.recipe, list[Range](), [("", "")] * len(keys)
    ranks = np.array([shards.shuffle_rank(key, recipe.seed) for key in keys], np.uint64)
    if recipe.group_by != "none":
        people = zip(kept["source"].to_pylist(), kept["identity"].to_pylist(), strict=True)
        groups = [(source, identity or "") for source, identity in people]
    if mark is not None and mark["summary"].get("cut") == _rules_of_cutting(corpus):
        told = mark["summary"]["ranges"]
        before = [Range(number, (group[0], group[1]), int(start, 16)) for number, group, start in told]
    owned, shard = place(groups, ranks, before, recipe.samples_per_shard)
    return owned, shard, ranks


def _spread(values: pa.Array, places: np.ndarray, total: int) -> pa.Array:
    """`values` at `places` of a column of `total` rows, null elsewhere."""
    index = np.full(total, -1, dtype=np.int64)
    index[places] = np.arange(len(places))
    return values.take(pa.array(index, mask=index < 0))


PHASE = Phase(NAME, "rows", plan, run, lambda unit: [SELECTION, PLACEMENT])
