"""A result as tables, for Markdown and for the page alike, in the words of its target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from fautrain.evaluation.fold import Column, FoldResult
from fautrain.evaluation.result import Interval, Result, Summary, coverage
from fautrain.targets import Measure, Target
from fautrain.targets.base import Statistics

if TYPE_CHECKING:  # at run time this would load torch, which a report does not need
    from fautrain.data.benchmark import Benchmark, Published

SELECTED, PUBLISHED = "Selected on held-out training subjects", "Published protocol"
PAPERS = ("FMAE-IAT", "FMAE", "MAE-Face")
"""The first of these that a benchmark has a row of is shown in the terminal and the bar chart, where it is
comparable."""


@dataclass(frozen=True)
class Row:
    """A line of a table; `kind` says how it is drawn. A heading has one cell, for the whole width."""

    cells: tuple[str, ...]
    kind: Literal["plain", "ours", "interval", "baseline", "published", "heading"] = "plain"
    shades: tuple[float | None, ...] = ()
    """How dark each cell is on the page, from 0 to 1; None for one that is not shaded."""


@dataclass(frozen=True)
class Reference:
    """A paper's row that may stand beside ours."""

    system: str
    scores: Mapping[str, float]
    """By output, as printed."""
    overall: float | None
    """The mean of the scores, or as printed where the paper has no scores; None for some of the outputs."""


@dataclass(frozen=True)
class Table:
    """A table with a heading above it; the first `words` columns are text, the others numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    words: int = 1


def tables(result: Result, benchmark: Benchmark) -> list[Table]:
    """All tables: the headline measure beside the papers', what is taken for what, other measures,
    each fold, support."""
    others = [_measures(result, benchmark), _folds(result), _support(result, benchmark)]
    found = [main_table(result, benchmark), *_shares(result), *others]
    name = selected_name(benchmark)
    return [replace(table, rows=tuple(_called(row, name) for row in table.rows)) for table in found]


def selected_name(benchmark: Benchmark) -> str:
    """Row of the selected epoch, in the words of what a benchmark keeps apart."""
    return SELECTED.replace("subject", benchmark.unit)


def _called(row: Row, selected: str) -> Row:
    return replace(row, cells=tuple(selected if cell == SELECTED else cell for cell in row.cells))


def main_table(result: Result, benchmark: Benchmark) -> Table:
    """The headline measure per output of our columns, the baseline and the papers' rows."""
    over, measure, words = coverage(result), result.target.headline, result.target.words
    rows: list[Row] = []
    for name, summary in summaries(result):
        rows.append(Row((name, over, *_written(measure, (*summary.scores, summary.mean))), "ours"))
        if summary.bounds:
            ends = (*summary.bounds.scores, summary.bounds.mean)
            rows.append(Row(("", "95 % interval", *_intervals(measure, ends)), "interval"))
    base = _written(measure, (*result.baseline.scores, result.baseline.mean))
    rows.append(Row((words.baseline, over, *base), "baseline"))
    papers = published(result, benchmark)
    rows += _limits(result, benchmark) if papers else []
    for system in papers:
        values = [score for _, score in _shared(result, benchmark, system.scores)]
        whole = set(result.outputs) == set(benchmark.outputs)
        cells = map(measure.printed, (*values, system.mean if whole else None))
        rows.append(Row((system.system, system.where, *cells), "published"))
    title = f"{measure.name} per {words.output}{in_percent(measure)}"
    return Table(title, ("", "of", *result.outputs, words.whole), tuple(rows), 2)


def _limits(result: Result, benchmark: Benchmark) -> list[Row]:
    """A heading above papers' rows that ours do not compare with."""
    why = "the faces above are drawn and these recorded" if result.drawn else ""
    if result.absent and not why:
        count = f"{len(result.absent)} of the {len(benchmark.subjects)} subjects"
        why = f"{count} are missing above and none below"
    return [Row((f"Not comparable, as {why}:",), "heading")] if why else []


