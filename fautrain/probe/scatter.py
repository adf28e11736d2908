"""Pictures of a t-SNE embedding (FMAE-IAT, Figure 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fautrain.probe.canvas import COLOURS, MUTED, canvas
from fautrain.probe.embedding import Embedding

PANEL_PX: Final = 900
SMALL_PANEL_PX: Final = 480
LEGEND_PX: Final = 260
COLUMNS: Final = 4

_MARKERS: Final = ("o", "^", "s", "D", "P", "X")
_PRESENT: Final = COLOURS[1]
_ABSENT: Final = "#B9C6D0"


def draw_tsne(
    embedding: Embedding, path: Path, aus: Sequence[str], *, au: str | None = None, title: str = ""
) -> None:
    """Write a PNG of 2060 x 900: the points by subject, and by one AU.

    aus: names of the targets' columns; au: the one to show, by default the one that is present in nearest to
    half of the frames. A subject is told by colour and marker together.

    Raises:
        ValueError: `aus` does not fit the targets, or `au` is none of them.
    """
    shares = _shares(embedding, aus)
    column = list(aus).index(au) if au else int(np.argmin(np.abs(np.nan_to_num(shares, nan=9) - 0.5)))
    with canvas(path, 2 * PANEL_PX + LEGEND_PX, PANEL_PX) as figure:
        left, right = figure.subplots(1, 2)
        _by_subject(left, embedding, "by subject")
        _by_au(right, embedding, aus, column, size=14)
        figure.legend(handles=_au_handles(embedding), loc="outside right lower", handlelength=1)
        figure.legend(handles=_subject_handles(embedding), loc="outside right upper", handlelength=1)
        figure.suptitle(title)
        _foot(figure, embedding)


def draw_tsne_aus(embedding: Embedding, path: Path, aus: Sequence[str], *, title: str = "") -> None:
    """Write a PNG with a panel per AU, four to a row, each 480 px wide and high, over 120 px of legend.

    Raises:
        ValueError: `aus` does not fit the targets.
    """
    _shares(embedding, aus)
    rows, columns = math.ceil(len(aus) / COLUMNS), min(COLUMNS, len(aus))
    with canvas(path, columns * SMALL_PANEL_PX, rows * SMALL_PANEL_PX + 120) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for column, axes in enumerate(grid):
            if column < len(aus):
                _by_au(axes, embedding, aus, column, size=5)
            else:
                axes.set_axis_off()
        figure.legend(handles=_au_handles(embedding), loc="outside lower center", ncols=3, handlelength=1)
        figure.suptitle(title)


def draw_tsne_runs(embeddings: Mapping[str, Embedding], path: Path) -> None:
    """Write a PNG in the shape of Figure 4: a panel of 900 px per run, by subject, and 260 px of legend.

    Raises:
        ValueError: the embeddings show different subjects.
    """
    first = next(iter(embeddings.values()))
    if any(embedding.subjects != first.subjects for embedding in embeddings.values()):
        raise ValueError("the embeddings show different subjects; draw them from the same rows and seed")
    with canvas(path, len(embeddings) * PANEL_PX + LEGEND_PX, PANEL_PX) as figure:
        panels = figure.subplots(1, len(embeddings), squeeze=False).ravel()
        for axes, (run, embedding) in zip(panels, embeddings.items(), strict=True):
            _by_subject(axes, embedding, run)
        figure.legend(handles=_subject_handles(first), loc="outside right upper", handlelength=1)
        _foot(figure, first)


def _shares(embedding: Embedding, aus: Sequence[str]) -> np.ndarray:
    """Share of the coded frames in which each AU is present (A,), nan where none is coded."""
    if embedding.targets.shape[1] != len(aus):
        raise ValueError(f"{len(aus)} names of AUs for {embedding.targets.shape[1]} columns")
    coded = np.isfinite(embedding.targets).sum(axis=0)
    return np.where(coded > 0, np.nansum(embedding.targets, axis=0) / np.maximum(coded, 1), np.nan)


def _look(number: int) -> tuple[str, str]:
    """Colour and marker of a subject: seven colours, then the same with the next marker."""
    return COLOURS[number % len(COLOURS)], _MARKERS[number // len(COLOURS) % len(_MARKERS)]


def _by_subject(axes: Axes, embedding: Embedding, title: str) -> None:
    for number in range(len(embedding.subjects)):
        colour, marker = _look(number)
        points = embedding.points[embedding.subject == number]
        axes.scatter(*points.T, s=14, color=colour, marker=marker, alpha=0.8, linewidths=0)
    _bare(axes, title)


def _by_au(axes: Axes, embedding: Embedding, aus: Sequence[str], column: int, size: float) -> None:
    target, points = embedding.targets[:, column], embedding.points
    unknown = np.isnan(target)
    axes.scatter(*points[unknown].T, s=size / 2, color=MUTED, marker="x", linewidths=0.5)
    # Frames in random order: neither kind lies on top of the other.
    order = np.random.default_rng(0).permutation(np.flatnonzero(~unknown))
    colours = [_PRESENT if target[row] == 1 else _ABSENT for row in order]
    axes.scatter(*points[order].T, s=size, c=colours, marker="o", linewidths=0)
    share = _shares(embedding, aus)[column]
    _bare(axes, f"{aus[column]}: " + ("not coded" if np.isnan(share) else f"present in {share:.0%}"))


def _bare(axes: Axes, title: str) -> None:
    """No ticks: distances within a t-SNE have no unit."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.set_title(title)


def _subject_handles(embedding: Embedding) -> list[Line2D]:
    return [
        Line2D([], [], color=_look(n)[0], marker=_look(n)[1], linestyle="", markersize=6, label=name)
        for n, name in enumerate(embedding.subjects)
    ]


def _au_handles(embedding: Embedding) -> list[Line2D]:
    kinds = [("AU present", _PRESENT, "o"), ("AU absent", _ABSENT, "o")]
    kinds += [("not coded", MUTED, "x")] if np.isnan(embedding.targets).any() else []
    return [Line2D([], [], color=c, marker=m, linestyle="", markersize=6, label=name) for name, c, m in kinds]


def _foot(figure: Figure, embedding: Embedding) -> None:
    figure.supxlabel(
        f"t-SNE of {len(embedding.points):,} frames of {len(embedding.subjects)} subjects, perplexity "
        f"{embedding.perplexity:.3g}",
        fontsize=9,
        color=MUTED,
    )
