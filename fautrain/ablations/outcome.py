"""What a finished row shows: its numbers, and how far they are from the first row's on the same people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fautrain import metrics
from fautrain.ablations.grid import Row
from fautrain.evaluation import FoldResult, Result
from fautrain.metrics import Floats

Interval = tuple[float, float]


@dataclass(frozen=True)
class Outcome:
    """A row that is done."""

    row: Row
    result: Result
    measured: Mapping[str, str]
    """What else was measured of it, as text, by the head of its column."""


@dataclass(frozen=True)
class Difference:
    """Mean headline measure of a row less that of the first row, last epoch of both."""

    value: float
    interval: Interval
    """95 %, of the same test subjects drawn anew for both."""


def difference(row: Result, first: Result) -> Difference | None:
    """How far a row is from the first one; None where they test other people, or one person in a fold.

    Both rows' scores are computed anew on the same draws of subjects, so what makes some people harder for
    all cancels out: the interval is often much narrower than each row's own. Seeds are averaged. It covers
    neither another training nor, therefore, the luck of a seed.
    """
    ours, theirs = _folds(row), _folds(first)
    if [_people(fold) for fold in ours] != [_people(fold) for fold in theirs]:
        return None
    if min(len(fold[0].subjects) for fold in ours) < 2:
        return None
    apart = resampled(row, ours) - resampled(first, theirs)
    low, high = metrics.interval(apart[:, None])[0]
    return Difference(row.last.mean - first.last.mean, (float(low), float(high)))


def resampled(result: Result, folds: Sequence[Sequence[FoldResult]]) -> Floats:
    """(resamples,) means of the headline measure at the last epoch, of test subjects drawn anew in each fold;
    equal draws for equal numbers of subjects."""
    means: list[Floats] = []
    for place, runs in enumerate(folds, start=1):
        statistics = np.stack([np.array(run.last.statistics) for run in runs], axis=1)
        drawn = metrics.resample(statistics, result.resamples, (0, place))
        means.append(result.target.score(drawn).mean(axis=(1, 2)))
    return np.mean(means, axis=0)


def _folds(result: Result) -> list[list[FoldResult]]:
    """The runs that are in the means, by fold."""
    used = [run for run in result.runs if run.seed in result.seeds]
    numbers = dict.fromkeys(run.fold for run in used)
    return [[run for run in used if run.fold == number] for number in numbers]


def _people(runs: Sequence[FoldResult]) -> tuple[object, ...]:
    return runs[0].subjects, runs[0].outputs, runs[0].baseline_statistics
