"""A result as one HTML page that stands alone: tables, words and charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from facecorpus.pages import page_template
from fautrain.charts import Bar, Curve, bars, plot, round_values
from fautrain.evaluation import words
from fautrain.evaluation.fold import FoldResult
from fautrain.evaluation.result import Interval, Result, coverage
from fautrain.evaluation.tables import Reference, reference, tables
from fautrain.targets import Measure, Target

if TYPE_CHECKING:
    from fautrain.data.benchmark import Benchmark


@dataclass(frozen=True)
class Panel:
    """The curves of one run."""

    title: str
    epochs: Markup
    choices: Markup
    """Over what may be chosen; empty where nothing is."""


def render(result: Result, benchmark: Benchmark) -> str:
    """The page's text, which needs no network and no other file.

    Args:
        benchmark: the one that is tested on.
    """
    first, *others = tables(result, benchmark)
    target, paper = result.target, reference(result, benchmark)
    return page_template("fautrain.evaluation", score=target.headline.written).render(
        result=result,
        measure=target.headline,
        terms=target.words,
        at=_at(target),
        title=words.title(result, benchmark),
        over=coverage(result),
        unit=benchmark.unit,
        warning=words.warning(result, benchmark),
        lead=words.lead(result, benchmark),
        seeds=words.seeds(result),
        comparison=words.comparison(result, benchmark),
        explained=words.rows(result, benchmark),
        main=first,
        others=others,
        bars=_bar_chart(result, paper),
        reference=paper.system if paper else "",
        panels=_panels(result),
        epochs=any(len(run.curves.epochs) > 1 for run in result.runs),
        validated=any(run.validation_subjects for run in result.runs),
    )


def _bar_chart(result: Result, paper: Reference | None) -> Markup:
    """The headline measure of each output and of all, from 0 to 1 where it is written in percent."""
    measure, last, base, published = result.target.headline, result.last, result.baseline, result.published
    names = [*result.outputs, result.target.words.whole]
    values = [*last.scores, last.mean]
    intervals = [*last.bounds.scores, last.bounds.mean] if last.bounds else [None] * len(names)
    baselines, dots = [*base.scores, base.mean], [*published.scores, published.mean]
    diamonds = [*map(paper.scores.get, result.outputs), paper.overall] if paper else [None] * len(names)
    highest = [*values, *baselines, *dots, *(high for _, high in filter(None, intervals))]
    top = 1.0 if measure.percent else max(*highest, 0.1)

    def part(value: float) -> float:
        return max(value, 0.0) / top

    found = [
        Bar(
            label=name.removeprefix(result.target.words.short),
            told=_told(measure, name, value, ends),
            value=part(value),
            interval=ends and (part(ends[0]), part(ends[1])),
            baseline=part(baseline),
            dot=part(dot),
            diamond=None if printed is None else part(printed / measure.scale),
        )
        for name, value, ends, baseline, dot, printed in zip(
            names, values, intervals, baselines, dots, diamonds, strict=True
        )
    ]
    ticks = [(level / top, measure.axis(level)) for level in round_values(0.0, top)]
    return bars(f"{measure.name} per {result.target.words.output}", found, ticks)


def _told(measure: Measure, name: str, value: float, ends: Interval | None) -> str:
    between = f" ({' to '.join(map(measure.written, ends))})" if ends else ""
    return f"{name}: {measure.written(value)}{measure.unit}{between}"


def _at(target: type[Target]) -> str:
    """The choice that is not chosen, in words: `threshold 0.5`."""
    choice = target.choices[target.default]
    return "" if choice is None else f"{target.words.choice} {choice:g}"


def _panels(result: Result) -> list[Panel]:
    """A panel per run, all on the same scale."""
    within = (0.0, 1.0) if result.target.headline.percent else (-math.inf, math.inf)
    epochs = _span([y for run in result.runs for line in _epoch_lines(run) for y in line.y], within)
    choices = _span([y for run in result.runs for line in _choice_lines(run) for y in line.y], within)
    return [_panel(run, epochs, choices, len(result.seeds) > 1) for run in result.runs]


def _panel(
    run: FoldResult, epochs: tuple[float, float], choices: tuple[float, float], name_seed: bool
) -> Panel:
    fold = f"Fold {run.fold}" if run.folds > 1 else run.dataset
    done, target = run.curves.epochs, run.target
    measure, choice = target.headline, target.words.choice
    of_all = f"{target.words.whole.capitalize()} {measure.name}"
    room = max(0.02 * (done[-1] - done[0]), 0.02)  # so that the outer dots are drawn whole
    over_epochs = plot(
        f"{of_all} over epochs, {fold}",
        _epoch_lines(run),
        across=(done[0] - room, done[-1] + room),
        ticks=_epoch_ticks(done),
        up=epochs,
        number=measure.axis,
    )
    over_choices = plot(
        f"{of_all} over {choice}s, {fold}",
        _choice_lines(run),
        across=(0, 1),
        ticks=[(tick / 4, f"{tick / 4:g}") for tick in range(5)],
        up=choices,
        number=measure.axis,
        upright=target.choices[target.default],
    )
    title = f"{fold}, seed {run.seed}" if name_seed else fold
    return Panel(title, over_epochs, over_choices if choice else Markup())


def _epoch_lines(run: FoldResult) -> list[Curve]:
    curves = run.curves
    lines = [_curve("test", curves.epochs, curves.test)]
    if run.target.words.choice:
        lines.insert(0, _curve("best", curves.epochs, curves.test_best))
    if curves.validation:
        lines.append(_curve("validation", curves.epochs, curves.validation))
    return lines


def _choice_lines(run: FoldResult) -> list[Curve]:
    curves, x = run.curves, [choice or 0.0 for choice in run.target.choices]
    lines = [_curve("test", x, curves.test_choices)]
    if curves.validation_choices:
        lines.append(_curve("validation", x, curves.validation_choices))
    return lines


def _curve(style: str, x: Sequence[float], y: Sequence[float]) -> Curve:
    return Curve(style, x, y, dots=len(x) <= 60)


def _span(values: Sequence[float], within: tuple[float, float]) -> tuple[float, float]:
    """Ends of an axis that holds `values` with some room."""
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), 0.01)
    return max(low - room, within[0]), min(high + room, within[1])


def _epoch_ticks(epochs: Sequence[int]) -> list[tuple[float, str]]:
    """About five whole epochs."""
    step = max(1, math.ceil((epochs[-1] - epochs[0]) / 5))
    return [(float(epoch), str(epoch)) for epoch in range(epochs[0], epochs[-1] + 1, step)]
