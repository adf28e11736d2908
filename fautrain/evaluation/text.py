"""A result as text: Markdown with all tables, and one narrow table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fautrain.evaluation import words
from fautrain.evaluation.result import Result, coverage
from fautrain.evaluation.tables import (
    PUBLISHED,
    SELECTED,
    Row,
    Table,
    last_name,
    reference,
    summaries,
    tables,
)

if TYPE_CHECKING:
    from fautrain.data.benchmark import Benchmark


def markdown(result: Result, benchmark: Benchmark) -> str:
    """The tables, what they mean, and what limits them; ends in a newline.

    Args:
        benchmark: the one that is tested on.
    """
    first, *others = tables(result, benchmark)
    warning = words.warning(result, benchmark)
    explained = [f"- **{name}**: {text}." for name, text in words.rows(result, benchmark)]
    parts = [
        f"# {words.title(result, benchmark)}",
        f"**{warning}**" if warning else "",
        words.lead(result, benchmark),
        words.seeds(result),
        markdown_table(first),
        words.comparison(result, benchmark),
        "\n".join(explained),
        *map(markdown_table, others),
        "\n".join(f"- {note}" for note in result.notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def brief(result: Result, benchmark: Benchmark) -> str:
    """The headline measure, a line for each output, under 80 characters wide; ends in a newline.

    Args:
        benchmark: the one that is tested on.
    """
    target, measure = result.target, result.target.headline
    short = {SELECTED: "selected", PUBLISHED: "published"}
    columns = [
        (short.get(name, last_name(target, short=True)), [*map(measure.written, (*found.scores, found.mean))])
        for name, found in summaries(result)
    ]
    baseline = [*map(measure.written, (*result.baseline.scores, result.baseline.mean))]
    columns.append((target.words.baseline_short, baseline))
    if paper := reference(result, benchmark):
        known = map(paper.scores.get, result.outputs)
        columns.append((paper.system, [*map(measure.printed, (*known, paper.overall))]))
    told = f"{measure.name}{' in percent' if measure.percent else ''}, {coverage(result)}"
    lines = [f"{words.title(result, benchmark)}; {told}", ""]
    names = [*result.outputs, target.words.whole]
    width = max(map(len, ("mean ", *names))) + 1
    lines.append(" " * width + "".join(f"{head:>13}" for head, _ in columns))
    for at, name in enumerate(names):
        lines.append(f"{name:{width}}" + "".join(f"{values[at]:>13}" for _, values in columns))
    lines.append("")
    if warning := words.warning(result, benchmark):
        lines.append(f"warning: {warning}")
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines).rstrip() + "\n"


def markdown_table(table: Table) -> str:
    """A heading and the table under it."""
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
