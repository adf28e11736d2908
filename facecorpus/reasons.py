"""Why inputs end. A reason is declared once, where it is given, with all that others say of it.

The codecs' reasons are in `images`, the archives' in `sources`, a detector's in `faces`, a filter's in its
file in `filters`, those of the score phase in `phases`; here are the ones that several of them give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from facecorpus.errors import UserError
from facecorpus.plugins import Registry
from facecorpus.record import State

STEPS = ("readable", "right shape", "processed", "usable face", "clear crop")
"""Steps on the way from an input to a kept picture, in order; a reason belongs to one of them."""
Remedy = str | Callable[[Any], str]
"""What would change that inputs end so, as the end of a sentence; a format of `recipe` (a `CorpusRecipe`), or
what makes the words from that."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a record was rejected or failed."""

    name: str
    """As Parquet holds it: part of the disk contract."""
    state: State
    """What becomes of the record: `REJECTED` or `FAILED`."""
    step: str
    """One of `STEPS`."""
    about: str
    """What it means, as a sentence for people."""
    remedy: Remedy

    def __reduce__(self) -> tuple[Callable[[str], Reason], tuple[str]]:
        return _declared, (self.name,)


REASONS: Registry[Reason] = Registry("there is no reason {}")
"""Every reason, by name."""


def _declared(name: str) -> Reason:
    return REASONS.get(name)


def declare(name: str, state: State, step: str, about: str, remedy: Remedy) -> Reason:
    """A new reason; see `Reason`.

    Raises:
        UserError: there is one of that name, or no such step.
    """
    if step not in STEPS:
        raise UserError(f"reason {name} belongs to {step!r}; give one of {', '.join(STEPS)}")
    return REASONS.register(name)(Reason(name, state, step, about, remedy))


def change(limit: str, how: str, why: str) -> str:
    """The remedy where setting a limit "lower" or "higher" keeps the inputs."""
    return (
        f"{why}; to keep them, set it {how}: --set limits.{limit}=NUMBER (it is {{recipe.limits.{limit}:,}})"
    )


DAMAGED = "no setting helps that: the files are damaged or not what their names say; fetch the source again"

EMPTY = declare("empty", State.FAILED, "readable", "The file has no bytes.", DAMAGED)
CORRUPT = declare(
    "corrupt", State.FAILED, "readable", "It claims to be a picture, but cannot be decoded whole.", DAMAGED
)
TOO_MANY_PIXELS = declare(
    "too_many_pixels",
    State.REJECTED,
    "right shape",
    "More pixels than the limit; not decoded.",
    change("max_pixels", "higher", "the recipe drops pictures so large, as memory bounds them"),
)
