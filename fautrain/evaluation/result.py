"""From the folds of a benchmark, and of several seeds, to one result; as plain data: `result.json`."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from facecorpus.errors import UserError
from facecorpus.typed import build, to_plain
from fautrain import metrics
from fautrain.evaluation.fold import Column, FoldResult, floats, known, overall
from fautrain.files import publish
from fautrain.metrics import Floats
from fautrain.targets import TARGETS, Target
from fautrain.targets.base import Statistics

Interval = tuple[float, float]
"""Lower and upper end of the 95 % percentile interval."""


@dataclass(frozen=True)
class Bounds:
    """95 % intervals on subjects drawn anew."""

    scores: tuple[Interval, ...]
    mean: Interval
    pooled: tuple[Interval, ...]
    pooled_mean: Interval


@dataclass(frozen=True)
class Summary:
    """One column over folds and seeds. Tuples are per output unless said otherwise; values are fractions."""

    scores: tuple[float, ...]
    """Headline measure, mean over folds."""
    mean: float
    """Of all outputs (`Column.mean`)."""
    pooled: tuple[float, ...]
    """All folds' test frames together, each at its own fold's epoch and choice."""
    pooled_mean: float
    bounds: Bounds | None
    """None where a fold tests one subject only, and for `published`: its choice on the test subjects would
    have to be made anew with every draw."""
    by_fold: tuple[float, ...]
    """Mean score of each fold."""
    fold_sd: float | None
    """Standard deviation (n - 1) of `by_fold`; None with fewer than two."""
    by_seed: tuple[float, ...]
    """`mean` of each seed alone."""
    seed_sd: float | None
    """Standard deviation (n - 1) of `by_seed`; None with fewer than two."""
    measures: Mapping[str, tuple[float | None, ...]]
    """Others by name, mean over folds; None where a fold has none."""


@dataclass(frozen=True)
class Baseline:
    """Scores of the target's baseline, who does not look at the picture, per output."""

    scores: tuple[float, ...]
    """Mean over folds."""
    mean: float
    pooled: tuple[float, ...]
    """All folds' test frames together."""
    pooled_mean: float


@dataclass(frozen=True)
class Result:
    """What is known of a benchmark. With several seeds every value is the mean over them."""

    dataset: str
    trained_on: str
    """The data set that was trained on, where it is another one; else empty."""
    kind: str
    """What is predicted (`fautrain.targets`)."""
    outputs: tuple[str, ...]
    drawn: bool
    """Whether the faces are drawn ones."""
    folds: tuple[int, ...]
    """Folds that are in the means; empty where the data set is tested as a whole."""
    folds_total: int
    """Folds of the benchmark."""
    seeds: tuple[int, ...]
    """Seeds that are in the means."""
    subjects: int
    """Test subjects."""
    frames: int
    """Test frames."""
    baseline: Baseline
    last: Summary
    selected: Summary | None
    published: Summary
    resamples: int
    """Draws of subjects behind each interval."""
    runs: tuple[FoldResult, ...]
    """Every run, by seed and fold, those left out of the means included."""
    notes: tuple[str, ...]
    """Sentences on what limits these numbers."""
    absent: tuple[str, ...] = ()
    """Subjects of the benchmark of whom some run's shards held no frame."""

    @property
    def target(self) -> type[Target]:
        """What is predicted."""
        return TARGETS.get(self.kind)


Kind = TypeVar("Kind", Result, FoldResult)


