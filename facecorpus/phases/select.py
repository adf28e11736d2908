"""Phase 3: decide. Duplicates are found over the whole corpus, and every row gets its one terminal state.

A single unit: it reads columns, not images, and runs in minutes. It leaves two tables: `selection.parquet`,
the verdict on every row, and `placement.parquet`, the kept rows in shard order with a row group per shard.
What is held at once are numbers of the candidates, and their ids; the rest is read once more where it is
written.

Its mark keeps the ranges of hashes that the shards own. They are fixed by the first selection and only ever
split, so that a later one changes the shards whose samples change, and no other.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facecorpus import schema, shards, storage, units
from facecorpus.dedup.clusters import load_compiled
from facecorpus.dedup.resolve import COLUMNS, Arranged, arrange, decide
from facecorpus.errors import UserError
from facecorpus.phases import exclusion, score
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.cutting import Group, Range, Ranks, place
from facecorpus.phases.files import publish_row_groups, table_digest
from facecorpus.phases.phase import Made, Phase
from facecorpus.progress import say
from facecorpus.record import State
from facecorpus.units import Done, Unit

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

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
_TOLD = ["id", "source", "face_index", "state", "reason", "detail"]
"""What the selection repeats of a scored row."""
_SCORED = [name for name in PLACED.names if name in schema.SCORES.names]
_PILED = pa.schema([*PLACED, ("shard", pa.int32()), ("rank", pa.uint64()), ("code", pa.uint64())])
_PACKED = pa.ipc.IpcWriteOptions(compression="zstd")
_VERDICT = ("cluster", "duplicate_of", "duplicate_kind", "duplicate_distance", "identity_conflict")
ROWS_AT_ONCE = 1 << 17
"""Rows, at least, of a row group of the selection; and about how many are held to be put in order."""


def plan(corpus: Corpus, done: Done) -> list[Unit]:
    """The one unit; its digest covers every scored part and the rules of dedup and sharding."""
    parts = score.PHASE.plan(corpus, done)
    code = units.digest(
        [(part.name, part.digest, _hashes(corpus, done, part)) for part in parts],
        corpus.recipe.dedup,
        corpus.recipe.exclude,
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


class Decided(NamedTuple):
    """What is decided of the rows, n in all and m candidates, in inventory order."""

    parts: Sequence[str]
    starts: NDArray[np.int64]
    """(parts + 1,): first row of each part, and n."""
    candidate: NDArray[np.bool_]
    """(n,)"""
    verdicts: pa.Table
    """(m): `_VERDICT`, and in `excluded` why it is, or null."""
    codes: NDArray[np.uint64]
    """(m,): the keys as numbers; see `shards.key_codes`."""
    ranks: Ranks
    """(m,)"""
    shard: NDArray[np.int32]
    """(m,): -1 for those that are not kept."""

    def by_part(self) -> Iterator[tuple[str, NDArray[np.bool_], slice]]:
        """Each part, which of its rows are candidates, and where these are among the m."""
        at = 0
        for part, (start, stop) in zip(self.parts, itertools.pairwise(self.starts.tolist()), strict=True):
            mask = self.candidate[start:stop]
            yield part, mask, slice(at, at := at + int(mask.sum()))


def run(corpus: Corpus, unit: Unit) -> Made:
    """Decide on every row; the mark tells the shards and {state: rows}."""
    parts = unit.spec["parts"]
    read = _read(corpus, parts)
    codes, ranks = _coded(read.ids, corpus.recipe.seed)
    verdicts = _verdicts(corpus, read)
    excluded = verdicts["excluded"].is_valid().to_numpy()
    kept = verdicts["duplicate_of"].is_null().to_numpy() & ~excluded
    shard, people = np.full(len(codes), -1, np.int32), read.people.filter(pa.array(kept))
    owned, shard[kept] = share_out(corpus, ranks[kept], people, units.read_mark(corpus.out, NAME, "all"))
    decided, ended = Decided(parts, read.starts, read.candidate, verdicts, codes, ranks, shard), read.ended
    del read  # half of what is held
    numbers, sizes = (found.tolist() for found in np.unique(shard[kept], return_counts=True))
    outputs = [
        publish_row_groups(corpus.out, SELECTION, schema.SELECTION, _selection(corpus, decided)),
        publish_row_groups(corpus.out, PLACEMENT, PLACED, _placement(corpus, decided)),
    ]
    tables = storage.read_row_groups(storage.join(corpus.out, PLACEMENT))
    digests = [table_digest(table.drop_columns(_PLACE_ONLY)) for table in tables if len(table)]
    more = {State.KEPT: kept, State.REJECTED: excluded, State.DUPLICATE: ~(kept | excluded)}
    ended += Counter({state.value: int(rows.sum()) for state, rows in more.items()})
    return outputs, {
        "cut": _rules_of_cutting(corpus),
        "ranges": [(each.number, each.group, f"{each.start:016x}") for each in owned],
        "placed": list(zip(numbers, sizes, digests, strict=True)),
        **ended,
    }


def read_scored(corpus: Corpus, part: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The scored rows of a part."""
    return storage.read_table(storage.join(corpus.out, score.rows_path(part)), columns)


