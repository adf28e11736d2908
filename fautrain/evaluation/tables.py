"""A result as tables, for Markdown and for the page alike. Percent with one decimal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fautrain.evaluation.fold import Column, FoldResult
from fautrain.evaluation.result import Interval, Result, Summary, coverage

if TYPE_CHECKING:  # at run time this would load torch, which a report does not need
    from fautrain.data.benchmark import Benchmark, Published

LAST, SELECTED, PUBLISHED = (
    "F1@0.5, last epoch",
    "Selected on held-out training subjects",
    "Published protocol",
)
BASELINE = "Every AU called present"
NONE = "–"


@dataclass(frozen=True)
class Row:
    """A line of a table; `kind` says how it is drawn. A heading has one cell, for the whole width."""

    cells: tuple[str, ...]
    kind: Literal["plain", "ours", "interval", "baseline", "published", "heading"] = "plain"


@dataclass(frozen=True)
class Table:
    """A table with a heading above it; the first `words` columns are text, the others numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    words: int = 1


def tables(result: Result, benchmark: Benchmark) -> list[Table]:
    """All tables: F1 beside the papers', other measures, each fold, support."""
    return [main_table(result, benchmark), _measures(result), _folds(result), _support(result)]


def main_table(result: Result, benchmark: Benchmark) -> Table:
    """F1 per AU of our columns, the baseline and the papers' rows."""
    over = coverage(result)
    rows: list[Row] = []
    for name, summary in summaries(result):
        rows.append(Row((name, over, *_percents(summary.f1), percent(summary.mean)), "ours"))
        if summary.bounds:
            ends = (*summary.bounds.f1, summary.bounds.mean)
            rows.append(Row(("", "95 % interval", *map(_interval, ends)), "interval"))
    base = (*_percents(result.all_positive), percent(result.all_positive_mean))
    rows.append(Row((BASELINE, over, *base), "baseline"))
    papers = published(result, benchmark)
    if papers and result.drawn:
        rows.append(Row(("Not comparable, as the faces above are drawn and these recorded:",), "heading"))
    elif papers and result.absent:
        count = f"{len(result.absent)} of the {len(benchmark.subjects)} subjects"
        rows.append(Row((f"Not comparable, as {count} are missing above and none below:",), "heading"))
    for system in papers:
        values = [f1 for _, f1 in _shared(result, benchmark, system)]
        whole = set(result.aus) == set(benchmark.aus)
        cells = [
            NONE if value is None else f"{value:.1f}" for value in (*values, system.mean if whole else None)
        ]
        rows.append(Row((system.system, system.where, *cells), "published"))
    return Table("F1 per action unit, in percent", ("", "of", *_aus(result), "mean"), tuple(rows), 2)


def summaries(result: Result) -> list[tuple[str, Summary]]:
    """Our columns that there are, by their names."""
    named = ((LAST, result.last), (SELECTED, result.selected), (PUBLISHED, result.published))
    return [(name, summary) for name, summary in named if summary]


def published(result: Result, benchmark: Benchmark) -> tuple[Published, ...]:
    """The papers' rows; none where training was on another data set, as in no table of theirs."""
    return () if result.trained_on else benchmark.published


def reference(result: Result, benchmark: Benchmark, system: str = "FMAE-IAT") -> dict[int, float]:
    """F1 in percent by AU of one published system; empty where it is not comparable."""
    rows = [row for row in published(result, benchmark) if row.system == system and comparable(result)]
    return {au: f1 for row in rows for au, f1 in _shared(result, benchmark, row) if f1 is not None}


