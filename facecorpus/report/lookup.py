"""Finding a record by what a person types: an id, the id of an input, or a sample key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute

from facecorpus import schema
from facecorpus.errors import UserError
from facecorpus.phases.corpus import Corpus
from facecorpus.report.survey import Row, batches, rows_where

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

_KEY = re.compile(rf"[0-9a-f]{{{schema.KEY_DIGITS}}}")
_NEAREST = 3
_CANDIDATES = 300
"""Ids that are compared letter by letter with an unknown one."""


def find(corpus: Corpus, what: str) -> list[Row]:
    """The rows that `what` names: one, or every face of an input that has several.

    Args:
        corpus: with a selection.
        what: an id (`SOURCE/MEMBER`, `SOURCE/MEMBER#N`) or a sample key; `.jpg` after a key is allowed.

    Raises:
        UserError: there is no such record; the nearest ids are named.
    """
    key = what.removesuffix(f".{schema.JPG}")
    if _KEY.fullmatch(key):
        by_key = list(rows_where(corpus, lambda table: pc.equal(table["key"], key)))
        if by_key:
            return by_key

    def mine(table: pa.Table) -> pa.Array:
        further = pc.and_(pc.greater(table["face_index"], 0), pc.starts_with(table["id"], f"{what}#"))
        return pc.or_(pc.equal(table["id"], what), further)

    found = [row for row in rows_where(corpus, mine) if row.id in (what, f"{what}#{row.face_index}")]
    if found:
        return found
    near = nearest(corpus, what)
    hint = f"the nearest are {', '.join(near)}" if near else "the corpus has no inputs"
    raise UserError(f"{what!r} is neither an id nor a sample key in {corpus.out}; {hint}")


def nearest(corpus: Corpus, what: str) -> list[str]:
    """The ids most like `what`, the best first.

    Only ids that share the longest possible beginning or end with it are compared letter by letter, so that
    millions of them are searched in seconds.
    """
    chunks = [chunk for table in batches(corpus, ["id"]) for chunk in table["id"].chunks]
    ids = pa.chunked_array(chunks, pa.string())
    if not len(ids):
        return []
    folded, wanted = pc.utf8_lower(ids), what.lower()
    places: set[int] = set()
    for mask in (
        _longest(len(wanted), lambda n: pc.starts_with(folded, wanted[:n])),
        _longest(len(wanted), lambda n: pc.ends_with(folded, wanted[len(wanted) - n :])),
    ):
        places.update(pc.indices_nonzero(mask)[:_CANDIDATES].to_pylist())
    candidates = ids.take(pa.array(sorted(places))).to_pylist()
    ratio = {i: difflib.SequenceMatcher(None, i.lower(), wanted).ratio() for i in candidates}
    return sorted(candidates, key=lambda i: (-ratio[i], i))[:_NEAREST]


def _longest(limit: int, mask: Callable[[int], pa.ChunkedArray]) -> pa.ChunkedArray:
    """The mask of the largest length, 0 to `limit`, that still has a match (fewer match as it grows)."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if pc.any(mask(middle)).as_py():
            low = middle
        else:
            high = middle - 1
    return mask(low)
