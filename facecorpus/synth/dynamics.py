"""How action units come and go: smooth rises and falls, units that go together, rates that differ by
person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from facecorpus.synth.expression import ACTION_UNITS
from facecorpus.synth.paint import Array

UNITS = tuple(sorted(ACTION_UNITS))
"""The action units in the order of the columns of every array below."""
AT = {unit: column for column, unit in enumerate(UNITS)}

DEPENDENCES = ("mild", "strong")
"""How much a person's rates are the person's own."""

EXPRESSIONS: dict[str, Mapping[int, float]] = {
    "smile": {6: 0.75, 12: 0.8, 25: 0.45, 7: 0.45, 10: 0.4, 14: 0.3, 15: -0.35, 4: -0.25, 24: -0.3, 1: -0.1},
    "surprise": {1: 0.75, 2: 0.85, 5: 0.7, 25: 0.35, 26: 0.4, 4: -0.3},
    "anger": {4: 0.6, 7: 0.5, 23: 0.65, 24: 0.6, 17: 0.3, 25: -0.3},
    "disgust": {9: 0.8, 10: 0.6, 17: 0.3, 4: 0.3, 6: 0.2},
    "sadness": {15: 0.7, 17: 0.6, 1: 0.3, 4: 0.3, 12: -0.2},
    "fear": {20: 0.75, 1: 0.3, 5: 0.3, 4: 0.2, 25: 0.2},
    "speech": {25: 0.5, 26: 0.65, 14: 0.2},
}
"""Which action units an expression moves, as correlations; the rest of each unit's activity is its own."""

HABIT, HARDLY = 0.75, 0.03
"""With strong dependence: the share of frames in which those with the habit show a unit, and the others."""
MILD = (0.7, 1.4)
"""With mild dependence: a person's rate lies between these factors of the common one."""
TRACE = 0.2
"""Activity below the threshold, in standard deviations, that still leaves a trace of the unit."""


def drift(rng: np.random.Generator, frames: int, channels: int, width: float) -> Array:
    """Smooth noise (frames, channels) of mean 0 and variance 1; `width` is its kernel's sigma in frames."""
    reach = int(np.ceil(3 * width))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    kernel /= np.linalg.norm(kernel)
    noise = rng.standard_normal((frames + 2 * reach, channels))
    return np.lib.stride_tricks.sliding_window_view(noise, len(kernel), axis=0) @ kernel


def _wander(rng: np.random.Generator, frames: int, channels: int) -> Array:
    """Long and short movements together, so that events have all lengths, of some 2 to 10 frames.

    Time is compressed against a real recording, as if one frame in five had been kept: neighbours still show
    a rise or a fall, but a hundred frames hold enough different expressions to learn from.
    """
    return np.sqrt(0.6) * drift(rng, frames, channels, 2.5) + np.sqrt(0.4) * drift(rng, frames, channels, 1.0)


def activity(rng: np.random.Generator, frames: int, mood: Mapping[str, float]) -> Array:
    """The drive behind each action unit over time, (frames, units), of variance about 1.

    Args:
        rng: which course.
        frames: how long.
        mood: by how much an expression of `EXPRESSIONS` is nearer than usual.
    """
    loadings = np.array([[e.get(unit, 0.0) for unit in UNITS] for e in EXPRESSIONS.values()])
    shared = _wander(rng, frames, len(loadings)) + [mood.get(name, 0.0) for name in EXPRESSIONS]
    own = np.sqrt(np.maximum(0.2, 1 - (loadings**2).sum(axis=0)))
    return shared @ loadings + own * _wander(rng, frames, len(UNITS))


