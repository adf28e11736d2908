"""The ledger: closes exactly when every input has one terminal state."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from facecorpus import ledger
from facecorpus.record import Record, State, from_table, to_table
from facecorpus.schema import SCORES


def table(rows: list[tuple[str, str, int, str, str | None]]) -> pa.Table:
    columns = ("id", "source", "face_index", "state", "reason")
    return pa.table(
        {
            **{name: [row[i] for row in rows] for i, name in enumerate(columns)},
            "duplicate_kind": pa.array(
                ["file" if row[3] == "duplicate" else None for row in rows], pa.string()
            ),
        }
    )


rows = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["kept", "rejected", "duplicate", "failed"])),
    min_size=1,
    max_size=50,
)


@given(rows)
def test_counts_add_up(states: list[tuple[str, str]]) -> None:
    reasons = {"rejected": "no_face", "failed": "corrupt"}
    selection = table([(f"{s}/{i}", s, 0, state, reasons.get(state)) for i, (s, state) in enumerate(states)])
    inputs = Counter(source for source, _ in states)
    ledgers = ledger.close(dict(inputs), selection)
    for source, entry in ledgers.items():
        assert entry.closes
        assert entry.states == Counter(state for s, state in states if s == source)
        assert entry.samples == entry.states["kept"]
        assert sum(entry.reasons.values()) == entry.inputs - entry.states["kept"]
    one_more = ledger.close({source: count + 1 for source, count in inputs.items()}, selection)
    assert not any(entry.closes for entry in one_more.values())


def test_a_candidate_left_over_is_seen() -> None:
    entry = ledger.close({"a": 1}, table([("a/1", "a", 0, "candidate", None)]))["a"]
    assert not entry.closes


def test_every_face_of_an_input_counts_once_in_its_best_state() -> None:
    selection = table(
        [
            ("a/group.jpg", "a", 0, "rejected", "face_cut_off"),
            ("a/group.jpg#1", "a", 1, "kept", None),
            ("a/group.jpg#2", "a", 2, "kept", None),
            ("a/odd#1", "a", 0, "failed", "corrupt"),  # a file whose own name ends in #1
        ]
    )
    entry = ledger.close({"a": 2}, selection)["a"]
    assert entry.closes
    assert entry.states == {"kept": 1, "failed": 1}
    assert entry.samples == 2


def test_records_survive_the_table() -> None:
    record = Record(
        id="s/m",
        source="s",
        container="",
        member="m",
        bytes=3,
        state=State.REJECTED,
        reason="no_face",
        points_px=tuple(float(i) for i in range(10)),
        image_hash=bytes(32),
        matrix=(1.0, 0.0, 0.5, 0.0, 1.0, 0.25),
    )
    assert list(from_table(to_table([record], SCORES))) == [record]
