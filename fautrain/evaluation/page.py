"""A result as one HTML page that stands alone: tables, words and charts."""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from fautrain import metrics
from fautrain.charts import Bar, Curve, bars, plot
from fautrain.evaluation import words
from fautrain.evaluation.fold import FoldResult
from fautrain.evaluation.result import Result, coverage
from fautrain.evaluation.tables import percent, reference, tables
from fautrain.files import publish

if TYPE_CHECKING:
    from fautrain.data.benchmark import Benchmark

REFERENCE = "FMAE-IAT"
"""The system whose published F1 is marked in the bar chart."""


@dataclass(frozen=True)
class Panel:
    """The curves of one run."""

    title: str
    epochs: Markup
    thresholds: Markup


def write_page(result: Result, benchmark: Benchmark, path: Path) -> None:
    """Writes the page in one move. It needs no network and no other file.

    Args:
        benchmark: the one that is tested on.

    Raises:
        UserError: the file cannot be written.
    """
    html = render(result, benchmark)
    publish(path, html)


def render(result: Result, benchmark: Benchmark) -> str:
    """The page's text."""
    first, *others = tables(result, benchmark)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            result=result,
            title=words.title(result, benchmark),
            over=coverage(result),
            warning=words.warning(result, benchmark),
            lead=words.lead(result),
            seeds=words.seeds(result),
            comparison=words.comparison(result, benchmark),
            explained=words.rows(result),
            main=first,
            others=others,
            bars=bars("F1 per action unit", _bars(result, benchmark)),
            reference=REFERENCE if reference(result, benchmark, REFERENCE) else "",
            panels=_panels(result),
            epochs=any(len(run.curves.epochs) > 1 for run in result.runs),
            validated=any(run.validation_subjects for run in result.runs),
        )
    )


def _bars(result: Result, benchmark: Benchmark) -> list[Bar]:
    last, published, bounds = result.last, result.published, result.last.bounds
    papers = reference(result, benchmark, REFERENCE)
    found = [
        Bar(
            label=str(au),
            value=last.f1[place],
            interval=bounds.f1[place] if bounds else None,
            baseline=result.all_positive[place],
            dot=published.f1[place],
            diamond=papers[au] / 100 if au in papers else None,
        )
        for place, au in enumerate(result.aus)
    ]
    whole = len(papers) == len(benchmark.aus) == len(result.aus)
    mean = sum(papers.values()) / len(papers) / 100 if whole else None
    interval = bounds.mean if bounds else None
    return [*found, Bar("mean", last.mean, interval, result.all_positive_mean, published.mean, mean)]


def _panels(result: Result) -> list[Panel]:
    """A panel per run, all on the same scale."""
    epochs = _span([y for run in result.runs for line in _epoch_lines(run) for y in line.y])
    thresholds = _span([y for run in result.runs for line in _threshold_lines(run) for y in line.y])
    return [_panel(run, epochs, thresholds, len(result.seeds) > 1) for run in result.runs]


def _panel(
    run: FoldResult, epochs: tuple[float, float], thresholds: tuple[float, float], name_seed: bool
) -> Panel:
    fold = run.dataset if run.fold is None else f"Fold {run.fold}"
    done = run.curves.epochs
    room = max(0.02 * (done[-1] - done[0]), 0.02)  # so that the outer dots are drawn whole
    return Panel(
        f"{fold}, seed {run.seed}" if name_seed else fold,
        plot(
            f"Mean F1 over epochs, {fold}",
            _epoch_lines(run),
            across=(done[0] - room, done[-1] + room),
            ticks=_epoch_ticks(done),
            up=epochs,
            number=_percent,
        ),
        plot(
            f"Mean F1 over thresholds, {fold}",
            _threshold_lines(run),
            across=(0, 1),
            ticks=[(tick / 4, f"{tick / 4:g}") for tick in range(5)],
            up=thresholds,
            number=_percent,
            upright=0.5,
        ),
    )


def _epoch_lines(run: FoldResult) -> list[Curve]:
    curves = run.curves
    lines = [_curve("best", curves.epochs, curves.test_best), _curve("test", curves.epochs, curves.test)]
    if curves.validation:
        lines.append(_curve("validation", curves.epochs, curves.validation))
    return lines


def _threshold_lines(run: FoldResult) -> list[Curve]:
    curves, x = run.curves, metrics.THRESHOLDS.tolist()
    lines = [_curve("test", x, curves.test_thresholds)]
    if curves.validation_thresholds:
        lines.append(_curve("validation", x, curves.validation_thresholds))
    return lines


def _curve(style: str, x: Sequence[float], y: Sequence[float]) -> Curve:
    return Curve(style, x, y, dots=len(x) <= 60)


def _percent(value: float) -> str:
    return f"{100 * value:.4g}"


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis of fractions that holds `values` with some room, within 0 and 1."""
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), 0.01)
    return max(low - room, 0.0), min(high + room, 1.0)


def _epoch_ticks(epochs: Sequence[int]) -> list[tuple[float, str]]:
    """About five whole epochs."""
    step = max(1, math.ceil((epochs[-1] - epochs[0]) / 5))
    return [(float(epoch), str(epoch)) for epoch in range(epochs[0], epochs[-1] + 1, step)]


def _environment() -> jinja2.Environment:
    def load(name: str) -> str:
        return importlib.resources.files("fautrain.evaluation").joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment
