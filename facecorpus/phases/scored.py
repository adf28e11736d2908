"""Where the scored rows of a part are, and whether they are of the bytes that lie there now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from facecorpus import storage, units
from facecorpus.phases.corpus import Corpus
from facecorpus.reasons import declare
from facecorpus.record import Record, State
from facecorpus.sources.base import InputError, Reader

NAME = "score"
UNREADABLE = declare(
    "unreadable",
    State.FAILED,
    "readable",
    "The source could not be read; the next build tries again.",
    "the storage gave no bytes: when it does, run the same command again",
)
LEFT_OUT = declare(
    "left_out",
    State.REJECTED,
    "readable",
    "The data set itself says that it is not to be taken for a face.",
    "the data set itself says so; 'facecorpus sources NAME' tells of settings",
)
ERROR = declare(
    "error",
    State.FAILED,
    "processed",
    "A mistake of the program's, which is worth a report; the next build tries again.",
    "a mistake of this program's: please report it; the same command tries again",
)
CRASHED = declare(
    "crashed",
    State.FAILED,
    "processed",
    "Looking at it ended the process, alone too; it is left out from now on.",
    "what reads pictures ends at them: look at the example, which may be hostile",
)
TRIED_AGAIN = frozenset({UNREADABLE.name, ERROR.name})
"""Reasons for which the next run tries an input again."""
_UNSEEN = TRIED_AGAIN | {CRASHED.name}
"""Reasons that say nothing of an input's bytes."""


def part_name(source: str, part: str) -> str:
    """Name of the unit that scores a part of a source's inventory."""
    return f"{source}/part-{part}"


def rows_path(unit: str) -> str:
    """Where the rows of a unit are, relative to the corpus."""
    return f"scores/{unit}.parquet"


def is_same(corpus: Corpus, reader: Reader, part: str, group: str, records: Iterable[Record]) -> bool:
    """Whether the inputs of a part are, byte for byte, those that were scored: files that were only touched.

    Reads and hashes them, which is far cheaper than to score them; False wherever that is not certain.

    Args:
        corpus: the corpus.
        reader: of the part's source.
        part: name of the part.
        group: digest of the row group, as it was when the part was scored.
        records: the inputs as they are listed now.
    """
    mark = units.read_mark(corpus.out, NAME, part)
    url = storage.join(corpus.out, rows_path(part))
    code = units.digest(corpus.score_digest(), group)
    if mark is None or mark["digest"] != code or not storage.exists(url):
        return False
    try:
        rows = storage.read_table(url, ["id", "face_index", "sha256", "reason"]).to_pylist()
        known = {row["id"]: (row["sha256"], row["reason"]) for row in rows if row["face_index"] == 0}
        return all(_is_known(reader, record, *known[record.id]) for record in records)
    except Exception:  # whatever it is, scoring the part again will say
        return False


def _is_known(reader: Reader, record: Record, sha256: str | None, reason: str | None) -> bool:
    if record.left_out is not None:
        return True
    if reason in _UNSEEN:
        return False
    try:
        return hashlib.sha256(reader.read(record)).hexdigest() == sha256
    except InputError as error:
        return sha256 is None and error.reason.name == reason
