"""One pass over the selection: the exact ledger, and a sample of every group of rows that the page shows.

Memory is bounded by the batch, not by the corpus, and the sample is the rows whose hashed ids are smallest,
so it depends on nothing else.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from facecorpus import schema, storage
from facecorpus.errors import UserError
from facecorpus.ledger import SourceLedger, close
from facecorpus.phases import inventory, select
from facecorpus.phases.corpus import Corpus
from facecorpus.record import State

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

BATCH_ROWS = 1 << 16
_KEY = b"facecorpus.report"


class Group(NamedTuple):
    """Rows that have the same fate."""

    source: str
    state: str
    reason: str
    """Reason of a rejection or failure, kind of a duplicate, "" where kept."""
    kept_source: str
    """Source of the record that a duplicate is a copy of, else ""."""


class Row(NamedTuple):
    """A row of the selection; the fields are those of `schema.SELECTION`."""

    id: str
    source: str
    state: str
    reason: str | None
    face_index: int
    cluster: str | None
    duplicate_of: str | None
    duplicate_kind: str | None
    duplicate_distance: int | None
    identity_conflict: bool | None
    key: str | None
    unit: str
    row: int
    shard: int | None


@dataclass(slots=True)
class Survey:
    """What the selection holds."""

    ledgers: dict[str, SourceLedger]
    counts: Counter[Group] = field(default_factory=Counter[Group])
    """Rows, so faces, in each group."""
    picked: dict[Group, list[Row]] = field(default_factory=dict[Group, list[Row]])
    """A few rows of each group, in the order of their hashed ids."""
    units: Counter[str] = field(default_factory=Counter[str])
    """Rows of every scored part, in inventory order."""


def rank(text: str) -> int:
    """Where an id or name comes in the order by which samples are picked: 64 bits of keyed BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=_KEY).digest(), "big")


def survey(corpus: Corpus, wanted: Callable[[Group], int], batch_rows: int = BATCH_ROWS) -> Survey:
    """Read the selection once; `wanted` says how many rows of a group to pick. The batch changes nothing.

    Raises:
        UserError: nothing has been selected yet.
    """
    found = Survey(close(inventory.counts(corpus), schema.SELECTION.empty_table()))
    ranked: dict[Group, list[tuple[int, Row]]] = {}
    for batch in _whole_inputs(batches(corpus, Row._fields, batch_rows)):
        _count(found, batch)
        _pick(found, ranked, batch, wanted)
    found.picked = {group: [row for _, row in rows] for group, rows in sorted(ranked.items())}
    return found


def batches(corpus: Corpus, columns: Collection[str], rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
    """Columns of the selection, some thousand rows at a time.

    Raises:
        UserError: nothing has been selected yet.
    """
    url = storage.join(corpus.out, select.SELECTION)
    if not storage.exists(url):
        raise UserError(f"{corpus.out} has no {select.SELECTION}; run 'facecorpus select' or 'build' first")
    with storage.open_read(url) as file, storage.whole_parquet(url):
        for batch in pq.ParquetFile(file, buffer_size=1 << 20).iter_batches(
            rows, columns=list(columns), use_threads=False
        ):
            yield pa.Table.from_batches([batch])


def rows_where(corpus: Corpus, mask: Callable[[pa.Table], pa.Array]) -> Iterator[Row]:
    """Rows of the selection that `mask` says yes to."""
    for batch in batches(corpus, Row._fields):
        yield from _rows(batch.filter(mask(batch)))


def _rows(table: pa.Table) -> Iterable[Row]:
    return (Row(**row) for row in table.select(list(Row._fields)).to_pylist())


def _whole_inputs(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, cut so that all faces of an input are in one table (they are adjacent, face 0 first)."""
    held: pa.Table | None = None
    for table in tables:
        joined = table if held is None else pa.concat_tables([held, table])
        firsts = np.flatnonzero(joined["face_index"].to_numpy() == 0)
        cut = int(firsts[-1]) if len(firsts) else 0
        yield joined.slice(0, cut)
        held = joined.slice(cut)
    if held is not None:
        yield held


def _count(found: Survey, batch: pa.Table) -> None:
    if not len(batch):
        return
    for source, part in close({}, batch).items():
        entry = found.ledgers.setdefault(source, SourceLedger(source, 0))
        entry.samples += part.samples
        entry.states.update(part.states)
        entry.reasons.update(part.reasons)
    units = pc.value_counts(batch["unit"]).to_pylist()
    for item in units:
        found.units[item["values"]] += item["counts"]


def _pick(
    found: Survey, ranked: dict[Group, list[tuple[int, Row]]], batch: pa.Table, wanted: Callable[[Group], int]
) -> None:
    if not len(batch):
        return
    ranks = np.array([rank(i) for i in batch["id"].to_pylist()], np.uint64)
    for group, places in _groups(batch).items():
        found.counts[group] += len(places)
        count = wanted(group)
        best = places[np.argsort(ranks[places], kind="stable")[:count]]
        if not len(best):
            continue
        rows = zip(ranks[best].tolist(), _rows(batch.take(pa.array(best))), strict=True)
        ranked[group] = sorted([*ranked.get(group, []), *rows])[:count]


def _groups(batch: pa.Table) -> Mapping[Group, np.ndarray]:
    """Places of the rows of each group."""
    copy_of = pc.list_element(pc.split_pattern(pc.fill_null(batch["duplicate_of"], ""), "/", max_splits=1), 0)
    why = pc.fill_null(pc.coalesce(batch["reason"], batch["duplicate_kind"]), "")
    why = pc.if_else(pc.equal(batch["state"], State.KEPT), "", why)
    parts = [batch["source"], batch["state"], why, copy_of]
    coded = [column.combine_chunks().dictionary_encode() for column in parts]
    codes = np.zeros(len(batch), np.int64)
    for column in coded:
        codes = codes * max(len(column.dictionary), 1) + column.indices.to_numpy()
    found: dict[Group, np.ndarray] = {}
    for code in np.unique(codes).tolist():
        places = np.flatnonzero(codes == code)
        first = int(places[0])
        found[Group(*(column[first].as_py() for column in parts))] = places
    return found
