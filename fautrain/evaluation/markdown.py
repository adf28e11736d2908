"""A result as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fautrain.evaluation import words
from fautrain.evaluation.result import Result
from fautrain.evaluation.tables import Row, Table, tables

if TYPE_CHECKING:
    from fautrain.data.benchmark import Benchmark


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
