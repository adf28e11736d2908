"""That the selection, the ledger and the placement say what was scored: part by part, by columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facecorpus import ledger, schema, shards, storage
from facecorpus.ledger import SourceLedger
from facecorpus.phases import exclusion, inventory, select
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.row_digests import row_digests
from facecorpus.record import State

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

_SAMPLE = [name for name in select.PLACED.names if name in schema.SCORES.names]
"""What scores and placement both say of a sample."""


def check(
    corpus: Corpus, parts: Sequence[str], summary: Mapping[str, Any]
) -> tuple[list[str], list[SourceLedger]]:
    """Check that the selection says of every row what was scored, and no more than it may; that the ledger
    closes; and that the kept rows are placed, as they were scored, where the shards' ranges say.

    Args:
        corpus: selected.
        parts: what was scored, in order.
        summary: what the selection's mark says of it.

    Returns:
        The faults, as sentences; and the ledgers, none where the selection is another one.
    """
    try:
        told = _told(corpus, parts)
    except _UnlikeError as fault:
        return [f"{select.SELECTION}: {fault}"], []
    ledgers = ledger.close(inventory.counts(corpus), select.read_selection(corpus, ledger.COLUMNS))
    faults = [*_check_ledger(corpus, ledgers, told), *_check_placement(corpus, summary, told)]
    return faults, list(ledgers.values())


class _Told(NamedTuple):
    """What the selection tells of all rows, n in all and k kept, in inventory order."""

    codes: NDArray[np.uint64]
    """(n,): `shards.key_codes` of the ids."""
    kept: NDArray[np.bool_]
    """(n,)"""
    kept_of: NDArray[np.uint64]
    """Codes of the ids that duplicates name as the kept ones."""
    people: pa.Table
    """(k): source and identity."""
    shard: NDArray[np.int32]
    """(k,)"""
    described: NDArray[np.uint64]
    """(k,): digests of what was scored."""


class _UnlikeError(Exception):
    """The selection does not follow from what was scored."""


def _told(corpus: Corpus, parts: Sequence[str]) -> _Told:
    """What the selection tells, held against the scored rows part by part.

    Raises:
        _UnlikeError: it says something else, or more than it may.
    """
    groups = storage.read_row_groups(storage.join(corpus.out, select.SELECTION))
    rest, pieces = schema.SELECTION.empty_table(), list[_Told]()
    for part in parts:
        scored = select.read_scored(corpus, part)
        while len(rest) < len(scored):
            if (more := next(groups, None)) is None:
                raise _UnlikeError("it does not say what was scored")
            rest = pa.concat_tables([rest, more])
        pieces.append(_told_of(part, scored, rest.slice(0, len(scored)).combine_chunks()))
        rest = rest.slice(len(scored))
    if len(rest) or any(len(more) for more in groups):
        raise _UnlikeError("it does not say what was scored")
    columns = list(zip(*pieces, strict=True))
    people = columns.pop(_Told._fields.index("people"))
    codes, kept, kept_of, shard, described = map(np.concatenate, columns)
    return _Told(codes, kept, kept_of, pa.concat_tables(people), shard, described)


def _told_of(part: str, scored: pa.Table, said: pa.Table) -> _Told:
    """The same of one part."""
    candidate = pc.equal(scored["state"], State.CANDIDATE)
    ends = [State.KEPT, State.DUPLICATE, State.REJECTED]
    decided = pc.is_in(said["state"], value_set=pa.array(ends, pa.string()))
    excluded = pc.and_(candidate, pc.equal(said["state"], State.REJECTED))
    reasons = pc.if_else(excluded, exclusion.EXCLUDED.name, scored["reason"])
    details = pc.if_else(excluded, said["detail"], scored["detail"])
    same = [(scored[name], said[name]) for name in ("id", "source", "face_index")]
    if (
        any(one != other for one, other in (*same, (reasons, said["reason"]), (details, said["detail"])))
        or pc.any(pc.not_equal(said["unit"], part)).as_py()
        or not np.array_equal(said["row"].to_numpy(), np.arange(len(said)))
        or not pc.all(pc.if_else(candidate, decided, pc.equal(scored["state"], said["state"]))).as_py()
    ):
        raise _UnlikeError("it does not say what was scored")
    codes, chosen = shards.key_codes(said["id"]), pc.equal(said["state"], State.KEPT)
    kept, mask = said.filter(chosen), chosen.to_numpy()
    if kept["key"].combine_chunks() != shards.key_names(codes[mask]):
        raise _UnlikeError("a kept row has not the key that follows from its id")
    described = scored.filter(chosen)
    return _Told(
        codes,
        mask,
        shards.key_codes(said["duplicate_of"].drop_null()),
        described.select(["source", "identity"]),
        kept["shard"].to_numpy().astype(np.int32),
        row_digests(described, _SAMPLE),
    )


def _check_ledger(corpus: Corpus, ledgers: Mapping[str, SourceLedger], told: _Told) -> Iterator[str]:
    for entry in ledgers.values():
        if not entry.closes:
            states = ", ".join(f"{entry.states[s]} {s}" for s in ledger.TERMINAL)
            yield f"source {entry.source}: {entry.inputs} inputs, but {states}"
    found, counts = np.unique(told.codes, return_counts=True)
    twice = found[counts > 1]
    lost = told.kept_of[~np.isin(told.kept_of, told.codes[told.kept])]
    if len(twice) or len(lost):
        yield from _named(select.read_selection(corpus, ["id", "state", "duplicate_of"]), twice, lost)


def _named(selection: pa.Table, twice: NDArray[np.uint64], lost: NDArray[np.uint64]) -> Iterator[str]:
    """The faults of a ledger by their ids: those listed twice, and those kept in a duplicate's name alone."""
    ids, states = selection["id"].to_pylist(), selection["state"].to_pylist()
    listed = Counter(ids[row] for row in np.flatnonzero(np.isin(shards.key_codes(selection["id"]), twice)))
    for i, count in listed.items():
        yield f"{i} is listed {count} times in the selection"
    names = pc.unique(selection["duplicate_of"].drop_null())
    state = dict(zip(ids, states, strict=True))
    for at in np.flatnonzero(np.isin(shards.key_codes(pa.chunked_array([names])), lost)).tolist():
        name = names[at].as_py()
        yield f"{name} is named as the kept copy of a duplicate, but is {state.get(name)}"


