"""Charts of the pages as inline SVG that fills its frame.

The labels are text of the page and never shrink with the frame. Colours and widths are the page's own, by
class, so that a chart follows a dark page. The same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

Ends = tuple[float, float]
"""Lower and upper, or left and right."""

_SIDE = 1000.0
"""Side of a plot's own square; the page stretches it over the frame."""
_BINS = 400
"""Most parts of the x axis that a curve is drawn in."""


@dataclass(frozen=True)
class Curve:
    """Points joined by a line; one that is not finite is passed over."""

    style: str
    """Class of the line."""
    x: Sequence[float] | NDArray[np.float64]
    y: Sequence[float] | NDArray[np.float64]
    dots: bool = False
    """Each point is drawn too; otherwise a curve of many points is thinned."""


@dataclass(frozen=True)
class Bar:
    """One bar of a bar chart; values as fractions of the axis."""

    label: str
    told: str
    """What it says to who points at it."""
    value: float
    interval: Ends | None
    """Whiskers."""
    baseline: float
    """Tick across the bar."""
    dot: float | None
    """Round marker."""
    diamond: float | None
    """Marker of a published figure."""


def plot(
    title: str,
    curves: Sequence[Curve],
    *,
    across: Ends,
    ticks: Sequence[tuple[float, str]],
    up: Ends,
    number: Callable[[float], str],
    upright: float | None = None,
) -> Markup:
    """Curves in a frame.

    Args:
        across: ends of x. ticks: (x, text). up: ends of y. number: how a value is written at the y axis.
        upright: x of a line from bottom to top.
    """

    def x(value: Any) -> Any:
        return _SIDE * (value - across[0]) / (across[1] - across[0])

    def y(value: Any) -> Any:
        return _SIDE * (1 - (value - up[0]) / (up[1] - up[0]))

    levels = round_values(*up)
    parts = [f'<path class="rule" d="M0 {y(level):.1f}H{_SIDE:.0f}"/>' for level in levels]
    if upright is not None:
        parts.append(f'<path class="rule upright" d="M{x(upright):.1f} 0V{_SIDE:.0f}"/>')
    for curve in curves:
        across_values, values = _drawn(curve)
        # Far outside the frame is as good as just outside, and browsers draw huge coordinates badly.
        parts.append(_path(curve, x(across_values), np.clip(y(values), -_SIDE, 2 * _SIDE)))
    svg = f'<svg viewBox="0 0 {_SIDE:.0f} {_SIDE:.0f}" preserveAspectRatio="none"'
    beside = [(y(level) / _SIDE, number(level)) for level in levels]
    return _framed(title, svg, parts, beside, [(x(value) / _SIDE, text) for value, text in ticks])


def _drawn(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The finite points; of many the lowest and the highest of each of `_BINS` parts, in their order."""
    x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if curve.dots or len(x) <= 2 * _BINS:
        return x, y
    parts = np.array_split(np.arange(len(x)), _BINS)
    kept = [at for part in parts for at in sorted({int(part[y[part].argmin()]), int(part[y[part].argmax()])})]
    return x[kept], y[kept]


def _path(curve: Curve, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)]
    line = f'<path class="{curve.style}" d="M{"L".join(points)}"/>' if len(points) > 1 else ""
    if curve.dots or len(points) == 1:
        # A line of no length with round ends stays a round dot however the frame is stretched.
        line += f'<path class="{curve.style} dots" d="{"".join(f"M{point}h0" for point in points)}"/>'
    return line


def bars(title: str, groups: Sequence[Bar], ticks: Sequence[tuple[float, str]]) -> Markup:
    """A bar per group over ticks: (fraction of the axis, text)."""
    width = 100 / max(len(groups), 1)
    parts = [_stroke("rule", (0, 100), (tick, tick)) for tick, _ in ticks]
    for place, bar in enumerate(groups):
        parts += _bar(bar, place * width, width)
    beside = [(1 - tick, text) for tick, text in ticks]
    below = [((place + 0.5) * width / 100, bar.label) for place, bar in enumerate(groups)]
    return _framed(title, "<svg", parts, beside, below)


def _bar(bar: Bar, start: float, width: float) -> list[str]:
    """A bar and its marks in a place `width` wide, percent of the frame."""
    left, middle = start + 0.2 * width, start + 0.5 * width
    height = f"{100 * bar.value:.2f}%"
    place = f'x="{left:.2f}%" y="{_down(bar.value)}" width="{0.6 * width:.2f}%" height="{height}"'
    parts = [
        f'<rect class="bar" {place}><title>{escape(bar.told)}</title></rect>',
        _stroke("base", (left - 0.08 * width, left + 0.68 * width), (bar.baseline, bar.baseline)),
    ]
    if bar.interval:
        cap = middle - 0.12 * width, middle + 0.12 * width
        parts.append(_stroke("whisker", (middle, middle), bar.interval))
        parts += [_stroke("whisker", cap, (end, end)) for end in bar.interval]
    # Beside the whisker, so that none hides another.
    if bar.dot is not None:
        parts.append(f'<circle class="dot" cx="{middle + 0.18 * width:.2f}%" cy="{_down(bar.dot)}" r="4"/>')
    if bar.diamond is not None:
        parts.append(
            f'<svg class="mark" x="{middle - 0.18 * width:.2f}%" y="{_down(bar.diamond)}">'
            '<path class="diamond" d="M0-6.5 6.5 0 0 6.5-6.5 0Z"/></svg>'
        )
    return parts


def round_values(low: float, high: float, count: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) inside [low, high], at most about `count` + 1."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 5) if m * power >= rough * 0.999), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _framed(
    title: str,
    opening: str,
    parts: Sequence[str],
    beside: Sequence[tuple[float, str]],
    below: Sequence[tuple[float, str]],
) -> Markup:
    left = "".join(f'<span style="top:{at:.2%}">{escape(text)}</span>' for at, text in beside)
    under = "".join(f'<span style="left:{at:.2%}">{escape(text)}</span>' for at, text in below)
    svg = f'{opening} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return Markup(
        f'<div class="plot"><div class="ys">{left}</div><div class="frame">{svg}</div>'
        f'<div class="xs">{under}</div></div>'
    )


def _stroke(style: str, across: Ends, up: Ends) -> str:
    (x1, x2), (y1, y2) = across, up
    return f'<line class="{style}" x1="{x1:.2f}%" x2="{x2:.2f}%" y1="{_down(y1)}" y2="{_down(y2)}"/>'


def _down(value: float) -> str:
    """A fraction's distance from the top."""
    return f"{100 * (1 - value):.2f}%"