def aggregate(folds: Iterable[FoldResult], resamples: int = 2000) -> Result:
    """The means over folds and seeds, and intervals that say how far other test subjects would move them.

    All seeds in the means have the same folds: one with fewer than another is left out. That is noted, and so
    are folds of the benchmark that no seed has.

    Args:
        resamples: draws of subjects behind each interval.

    Raises:
        UserError: there is no fold, a fold comes twice, or the folds are of different experiments.
    """
    runs = sorted(folds, key=lambda run: (run.seed, run.fold or 0))
    _check(runs)
    by_seed = {seed: list(found) for seed, found in itertools.groupby(runs, key=lambda run: run.seed)}
    most = max(by_seed.values(), key=len)
    numbers = [run.fold for run in most]
    used = {seed: found for seed, found in by_seed.items() if [run.fold for run in found] == numbers}
    grid = [list(fold) for fold in zip(*used.values(), strict=True)]
    notes = [note for run in runs for note in run.notes]
    notes += [
        f"Seed {seed} is left out of the means: it has {_folds(found)} only."
        for seed, found in by_seed.items()
        if seed not in used
    ]
    first, target = runs[0], runs[0].target
    present = tuple(number for number in numbers if number is not None)
    if present and len(present) < first.folds:
        notes.append(f"Only {_folds(most)} are in: the mean over all folds may differ.")
    selected = [[run.selected for run in row if run.selected] for row in grid]
    missing = sum(map(len, grid)) - sum(map(len, selected))
    if missing and any(selected):
        notes.append("Some runs have no validation subjects, so that nothing is said of the selected epoch.")
    return Result(
        dataset=first.dataset,
        trained_on=first.trained_on,
        kind=first.kind,
        outputs=first.outputs,
        drawn=first.drawn,
        folds=present,
        folds_total=first.folds,
        seeds=tuple(used),
        subjects=sum(len(fold[0].subjects) for fold in grid),
        frames=sum(fold[0].frames for fold in grid),
        baseline=_baseline([row[0] for row in grid]),
        last=_summary(target, [[run.last for run in row] for row in grid], resamples),
        selected=None if missing else _summary(target, selected, resamples),
        published=_summary(target, [[run.published for run in row] for row in grid], 0),
        resamples=resamples,
        runs=tuple(runs),
        notes=tuple(dict.fromkeys(notes)),
        absent=tuple(sorted({subject for run in runs for subject in run.absent})),
    )


def coverage(result: Result) -> str:
    """Which folds are in the means.

    Such as `mean over the 3 folds`, `folds 1, 2 of 3 only`, `the official test part` or `the whole data set`.
    """
    if not result.folds:
        return "the whole data set"
    if result.folds_total == 1:
        return "the official test part"
    if len(result.folds) == result.folds_total:
        return f"mean over the {result.folds_total} folds"
    word = "fold" if len(result.folds) == 1 else "folds"
    return f"{word} {', '.join(map(str, result.folds))} of {result.folds_total} only"


