"""An ablation as a picture for papers and documents: a line for each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes

from fautrain.ablations.tables import Compared
from fautrain.evaluation import coverage
from fautrain.evaluation.tables import PUBLISHED, in_percent, last_name
from fautrain.probe.canvas import COLOURS, MUTED, canvas

WIDTH_PX: Final = 1760
_LONGEST: Final = 44
"""Letters of a row's name."""


def draw(compared: Compared, path: Path) -> None:
    """Write a PNG 1760 pixels wide: a row's last epoch, its interval and the published column."""
    with canvas(path, WIDTH_PX, 330 + 64 * len(compared.rows)) as figure:
        drawn = " (drawn faces)" if compared.first.drawn else ""
        figure.suptitle(f"{compared.title}{drawn}")
        axes = figure.subplots()
        _rows(axes, compared)
        names = [compared.grid.named(outcome.row) for outcome in compared.rows]
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        measure = compared.headline
        axes.set_xlabel(f"mean {measure.name}{in_percent(measure)}, {coverage(compared.first)}")
        figure.legend(loc="outside lower center", ncols=3)


def _rows(axes: Axes, compared: Compared) -> None:
    measure, target = compared.headline, compared.first.target
    scale, blue, orange = measure.scale, COLOURS[0], COLOURS[1]
    last = [scale * outcome.result.last.mean for outcome in compared.rows]
    published = [scale * outcome.result.published.mean for outcome in compared.rows]
    for place, outcome in enumerate(compared.rows):
        if bounds := outcome.result.last.bounds:
            low, high = bounds.mean
            axes.hlines(place, scale * low, scale * high, color=blue, linewidth=2, alpha=0.5)
    axes.plot(
        last, range(len(last)), "o", color=blue, markersize=7, label=f"{last_name(target)} (95 % interval)"
    )
    ring: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": orange, "markeredgewidth": 1.8}
    axes.plot(published, range(len(last)), "o", **ring, markersize=6, label=PUBLISHED)
    base = scale * compared.first.baseline.mean
    axes.axvline(base, color=MUTED, linestyle=(0, (3, 2)), linewidth=1.2, label=target.words.baseline)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
