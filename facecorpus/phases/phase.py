"""What all phases have in common: units that are planned, run anywhere and marked, and a finish."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from facecorpus import units
from facecorpus.errors import UserError
from facecorpus.phases.corpus import Corpus
from facecorpus.units import Done, Output, Unit

Made = tuple[Sequence[Output], Mapping[str, Any]]
"""The files that a unit wrote, and what its mark shall say of it; `AGAIN` in that is true where a later run
shall do it once more."""
AGAIN = "again"


class Phase(NamedTuple):
    """One phase of the build. Its functions are importable by name: units are run in other processes."""

    name: str
    counted: str
    """What the sizes of its units count, for progress."""
    plan: Callable[[Corpus, Done], list[Unit]]
    """All units, in order, from the marks of the phases before; raises UserError where these lack."""
    run: Callable[[Corpus, Unit], Made]
    """Do one unit; its mark is published after it."""
    paths: Callable[[Unit], Sequence[str]] | None = None
    """What a unit writes, relative to the corpus; None where that is its mark alone."""
    finish: Callable[[Corpus, Sequence[Unit], Done], None] | None = None
    """Runs after the last unit, the marks of all of them at hand."""
    revive: Callable[[Unit, Any, str], Unit] | None = None
    """What to run in place of a unit whose worker died; see `facecorpus.engines`."""


def work(run: Callable[[Corpus, Unit], Made], corpus: Corpus, unit: Unit) -> dict[str, Any]:
    """Run one unit and mark it done; returns its mark."""
    outputs, summary = run(corpus, unit)
    mark = units.mark_of(unit, outputs, summary)
    try:
        units.publish_mark(corpus.out, unit, mark)
    except (UserError, OSError):
        if outputs:  # a check has been made, whether or not the place may be written
            raise
    return mark