def personal_rates(
    rng: np.random.Generator,
    strata: Sequence[int],
    rates: Mapping[int, float],
    dependence: str,
) -> Array:
    """How often each person shows each action unit, (people, units), 0 for units that nobody shows.

    Args:
        rng: who has which habits.
        strata: sizes of groups of people (first the first group, then the next); high and low rates are
            dealt evenly to the groups, so that no part of a published split is without a unit.
        rates: by action unit, the mean over people.
        dependence: "mild": around the mean; "strong": a few people show a unit most of the time, the others
            hardly ever, with about the same mean.
    """
    people = sum(strata)
    out = np.zeros((people, len(UNITS)))
    orders = {unit: _dealt(rng, strata) for unit in UNITS}
    orders[26] = orders[25]  # who drops the jaw a lot also parts the lips a lot
    for unit, mean in rates.items():
        spread = _mild(people, mean) if dependence == "mild" else _strong(rng, people, mean)
        out[orders[unit], AT[unit]] = np.clip(spread, 0.0, 0.95)
    out[:, AT[25]] = np.maximum(out[:, AT[25]], out[:, AT[26]])
    return out


def _dealt(rng: np.random.Generator, strata: Sequence[int]) -> Array:
    """The people in an order whose every stretch holds a fair share of each group."""
    keys = np.concatenate([(rng.permutation(size) + rng.random(size)) / size for size in strata])
    return np.argsort(keys)


def _mild(people: int, mean: float) -> Array:
    factors = np.geomspace(*MILD, people)
    return mean * factors / factors.mean()


def _strong(rng: np.random.Generator, people: int, mean: float) -> Array:
    habitual = max(1, round((mean - HARDLY) / (HABIT - HARDLY) * people))
    low = HARDLY * rng.uniform(0.6, 1.4, people - habitual)
    high = (mean * people - low.sum()) / habitual + np.linspace(-0.08, 0.08, habitual)
    return np.concatenate([low, high])


def intensities(
    rng: np.random.Generator, courses: Sequence[Array], rates: Array, positive: int
) -> list[Array]:
    """Intensities 0 to 5 over time, rounded to 0.01, from one person's activity.

    A unit is there (level >= `positive` after rounding to whole levels) in the share `rates` of all the
    person's frames, at least one. Each stretch above the threshold is an event with an apex of its own,
    mostly 4 to 5; activity just below it leaves a trace.

    Args:
        rng: which apexes.
        courses: the activity in each recording of the person, (frames, units) each.
        rates: (units,) 0 to 1; 0 switches a unit off.
        positive: the lowest level that counts.
    """
    ends = np.cumsum([len(course) for course in courses])[:-1]
    drive = np.concatenate(courses)
    out = np.zeros_like(drive)
    for column in sorted(range(len(UNITS)), key=lambda c: UNITS[c] == 25):  # AU 25 last: it follows AU 26
        if rates[column] == 0:
            continue
        z = drive[:, column]
        if UNITS[column] == 25:  # a dropped jaw parts the lips
            z = z + 6.0 * np.minimum(1.0, out[:, AT[26]] / positive)
        count = min(max(1, round(float(rates[column]) * len(z))), len(z) - 1)
        below, above = np.sort(z)[[-count - 1, -count]]
        over = z - 0.5 * (below + above)
        parts = [_levels(rng, part, positive - 0.5) for part in np.split(over, ends)]
        out[:, column] = np.concatenate(parts)
    return np.split(np.round(out, 2), ends)


def _levels(rng: np.random.Generator, over: Array, edge: float) -> Array:
    """Intensity of one unit in one recording from its activity above the threshold, where it is `edge`."""
    out = edge * np.clip(1 + over / TRACE, 0.0, 1.0)
    padded = np.concatenate([[0], (over > 0).astype(np.int8), [0]])
    starts, stops = np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1)
    for start, stop in zip(starts, stops, strict=True):
        apex = float(rng.uniform(4.0, 5.0) if rng.random() < 0.88 else rng.uniform(edge + 0.5, 4.0))
        height = over[start:stop] / over[start:stop].max()
        out[start:stop] = edge + (apex - edge) * (1 - np.exp(-6 * height)) / (1 - np.exp(-6))
    return out
