"""A result on a terminal: one narrow table and what limits it; the rest is in table.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fautrain.evaluation import words
from fautrain.evaluation.result import Result, coverage
from fautrain.evaluation.tables import LAST, NONE, PUBLISHED, SELECTED, percent, reference, summaries

if TYPE_CHECKING:
    from fautrain.data.benchmark import Benchmark

SHORT = {LAST: "F1@0.5 last", SELECTED: "selected", PUBLISHED: "published"}
"""Columns by the name of their row in the other tables."""
PAPER = "FMAE-IAT"
"""The paper's system that is shown, where it is comparable."""


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