def last_name(target: type[Target], short: bool = False) -> str:
    """Row of the last epoch, with the choice that is not chosen: `F1@0.5, last epoch`."""
    choice = target.choices[target.default]
    at = "" if choice is None else f"@{choice:g}"
    return f"{target.headline.name}{at}{' last' if short else ', last epoch'}"


def in_percent(*measures: Measure) -> str:
    """What a table's title says of its numbers."""
    return ", in percent" if all(measure.percent for measure in measures) else ""


def summaries(result: Result) -> list[tuple[str, Summary]]:
    """Our columns that there are, by their names."""
    last = (last_name(result.target), result.last)
    named = (last, (SELECTED, result.selected), (PUBLISHED, result.published))
    return [(name, summary) for name, summary in named if summary]


def published(result: Result, benchmark: Benchmark) -> tuple[Published, ...]:
    """The papers' rows; none where training was on another data set, as in no table of theirs."""
    return () if result.trained_on else benchmark.published


def reference(result: Result, benchmark: Benchmark) -> Reference | None:
    """The paper's row that is shown; none where no row is comparable."""
    rows = {row.system: row for row in published(result, benchmark)} if comparable(result) else {}
    row = next((rows[name] for name in PAPERS if name in rows), None)
    if row is None:
        return None
    known = {name: score for name, score in _shared(result, benchmark, row.scores) if score is not None}
    whole = len(benchmark.outputs) == len(result.outputs)
    mean = sum(known.values()) / len(known) if len(known) == len(result.outputs) else None
    return Reference(row.system, known, (mean if known else row.mean) if whole else None)


def comparable(result: Result) -> bool:
    """Whether our published column may stand beside the papers' rows."""
    return not (result.drawn or result.absent)


def _shared(
    result: Result, benchmark: Benchmark, scores: Sequence[float | None]
) -> list[tuple[str, float | None]]:
    by_name = dict(zip(benchmark.outputs, scores, strict=True))
    return [(name, by_name.get(name)) for name in result.outputs]


def _columns(run: FoldResult) -> list[tuple[str, Column]]:
    """Our columns that a run has, by their names."""
    last = (last_name(run.target), run.last)
    named = (last, (SELECTED, run.selected), (PUBLISHED, run.published))
    return [(name, column) for name, column in named if column]


def _shares(result: Result) -> list[Table]:
    """The confusion matrix of each column, over all folds and seeds; none where the kind has none."""
    target, totals = result.target, dict[str, Statistics]()
    for run in result.runs:
        for name, column in _columns(run):
            totals[name] = totals.get(name, 0) + np.sum(column.statistics, axis=0)
    rows: list[Row] = []
    for name, total in totals.items():
        if (matrix := target.confusion(total)) is None:
            return []
        rows.append(Row((name,), "heading"))
        for output, counts in zip(result.outputs, matrix.tolist(), strict=True):
            shares = [count / max(sum(counts), 1) for count in counts]
            cells = (output, *(f"{100 * share:.1f}" for share in shares), f"{sum(counts):,}")
            rows.append(Row(cells, shades=(None, *shares, None)))
    title = f"What each {target.words.output} is taken for, in percent of its frames"
    return [Table(title, ("shown", *result.outputs, "frames"), tuple(rows))]


def _measures(result: Result, benchmark: Benchmark) -> Table:
    """Other measures, the papers' too; the headline pooled over folds where there are several."""
    rows: list[Row] = []
    target, measure = result.target, result.target.headline
    pooled, called, whole = len(result.folds) > 1, f"{measure.name}, pooled", target.words.whole
    called += f" (right: {whole})" if whole != "mean" else ""
    told = in_percent(measure, *target.measures)
    for name, summary in summaries(result):
        group: list[Row] = []
        if pooled:
            group.append(Row(("", called, *_written(measure, (*summary.pooled, summary.pooled_mean)))))
        if pooled and summary.bounds:
            ends = (*summary.bounds.pooled, summary.bounds.pooled_mean)
            group.append(Row(("", "95 % interval", *_intervals(measure, ends)), "interval"))
        for other in target.measures if summary is not result.published else ():
            values = summary.measures[other.name]
            named = f"{other.name}{'' if told else in_percent(other)}"
            group.append(Row(("", named, *_written(other, (*values, _mean(values))))))
        rows += [Row((name, *row.cells[1:]), "ours") if row is group[0] else row for row in group]
    if pooled:
        base = _written(measure, (*result.baseline.pooled, result.baseline.pooled_mean))
        rows.append(Row((target.words.baseline, called, *base), "baseline"))
    if papers := [system for system in published(result, benchmark) if system.measures]:
        rows += _limits(result, benchmark)
        rows += [row for system in papers for row in _paper_measures(result, benchmark, system)]
    return Table(f"Other measures{told}", ("", "measure", *result.outputs, "mean"), tuple(rows), 2)


