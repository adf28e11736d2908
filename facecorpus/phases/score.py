"""Phase 2: look at every input once. Decode, filter, detect, align, resize, encode, hash; a row for each,
kept or not.

One unit per row group of an inventory. It stages the encoded crops beside its rows; nothing downstream
decodes again.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import BinaryIO

from facecorpus import schema, units
from facecorpus.errors import UserError
from facecorpus.phases import inventory
from facecorpus.phases.corpus import Corpus, SourceSpec
from facecorpus.phases.files import publish_hashed, publish_parquet
from facecorpus.phases.judging import ended, judge, make_ready
from facecorpus.phases.phase import AGAIN, Made, Phase
from facecorpus.phases.scored import CRASHED, NAME, TRIED_AGAIN, part_name, rows_path
from facecorpus.record import Record, from_table, to_table
from facecorpus.sources.base import Reader
from facecorpus.units import Done, Unit

STAGED = "staged"


def crops_path(unit: str) -> str:
    """Where the staged crops of a unit are, relative to the corpus."""
    return f"{STAGED}/{unit}.crops"


def plan(corpus: Corpus, done: Done) -> list[Unit]:
    """One unit per row group of each source's inventory."""
    code = corpus.score_digest()
    return [
        Unit(
            NAME,
            part_name(spec.name, part.name),
            units.digest(code, part.digest),
            part.rows,
            {"source": spec.name, "group": number},
        )
        for spec in corpus.sources
        for number, part in enumerate(inventory.parts(corpus, done, spec.name))
    ]


@functools.lru_cache(maxsize=8)
def _reader(spec: SourceSpec, out: str) -> Reader:
    return spec.open(out).reader()


def run(corpus: Corpus, unit: Unit) -> Made:
    """Score one unit; its mark tells {state: rows}, and how many inputs a later run should try again.

    A unit from `revive` is scored input by input, each noted before it is touched, and those known to end the
    process are left out.
    """
    spec = next(s for s in corpus.sources if s.name == unit.spec["source"])
    reader = _reader(spec, corpus.out)
    rows: list[Record] = []
    crashes: Mapping[str, str] | None = unit.spec.get("crashes")

    def write(file: BinaryIO) -> None:
        rows.clear()
        offset = 0
        listed = from_table(inventory.read_part(corpus, spec.name, unit.spec["group"]))
        scored = (
            judge(corpus, reader, listed)
            if crashes is None
            else _score_singly(corpus, reader, listed, crashes)
        )
        for row, crop in scored:
            if crop is not None:
                row.crop_offset, row.crop_bytes = offset, len(crop)
                row.crop_sha256 = hashlib.sha256(crop).hexdigest()
                offset += file.write(crop)
            rows.append(row)

    crops = publish_hashed(corpus.out, crops_path(unit.name), write)
    listed = publish_parquet(corpus.out, rows_path(unit.name), to_table(rows, schema.SCORES))
    again = sum(row.reason in TRIED_AGAIN for row in rows)
    return [crops, listed], {AGAIN: again, **Counter(row.state for row in rows)}


MOST_CRASHES = 16
"""Inputs of one unit that may end the process; more mean that something else is wrong."""


def revive(unit: Unit, note: str | None, how: str) -> Unit:
    """The unit to run in place of one whose worker died.

    The first death says nothing of which input it was, so the unit is scored again input by input. An input
    at which a worker then dies is left out of the next attempt.

    Raises:
        UserError: it died before it came to an input, or at too many of them.
    """
    crashes = unit.spec.get("crashes")
    if crashes is None:
        return replace(unit, spec={**unit.spec, "crashes": {}})
    if note is None or len(crashes) >= MOST_CRASHES:
        at = "before its first input" if note is None else f"at {len(crashes) + 1} inputs"
        raise UserError(
            f"the process that scores part {unit.name} died {at} ({how}), most likely for want of memory; "
            "run the same command again with fewer --workers: finished parts are kept"
        )
    return replace(unit, spec={**unit.spec, "crashes": {**crashes, note: how}})


def _score_singly(
    corpus: Corpus, reader: Reader, records: Iterable[Record], crashes: Mapping[str, str]
) -> Iterator[tuple[Record, bytes | None]]:
    """As `judge`, with `crashes` (input's id -> how the process ended) left out."""
    for record in records:
        if (how := crashes.get(record.id)) is not None:
            detail = f"looking at it ended the process ({how}), alone too"
            yield ended(record, CRASHED, detail), None
            continue
        make_ready(corpus)
        units.note(record.id)
        yield from judge(corpus, reader, [record])


PHASE = Phase(NAME, "images", plan, run, lambda u: [crops_path(u.name), rows_path(u.name)], revive=revive)
