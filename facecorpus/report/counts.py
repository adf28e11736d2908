"""The ledger as plain text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from facecorpus.ledger import TERMINAL, SourceLedger
from facecorpus.record import State

TOTAL = "total"
KINDS = {
    "file": "same bytes",
    "pixels": "same pixels",
    "photo": "same photo id",
    "image": "same picture",
    "crop": "same face crop",
}
"""What the links between duplicates mean, for people."""


def total(ledgers: Mapping[str, SourceLedger]) -> SourceLedger:
    """The ledger of all sources together."""
    whole = SourceLedger(TOTAL, 0)
    for entry in ledgers.values():
        whole.inputs += entry.inputs
        whole.samples += entry.samples
        whole.states.update(entry.states)
        whole.reasons.update(entry.reasons)
    return whole


def ledger_text(ledgers: dict[str, SourceLedger]) -> str:
    """An aligned table of what became of each source's inputs, and beneath it the reasons, for a terminal."""
    rows: list[tuple[str, ...]] = [("source", "inputs", *map(str, TERMINAL), "samples")]
    entries = [*ledgers.values(), total(ledgers)]
    for entry in entries:
        numbers = (entry.inputs, *(entry.states[state] for state in TERMINAL), entry.samples)
        rows.append((entry.source, *(f"{number:,}" for number in numbers)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_aligned(row, widths) for row in rows]
    rule = "-" * len(lines[0])
    lines = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
    for entry in ledgers.values():
        lines += ["", f"{entry.source}:", *(f"  {line}" for line in _reasons(entry))]
        if not entry.closes:
            accounted = sum(entry.states.values())
            lines.append(f"  NOT CLOSED: {entry.inputs:,} inputs, but {accounted:,} accounted for")
    return "\n".join(lines)


def ledger_markdown(ledgers: dict[str, SourceLedger]) -> str:
    """The yield of each source by rule as a Markdown table: inputs, kept, a column for each reason met."""
    whole = total(ledgers)
    found = [(state, reason) for state in TERMINAL for reason, _ in by_count(whole, state)]
    head = ["source", "inputs", "kept", "of inputs", *(words(reason) for _, reason in found)]
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    for entry in (*ledgers.values(), whole):
        kept = entry.states[State.KEPT]
        share = f"{kept / entry.inputs:.0%}" if entry.inputs else ""
        counts = [f"{count:,}" if (count := entry.reasons[why]) else "" for why in found]
        lines.append(f"| {' | '.join([entry.source, f'{entry.inputs:,}', f'{kept:,}', share, *counts])} |")
    return "\n".join(lines)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """The name to the left, the numbers to the right."""
    numbers = (number.rjust(width) for number, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers])


def _reasons(entry: SourceLedger) -> Iterable[str]:
    """A line for each state that has reasons: `43 rejected: 20 too small, 23 no face`."""
    if not entry.reasons:
        yield "all kept" if entry.states[State.KEPT] == entry.inputs else "nothing decided yet"
    for state in (State.DUPLICATE, State.REJECTED, State.FAILED):
        found = by_count(entry, state)
        if found:
            listed = ", ".join(f"{count:,} {words(reason)}" for reason, count in found)
            yield f"{entry.states[state]:,} {state}: {listed}"


def by_count(entry: SourceLedger, state: str) -> Sequence[tuple[str, int]]:
    """(reason, inputs) of one state, the most common first."""
    found = [(reason, count) for (known, reason), count in entry.reasons.items() if known == state and count]
    return sorted(found, key=lambda item: (-item[1], item[0]))


def words(reason: str) -> str:
    """A reason or kind of duplicate as words: `too_small` is "too small", `file` is "same bytes"."""
    return KINDS.get(reason, reason.replace("_", " ")) or "no reason given"


def headline(entry: SourceLedger) -> str:
    """The ledger as a sentence: `120 inputs = 90 kept + 10 duplicates + 18 rejected + 2 failed`."""
    copies = entry.states[State.DUPLICATE]
    parts = [
        f"{entry.states[State.KEPT]:,} kept",
        f"{copies:,} {'duplicate' if copies == 1 else 'duplicates'}",
        f"{entry.states[State.REJECTED]:,} rejected",
        f"{entry.states[State.FAILED]:,} failed",
    ]
    return f"{entry.inputs:,} {'input' if entry.inputs == 1 else 'inputs'} = {' + '.join(parts)}"


def ledger_json(ledgers: dict[str, SourceLedger]) -> dict[str, Any]:
    """The ledger as JSON-able data: {"sources": {name: counts}, "total": counts}.

    counts: "inputs", "samples", "closes", one number for each terminal state, and "reasons"
    {state: {reason: inputs}}, the most common first.
    """
    plain = {name: _plain(entry) for name, entry in ledgers.items()}
    return {"sources": plain, TOTAL: _plain(total(ledgers))}


def _plain(entry: SourceLedger) -> dict[str, Any]:
    states = Counter({str(state): entry.states[state] for state in TERMINAL})
    return {
        "inputs": entry.inputs,
        "samples": entry.samples,
        "closes": entry.closes,
        **states,
        "reasons": {str(state): dict(by_count(entry, state)) for state in TERMINAL if by_count(entry, state)},
    }