def write_result(result: Result | FoldResult, path: Path) -> None:
    """Writes the result, of a benchmark or of one fold, as JSON in one move.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(to_plain(result), indent=1, allow_nan=False)
    # Innermost lists on one line each: thousands of counts would otherwise hide the numbers that are read.
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\n\s*", " ", found[0]), text)
    publish(path, text + "\n")


def read_result(path: Path) -> Result:
    """The result of a benchmark in a file.

    Raises:
        UserError: the file is missing, or holds no such result.
    """
    return _read(Result, path)


def read_fold(path: Path) -> FoldResult:
    """The result of one fold in a file.

    Raises:
        UserError: the file is missing, or holds no such result.
    """
    return _read(FoldResult, path)


def _read(kind: type[Kind], path: Path) -> Kind:
    try:
        return build(kind, json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"there is no {path}; evaluate the run first") from None
    except (OSError, ValueError, ArithmeticError, RecursionError, UserError) as error:
        raise UserError(
            f"{path} holds no result ({str(error)[:300]}); delete it and evaluate the run again"
        ) from None


def _baseline(folds: Sequence[FoldResult]) -> Baseline:
    target, statistics = folds[0].target, np.array([fold.baseline_statistics for fold in folds])
    scores, total = np.array([fold.baseline for fold in folds]), statistics.sum(axis=0)
    mean = target.overall(scores, statistics).mean(axis=0).mean()
    return Baseline(
        floats(scores.mean(axis=0)), float(mean), floats(target.score(total)), float(overall(target, total))
    )


def _summary(target: type[Target], columns: list[list[Column]], resamples: int) -> Summary:
    """Of a list of seeds per fold; no intervals with no `resamples`."""
    scores = np.array([[column.scores for column in row] for row in columns])  # (folds, seeds, outputs)
    statistics = [np.stack([np.array(column.statistics) for column in row], axis=1) for row in columns]
    total = np.concatenate(statistics).sum(axis=0)
    pooled = target.score(total)
    whole = target.overall(scores, np.stack([fold.sum(axis=0) for fold in statistics]))
    by_fold, by_seed = whole.mean(axis=(1, 2)), whole.mean(axis=(0, 2))
    return Summary(
        scores=floats(scores.mean(axis=(0, 1))),
        mean=float(whole.mean()),
        pooled=floats(pooled.mean(axis=0)),
        pooled_mean=float(target.overall(pooled, total).mean(axis=0).mean()),
        bounds=_bounds(target, statistics, resamples)
        if resamples and min(map(len, statistics)) > 1
        else None,
        by_fold=floats(by_fold),
        fold_sd=_deviation(by_fold),
        by_seed=floats(by_seed),
        seed_sd=_deviation(by_seed),
        measures={measure.name: _measure(columns, measure.name) for measure in target.measures},
    )


def _measure(columns: list[list[Column]], name: str) -> tuple[float | None, ...]:
    values = np.array([[column.measures[name] for column in row] for row in columns], np.float64)
    return known(values.mean(axis=(0, 1)))


def _bounds(target: type[Target], statistics: Sequence[Statistics], resamples: int) -> Bounds:
    """Intervals of statistics (subjects, seeds, outputs, K) per fold. All seeds share the drawn subjects."""

    def drawn(subjects: Statistics, place: int) -> Floats:
        """(2, resamples, outputs): scores, and what the score of all is the mean of."""
        found = metrics.resample(subjects, resamples, (0, place))
        scores = target.score(found)
        return np.stack([scores, target.overall(scores, found)]).mean(axis=2)

    scores, whole = np.mean([drawn(fold, place) for place, fold in enumerate(statistics, start=1)], axis=0)
    pooled, pooled_whole = drawn(np.concatenate(statistics), 1)
    return Bounds(
        scores=_intervals(scores),
        mean=_intervals(whole.mean(axis=1, keepdims=True))[0],
        pooled=_intervals(pooled),
        pooled_mean=_intervals(pooled_whole.mean(axis=1, keepdims=True))[0],
    )


def _check(runs: list[FoldResult]) -> None:
    if not runs:
        raise UserError("there is no evaluated fold to sum up; run `fautrain finetune` first")
    first = runs[0]
    for name in ("dataset", "trained_on", "kind", "outputs", "folds", "drawn"):
        values = {getattr(run, name): run for run in runs}
        if len(values) > 1:
            words = " and ".join(str(value) for value in values)
            raise UserError(f"the runs differ in {name} ({words}); sum up those of one experiment at a time")
    tested: dict[tuple[int, str], int | None] = {}
    for before, run in itertools.pairwise(runs):
        if (before.seed, before.fold) == (run.seed, run.fold):
            raise UserError(f"{_where(run)} of seed {run.seed} comes twice; give each run once")
    for run in runs:
        if (run.fold is None) != (first.fold is None):
            raise UserError("some runs test a fold and others the whole data set; sum them up apart")
        same = next(other for other in runs if other.fold == run.fold)
        if same.subjects != run.subjects or same.baseline_statistics != run.baseline_statistics:
            raise UserError(
                f"{_where(run)} tests other frames in seed {run.seed} than in seed {same.seed}; sum up runs "
                "on the same corpus"
            )
        for subject in run.subjects:
            if tested.setdefault((run.seed, subject), run.fold) != run.fold:
                raise UserError(
                    f"subject {subject} is tested in two folds of {run.dataset}; mend the folds of the "
                    "benchmark"
                )


def _where(run: FoldResult) -> str:
    return f"fold {run.fold} of {run.dataset}" if run.folds > 1 else run.dataset


def _folds(runs: list[FoldResult]) -> str:
    word = "fold" if len(runs) == 1 else "folds"
    return f"{word} {', '.join(str(run.fold) for run in runs)} of {runs[0].folds}"


def _deviation(values: Floats) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _intervals(values: Floats) -> tuple[Interval, ...]:
    return tuple((float(low), float(high)) for low, high in metrics.interval(values))
