"""Histograms of what was measured, by what became of the inputs, and their charts as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from markupsafe import Markup, escape
from numpy.typing import NDArray

from facecorpus import storage
from facecorpus.filters import Limits
from facecorpus.phases import score
from facecorpus.phases.corpus import Corpus
from facecorpus.record import State
from facecorpus.report.survey import batches, rank

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

ROWS = 500_000
"""Rows read at most, in whole scored parts."""
FATES = ("kept", "duplicate", "rejected")
"""Series of the histograms, from the bottom of the stack; "rejected" includes failed."""
_FATE = {State.KEPT: 0, State.DUPLICATE: 1}
_READ = (
    "width_px", "height_px", "interocular_px", "face_score",
    "yaw_deg", "pitch_deg", "roll_deg", "brightness", "sharpness", "zoom", "padded",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that rows have."""

    title: str
    unit: str
    values: tuple[NDArray[np.float64], ...]
    """Of the rows that have it, an array for each of `FATES`."""
    limits: tuple[float, ...] = ()
    """Values that the recipe sets as limits."""
    log: bool = False
    """Whether a logarithmic axis suits it."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Numbers of the rows read."""

    rows: int
    all_rows: int
    measures: tuple[Measure, ...]


def measure(corpus: Corpus, units: Mapping[str, int]) -> Measures:
    """The numbers of the rows of `units` (name -> rows); above `ROWS`, of units picked by hashed name."""
    chosen = _choose(units)
    fates = _fates(corpus, chosen)
    columns: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _READ}
    kinds: list[NDArray[np.int8]] = []
    for unit in chosen:
        url = storage.join(corpus.out, score.rows_path(unit))
        if not storage.exists(url):
            continue
        table = storage.read_table(url, _READ)
        kinds.append(fates[unit][: len(table)])
        for name in _READ:
            columns[name].append(pc.fill_null(table[name].cast(pa.float64()), np.nan).to_numpy())
    joined = {name: np.concatenate([*parts, np.empty(0)]) for name, parts in columns.items()}
    kind = np.concatenate([*kinds, np.empty(0, np.int8)])
    return Measures(len(kind), sum(units.values()), tuple(_measures(joined, kind, corpus.recipe.limits)))


def _choose(units: Mapping[str, int]) -> list[str]:
    chosen: list[str] = []
    left = ROWS
    for name in sorted(units, key=rank):
        if units[name] <= left or not chosen:
            chosen.append(name)
            left -= units[name]
    return sorted(chosen)


def _fates(corpus: Corpus, units: Sequence[str]) -> dict[str, NDArray[np.int8]]:
    """Index into `FATES` of every row of the units, in the order of their rows."""
    found: dict[str, list[tuple[int, int]]] = {unit: [] for unit in units}
    values = pa.array(units, pa.string())
    for batch in batches(corpus, ("unit", "row", "state")):
        part = batch.filter(pc.is_in(batch["unit"], value_set=values))
        for unit, row, state in zip(*(column.to_pylist() for column in part.columns), strict=True):
            found[unit].append((row, _FATE.get(state, 2)))
    return {unit: np.array([fate for _, fate in sorted(rows)], np.int8) for unit, rows in found.items()}


def _measures(
    columns: Mapping[str, NDArray[np.float64]], kind: NDArray[np.int8], limits: Limits
) -> list[Measure]:
    def one(title: str, unit: str, values: NDArray[np.float64], *marks: float, log: bool = False) -> Measure:
        known = np.isfinite(values) & ((values > 0) if log else True)
        parts = tuple(values[known & (kind == fate)] for fate in range(len(FATES)))
        return Measure(title, unit, parts, marks, log)

    dark = [limits.min_brightness] if limits.min_brightness > 0 else []
    bright = [limits.max_brightness] if limits.max_brightness < 255 else []
    sharp = [limits.min_sharpness] if limits.min_sharpness > 0 else []
    apart = [limits.min_interocular_px] if limits.min_interocular_px > 0 else []
    beyond = [100 * limits.max_padded] if limits.max_padded < 1 else []
    eyes = columns["interocular_px"]
    short = np.fmin(columns["width_px"], columns["height_px"])
    return [
        one("Shorter side of the source", "px", short, limits.min_side_px, log=True),
        one("Distance between the eyes", "source px", eyes, *apart, log=True),
        one("Detector score", "0 to 1", columns["face_score"], limits.min_face_score),
        one("Yaw", "degrees, + to image-right", columns["yaw_deg"]),
        one("Pitch", "degrees, + up", columns["pitch_deg"]),
        one("Roll", "degrees, + clockwise", columns["roll_deg"]),
        one("Zoom of the crop", "times nearer than the alignment", columns["zoom"]),
        one("Outside the picture", "% of the crop", 100 * columns["padded"], *beyond),
        one("Brightness of the crop", "mean luma", columns["brightness"], *dark, *bright),
        one("Sharpness of the crop", "variance of the Laplacian", columns["sharpness"], *sharp, log=True),
    ]


_WIDTH, _HEIGHT = 320, 150
_LEFT, _RIGHT, _TOP, _BASE = 6, 314, 20, 128
_MOST_BINS = 44
_TAIL = 0.5
"""Percent of the values at each end that may lie outside the axis, counted in the outermost bars."""


