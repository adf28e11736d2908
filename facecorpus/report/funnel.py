"""The way from inputs to kept pictures, step by step, and what was lost at each."""

from __future__ import annotations

from dataclasses import dataclass

from facecorpus.ledger import SourceLedger
from facecorpus.reasons import REASONS, STEPS
from facecorpus.record import State
from facecorpus.report.counts import words

OTHER = "other rules"
KEPT = "unique: kept"
_OPTIONAL = frozenset({"processed", "clear crop", OTHER})
"""Steps at which most corpora lose nothing: shown only where something was lost."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Inputs that ended at a step."""

    state: str
    words: str
    count: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the funnel."""

    name: str
    count: int
    """Inputs that went on."""
    losses: tuple[Loss, ...]
    """The others, the most common reason first."""

    @property
    def lost(self) -> int:
        """Inputs that ended here."""
        return sum(loss.count for loss in self.losses)


def funnel(entry: SourceLedger) -> list[Step]:
    """The steps of one source, from "inputs" to `KEPT`; the count of the last one is what was kept.

    A reason that belongs to no step is counted under `OTHER`, so the losses add up to all that was not kept.
    """
    lost: dict[str, list[Loss]] = {name: [] for name in (*STEPS, OTHER, KEPT)}
    for (state, reason), count in sorted(entry.reasons.items(), key=lambda item: (-item[1], item[0])):
        step = REASONS.get(reason).step if reason in REASONS else OTHER
        name = KEPT if state == State.DUPLICATE else step
        lost[name].append(Loss(state, words(reason), count))
    left = entry.inputs
    steps = [Step("inputs", left, ())]
    for name, losses in lost.items():
        if losses or name not in _OPTIONAL:
            left -= sum(loss.count for loss in losses)
            steps.append(Step(name, left, tuple(losses)))
    return steps
