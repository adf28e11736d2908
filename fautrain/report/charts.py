"""Curves over the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup, escape

from fautrain import charts
from fautrain.report.reading import Series

_WINDOWS = 30
"""A smoothed curve averages over 1/30 of the lines."""
_CUT_PERCENT = 99.0
"""A raw curve's values above this percentile may lie outside the frame: the first steps would flatten the
rest."""


@dataclass(frozen=True)
class Curve:
    """A series and how it is drawn."""

    style: Literal["main", "raw", "points", "base"]
    """Style class; `raw` is drawn faint and may be cut, `points` are dots joined by a line."""
    series: Series


def smoothed(series: Series) -> Series:
    """The mean of the finite values in a centred window of 1/30 of the lines, at least 3.

    At the ends of the series the window is cut off.
    """
    n = len(series.values)
    reach = max(1, round(n / _WINDOWS / 2))
    finite = np.isfinite(series.values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, series.values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    places = np.arange(n)
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, n)
    inside = counts[high] - counts[low]
    mean = np.where(inside > 0, (sums[high] - sums[low]) / np.maximum(inside, 1), np.nan)
    return Series(series.steps, mean)


def chart(
    title: str,
    curves: Sequence[Curve],
    *,
    number: Callable[[float], str],
    last_step: int,
    from_zero: bool = False,
) -> Markup:
    """A frame with the curves over the steps 0 to `last_step`, or a sentence where no value is finite.

    number: how a value is written at the axis.
    """
    drawn = [curve for curve in curves if np.isfinite(curve.series.values).any()]
    if not drawn:
        return Markup('<p class="muted">Not logged yet.</p>')
    low, high, cut = _span(drawn, from_zero)
    extent = max(last_step, 1) * 1.012  # the dot of the last step is drawn whole
    steps = [step for step in charts.round_values(0, extent) if step == round(step)]
    plot = charts.plot(
        f"{title} over the steps",
        [charts.Curve(c.style, c.series.steps, c.series.values, dots=c.style == "points") for c in drawn],
        across=(0, extent),
        ticks=[(step, f"{'step ' if step == 0 else ''}{step:,.0f}") for step in steps],
        up=(low, high),
        number=number,
    )
    if not cut:
        return plot
    return plot + Markup(
        f'<small class="cut">Values up to {escape(number(cut))} lie above the frame.</small>'
    )


def _span(curves: Sequence[Curve], from_zero: bool) -> tuple[float, float, float | None]:
    """Lowest and highest value of the frame, and the highest of all where that lies above it."""
    lows: list[float] = []
    highs: list[float] = []
    peaks: list[float] = []
    for curve in curves:
        values = curve.series.values[np.isfinite(curve.series.values)]
        raw = curve.style == "raw" and len(values) >= 50
        lows.append(float(values.min()))
        highs.append(float(np.percentile(values, _CUT_PERCENT)) if raw else float(values.max()))
        peaks.append(float(values.max()))
    low, high = min(lows), max(highs)
    if from_zero:
        low = min(low, 0.0)
    margin = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    top = high + margin
    return low if from_zero and low == 0 else low - margin, top, max(peaks) if max(peaks) > top else None