def comparable(result: Result) -> bool:
    """Whether our published column may stand beside the papers' rows."""
    return not (result.drawn or result.absent)


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal.

    >>> percent(0.6666), percent(None)
    ('66.7', '–')
    """
    return NONE if value is None else f"{100 * value:.1f}"


def _shared(result: Result, benchmark: Benchmark, row: Published) -> list[tuple[int, float | None]]:
    by_au = dict(zip(benchmark.aus, row.f1, strict=True))
    return [(au, by_au.get(au)) for au in result.aus]


def _measures(result: Result) -> Table:
    """Precision, recall, accuracy and AUC; F1 pooled over folds where there are several."""
    rows: list[Row] = []
    pooled = len(result.folds) > 1
    for name, summary in summaries(result):
        group: list[Row] = []
        if pooled:
            f1 = (*_percents(summary.pooled_f1), percent(summary.pooled_mean))
            group.append(Row(("", "F1, pooled", *f1)))
        if pooled and summary.bounds:
            ends = (*summary.bounds.pooled_f1, summary.bounds.pooled_mean)
            group.append(Row(("", "95 % interval", *map(_interval, ends)), "interval"))
        if summary is not result.published:
            for word in ("precision", "recall", "accuracy", "auc"):
                values: Sequence[float | None] = getattr(summary, word)
                word = "AUC" if word == "auc" else word
                group.append(Row(("", word, *_percents(values), _mean(values))))
        rows += [Row((name, *row.cells[1:]), "ours") if row is group[0] else row for row in group]
    if pooled:
        base = (*_percents(result.all_positive_pooled), percent(result.all_positive_pooled_mean))
        rows.append(Row((BASELINE, "F1, pooled", *base), "baseline"))
    return Table("Other measures, in percent", ("", "measure", *_aus(result), "mean"), tuple(rows), 2)


def _folds(result: Result) -> Table:
    rows: list[Row] = []
    for run in result.runs:
        named = ((LAST, run.last), (SELECTED, run.selected), (PUBLISHED, run.published))
        rows += [_fold_row(run, name, column) for name, column in named if column]
    for name, summary in summaries(result) if len(result.runs) > 1 else ():
        values = (
            f"mean over {len(result.seeds)} seeds" if len(result.seeds) > 1 else "mean",
            "",
            name,
            "",
            "",
        )
        spread = f" ± {percent(summary.fold_sd)}" if summary.fold_sd is not None else ""
        rest = (percent(summary.mean) + spread, _mean(summary.accuracy), _mean(summary.auc))
        rows.append(Row((*values, *rest), "ours"))
    head = ("fold", "seed", "epoch and threshold", "epoch", "threshold", "mean F1", "accuracy", "AUC")
    return Table("Each fold, in percent", head, tuple(rows), 3)


def _fold_row(run: FoldResult, name: str, column: Column) -> Row:
    fold = "all" if run.fold is None else f"{run.fold}"
    choice = (str(column.epoch), f"{column.threshold:.2f}")
    values = (percent(column.mean_f1), _mean(column.accuracy), _mean(column.auc))
    return Row((fold, str(run.seed), name, *choice, *values))


def _support(result: Result) -> Table:
    rows: list[Row] = []
    for run in result.runs:
        if run.seed != result.seeds[0]:
            continue  # the test frames of a fold are the same for all seeds
        fold = "all" if run.fold is None else f"{run.fold}"
        counts = [_share(p, n) for p, n in zip(run.positives, run.coded, strict=True)]
        rows.append(Row((fold, f"{len(run.subjects)}", f"{run.frames:,}", *counts)))
    if len(rows) > 1:
        runs = [run for run in result.runs if run.seed == result.seeds[0]]
        positives, coded = (
            np.sum([getattr(run, name) for run in runs], axis=0) for name in ("positives", "coded")
        )
        counts = [_share(int(p), int(n)) for p, n in zip(positives, coded, strict=True)]
        rows.append(Row(("sum", f"{result.subjects}", f"{result.frames:,}", *counts), "ours"))
    head = ("fold", "test subjects", "test frames", *_aus(result))
    return Table(
        "Support: test frames with the AU present, and their share of the coded ones", head, tuple(rows)
    )


def _share(positives: int, coded: int) -> str:
    return f"{positives:,} ({percent(positives / coded)} %)"


def _aus(result: Result) -> list[str]:
    return [f"AU{au}" for au in result.aus]


def _percents(values: Iterable[float | None]) -> list[str]:
    return [percent(value) for value in values]


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return percent(sum(known) / len(known)) if len(known) == len(values) else NONE


def _interval(ends: Interval) -> str:
    """Both ends in percent.

    >>> _interval((0.5, 0.6666))
    '50.0–66.7'
    """
    return f"{percent(ends[0])}–{percent(ends[1])}"
