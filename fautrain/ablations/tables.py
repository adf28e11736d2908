"""All rows of an ablation as tables, in words, and as plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fautrain.ablations.grid import Grid
from fautrain.ablations.outcome import Difference, Interval, Outcome, difference
from fautrain.evaluation import Result, Summary, coverage, words
from fautrain.evaluation.tables import PUBLISHED, SELECTED, Row, Table, in_percent, last_name
from fautrain.evaluation.text import markdown_table
from fautrain.targets import Measure
from fautrain.targets.base import NONE

if TYPE_CHECKING:
    from fautrain.data.benchmark import Benchmark

AGAINST = "against the first row"
_SHORT = {SELECTED: "Selected", PUBLISHED: "Published"}
"""Names that are too long for a column."""


@dataclass(frozen=True)
class Compared:
    """The rows that are done, at least one."""

    grid: Grid
    benchmark: Benchmark
    rows: Sequence[Outcome]
    measures: Sequence[tuple[tuple[str, ...], str]]
    """What else is measured: heads of its columns, what they are."""

    @property
    def title(self) -> str:
        """What is varied, on what."""
        return f"{self.grid.title}: {words.title(self.first, self.benchmark)}"

    @property
    def measured(self) -> list[str]:
        """Heads of what else is measured."""
        return [head for heads, _ in self.measures for head in heads]

    @property
    def first(self) -> Result:
        """What words and baseline are taken from."""
        return self.rows[0].result

    @property
    def headline(self) -> Measure:
        """What is compared."""
        return self.first.target.headline

    @cached_property
    def differences(self) -> list[Difference | None]:
        """Of each row to the grid's first; None for that one, for all where it is not done."""
        if self.rows[0].row is not self.grid.rows[0]:
            return [None] * len(self.rows)
        return [None, *(difference(outcome.result, self.first) for outcome in self.rows[1:])]


def tables(compared: Compared) -> list[Table]:
    """The comparison, then the headline measure by output and by fold."""
    return [main_table(compared), *_by_output(compared), _by_fold(compared)]


def main_table(compared: Compared) -> Table:
    """A row for each run, and the baseline."""
    grid, measure, target = compared.grid, compared.headline, compared.first.target
    listed = [other for other in target.measures if other.by_fold]
    heads = [last_name(target), "95 % interval", AGAINST, *_SHORT.values(), "±"]
    heads += [other.name for other in listed] + [*compared.measured, *grid.paper]
    rows: list[Row] = []
    for outcome, apart in zip(compared.rows, compared.differences, strict=True):
        result = outcome.result
        cells = [*_last(measure, result.last), _apart(measure, apart)]
        cells += [measure.written(result.selected and result.selected.mean)]
        cells += [measure.written(result.published.mean), measure.written(spread(result.published))]
        cells += [other.written(_mean(result.last.measures[other.name])) for other in listed]
        cells += [outcome.measured.get(head, NONE) for head in compared.measured]
        cells += outcome.row.paper or [NONE] * len(grid.paper)
        rows.append(Row((*outcome.row.values, *cells), "plain"))
    base = (
        target.words.baseline,
        *[""] * (len(grid.axes) - 1),
        measure.written(compared.first.baseline.mean),
    )
    rows.append(Row((*base, *[""] * (len(heads) - 1)), "baseline"))
    title = f"Mean {measure.name}{in_percent(measure)}, {coverage(compared.first)}"
    return Table(title, (*grid.axes, *heads), tuple(rows), len(grid.axes))


def spread(summary: Summary) -> float | None:
    """Standard deviation over seeds where there are several, else over folds."""
    return summary.fold_sd if summary.seed_sd is None else summary.seed_sd


def _last(measure: Measure, last: Summary) -> list[str]:
    return [measure.written(last.mean), _between(measure, last.bounds and last.bounds.mean)]


def _apart(measure: Measure, apart: Difference | None) -> str:
    """`+1.2 (-0.3 to 2.7)`."""
    if apart is None:
        return NONE
    return f"{_signed(measure, apart.value)} ({_between(measure, apart.interval)})"


def _signed(measure: Measure, value: float) -> str:
    return f"{'+' * (value >= 0)}{measure.written(value)}"


def _between(measure: Measure, ends: Interval | None) -> str:
    return NONE if ends is None else " to ".join(map(measure.written, ends))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _by_output(compared: Compared) -> list[Table]:
    """At the last epoch, and by the published protocol."""
    target = compared.first.target
    columns = ((last_name(target), lambda r: r.last), (PUBLISHED, lambda r: r.published))
    return [_outputs(compared, name, [column(o.result) for o in compared.rows]) for name, column in columns]


def _outputs(compared: Compared, name: str, summaries: Iterable[Summary]) -> Table:
    measure = compared.headline
    rows = [
        Row((*o.row.values, *map(measure.written, (*s.scores, s.mean))))
        for o, s in zip(compared.rows, summaries, strict=True)
    ]
    title = f"{name}, per {compared.first.target.words.output}{in_percent(measure)}"
    head = (*compared.grid.axes, *compared.first.outputs, "mean")
    return Table(title, head, tuple(rows), len(compared.grid.axes))