def read_placed(corpus: Corpus, group: int) -> pa.Table:
    """Rows of one shard, in its order: a row group of `placement.parquet`."""
    return storage.read_table(storage.join(corpus.out, PLACEMENT), row_group=group)


def read_selection(corpus: Corpus, columns: Sequence[str] | None = None) -> pa.Table:
    """The selection table, or some of its columns.

    Raises:
        UserError: nothing has been selected yet.
    """
    url = storage.join(corpus.out, SELECTION)
    if not storage.exists(url):
        raise UserError(f"{corpus.out} has no {SELECTION}; run 'facecorpus select' or 'build' first")
    return storage.read_table(url, columns)


class Read(NamedTuple):
    """What is read of the rows, n in all and m candidates, in inventory order."""

    starts: NDArray[np.int64]
    candidate: NDArray[np.bool_]
    ended: Counter[str]
    """{state: rows} of those that are no candidates."""
    ids: pa.ChunkedArray
    """(m,)"""
    people: pa.Table
    """(m): source and identity, where shards go by them; else neither."""
    listed: pa.Array
    """(m,): the list that excludes its person, or null."""
    outside: pa.ChunkedArray
    """(x,): ids of the fingerprints of what is excluded."""
    arranged: Arranged | None
    """Candidates and fingerprints; None where no duplicates are looked for."""


def _read(corpus: Corpus, parts: Sequence[str]) -> Read:
    """Candidates as numbers; their columns themselves are let go."""
    lengths, masks, found, ended = [0], list[NDArray[np.bool_]](), list[pa.Table](), Counter[str]()
    excluded, listed = exclusion.persons(corpus), list[pa.Array]()
    for part in parts:
        table = read_scored(corpus, part, ["state", *COLUMNS])
        mask = pc.equal(table["state"], State.CANDIDATE).to_numpy()
        ended.update(table["state"].filter(pa.array(~mask)).to_pylist())
        lengths.append(len(table))
        masks.append(mask)
        candidates = exclusion.binary(table.select(COLUMNS).filter(pa.array(mask)))
        listed.append(exclusion.listed(excluded, candidates))
        # More than 2 GiB of ids are one column.
        found.append(candidates.set_column(0, COLUMNS[0], candidates["id"].cast(pa.large_string())))
    candidates, outside = pa.concat_tables(found), exclusion.fingerprints(corpus)
    found.clear()
    grouped = ["source", "identity"] if corpus.recipe.group_by != "none" else []
    people, ids, arranged = (
        candidates.select(grouped),
        candidates["id"],
        _arranged(corpus, candidates, outside),
    )
    del candidates
    pa.default_memory_pool().release_unused()
    masked = np.concatenate(masks)
    return Read(
        np.cumsum(lengths), masked, ended, ids, people, pa.concat_arrays(listed), outside["id"], arranged
    )


def _arranged(corpus: Corpus, candidates: pa.Table, outside: pa.Table) -> Arranged | None:
    """Candidates and fingerprints as numbers, the fingerprints first.

    Raises:
        UserError: there are fingerprints, and the recipe looks for no duplicates.
    """
    rules = corpus.recipe.dedup
    if rules is None:
        if len(outside):
            raise UserError(
                f"--exclude needs the search for duplicates, which the recipe {corpus.recipe.name} leaves "
                "out (dedup is none); exclude persons by a list, or choose another recipe"
            )
        return None
    if not len(outside):
        return arrange(candidates, rules)
    first = replace(rules, source_priority=(exclusion.MARK, *rules.source_priority))
    return arrange(pa.concat_tables([candidates, outside]), first)


