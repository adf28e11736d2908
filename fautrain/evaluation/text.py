"""A result as text: Markdown with all tables, and one narrow table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fautrain.evaluation import words
from fautrain.evaluation.result import Result, coverage
from fautrain.evaluation.tables import (
    LAST,
    NONE,
    PUBLISHED,
    SELECTED,
    Row,
    Table,
    percent,
    reference,
    summaries,
    tables,
)

if TYPE_CHECKING:
    from fautrain.data.benchmark import Benchmark

SHORT = {LAST: "F1@0.5 last", SELECTED: "selected", PUBLISHED: "published"}
"""Columns by the name of their row in the other tables."""
PAPER = "FMAE-IAT"
"""The paper's system that is shown, where it is comparable."""


def markdown(result: Result, benchmark: Benchmark) -> str:
    """The tables, what they mean, and what limits them; ends in a newline.

    Args:
        benchmark: the one that is tested on.
    """
    first, *others = tables(result, benchmark)
    warning = words.warning(result, benchmark)
    explained = [f"- **{name}**: {text}." for name, text in words.rows(result)]
    parts = [
        f"# {words.title(result, benchmark)}",
        f"**{warning}**" if warning else "",
        words.lead(result),
        words.seeds(result),
        _table(first),
        words.comparison(result, benchmark),
        "\n".join(explained),
        *map(_table, others),
        "\n".join(f"- {note}" for note in result.notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def brief(result: Result, benchmark: Benchmark) -> str:
    """F1 in percent, a line for each AU, under 80 characters wide; ends in a newline.

    Args:
        benchmark: the one that is tested on.
    """
    names = [f"AU{au}" for au in result.aus]
    columns = [
        (SHORT[name], [*map(percent, summary.f1), percent(summary.mean)])
        for name, summary in summaries(result)
    ]
    baseline = [*map(percent, result.all_positive), percent(result.all_positive_mean)]
    columns.append(("all present", baseline))
    if paper := reference(result, benchmark, PAPER):
        known = [paper.get(au) for au in result.aus]
        values = [value for value in known if value is not None]
        mean = sum(values) / len(values) if len(values) == len(benchmark.aus) == len(known) else None
        columns.append((PAPER, [NONE if value is None else f"{value:.1f}" for value in (*known, mean)]))
    lines = [f"{words.title(result, benchmark)}; F1 in percent, {coverage(result)}", ""]
    lines.append("      " + "".join(f"{head:>13}" for head, _ in columns))
    for at, name in enumerate([*names, "mean"]):
        lines.append(f"{name:6}" + "".join(f"{values[at]:>13}" for _, values in columns))
    lines.append("")
    if warning := words.warning(result, benchmark):
        lines.append(f"warning: {warning}")
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Table) -> str:
    numbers = len(table.head) - table.words
    rule = Row(("---",) * table.words + ("---:",) * numbers)
    lines = [_line(row, len(table.head)) for row in (Row(table.head), rule, *table.rows)]
    return "\n".join([f"## {table.title}", "", *lines])


def _line(row: Row, width: int) -> str:
    cells = [_escaped(cell) for cell in row.cells] + [""] * (width - len(row.cells))
    if row.kind in ("ours", "heading"):
        cells = [f"**{cell}**" if cell and at in (0, width - 1) else cell for at, cell in enumerate(cells)]
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """The text with what Markdown would read as a mark made plain."""
    return "".join(f"\\{c}" if c in "\\|*_`<[" else c for c in text)
