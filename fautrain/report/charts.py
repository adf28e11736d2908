"""Curves as inline SVG that fills its frame; the labels are text of the page and never shrink with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from fautrain.report.reading import Series

_SIDE = 1000.0
"""Side of the drawing's own square; the page stretches it over the frame."""
_BINS = 400
"""Most parts of the step axis that a curve is drawn in."""
_WINDOWS = 30
"""A smoothed curve averages over 1/30 of the lines."""
_CUT_PERCENT = 99.0
"""A raw curve's values above this percentile may lie outside the frame: the first steps would flatten the
rest."""


@dataclass(frozen=True)
class Curve:
    """A series and how it is drawn."""

    label: str
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
    ticks = _ticks(low, high, 5)
    across = [t for t in _ticks(0, extent, 5) if t == round(t)]
    parts = [_rule(_y(tick, low, high)) for tick in ticks]
    parts += [_path(curve, extent, low, high) for curve in drawn]
    label = escape(f"{title} over the steps")
    svg = (
        f'<svg viewBox="0 0 {_SIDE:.0f} {_SIDE:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )
    beside = "".join(
        f'<span style="top:{_y(tick, low, high) / _SIDE:.2%}">{escape(number(tick))}</span>' for tick in ticks
    )
    below = "".join(
        f'<span style="left:{tick / extent:.2%}">{"step " if tick == 0 else ""}{tick:,.0f}</span>'
        for tick in across
    )
    note = (
        f'<small class="cut">Values up to {escape(number(cut))} lie above the frame.</small>' if cut else ""
    )
    return Markup(
        f'<div class="plot"><div class="ys">{beside}</div><div class="frame">{svg}</div>'
        f'<div class="xs">{below}</div></div>{note}'
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


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) inside [low, high], at most about `count` + 1."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 5) if m * power >= rough * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _y(value: float, low: float, high: float) -> float:
    return _SIDE * (1 - (value - low) / (high - low))


def _rule(y: float) -> str:
    return f'<path class="rule" d="M0 {y:.1f}H{_SIDE:.0f}"/>'


def _path(curve: Curve, extent: float, low: float, high: float) -> str:
    finite = np.isfinite(curve.series.values)
    x = _SIDE * curve.series.steps[finite] / extent
    values = curve.series.values[finite]
    if curve.style != "points":
        x, values = _thinned(x, values)
    y = _SIDE * (1 - (values - low) / (high - low))
    # Far above the frame is as good as just above it, and browsers draw huge coordinates badly.
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(x, np.clip(y, -_SIDE, 2 * _SIDE), strict=True)]
    line = f'<path class="{curve.style}" d="M{"L".join(points)}"/>' if len(points) > 1 else ""
    if curve.style == "points" or len(points) == 1:
        # A line of no length with round ends stays a round dot however the frame is stretched.
        line += f'<path class="{curve.style} dots" d="{"".join(f"M{point}h0" for point in points)}"/>'
    return line


def _thinned(
    x: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest point of each of `_BINS` parts, in their order; all where there are few."""
    if len(x) <= 2 * _BINS:
        return x, values
    kept: list[int] = []
    for part in np.array_split(np.arange(len(x)), _BINS):
        kept += sorted({int(part[values[part].argmin()]), int(part[values[part].argmax()])})
    return x[kept], values[kept]