def _verdicts(corpus: Corpus, read: Read) -> pa.Table:
    """Which candidates are copies, of which and how; and which are excluded."""
    if read.arranged is None or corpus.recipe.dedup is None:
        fields = map(schema.SELECTION.field, _VERDICT)
        verdicts = pa.table({field.name: pa.nulls(len(read.ids), field.type) for field in fields})
    else:
        if load_compiled():
            say("select: compiling the search for duplicates, about 20 s")
        ids = pa.chunked_array([*read.ids.chunks, *read.outside.chunks], pa.large_string())
        # Threads; the result does not depend on them.
        workers = len(os.sched_getaffinity(0))
        verdicts = decide(ids, read.arranged, corpus.recipe.dedup, workers=workers).drop_columns("id")
        verdicts = verdicts.slice(0, len(read.ids))
    excluded = exclusion.details(verdicts, read.listed)
    if excluded.null_count < len(excluded):
        kept = {name: pc.if_else(pc.is_valid(excluded), None, verdicts[name]) for name in _VERDICT}
        verdicts = pa.table(kept)
    return verdicts.append_column("excluded", excluded)


def _coded(ids: pa.ChunkedArray, seed: int) -> tuple[NDArray[np.uint64], Ranks]:
    """The keys of samples as numbers, and their ranks in the shuffle.

    Raises:
        UserError: two ids share a key (a 64-bit collision; expected once in 10^9 corpora of a million
            samples).
    """
    codes = shards.key_codes(ids)
    if len(np.unique(codes)) != len(codes):
        raise UserError(
            "two inputs have the same sample key; rename one of the sources with NAME=ADAPTER in --sources"
        )
    return codes, shards.shuffle_ranks(codes, seed)


def share_out(
    corpus: Corpus, ranks: Ranks, kept: pa.Table, mark: Mapping[str, Any] | None
) -> tuple[list[Range], NDArray[np.int32]]:
    """The ranges of the shards, and the shard of each kept sample.

    Args:
        corpus: the corpus.
        ranks: of the samples, which are their order within a shard.
        kept: their source and identity.
        mark: of an earlier selection, whose ranges stay.
    """
    recipe, before = corpus.recipe, list[Range]()
    groups, of = [("", "")], np.zeros(len(ranks), np.int64)
    if recipe.group_by != "none":
        groups, of = _people(kept)
    if mark is not None and mark["summary"].get("cut") == _rules_of_cutting(corpus):
        told = mark["summary"]["ranges"]
        before = [Range(number, (group[0], group[1]), int(start, 16)) for number, group, start in told]
    return place(groups, of, ranks, before, recipe.samples_per_shard)


def _people(kept: pa.Table) -> tuple[list[Group], NDArray[np.int64]]:
    """Every person of a source, and which of them each row shows."""
    source, identity = (
        pc.fill_null(kept[name], "").combine_chunks().dictionary_encode() for name in ("source", "identity")
    )
    joint = (source.indices.to_numpy().astype(np.int64) << 32) | identity.indices.to_numpy()
    people, of = np.unique(joint, return_inverse=True)
    sources, names = source.dictionary.to_pylist(), identity.dictionary.to_pylist()
    return [(sources[each >> 32], names[each & 0xFFFFFFFF]) for each in people.tolist()], of


def _selection(corpus: Corpus, decided: Decided) -> Iterator[pa.Table]:
    """The selection table, in pieces of at least `ROWS_AT_ONCE` rows but for the last."""
    return _gathered(_selected(corpus, decided, *each) for each in decided.by_part())


