"""Phase 1: list every input of every source exactly once.

One unit per source. Its table has a row group per scoring unit, so that scoring reads only its own rows, and
its mark holds a digest per row group, so that one changed file makes one part stale. A file that has another
time but the bytes that were scored has not changed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus import schema, storage, units
from facecorpus.errors import UserError
from facecorpus.phases import scored
from facecorpus.phases.corpus import Corpus, SourceSpec
from facecorpus.phases.files import publish_hashed, table_digest
from facecorpus.record import Record, to_table
from facecorpus.sources.base import Reader, RepeatedIdsError, stamp_of
from facecorpus.units import Unit

PHASE = "inventory"


def path(source: str) -> str:
    """Where the inventory of a source is, relative to the corpus."""
    return f"inventory/{source}.parquet"


def plan(corpus: Corpus) -> list[Unit]:
    """One unit per source; its digest covers the names, sizes and times of every file the source reads."""
    plans: list[Unit] = []
    for spec in corpus.sources:
        stamps = spec.open(corpus.out).stamps()
        code = units.digest(schema.VERSION, spec.adapter, spec.name, corpus.recipe.inputs_per_unit, stamps)
        plans.append(Unit(PHASE, spec.name, code, 1, vars(spec)))
    return plans


def run(corpus: Corpus, unit: Unit) -> dict[str, Any]:
    """List one source; returns its inputs, a digest for each row group, and what the adapter noticed.

    Raises:
        UserError: the source has no inputs, or cannot be read.
    """
    spec = SourceSpec(**unit.spec)
    source = spec.open(corpus.out)
    stamps = source.stamps()
    before = (units.read_mark(corpus.out, PHASE, spec.name) or {"summary": {}})["summary"]
    reader = source.reader()
    groups: list[str] = []
    listed: list[list[str]] = []
    count = 0
    repeated = frozenset[int]()

    def write(file: BinaryIO) -> None:
        nonlocal count
        groups.clear()
        listed.clear()
        count = 0
        with pq.ParquetWriter(file, schema.INVENTORY, compression="zstd") as writer:
            for batch in _batches(source.inventory(repeated), corpus.recipe.inputs_per_unit):
                table = to_table(batch, schema.INVENTORY)
                writer.write_table(table, row_group_size=len(batch))
                now = [table_digest(table), units.digest([stamp_of(record, stamps) for record in batch])]
                groups.append(_code(corpus, spec.name, reader, before, len(groups), now, batch))
                listed.append(now)
                count += len(batch)
        if count == 0:  # raised inside, so that nothing is published
            raise UserError(
                f"source {spec.name}: {spec.location} holds no inputs; "
                f"check the path, or leave {spec.name} out of --sources"
            )

    try:
        output = publish_hashed(corpus.out, path(spec.name), write)
    except RepeatedIdsError as error:
        repeated = error.hashes
        output = publish_hashed(corpus.out, path(spec.name), write)
    finally:
        reader.close()
    summary = {"inputs": count, "groups": groups, "listed": listed, "notes": source.notes}
    units.finish(corpus.out, unit, [output], summary)
    return summary


def _code(
    corpus: Corpus,
    source: str,
    reader: Reader,
    before: Mapping[str, Any],
    number: int,
    now: list[str],
    batch: Sequence[Record],
) -> str:
    """Digest of a row group: the one it had where it lists the same and the bytes are the same.

    Args:
        corpus: the corpus.
        source: its source's name.
        reader: of the source.
        before: the summary of the mark of an earlier listing, or nothing.
        number: of the row group.
        now: digests of its rows and of their files' stamps.
        batch: the rows.
    """
    listed = before.get("listed", [])
    if number < len(listed) and listed[number][0] == now[0]:
        code = before["groups"][number]
        part = scored.part_name(source, number)
        if listed[number][1] == now[1] or scored.is_same(corpus, reader, part, code, batch):
            return code
    return units.digest(*now)


def _batches(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    while batch := list(itertools.islice(records, size)):
        yield batch


def counts(corpus: Corpus) -> dict[str, int]:
    """Number of inputs per source, from the done marks.

    Raises:
        UserError: a source has not been listed yet.
    """
    return {spec.name: _summary(corpus, spec.name)["inputs"] for spec in corpus.sources}


def notes(corpus: Corpus) -> list[str]:
    """What the adapters noticed besides inputs, one sentence each."""
    return [
        f"{spec.name}: {note}" for spec in corpus.sources for note in _summary(corpus, spec.name)["notes"]
    ]


def groups(corpus: Corpus, source: str) -> list[str]:
    """Digests of the row groups of a source's inventory."""
    return _summary(corpus, source)["groups"]


def group_sizes(corpus: Corpus, source: str) -> list[int]:
    """Rows of each row group."""
    total, size = _summary(corpus, source)["inputs"], corpus.recipe.inputs_per_unit
    return [min(size, total - start) for start in range(0, total, size)]


def read_group(corpus: Corpus, source: str, group: int) -> pa.Table:
    """Rows of one row group."""
    return storage.read_table(storage.join(corpus.out, path(source)), row_group=group)


def _summary(corpus: Corpus, source: str) -> dict[str, Any]:
    mark = units.read_mark(corpus.out, PHASE, source)
    if mark is None:
        raise UserError(
            f"{source} has not been listed in {corpus.out}; run 'facecorpus inventory' or 'build' first"
        )
    return mark["summary"]