def _by_fold(compared: Compared) -> Table:
    """Every run's means."""
    measure, target = compared.headline, compared.first.target
    rows: list[Row] = []
    for outcome in compared.rows:
        for run in outcome.result.runs:
            columns = (run.last, run.selected, run.published)
            means = [measure.written(column and column.mean) for column in columns]
            rows.append(
                Row((*outcome.row.values, f"{run.fold}", f"{run.seed}", *means, str(run.published.epoch)))
            )
    head = (*compared.grid.axes, "fold", "seed", last_name(target), *_SHORT.values(), "its epoch")
    return Table(f"Each fold{in_percent(measure)}", head, tuple(rows), len(compared.grid.axes) + 2)


def warnings(compared: Compared) -> list[str]:
    """What forbids a comparison: with the papers, or between rows."""
    found = dict.fromkeys(words.warning(outcome.result, compared.benchmark) for outcome in compared.rows)
    covered = {(coverage(o.result), o.result.seeds): o for o in compared.rows}
    if len(covered) > 1:
        told = "; ".join(
            f"{compared.grid.named(o.row)}: {over}, seeds {', '.join(map(str, seeds))}"
            for (over, seeds), o in covered.items()
        )
        found[f"The rows are means over different runs ({told}), so compare them with care."] = None
    missing = len(compared.grid.rows) - len(compared.rows)
    if missing:
        found[f"{missing} of the grid's {len(compared.grid.rows)} rows are not done yet."] = None
    return [text for text in found if text]


def explained(compared: Compared) -> list[tuple[str, str]]:
    """(name of a column, what it is)."""
    found = words.rows(compared.first, compared.benchmark)
    folds = "seeds" if len(compared.first.seeds) > 1 else "folds"
    found = [(_SHORT.get(name, name), about) for name, about in found if name not in ("±", "Pooled")]
    found.append(("±", f'standard deviation of "{_SHORT[PUBLISHED]}" over {folds}'))
    if any(compared.differences):
        found.append((AGAINST, _against(compared)))
    return found + [(", ".join(heads), about) for heads, about in compared.measures]


def _against(compared: Compared) -> str:
    return (
        f"the {last_name(compared.first.target)} less that of the first row. Its interval draws the same "
        "people anew for both rows, fold by fold, so that what makes a person hard for all cancels out: if "
        "it leaves out 0, other people would hardly turn the order round. The luck of a seed is not in it"
    )


def markdown(compared: Compared) -> str:
    """All of it; ends in a newline."""
    told = [f"- **{name}**: {about}." for name, about in explained(compared)]
    parts = [
        f"# {compared.title}",
        *(f"**{text}**" for text in warnings(compared)),
        compared.grid.about,
        *map(markdown_table, tables(compared)[:1]),
        "\n".join(told),
        *map(markdown_table, tables(compared)[1:]),
        _commands(compared),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _commands(compared: Compared) -> str:
    """What each row sets, so that it can be run alone."""
    rows = [
        Row((compared.grid.named(row), row.recipe, " ".join(f"--set {s}" for s in row.settings) or NONE))
        for row in compared.grid.rows
    ]
    return markdown_table(Table("What is set", ("row", "recipe", "settings"), tuple(rows), 3))


def brief(compared: Compared) -> str:
    """A line for each row, for a terminal."""
    measure, target = compared.headline, compared.first.target
    names = [compared.grid.named(outcome.row) for outcome in compared.rows]
    width = min(max(map(len, names)), 48) + 1
    heads = (last_name(target, short=True), "selected", "published", "less 1st row")
    lines = [f"{compared.title}; mean {measure.name}{in_percent(measure)}", ""]
    lines.append(" " * width + "".join(f"{head:>13}" for head in heads))
    for name, outcome, apart in zip(names, compared.rows, compared.differences, strict=True):
        result = outcome.result
        cells = (result.last.mean, result.selected and result.selected.mean, result.published.mean)
        values = [*map(measure.written, cells), _signed(measure, apart.value) if apart else NONE]
        lines.append(f"{name:{width}}" + "".join(f"{value:>13}" for value in values))
    return "\n".join(lines) + "\n"


def figures(compared: Compared) -> list[dict[str, Any]]:
    """A row each as plain data: fractions, not percent."""
    found: list[dict[str, Any]] = []
    for outcome, apart in zip(compared.rows, compared.differences, strict=True):
        result = outcome.result
        found.append(
            {
                "row": dict(zip(compared.grid.axes, outcome.row.values, strict=True)),
                "folder": compared.grid.folder(outcome.row),
                "folds": result.folds,
                "seeds": result.seeds,
                "last": result.last.mean,
                "selected": result.selected and result.selected.mean,
                "published": result.published.mean,
                "against_first": apart and apart.value,
                "against_first_interval": apart and apart.interval,
                "measured": dict(outcome.measured),
            }
        )
    return found
