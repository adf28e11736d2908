"""What a person must hear at once: a reason that takes much of a source, and what would change it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow.compute

from facecorpus.ledger import SourceLedger
from facecorpus.phases.corpus import Corpus
from facecorpus.recipes import CorpusRecipe
from facecorpus.record import Reason, State
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
    by_reason: dict[str, int] = {}
    for count, _, reason in counted:
        by_reason[reason] = by_reason.get(reason, 0) + count
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
    return _REMEDIES[Reason(reason)](recipe) if reason in _REMEDIES else "see the report for examples"


def _lower(name: str, why: str) -> Callable[[CorpusRecipe], str]:
    """Lowering a limit helps."""
    return lambda recipe: (
        f"{why}; to keep them, set it lower: --set limits.{name}=NUMBER" + _now(name, recipe)
    )


def _raise(name: str, why: str) -> Callable[[CorpusRecipe], str]:
    """Raising a limit helps."""
    return lambda recipe: (
        f"{why}; to keep them, set it higher: --set limits.{name}=NUMBER" + _now(name, recipe)
    )


def _now(name: str, recipe: CorpusRecipe) -> str:
    return f" (it is {getattr(recipe.limits, name):,})"


def _aspect_ratio(recipe: CorpusRecipe) -> str:
    whose = "the rule of the Face9M paper, which" if recipe.name.startswith("face9m") else "a rule that"
    rule = f"this is {whose} the recipe {recipe.name} follows"
    if recipe.align == "none":
        return f"{rule}, as a long picture is squashed here; --set limits.max_aspect_ratio=none lifts it"
    return f"{rule}; as faces are aligned here anyway, --set limits.max_aspect_ratio=none may lift it"


def _no_face(recipe: CorpusRecipe) -> str:
    better = "" if recipe.detector == "retinaface-resnet50" else "--set detector=retinaface-resnet50 or "
    return (
        f"where its pictures do show faces, {better}--set limits.min_face_score=NUMBER below "
        f"{recipe.limits.min_face_score:g} finds more"
    )


def _damaged(_: CorpusRecipe) -> str:
    return "no setting helps that: the files are damaged or not what their names say; fetch the source again"


_REMEDIES: Mapping[str, Callable[[CorpusRecipe], str]] = {
    Reason.FACE_CUT_OFF: _raise(
        "max_padded",
        "its pictures end within the face, more than limits.max_padded even for the tightest crop",
    ),
    Reason.ASPECT_RATIO: _aspect_ratio,
    Reason.TOO_SMALL: _lower("min_side_px", "the recipe drops pictures whose shorter side is so short"),
    Reason.TOO_MANY_PIXELS: _raise("max_pixels", "the recipe drops pictures so large, as memory bounds them"),
    Reason.NO_FACE: _no_face,
    Reason.SEVERAL_FACES: lambda _: (
        "--set limits.faces=main keeps the most prominent face of each, --set limits.faces=all every one"
    ),
    Reason.FACE_TOO_SMALL: _lower("min_interocular_px", "the recipe drops faces whose eyes are so near"),
    Reason.IMPLAUSIBLE_FACE: lambda _: (
        "what was found has no face's proportions; if they are faces, try --set detector=retinaface-resnet50"
    ),
    Reason.TOO_DARK: _lower("min_brightness", "the recipe drops crops so dark"),
    Reason.TOO_BRIGHT: _raise("max_brightness", "the recipe drops crops so bright"),
    Reason.TOO_BLURRED: _lower("min_sharpness", "the recipe drops crops so blurred"),
    Reason.NOT_AN_IMAGE: lambda _: (
        "no setting makes pictures of them: name a source that holds the pictures themselves (an archive by "
        "its own name, as in photos=archive:photos.tar)"
    ),
    Reason.EMPTY: _damaged,
    Reason.CORRUPT: _damaged,
    Reason.UNSUPPORTED: lambda _: "no setting helps that: convert them, as the example says",
    Reason.UNREADABLE: lambda _: "the storage gave no bytes: when it does, run the same command again",
    Reason.MISSING_FRAME: lambda _: "add the recordings, or the pictures of them, that the labels speak of",
    Reason.BAD_NAME: lambda _: "pack them again under plain names, each once and below the archive's top",
    Reason.CRASHED: lambda _: "what reads pictures ends at them: look at the example, which may be hostile",
    Reason.ERROR: lambda _: "a mistake of this program's: please report it; the same command tries again",
}
