"""The truth file, and how outcomes are held against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from facecorpus.errors import UserError
from facecorpus.synth.truth import TruthRow, check_truth, read_truth


@pytest.fixture(scope="module")
def rows(drawn: Path) -> dict[str, TruthRow]:
    return {row.id: row for row in read_truth(drawn)}


Outcomes = dict[str, tuple[str, str | None, str | None]]


def perfect(rows: dict[str, TruthRow]) -> Outcomes:
    """What a build does that is right; it keeps another member of each group than the truth does."""
    survivor: dict[str, str] = {}
    for i, row in rows.items():
        if row.duplicate_group:
            survivor[row.duplicate_group] = max(survivor.get(row.duplicate_group, ""), i)
    out: Outcomes = {}
    for i, row in rows.items():
        if row.duplicate_group is None:
            out[i] = (row.outcome, row.reason, None)
        else:
            kept = survivor[row.duplicate_group]
            out[i] = ("kept", None, None) if i == kept else ("duplicate", None, kept)
    return out


def test_right_outcomes_meet_the_truth(rows: dict[str, TruthRow]) -> None:
    assert check_truth(list(rows.values()), perfect(rows)) == []


def _first(outcomes: Outcomes, state: str) -> str:
    return next(i for i, outcome in outcomes.items() if outcome[0] == state)


def _lose(outcomes: Outcomes) -> None:
    del outcomes[_first(outcomes, "rejected")]


def _invent(outcomes: Outcomes) -> None:
    outcomes["celeba/nobody.jpg"] = ("kept", None, None)


def _keep_two(outcomes: Outcomes) -> None:
    outcomes[_first(outcomes, "duplicate")] = ("kept", None, None)


def _wrong_reason(outcomes: Outcomes) -> None:
    outcomes[_first(outcomes, "rejected")] = ("rejected", "too_dark", None)


def _wrong_original(outcomes: Outcomes) -> None:
    outcomes[_first(outcomes, "duplicate")] = ("duplicate", None, _first(outcomes, "failed"))


def _false_duplicate(outcomes: Outcomes) -> None:
    alone = outcomes[_first(outcomes, "duplicate")][2]
    single = next(
        i for i, o in outcomes.items() if o[0] == "kept" and i not in {x[2] for x in outcomes.values()}
    )
    outcomes[single] = ("duplicate", None, alone)


def _reject_group(outcomes: Outcomes) -> None:
    outcomes[_first(outcomes, "duplicate")] = ("rejected", "no_face", None)


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (_lose, "has no outcome"),
        (_invent, "not in the truth"),
        (_keep_two, "2 survivors"),
        (_wrong_reason, "too_dark"),
        (_wrong_original, "shows another picture"),
        (_false_duplicate, "not kept"),
        (_reject_group, "not kept or duplicate"),
    ],
)
def test_wrong_outcomes_are_named(
    rows: dict[str, TruthRow], break_it: Callable[[Outcomes], None], complaint: str
) -> None:
    outcomes = perfect(rows)
    break_it(outcomes)
    complaints = check_truth(list(rows.values()), outcomes)
    assert len(complaints) == 1 and complaint in complaints[0]


def test_missing_and_damaged_truth_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_truth(tmp_path)
    (tmp_path / "truth.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(UserError, match="line 1"):
        read_truth(tmp_path)
