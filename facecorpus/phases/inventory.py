"""Phase 1: list every input of every source exactly once.

One unit per source. Its table has a row group per scoring unit, so that scoring reads only its own rows, and
its mark holds a digest per row group, so that one changed file makes one part stale. A file that has another
time but the bytes that were scored has not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus import schema, storage, units
from facecorpus.errors import UserError
from facecorpus.phases import forgotten, scored
from facecorpus.phases.corpus import Corpus, SourceSpec
from facecorpus.phases.cutting import cut
from facecorpus.phases.files import publish_hashed, table_digest
from facecorpus.phases.phase import Made, Phase
from facecorpus.progress import say
from facecorpus.record import Record, to_table
from facecorpus.sources.base import Reader, RepeatedIdsError, stamp_of
from facecorpus.units import Done, Unit

NAME = "inventory"


class Part(NamedTuple):
    """A row group of a source's inventory: what one unit scores."""

    name: str
    rows: int
    digest: str
    """Of the rows and the bytes of their inputs."""
    listed: str
    """Digest of the rows."""
    stamps: str
    """Digest of the stamps of the inputs' files."""


def path(source: str) -> str:
    """Where the inventory of a source is, relative to the corpus."""
    return f"inventory/{source}.parquet"


def plan(corpus: Corpus, done: Done) -> list[Unit]:
    """One unit per source; its digest covers the names, sizes and times of every file the source reads."""
    plans: list[Unit] = []
    record = forgotten.requests(corpus.out)
    for spec in corpus.sources:
        stamps = spec.open(corpus.out).stamps()
        size = corpus.recipe.inputs_per_unit
        files = units.digest(schema.VERSION, spec.adapter, spec.name, size, stamps, spec.redistributable)
        plans.append(Unit(NAME, spec.name, code(files, record), 1, {"files": files, "source": vars(spec)}))
    return plans


def code(files: str, record: forgotten.Requests) -> str:
    """Digest of a source's listing, from that of its files and what must be forgotten."""
    return files if record.digest is None else units.digest(files, record.digest)


def run(corpus: Corpus, unit: Unit) -> Made:
    """List one source; its mark tells the number of inputs, the parts, and what the adapter noticed.

    Raises:
        UserError: the source has no inputs, or cannot be read.
    """
    spec, record = SourceSpec(**unit.spec["source"]), forgotten.requests(corpus.out)
    source = spec.open(corpus.out)
    stamps = source.stamps()
    mark = units.read_mark(corpus.out, NAME, spec.name) or {"summary": {}}
    before = {part[0]: Part(*part) for part in mark["summary"].get("parts", [])}
    reader = source.reader()
    found: list[Part] = []
    repeated = frozenset[int]()

    def write(file: BinaryIO) -> None:
        found.clear()
        with pq.ParquetWriter(file, schema.INVENTORY, compression="zstd") as writer:
            listed = _with_terms(source.inventory(repeated), spec.redistributable)
            for name, batch in cut(spec.name, listed, corpus.recipe.inputs_per_unit):
                stamp = units.digest([stamp_of(each, stamps) for each in batch])
                shown = record.hide(batch)
                table = to_table(shown, schema.INVENTORY)
                writer.write_table(table, row_group_size=len(batch))
                now = (table_digest(table), stamp)
                digest = _code(corpus, reader, spec.name, before.get(name), now, shown)
                found.append(Part(name, len(batch), digest, *now))
        if not found:  # raised inside, so that nothing is published
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
    inputs = sum(part.rows for part in found)
    return [output], {
        "parts": found,
        "inputs": inputs,
        "notes": source.notes,
        "files": unit.spec["files"],
    }


def _with_terms(records: Iterable[Record], redistributable: bool) -> Iterator[Record]:
    """The records, with the source's terms for those that have no licence of their own."""
    for record in records:
        if record.redistributable is None:
            record.redistributable = redistributable
        yield record


def _code(
    corpus: Corpus,
    reader: Reader,
    source: str,
    before: Part | None,
    now: tuple[str, str],
    batch: Sequence[Record],
) -> str:
    """Digest of a part: the one it had `before` where it lists the same and the bytes are the same.

    Args:
        corpus: the corpus.
        reader: of the source.
        source: its name.
        before: the part of this name in an earlier listing.
        now: digests of its rows and of their files' stamps.
        batch: the rows.
    """
    if before is not None and before.listed == now[0]:
        part = scored.part_name(source, before.name)
        if before.stamps == now[1] or scored.is_same(corpus, reader, part, before.digest, batch):
            return before.digest
    return units.digest(*now)


def finish(corpus: Corpus, plan: Sequence[Unit], done: Done) -> None:
    """Say what the adapters noticed besides inputs, one sentence each."""
    for spec in corpus.sources:
        for note in _summary(corpus, done, spec.name)["notes"]:
            say(f"note: {spec.name}: {note}")


def counts(corpus: Corpus, done: Done | None = None) -> dict[str, int]:
    """Number of inputs per source, from the done marks.

    Raises:
        UserError: a source has not been listed yet.
    """
    done = done or Done(corpus.out)
    return {spec.name: _summary(corpus, done, spec.name)["inputs"] for spec in corpus.sources}


def parts(corpus: Corpus, done: Done, source: str) -> list[Part]:
    """The row groups of a source's inventory, in order."""
    return [Part(*part) for part in _summary(corpus, done, source)["parts"]]


def read_part(corpus: Corpus, source: str, number: int) -> pa.Table:
    """Rows of one row group."""
    return storage.read_table(storage.join(corpus.out, path(source)), row_group=number)


def _summary(corpus: Corpus, done: Done, source: str) -> Mapping[str, Any]:
    mark = done.marks(NAME).get(source)
    if mark is None:
        raise UserError(
            f"{source} has not been listed in {corpus.out}; run 'facecorpus inventory' or 'build' first"
        )
    return mark["summary"]


PHASE = Phase(NAME, "sources", plan, run, lambda unit: [path(unit.name)], finish)
