"""Which recordings a miniature of an annotated set holds: who, in which task, which action units when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from facecorpus.synth.dynamics import AT, activity, intensities, personal_rates
from facecorpus.synth.identity import Identity
from facecorpus.synth.paint import Array
from facecorpus.synth.studies import STUDIES, Study

MIN_FRAMES = 4
"""Fewest annotated frames of a recording: some are lost or show nobody."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One video or image sequence, and its annotation."""

    study: str
    subject: str
    task: str
    person: int
    """Index of the identity."""
    au: Array = field(repr=False)
    """(frames, units) intensities 0 to 5 of the annotated frames; columns as `dynamics.UNITS`."""
    first: int
    """Number of the first annotated frame."""
    before: int = 0
    """Recorded frames before it, in which nobody has sat down yet."""
    after: int = 0
    """Recorded frames after the last annotated one, in which nobody is there any more."""
    lost: int = 0
    """Annotated frames at the end that were not recorded."""
    away: frozenset[int] = frozenset()
    """Positions (from 0) of annotated frames in which the subject leans out of the picture."""
    unknown: frozenset[int] = frozenset()
    """Positions of frames that could not be coded, where the data set leaves some open."""

    @property
    def numbers(self) -> range:
        """The numbers of the annotated frames."""
        return range(self.first, self.first + len(self.au))

    @property
    def recorded(self) -> range:
        """Positions, relative to the first annotated frame, of all frames that exist."""
        return range(-self.before, len(self.au) - self.lost + self.after)


def plan_recordings(
    study: Study,
    seed: int,
    dependence: str,
    frames: int,
    subjects: int | None = None,
) -> list[Recording]:
    """All recordings of a data set, by subject and task: a pure function of the arguments.

    Args:
        study: the data set.
        seed: who is recorded, and everything else.
        dependence: of `dynamics.DEPENDENCES`: how much the rates of the action units depend on the person.
        frames: annotated frames of each recording.
        subjects: only the first so many.
    """
    names = [name for group in study.groups for name in group]
    rng = np.random.default_rng([seed, study.seed, 0x4A7E])
    rates = personal_rates(rng, [len(group) for group in study.groups], study.rates, dependence)
    named = STUDIES[study.like] if study.like else study
    people = dict(zip(named.subjects, _people(named, seed), strict=False))
    out: list[Recording] = []
    for name in study.subjects[:subjects]:
        rng = np.random.default_rng([seed, study.seed, people[name], 0xD14])
        courses = [activity(rng, frames, mood) for mood in study.tasks.values()]
        shown = intensities(rng, courses, rates[names.index(name)], study.positive)
        out += [
            Recording(study.name, name, task, people[name], au, 1)
            for task, au in zip(study.tasks, shown, strict=True)
        ]
    return _with_irregularities(study, out, np.random.default_rng([seed, study.seed, 0x155]))


def _people(study: Study, seed: int) -> Iterator[int]:
    """For each subject in sorted order an identity: women for F001, men for M001, nobody whose hair hides the
    brows."""
    taken = {letter: count(study.seed << 12) for letter in "FM?"}
    for name in study.subjects:
        letter = name[0] if name[0] in taken else "?"
        for index in taken[letter]:
            who = Identity.sample(seed, index)
            woman = who.feminine > 0.5
            if who.hair_style not in ("fringe", "beanie") and letter in ("?", "F" if woman else "M"):
                yield index
                break


def _with_irregularities(
    study: Study, plain: Sequence[Recording], rng: np.random.Generator
) -> list[Recording]:
    """As in real recordings: numbers that start anywhere, frames without a face, ends that do not match."""
    out = list(plain)
    chosen = [int(k) for k in rng.permutation(len(out))]
    for k, recording in enumerate(out):
        if study.name == "bp4d":
            out[k] = replace(recording, first=int(rng.integers(40, 2600)))
        elif study.name == "bp4d_plus":  # videos count from 1, and only a stretch of each is annotated
            before = int(rng.integers(1, 4))
            out[k] = replace(recording, first=1 + before, before=before)
        elif study.name == "casme2":
            out[k] = replace(recording, first=int(rng.integers(20, 200)))
    for k in chosen[:1]:
        first = max(out[k].first, 1200) if study.name == "bp4d" else out[k].first
        out[k] = replace(out[k], lost=2 if study.name.startswith("disfa") else 1, first=first)
    for k in chosen[1:2]:
        out[k] = replace(out[k], after=1)
    for k in chosen[2:5]:
        start = int(rng.integers(1, len(out[k].au) - 1))
        out[k] = replace(out[k], away=frozenset({start, min(start + 1, len(out[k].au) - 1)}))
    if study.name == "bp4d":
        for k in chosen[5:9]:
            out[k] = replace(out[k], before=1, after=1)
    for k in chosen[9:13] if study.name == "bp4d" else chosen[1:3]:
        out[k] = replace(out[k], unknown=frozenset({0, 1}))
    return out


def levels(recording: Recording, unit: int) -> list[int]:
    """The annotated level 0 to 5 of an action unit in every annotated frame."""
    return [int(value + 0.5) for value in recording.au[:, AT[unit]]]
