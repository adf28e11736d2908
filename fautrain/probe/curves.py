"""Curves over training epochs: identity accuracy (FMAE-IAT, Figure 3) and F1 (Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from facecorpus.errors import UserError
from fautrain.probe.canvas import COLOURS, INK, MUTED, canvas
from fautrain.probe.result import ProbeResult

CURVES_PX: Final = (1760, 960)
_LINES: Final[tuple[dict[str, Any], ...]] = (
    {"linestyle": "-", "marker": "o"},
    {"linestyle": "--", "marker": "s"},
    {"linestyle": "-.", "marker": "^"},
    {"linestyle": ":", "marker": "D"},
)
"""Line and marker of the first, second, ... protocol."""
_LEVEL: Final[dict[str, Any]] = {"color": INK, "linestyle": (0, (1, 2)), "linewidth": 1.2}


@dataclass(frozen=True)
class RunCurve:
    """A value at some epochs of a run.

    Attributes:
        run: Name of the run; its colour.
        epochs: In ascending order.
        values: Shares in [0, 1], one per epoch; drawn in percent.
        protocol: What was measured, where a figure shows several; its line and marker.
        panel: Heading of the panel it is drawn in; a figure has one panel per heading, side by side.
    """

    run: str
    epochs: tuple[float, ...]
    values: tuple[float, ...]
    protocol: str = ""
    panel: str = ""


def accuracy_series(run: str, results: Mapping[float, ProbeResult]) -> tuple[RunCurve, ...]:
    """The probe's results at some epochs (keys) of a run, as `draw_probe_curves` takes them.

    Two panels, divided by frames and by videos, of two protocols, the published one and the logistic
    regression.
    """
    epochs = tuple(sorted(results))
    found = [(results[epoch].frames, results[epoch].videos) for epoch in epochs]
    published = [[division.published.best.value for division in both] for both in found]
    logistic = [[division.logistic.accuracy.value for division in both] for both in found]
    return tuple(
        RunCurve(run, epochs, tuple(shares[n] for shares in values), name, found[0][n].divided)
        for n in range(2)
        for name, values in (("published protocol", published), ("logistic regression", logistic))
    )


def draw_probe_curves(
    series: Sequence[RunCurve], path: Path, *, chance: float, reference: Sequence[RunCurve] = ()
) -> None:
    """Write a PNG of 1760 x 960 in the shape of Figure 3: accuracy over epochs, from 0 to 100 %.

    chance: 1 / subjects, drawn as a dotted line; reference: published curves (`PROBE_BP4D`), drawn thin.

    Raises:
        UserError: more runs than a figure has colours for.
    """
    level = (f"chance {chance:.1%}", chance)
    _draw(
        path,
        series,
        level,
        "Identity accuracy of linear probes",
        "identity accuracy (%)",
        (-2, 102),
        reference,
    )


def draw_f1_curves(series: Sequence[RunCurve], path: Path, *, baseline: float) -> None:
    """Write a PNG of 1760 x 960 in the shape of Figure 5: mean F1 over epochs.

    baseline: F1 of calling every AU present, drawn as a dotted line.

    Raises:
        UserError: more runs than a figure has colours for.
    """
    level = (f"all positive {baseline:.1%}", baseline)
    _draw(path, series, level, "Mean F1 on the test subjects", "mean F1 (%)", None)


def _draw(
    path: Path,
    series: Sequence[RunCurve],
    level: tuple[str, float],
    title: str,
    unit: str,
    limits: tuple[float, float] | None,
    reference: Sequence[RunCurve] = (),
) -> None:
    runs = list(dict.fromkeys(item.run for item in series))
    protocols = list(dict.fromkeys(item.protocol for item in series))
    panels = list(dict.fromkeys(item.panel for item in series)) or [""]
    if len(runs) > len(COLOURS) or len(protocols) > len(_LINES):
        raise UserError(
            f"a figure tells {len(COLOURS)} runs and {len(_LINES)} protocols apart and was given {len(runs)} "
            f"and {len(protocols)}: draw them in several figures"
        )
    with canvas(path, *CURVES_PX) as figure:
        figure.suptitle(title)
        grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False).ravel()
        for panel, axes in zip(panels, grid, strict=True):
            _panel(axes, [item for item in series if item.panel == panel], runs, protocols)
            for number, item in enumerate(reference):
                if item.panel == panel or len(panels) == 1:
                    axes.plot(item.epochs, 100 * np.array(item.values), **_thin(number))
            axes.axhline(100 * level[1], **_LEVEL)
            axes.set_title(panel)
        grid[0].set_ylabel(unit)
        grid[0].margins(y=0.08)
        grid[0].set_ylim(limits)
        _legend(figure, runs, protocols, reference, level[0])


def _panel(axes: Axes, series: Sequence[RunCurve], runs: list[str], protocols: list[str]) -> None:
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    for item in series:
        look, colour = _LINES[protocols.index(item.protocol)], COLOURS[runs.index(item.run)]
        axes.plot(item.epochs, 100 * np.array(item.values), **look, color=colour, markersize=5, linewidth=1.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.set_xlabel("epoch")


def _thin(number: int) -> dict[str, Any]:
    return {"linestyle": _LINES[number % len(_LINES)]["linestyle"], "color": MUTED, "linewidth": 1}


def _legend(
    figure: Figure, runs: list[str], protocols: list[str], reference: Sequence[RunCurve], level: str
) -> None:
    """Beside the panels: runs by colour and, where there are several, protocols by line."""
    several = len(protocols) > 1
    width = 4.0 if several else 1.8
    keys = [
        Line2D([], [], color=c, linewidth=width, label=run) for c, run in zip(COLOURS, runs, strict=False)
    ]
    if several:
        keys += [
            Line2D([], [], **look, color=INK, markersize=5, label=protocol)
            for look, protocol in zip(_LINES, protocols, strict=False)
        ]
    keys += [Line2D([], [], **_thin(number), label=item.run) for number, item in enumerate(reference)]
    keys.append(Line2D([], [], **_LEVEL, label=level))
    figure.legend(handles=keys, loc="outside right upper", handlelength=3)


_EPOCHS: Final = tuple(float(epoch) for epoch in range(1, 20, 2))


def _series(run: str, percent: str) -> RunCurve:
    return RunCurve(run, _EPOCHS, tuple(float(value) / 100 for value in percent.split()), panel="by frames")


PROBE_BP4D: Final = (
    _series("FMAE (paper)", "54.14 66.91 74.14 77.64 79.75 81.13 82.27 82.76 82.92 83.08"),
    _series("FMAE-IAT (paper)", "4.63 14.55 17.07 19.35 23.25 23.17 25.44 25.77 27.48 27.88"),
)
"""Figure 3: identity accuracy on BP4D's 41 subjects by the published protocol, divided by frames."""
