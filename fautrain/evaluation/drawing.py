"""Charts of F1 as inline SVG that fills its frame; the labels are text and never shrink with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from fautrain.evaluation.result import Interval

_SIDE = 1000.0
"""Side of a line chart's own square; the page stretches it over the frame."""


@dataclass(frozen=True)
class Bar:
    """One AU of the bar chart, or their mean; fractions."""

    label: str
    value: float
    interval: Interval | None
    """Whiskers."""
    baseline: float
    """Tick across the bar."""
    dot: float | None
    """Round marker."""
    diamond: float | None
    """Marker of a published figure."""


@dataclass(frozen=True)
class Line:
    """One curve; fractions over any x."""

    style: str
    """Class: `test`, `validation` or `best`."""
    x: Sequence[float]
    y: Sequence[float]


def bars(title: str, groups: Sequence[Bar]) -> Markup:
    """A bar per group over 0 to 100 %."""
    width = 100 / max(len(groups), 1)
    parts = [_level(tick / 100) for tick in range(0, 101, 20)]
    for place, bar in enumerate(groups):
        left, middle = place * width + 0.2 * width, (place + 0.5) * width
        parts.append(
            f'<rect class="bar" x="{left:.2f}%" y="{_down(bar.value)}" width="{0.6 * width:.2f}%" '
            f'height="{100 * bar.value:.2f}%"><title>{escape(_told(bar))}</title></rect>'
        )
        edges = left - 0.08 * width, left + 0.68 * width
        parts.append(_stroke("base", edges, (bar.baseline, bar.baseline)))
        if bar.interval:
            parts.append(_stroke("whisker", (middle, middle), bar.interval))
            cap = middle - 0.12 * width, middle + 0.12 * width
            parts += [_stroke("whisker", cap, (end, end)) for end in bar.interval]
        # Beside the whisker, so that none hides another.
        if bar.dot is not None:
            parts.append(
                f'<circle class="dot" cx="{middle + 0.18 * width:.2f}%" cy="{_down(bar.dot)}" r="4"/>'
            )
        if bar.diamond is not None:
            parts.append(
                f'<svg class="mark" x="{middle - 0.18 * width:.2f}%" y="{_down(bar.diamond)}">'
                '<path class="diamond" d="M0-6.5 6.5 0 0 6.5-6.5 0Z"/></svg>'
            )
    beside = [(1 - tick / 100, f"{tick}") for tick in range(0, 101, 20)]
    below = [((place + 0.5) * width / 100, bar.label) for place, bar in enumerate(groups)]
    return _framed(
        title, f'<svg role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>', beside, below
    )


def curves(
    title: str,
    lines: Sequence[Line],
    *,
    across: tuple[float, float],
    ticks: Sequence[tuple[float, str]],
    up: tuple[float, float],
    rule: float | None = None,
) -> Markup:
    """Lines in a frame.

    Args:
        across: left and right end of x. ticks: (x, text). up: lower and upper end of y, as fractions.
        rule: x of an upright line.
    """
    left, right = across
    low, high = up

    def x(value: float) -> float:
        return _SIDE * (value - left) / (right - left)

    def y(value: float) -> float:
        return _SIDE * (1 - (value - low) / (high - low))

    levels = [tick / 100 for tick in _round_values(100 * low, 100 * high)]
    parts = [f'<path class="rule" d="M0 {y(level):.1f}H{_SIDE:.0f}"/>' for level in levels]
    if rule is not None:
        parts.append(f'<path class="rule upright" d="M{x(rule):.1f} 0V{_SIDE:.0f}"/>')
    for line in lines:
        points = [f"{x(a):.1f} {y(b):.1f}" for a, b in zip(line.x, line.y, strict=True)]
        parts.append(f'<path class="{line.style}" d="M{"L".join(points)}"/>')
        if len(points) <= 60:
            # A line of no length with round ends stays a round dot however the frame is stretched.
            parts.append(f'<path class="{line.style} dots" d="{"".join(f"M{p}h0" for p in points)}"/>')
    svg = (
        f'<svg viewBox="0 0 {_SIDE:.0f} {_SIDE:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
    beside = [(y(level) / _SIDE, f"{100 * level:.4g}") for level in levels]
    return _framed(title, svg, beside, [(x(value) / _SIDE, text) for value, text in ticks])


def span(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis of fractions that holds `values` with some room, within 0 and 1."""
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), 0.01)
    return max(low - room, 0.0), min(high + room, 1.0)


def epoch_ticks(epochs: Sequence[int]) -> list[tuple[float, str]]:
    """About five whole epochs."""
    step = max(1, math.ceil((epochs[-1] - epochs[0]) / 5))
    return [(float(epoch), str(epoch)) for epoch in range(epochs[0], epochs[-1] + 1, step)]


def _round_values(low: float, high: float) -> list[float]:
    """Some three to six round values inside [low, high]."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 5) if m * power >= rough * 0.999), 10 * power)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _framed(
    title: str, svg: str, beside: Sequence[tuple[float, str]], below: Sequence[tuple[float, str]]
) -> Markup:
    left = "".join(f'<span style="top:{at:.2%}">{escape(text)}</span>' for at, text in beside)
    under = "".join(f'<span style="left:{at:.2%}">{escape(text)}</span>' for at, text in below)
    return Markup(
        f'<div class="plot"><div class="ys">{left}</div><div class="frame">{svg}</div>'
        f'<div class="xs">{under}</div></div>'
    )


def _level(value: float) -> str:
    return _stroke("rule", (0, 100), (value, value))


def _stroke(style: str, across: tuple[float, float], up: tuple[float, float]) -> str:
    (x1, x2), (y1, y2) = across, up
    return f'<line class="{style}" x1="{x1:.2f}%" x2="{x2:.2f}%" y1="{_down(y1)}" y2="{_down(y2)}"/>'


def _down(value: float) -> str:
    """A fraction's distance from the top."""
    return f"{100 * (1 - value):.2f}%"


def _told(bar: Bar) -> str:
    ends = f" ({100 * bar.interval[0]:.1f} to {100 * bar.interval[1]:.1f})" if bar.interval else ""
    name = f"AU{bar.label}" if bar.label.isdigit() else bar.label
    return f"{name}: {100 * bar.value:.1f} %{ends}"