def histogram(measure: Measure) -> Markup:
    """A stacked histogram with the recipe's limits marked; a sentence where nothing has the value."""
    values = np.concatenate(measure.values)
    if not len(values):
        return Markup('<p class="muted">no input got far enough to have one</p>')
    low, high = _span(values, measure)
    place = _place(low, high, measure.log)
    edges = np.linspace(0.0, 1.0, int(np.clip(2 * math.sqrt(len(values)), 12, _MOST_BINS)) + 1)
    counts = [np.histogram(np.clip(place(part), 0, 1), edges)[0] for part in measure.values]
    highest, peak = _peak(np.sum(counts, axis=0))
    parts = [_bars(counts, edges, peak, low, high, measure.log)]
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{_BASE}" y2="{_BASE}"/>')
    cut = ", which is cut" if peak < highest else ""
    parts.append(f'<text class="tick" x="{_LEFT}" y="11">{highest:,} in the highest bar{cut}</text>')
    for tick in _ticks(low, high, measure.log):
        parts.append(_tick(tick, _x(float(place(np.array([tick]))[0]))))
    parts += [_limit(limit, float(place(np.array([limit]))[0])) for limit in measure.limits]
    label = escape(f"Histogram: {measure.title}")
    frame = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
    return Markup(f"{frame}{''.join(parts)}</svg>")


def _tick(value: float, x: float) -> str:
    anchor = "start" if x < _LEFT + 12 else "end" if x > _RIGHT - 12 else "middle"
    return (
        f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{_BASE}" y2="{_BASE + 4}"/>'
        f'<text class="tick" x="{x:.1f}" y="{_BASE + 16}" text-anchor="{anchor}">{_number(value)}</text>'
    )


def _span(values: NDArray[np.float64], measure: Measure) -> tuple[float, float]:
    """Ends of the axis: nearly all values and every limit, never empty."""
    low, high = (float(v) for v in np.percentile(values, [_TAIL, 100 - _TAIL]))
    low, high = min(low, *measure.limits, high), max(high, *measure.limits, low)
    if measure.log:
        return (low / 1.1, high * 1.1)
    margin = max((high - low) * 0.03, 1e-3)
    return low - margin, high + margin


def _place(low: float, high: float, log: bool) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Maps values to fractions of the axis."""

    def place(values: NDArray[np.float64]) -> NDArray[np.float64]:
        if log:
            return np.log(np.maximum(values, 1e-9) / low) / math.log(high / low)
        return (values - low) / (high - low)

    return place


def _x(fraction: float) -> float:
    return _LEFT + fraction * (_RIGHT - _LEFT)


def _peak(totals: NDArray[np.int64]) -> tuple[int, float]:
    """(rows in the highest bar, rows that the full height stands for): a spike must not flatten the rest."""
    second, highest = (int(n) for n in np.sort(totals)[-2:])
    return highest, 1.4 * second if highest > 3 * second > 0 else max(highest, 1)


def _bars(
    counts: Sequence[NDArray[np.int64]],
    edges: NDArray[np.float64],
    peak: float,
    low: float,
    high: float,
    log: bool,
) -> str:
    """The bars, each with its numbers for whoever points at it."""
    bars: list[str] = []
    for number in range(len(edges) - 1):
        base, held = float(_BASE), [int(series[number]) for series in counts]
        if not any(held):
            continue
        scale = (_BASE - _TOP) / max(peak, sum(held))
        pair = edges[number : number + 2].tolist()
        ends = [low * (high / low) ** e if log else low + e * (high - low) for e in pair]
        said = ", ".join(f"{n:,} {fate}" for n, fate in zip(held, FATES, strict=True) if n)
        bars.append(f"<g><title>{_number(ends[0])} to {_number(ends[1])}: {said}</title>")
        left, wide = _x(float(edges[number])), (_RIGHT - _LEFT) / (len(edges) - 1)
        for n, fate in zip(held, FATES, strict=True):
            tall = scale * n
            if n:
                tall = max(tall, 0.8)  # a single row must stay visible
                base -= tall
                box = f'x="{left + 0.4:.2f}" y="{base:.2f}" width="{wide - 0.8:.2f}" height="{tall:.2f}"'
                bars.append(f'<rect class="{fate}" {box}/>')
        if sum(held) > peak:
            ends_x = f'x1="{left - 1:.2f}" x2="{left + wide + 1:.2f}"'
            bars.append(f'<line class="cut" {ends_x} y1="{_TOP + 12}" y2="{_TOP + 8}"/>')
        bars.append("</g>")
    return "".join(bars)


def _limit(limit: float, fraction: float) -> str:
    x = _x(fraction)
    anchor, shift = ("start", 4) if fraction < 0.35 else ("end", -4)
    return (
        f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 4}" y2="{_BASE}"/>'
        f'<text class="tick limit-text" x="{x + shift:.1f}" y="{_TOP + 4}" text-anchor="{anchor}">'
        f"limit {_number(limit)}</text>"
    )


def _ticks(low: float, high: float, log: bool) -> list[float]:
    """Three to six round numbers within the axis."""
    if log:
        tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        choices = [
            [s * 10.0**e for e in tens for s in steps if low <= s * 10.0**e <= high]
            for steps in ((1, 2, 5), (1, 3), (1,))
        ]
        fitting = [choice for choice in choices if 2 <= len(choice) <= 6]
        if fitting:
            return fitting[0]
    rough = (high - low) / 4
    step = 10.0 ** math.floor(math.log10(rough))
    step *= next(s for s in (1, 2, 5, 10) if s * step >= rough)
    start = math.ceil(low / step)
    return [n * step for n in range(start, math.floor(high / step) + 1)]


def _number(value: float) -> str:
    if value != 0 and abs(value) < 1:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