def _selected(
    corpus: Corpus, decided: Decided, part: str, candidate: NDArray[np.bool_], which: slice
) -> pa.Table:
    """The selection's rows of a part."""
    scored, shard = read_scored(corpus, part, _TOLD), decided.shard[which]
    verdicts = decided.verdicts.slice(which.start, len(shard))
    excluded = verdicts["excluded"].combine_chunks()
    index = pa.array(np.cumsum(candidate) - 1, mask=~candidate)
    ends = pc.if_else(pc.is_valid(excluded), State.REJECTED, State.DUPLICATE)
    ends = pc.if_else(pa.array(shard >= 0), State.KEPT, ends)
    reason = pc.if_else(pc.is_valid(excluded), exclusion.EXCLUDED.name, pa.scalar(None, pa.string()))
    columns: dict[str, Any] = {name: scored[name].combine_chunks() for name in _TOLD}
    columns |= {
        "state": pc.coalesce(ends.take(index), columns["state"]),
        "reason": pc.coalesce(reason.take(index), columns["reason"]),
        "detail": pc.coalesce(excluded.take(index), columns["detail"]),
        "key": shards.key_names(decided.codes[which]).take(index),
        "shard": pa.array(shard, mask=shard < 0).take(index),
        "unit": pa.repeat(part, len(scored)),
        "row": pa.array(np.arange(len(scored), dtype=np.int32)),
    }
    for name in _VERDICT:
        columns[name] = verdicts[name].combine_chunks().cast(schema.SELECTION.field(name).type).take(index)
    return pa.table([columns[name] for name in schema.SELECTION.names], schema=schema.SELECTION)


def _placement(corpus: Corpus, decided: Decided) -> Iterator[pa.Table]:
    """The kept rows of each shard, in the shard's order.

    As they are read they are dealt out by shard onto piles of about `ROWS_AT_ONCE` rows on the local disk,
    each of which is then sorted in memory.
    """
    numbers, sizes = np.unique(decided.shard[decided.shard >= 0], return_counts=True)
    pile = (np.cumsum(sizes) - sizes) // ROWS_AT_ONCE  # of each shard: a pile holds whole shards
    with tempfile.TemporaryDirectory(prefix="facecorpus-select-") as folder:
        files = {each: str(Path(folder, str(each))) for each in np.unique(pile).tolist()}
        with contextlib.ExitStack() as stack:
            writers = {
                each: stack.enter_context(pa.ipc.new_file(file, _PILED, options=_PACKED))
                for each, file in files.items()
            }
            for table in _gathered(_kept(corpus, decided, *each) for each in decided.by_part()):
                of = pile[np.searchsorted(numbers, table["shard"].to_numpy())]
                for each in np.unique(of).tolist():
                    writers[each].write_table(table.filter(pa.array(of == each)))
        for file in files.values():
            with pa.memory_map(file) as mapped:
                yield from _in_order(pa.ipc.open_file(mapped).read_all())


def _kept(
    corpus: Corpus, decided: Decided, part: str, candidate: NDArray[np.bool_], which: slice
) -> pa.Table:
    """The kept rows of a part, with what they are ordered by."""
    at = np.flatnonzero(decided.shard[which] >= 0)
    scored = read_scored(corpus, part, _SCORED).take(pa.array(np.flatnonzero(candidate)[at]))
    codes = decided.codes[which][at]
    columns: dict[str, Any] = {name: scored[name] for name in _SCORED}
    columns |= {"key": shards.key_names(codes), "unit": pa.repeat(part, len(at)), "code": pa.array(codes)}
    columns |= {"shard": pa.array(decided.shard[which][at]), "rank": pa.array(decided.ranks[which][at])}
    return pa.table([columns[name] for name in _PILED.names], schema=_PILED)


def _in_order(table: pa.Table) -> Iterator[pa.Table]:
    """The shards of some rows, each in its order."""
    order = np.lexsort([table[name].to_numpy() for name in ("code", "rank", "shard")])
    table = table.take(pa.array(order)).combine_chunks()
    shard = table["shard"].to_numpy()
    bounds = [*np.flatnonzero(np.diff(shard, prepend=-1)).tolist(), len(shard)]
    for start, stop in itertools.pairwise(bounds):
        yield table.slice(start, stop - start).select(PLACED.names)


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables, joined until there are `ROWS_AT_ONCE` rows."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= ROWS_AT_ONCE:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


PHASE = Phase(NAME, "rows", plan, run, lambda unit: [SELECTION, PLACEMENT])
