"""An ablation as one HTML page that stands alone: the rows, each with its numbers on a common scale."""

from __future__ import annotations

from markupsafe import Markup, escape

from facecorpus.pages import page_template
from fautrain.ablations.outcome import Interval, Outcome
from fautrain.ablations.tables import Compared, explained, main_table, tables, warnings
from fautrain.charts import round_values


def render(compared: Compared) -> str:
    """The page's text, which needs no network and no other file."""
    ends = scale(compared)
    levels = round_values(*ends, 6)
    main, grid = main_table(compared), compared.grid
    return page_template("fautrain.ablations").render(
        compared=compared,
        title=compared.title,
        about=grid.about,
        measure=compared.headline,
        warnings=warnings(compared),
        main=main,
        tracks=[_track(compared, outcome, ends, levels) for outcome in compared.rows],
        levels=[(_across(level, ends), compared.headline.axis(level)) for level in levels],
        explained=explained(compared),
        others=tables(compared)[1:],
        settings=[(grid.named(row), row.recipe, " ".join(row.settings)) for row in grid.rows],
    )


def scale(compared: Compared) -> Interval:
    """Ends of an axis that holds every row's numbers and the baseline."""
    values = [compared.first.baseline.mean]
    for outcome in compared.rows:
        result = outcome.result
        values += [
            result.last.mean,
            result.published.mean,
            *(result.last.bounds.mean if result.last.bounds else ()),
        ]
    low, high = min(values), max(values)
    room = max(0.04 * (high - low), 0.002)
    return low - room, high + room


def _track(compared: Compared, outcome: Outcome, ends: Interval, levels: list[float]) -> Markup:
    """One row's numbers on the common axis: interval, last, published; a line at the baseline."""
    result, measure = outcome.result, compared.headline
    parts = [_upright("rule", _across(level, ends)) for level in levels]
    parts.append(_upright("base", _across(compared.first.baseline.mean, ends)))
    if result.last.bounds:
        low, high = (_across(end, ends) for end in result.last.bounds.mean)
        parts.append(f'<line class="whisker" x1="{low}" x2="{high}" y1="50%" y2="50%"/>')
    parts.append(f'<circle class="last" cx="{_across(result.last.mean, ends)}" cy="50%" r="4.5"/>')
    parts.append(f'<circle class="published" cx="{_across(result.published.mean, ends)}" cy="50%" r="3.5"/>')
    told = f"{measure.written(result.last.mean)}, published {measure.written(result.published.mean)}"
    return Markup(f'<svg role="img" aria-label="{escape(told)}">{"".join(parts)}</svg>')


def _across(value: float, ends: Interval) -> str:
    return f"{100 * (value - ends[0]) / (ends[1] - ends[0]):.2f}%"


def _upright(style: str, at: str) -> str:
    return f'<line class="{style}" x1="{at}" x2="{at}" y1="0" y2="100%"/>'
