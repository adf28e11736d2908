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

from facecorpus.record import State

TERMINAL = (State.KEPT, State.DUPLICATE, State.REJECTED, State.FAILED)
"""Terminal states, best first."""


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


def input_id(record_id: str) -> str:
    """Id of the input a record was made from: the id without the `#N` of a further face.

    Only a final `#` and digits are cut; a file whose own name ends so is told apart because the record keeps
    its `face_index` (see `close`).
    """
    head, mark, tail = record_id.rpartition("#")
    return head if mark and tail.isascii() and tail.isdigit() else record_id


def close(inventory_counts: dict[str, int], selection: pa.Table) -> dict[str, SourceLedger]:
    """The ledger per source, from the number of inventory rows per source and the selection table."""
    ledgers = {source: SourceLedger(source, count) for source, count in inventory_counts.items()}
    rank = {str(state): number for number, state in enumerate(TERMINAL)}
    words = selection["state"].to_pylist()
    states = np.array([rank.get(word, len(TERMINAL)) for word in words], dtype=np.int8)
    ids = selection["id"].to_pylist()
    faces = selection["face_index"].to_pylist()
    if any(face > 0 for face in faces):
        inputs = np.array(
            [input_id(i) if face > 0 else i for i, face in zip(ids, faces, strict=True)], dtype=object
        )
        order = np.lexsort((states, inputs.astype(str)))
        first = np.ones(len(order), dtype=bool)
        first[1:] = inputs[order][1:] != inputs[order][:-1]
        rows = np.sort(order[first])
    else:
        rows = np.arange(len(ids))
    kept = pa.array([word == State.KEPT for word in words], pa.bool_())
    for group in selection["source"].filter(kept).value_counts().to_pylist():
        ledgers.setdefault(group["values"], SourceLedger(group["values"], 0)).samples = group["counts"]
    part = selection.select(["source", "state", "reason", "duplicate_kind"]).take(pa.array(rows))
    for group in part.group_by(part.column_names).aggregate([([], "count_all")]).to_pylist():
        ledger = ledgers.setdefault(group["source"], SourceLedger(group["source"], 0))
        ledger.states[group["state"]] += group["count_all"]
        if group["state"] != State.KEPT:
            ledger.reasons[(group["state"], group["reason"] or group["duplicate_kind"] or "")] += group[
                "count_all"
            ]
    return ledgers
