"""What must become of every input of the drawn data sets, and whether it did."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from facecorpus.errors import UserError
from facecorpus.record import State

TRUTH_NAME = "truth.jsonl"
"""Beside the drawn data sets."""


@dataclass(frozen=True, slots=True)
class TruthRow:
    """The truth about one input under the default recipe."""

    id: str
    """`SOURCE/MEMBER`, as in `record.Record`."""
    source: str
    outcome: str
    """"kept", "rejected", "duplicate" or "failed". Within a duplicate group one is "kept" and the others
    "duplicate", but which one survives is the tool's choice."""
    reason: str | None
    """Name of the reason, for "rejected" and "failed"."""
    duplicate_group: str | None
    """Shared by the inputs that show the same picture."""
    identity: str | None
    """The label the data set's layout gives."""
    au: dict[str, float] | None
    """Drawn action-unit intensities 0 to 5 by number ("12": 3.5); None where there is not one person."""


def write_truth(root: Path, rows: Sequence[TruthRow]) -> Path:
    """Write `ROOT/truth.jsonl`, ordered by id, and return its path."""
    path = root / TRUTH_NAME
    lines = [json.dumps(asdict(row), sort_keys=False) for row in sorted(rows, key=lambda row: row.id)]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def read_truth(root: Path) -> list[TruthRow]:
    """The rows of `ROOT/truth.jsonl`.

    Raises:
        UserError: there is no truth file below `root`, or a line of it is damaged.
    """
    path = root / TRUTH_NAME
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: only data sets drawn by `facecorpus synth` have a truth file."
        )
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(TruthRow(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{path} line {number} is damaged ({error}): draw the data sets again."
            ) from error
    return rows


def check_selection(root: Path, sources: Collection[str], selection: pa.Table, faces: str = "one") -> str:
    """Compare a corpus (its `schema.SELECTION`) of data sets drawn below `root` with their truth; a sentence.

    Args:
        root: of the data sets.
        sources: those in the corpus.
        selection: what became of each input.
        faces: see `check_truth`.

    Raises:
        UserError: an input did not become what it must.
    """
    rows = [row for row in read_truth(root) if row.source in sources]
    names = ("id", "state", "reason", "duplicate_of")
    outcomes = {row["id"]: tuple(row[n] for n in names[1:]) for row in selection.select(names).to_pylist()}
    complaints, path = check_truth(rows, outcomes, faces), root / TRUTH_NAME
    if complaints:
        listed = "\n  ".join(complaints[:10])
        raise UserError(f"{len(complaints)} of {len(rows)} inputs are not what {path} says:\n  {listed}")
    return f"all {len(rows):,} inputs became what {path} says"


def check_truth(
    rows: Sequence[TruthRow],
    outcomes: Mapping[str, tuple[str, str | None, str | None]],
    faces: str = "one",
) -> list[str]:
    """Compare what a build did with the truth.

    Args:
        rows: the truth.
        outcomes: (state, reason, duplicate_of) of every input by id.
        faces: the recipe's `limits.faces`; unless it is "one", pictures of several people are kept.

    Returns:
        Complaints, a sentence each; empty where the truth is met to the last row.
    """
    complaints = []
    known = Counter(row.id for row in rows)
    complaints += [f"{i} is in the truth {n} times" for i, n in sorted(known.items()) if n > 1]
    complaints += [f"{i} has an outcome but is not in the truth" for i in sorted(set(outcomes) - set(known))]
    complaints += [f"{i} has no outcome" for i in sorted(set(known) - set(outcomes))]
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.id not in outcomes:
            continue
        if row.duplicate_group is not None:
            groups[row.duplicate_group].append(row.id)
            continue
        state, reason, duplicate_of = outcomes[row.id]
        if faces != "one" and row.reason == "several_faces":
            row = replace(row, outcome=str(State.KEPT), reason=None)
        if state != row.outcome or (row.reason or None) != (reason or None):
            found = (
                f"{state} ({reason})" if reason else f"{state} of {duplicate_of}" if duplicate_of else state
            )
            complaints.append(
                f"{row.id} is {found}, not {row.outcome}" + (f" ({row.reason})" if row.reason else "")
            )
    for group, members in sorted(groups.items()):
        complaints += _check_group(group, members, outcomes)
    return complaints


def _check_group(
    group: str, members: list[str], outcomes: Mapping[str, tuple[str, str | None, str | None]]
) -> list[str]:
    complaints = []
    kept = [i for i in members if outcomes[i][0] == State.KEPT]
    if len(kept) != 1:
        complaints.append(f"{group} ({', '.join(members)}) has {len(kept)} survivors, not 1")
    for i in members:
        state, reason, duplicate_of = outcomes[i]
        if state not in (State.KEPT, State.DUPLICATE):
            complaints.append(f"{i} is {state} ({reason}), not kept or duplicate")
        elif state == State.DUPLICATE and duplicate_of not in members:
            complaints.append(f"{i} is a duplicate of {duplicate_of}, which shows another picture")
    return complaints