def _paper_measures(result: Result, benchmark: Benchmark, system: Published) -> list[Row]:
    """A paper's other measures, as far as it has them."""
    rows: list[Row] = []
    for other in (other for other in result.target.measures if other.name in system.measures):
        *values, mean = system.measures[other.name]
        shared = [value for _, value in _shared(result, benchmark, values)]
        cells = map(other.printed, (*shared, mean if len(shared) == len(values) else None))
        rows.append(Row((system.system, other.name, *cells), "published"))
    return rows


def _folds(result: Result) -> Table:
    rows: list[Row] = []
    target, headline = result.target, result.target.headline
    chosen = target.words.choice
    for run in result.runs:
        rows += [_fold_row(run, name, column) for name, column in _columns(run)]
    for name, summary in summaries(result) if len(result.runs) > 1 else ():
        seeds = len(result.seeds)
        over = f"mean over {seeds} seeds" if seeds > 1 else "mean"
        spread = f" ± {headline.written(summary.fold_sd)}" if summary.fold_sd is not None else ""
        values = (headline.written(summary.mean) + spread, *_means(target, summary.measures))
        rows.append(Row((over, "", name, *("",) * (2 if chosen else 1), *values), "ours"))
    listed = [measure for measure in target.measures if measure.by_fold]
    names = ("epoch", chosen) if chosen else ("epoch",)
    which = " and ".join(names) if chosen else "which epoch"
    head = ("fold", "seed", which, *names, f"{target.words.whole} {headline.name}", *(m.name for m in listed))
    return Table(f"Each fold{in_percent(headline, *listed)}", head, tuple(rows), 3)


def _fold_row(run: FoldResult, name: str, column: Column) -> Row:
    fold = "all" if run.fold is None else f"{run.fold}"
    choice = (str(column.epoch),) if column.choice is None else (str(column.epoch), f"{column.choice:.2f}")
    values = (run.target.headline.written(column.mean), *_means(run.target, column.measures))
    return Row((fold, str(run.seed), name, *choice, *values))


def _means(target: type[Target], measures: Mapping[str, Sequence[float | None]]) -> list[str]:
    """Means over the outputs of the measures that the table of folds lists."""
    return [m.written(_mean(measures[m.name])) for m in target.measures if m.by_fold]


def _support(result: Result, benchmark: Benchmark) -> Table:
    target = result.target
    # The test frames of a fold are the same for all seeds.
    runs = [run for run in result.runs if run.seed == result.seeds[0]]
    rows: list[Row] = []
    for run in runs:
        fold = "all" if run.fold is None else f"{run.fold}"
        counts = target.support(np.array(run.baseline_statistics))
        rows.append(Row((fold, f"{len(run.subjects)}", f"{run.frames:,}", *counts)))
    if len(rows) > 1:
        counts = target.support(np.sum([run.baseline_statistics for run in runs], axis=0))
        rows.append(Row(("sum", f"{result.subjects}", f"{result.frames:,}", *counts), "ours"))
    head = ("fold", f"test {benchmark.unit}s", "test frames", *result.outputs)
    return Table(target.words.support, head, tuple(rows))


def _written(measure: Measure, values: Iterable[float | None]) -> list[str]:
    return [measure.written(value) for value in values]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _intervals(measure: Measure, ends: Iterable[Interval]) -> list[str]:
    """Both ends of each: `50.0–66.7`."""
    return [f"{measure.written(low)}–{measure.written(high)}" for low, high in ends]
