"""What a person must hear at once: a reason that takes much of a source, and what would change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow.compute

from facecorpus.ledger import SourceLedger
from facecorpus.phases.corpus import Corpus
from facecorpus.reasons import REASONS
from facecorpus.recipes import CorpusRecipe
from facecorpus.record import State
from facecorpus.report.counts import words
from facecorpus.report.sampled import read_records
from facecorpus.report.survey import Row, rows_where

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

SHARE = Fraction(1, 3)
"""Part of a source's inputs above which one reason of rejection or failure is worth an alarm."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A reason that took much of a source."""

    source: str
    reason: str
    count: int
    inputs: int
    example: str
    """Id of a record that ended so."""
    detail: str
    """What is said of that one."""
    remedy: str
    """What would change it."""

    @property
    def text(self) -> str:
        """The alarm as a sentence."""
        share = f"{100 * self.count / self.inputs:.0f} % {words(self.reason)}"
        detail = f": {self.detail}" if self.detail else ""
        example = f" (e.g. {self.example}{detail})" if self.example else ""
        return f"{self.source}: {share}, {self.count:,} of {self.inputs:,}{example}; {self.remedy}"


def alarms(corpus: Corpus, ledgers: Mapping[str, SourceLedger]) -> list[Alarm]:
    """An alarm for every reason of rejection or failure that took more than `SHARE` of a source's inputs."""
    found = [
        (entry, reason, count)
        for entry in ledgers.values()
        for (state, reason), count in entry.reasons.items()
        if state in (State.REJECTED, State.FAILED) and count > SHARE * entry.inputs
    ]
    examples = _examples(corpus, [(entry.source, reason) for entry, reason, _ in found])
    return [
        Alarm(
            entry.source,
            reason,
            count,
            entry.inputs,
            *examples.get((entry.source, reason), ("", "")),
            remedy(reason, corpus.recipe),
        )
        for entry, reason, count in sorted(found, key=lambda item: (item[0].source, -item[2], item[1]))
    ]


def nothing_kept(corpus: Corpus, ledgers: Mapping[str, SourceLedger]) -> str:
    """The sentence for a build that kept nothing: the most common reason, an example and what helps it."""
    inputs = sum(entry.inputs for entry in ledgers.values())
    counted = [
        (count, entry, reason)
        for entry in ledgers.values()
        for (state, reason), count in entry.reasons.items()
        if state in (State.REJECTED, State.FAILED)
    ]
    if not counted:
        return f"none of the {inputs:,} inputs was kept; see 'facecorpus stats {corpus.out}'"
    by_reason = Counter[str]()
    for count, _, reason in counted:
        by_reason[reason] += count
    ranked = sorted(by_reason, key=lambda reason: (-by_reason[reason], reason))
    common = ", ".join(f"{by_reason[reason]:,} {reason}" for reason in ranked[:3])
    most = max((item for item in counted if item[2] == ranked[0]), key=lambda item: item[0])[1].source
    example, detail = _examples(corpus, [(most, ranked[0])]).get((most, ranked[0]), ("", ""))
    shown = f", for example {example}: {detail}" if example and detail else ""
    return (
        f"none of the {inputs:,} inputs was kept ({common}{shown}); {remedy(ranked[0], corpus.recipe)}; "
        f"'facecorpus stats {corpus.out}' has the whole ledger"
    )


def _examples(corpus: Corpus, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """(id, detail) of the first record of each (source, reason), in the order of the selection."""
    left = set(wanted)
    if not left:
        return {}
    reasons = pyarrow.array([reason for _, reason in left], pyarrow.string())
    rows: dict[tuple[str, str], Row] = {}
    for row in rows_where(corpus, lambda table: pc.is_in(table["reason"], value_set=reasons)):
        key = (row.source, row.reason or "")
        if key in left:
            rows[key] = row
            left.remove(key)
            if not left:
                break
    records = read_records(corpus, rows.values())
    details = {name: record.detail or "" for name, record in records.items()}
    return {key: (row.id, details.get(row.id, "")) for key, row in rows.items()}


def remedy(reason: str, recipe: CorpusRecipe) -> str:
    """What would change that inputs end for this reason, as the end of a sentence."""
    if reason not in REASONS:
        return "see the report for examples"
    said = REASONS.get(reason).remedy
    return said.format(recipe=recipe) if isinstance(said, str) else said(recipe)
