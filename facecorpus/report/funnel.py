"""The way from inputs to kept pictures, step by step, and what was lost at each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from facecorpus.ledger import SourceLedger
from facecorpus.record import Reason, State
from facecorpus.report.counts import words

_STEPS: Mapping[str, frozenset[str]] = {
    "readable": frozenset(
        {
            Reason.EMPTY,
            Reason.CORRUPT,
            Reason.UNSUPPORTED,
            Reason.UNREADABLE,
            Reason.MISSING_FRAME,
            Reason.NOT_AN_IMAGE,
            Reason.BAD_NAME,
        }
    ),
    "right shape": frozenset({Reason.TOO_MANY_PIXELS, Reason.TOO_SMALL, Reason.ASPECT_RATIO}),
    "processed": frozenset({Reason.ERROR, Reason.CRASHED}),
    "usable face": frozenset(
        {
            Reason.NO_FACE,
            Reason.SEVERAL_FACES,
            Reason.FACE_TOO_SMALL,
            Reason.FACE_CUT_OFF,
            Reason.IMPLAUSIBLE_FACE,
        }
    ),
    "clear crop": frozenset({Reason.TOO_DARK, Reason.TOO_BRIGHT, Reason.TOO_BLURRED}),
}
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
    step_of = {reason: name for name, reasons in _STEPS.items() for reason in reasons}
    lost: dict[str, list[Loss]] = {name: [] for name in (*_STEPS, OTHER, KEPT)}
    for (state, reason), count in sorted(entry.reasons.items(), key=lambda item: (-item[1], item[0])):
        name = KEPT if state == State.DUPLICATE else step_of.get(reason, OTHER)
        lost[name].append(Loss(state, words(reason), count))
    left = entry.inputs
    steps = [Step("inputs", left, ())]
    for name, losses in lost.items():
        if losses or name not in _OPTIONAL:
            left -= sum(loss.count for loss in losses)
            steps.append(Step(name, left, tuple(losses)))
    return steps
