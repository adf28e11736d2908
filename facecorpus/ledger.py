"""Counts that add up: every input of every source ends in exactly one terminal state.

    inputs = kept + rejected + duplicate + failed        for each source, by reason

A recipe that keeps every face of a picture makes several rows of one input; the input then counts once, in
the best state any of its faces reached (kept, then duplicate, rejected, failed).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facecorpus.record import State

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

TERMINAL = (State.KEPT, State.DUPLICATE, State.REJECTED, State.FAILED)
"""Terminal states, best first."""
COLUMNS = ("source", "state", "reason", "duplicate_kind", "face_index")
"""Columns of the selection that `close` reads."""


@dataclass(slots=True)
class SourceLedger:
    """What became of one source's inputs."""

    source: str
    inputs: int
    """Rows of the inventory."""
    samples: int = 0
    """Samples in shards; more than `states["kept"]` where a recipe keeps every face."""
    states: Counter[str] = field(default_factory=Counter[str])
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """(state, reason) -> inputs, for rejected and failed; (duplicate, kind) for duplicates."""

    @property
    def closes(self) -> bool:
        """Whether every input has exactly one terminal state."""
        return self.inputs == sum(self.states[state] for state in TERMINAL) == sum(self.states.values())

    def plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        reasons = [[*why, count] for why, count in self.reasons.items()]
        return {
            "source": self.source,
            "inputs": self.inputs,
            "samples": self.samples,
            "states": dict(self.states),
            "reasons": reasons,
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> SourceLedger:
        """The ledger that `plain` gave."""
        reasons = Counter({(state, reason): count for state, reason, count in data["reasons"]})
        return cls(data["source"], data["inputs"], data["samples"], Counter(data["states"]), reasons)


def close(inventory_counts: dict[str, int], selection: pa.Table) -> dict[str, SourceLedger]:
    """The ledger per source.

    Args:
        inventory_counts: inventory rows per source.
        selection: `COLUMNS` of the selection table, in its order: an input's faces follow its first one.
    """
    ledgers = {source: SourceLedger(source, count) for source, count in inventory_counts.items()}
    selection = selection.select(COLUMNS)
    kept = pc.equal(selection["state"], State.KEPT)
    for group in selection["source"].filter(kept).value_counts().to_pylist():
        ledgers.setdefault(group["values"], SourceLedger(group["values"], 0)).samples = group["counts"]
    best = selection.take(pa.array(_best_faces(selection))).drop_columns("face_index")
    for group in best.group_by(best.column_names).aggregate([([], "count_all")]).to_pylist():
        ledger = ledgers.setdefault(group["source"], SourceLedger(group["source"], 0))
        ledger.states[group["state"]] += group["count_all"]
        if group["state"] != State.KEPT:
            ledger.reasons[(group["state"], group["reason"] or group["duplicate_kind"] or "")] += group[
                "count_all"
            ]
    return ledgers


def _best_faces(selection: pa.Table) -> NDArray[np.int64]:
    """The row of each input that came furthest, in order; the first where several did."""
    first = selection["face_index"].to_numpy() == 0
    if first.all():
        return np.arange(len(first))
    states = pc.index_in(selection["state"], value_set=pa.array(TERMINAL, pa.string()))
    of = np.cumsum(first)
    order = np.lexsort((pc.fill_null(states, len(TERMINAL)).to_numpy(), of))
    return order[np.flatnonzero(np.diff(of[order], prepend=-1))]