def _check_placement(corpus: Corpus, summary: Mapping[str, Any], told: _Told) -> Iterator[str]:
    keys = told.codes[told.kept]
    ranks = shards.shuffle_ranks(keys, corpus.recipe.seed)
    _, shard = select.share_out(corpus, ranks, told.people, {"summary": summary})
    numbers, sizes = (found.tolist() for found in np.unique(shard, return_counts=True))
    said = [(number, rows) for number, rows, _ in summary["placed"]]
    if said != list(zip(numbers, sizes, strict=True)) or not np.array_equal(shard, told.shard):
        yield f"{select.PLACEMENT}: a sample is not in the shard that its hash belongs to"
    rest = np.lexsort((keys, ranks, shard))
    for placed in storage.read_row_groups(storage.join(corpus.out, select.PLACEMENT)):
        here, rest = rest[: len(placed)], rest[len(placed) :]
        if placed["key"].combine_chunks() != shards.key_names(keys[here]):
            yield f"{select.PLACEMENT}: it does not hold the samples that were kept, in their order"
            return
        if not np.array_equal(row_digests(placed, _SAMPLE), told.described[here]):
            yield f"{select.PLACEMENT}: a sample is not described as it was scored"
    if len(rest):
        yield f"{select.PLACEMENT}: it does not hold the samples that were kept, in their order"
