"""t-SNE of features (FMAE-IAT, Figure 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from facecorpus.errors import UserError
from fautrain.probe.canvas import COLOURS, MUTED, canvas
from fautrain.probe.sampling import check_rows
from fautrain.threads import one_thread

SUBJECTS: Final = 20
FRAMES_PER_SUBJECT: Final = 100
PERPLEXITY: Final = 30.0


@dataclass(frozen=True)
class Embedding:
    """Frames as points of a plane whose axes mean nothing: only who is near whom does.

    Attributes:
        points: (m, 2) float32.
        rows: (m,) int64, the frames' rows in what was embedded.
        subject: (m,) int64, an index into `subjects`.
        subjects: Names of the subjects drawn.
        targets: (m, A) float32: 1 present, 0 absent, nan not coded.
        perplexity: Used; less than 30 where there are too few frames.
    """

    points: NDArray[np.float32]
    rows: NDArray[np.int64]
    subject: NDArray[np.int64]
    subjects: tuple[str, ...]
    targets: NDArray[np.float32]
    perplexity: float


def embed(
    features: NDArray[np.float32],
    subject: NDArray[Any],
    video: NDArray[Any],
    frame: NDArray[Any],
    targets: NDArray[np.float32],
    *,
    seed: int,
    subjects: Sequence[str],
) -> Embedding:
    """Lay at most 100 random frames of each of at most 20 random subjects out in a plane.

    The arrays are those of `probe`, and targets (n, A). t-SNE of the features as they are, perplexity 30,
    started from their first two principal components. Subjects and frames drawn depend on the seed and not on
    the features, so two models are shown on the same frames. The paper shows 20 of BP4D's 41 subjects and
    gives neither frames, perplexity nor seed.

    Raises:
        ValueError: the arrays do not fit together.
        UserError: a feature is not finite, a frame is given twice, or there are fewer than ten frames.
    """
    features = np.asarray(features, np.float32)
    check_rows(features, subject, video, frame, subjects)
    if targets.ndim != 2 or len(targets) != len(features):
        raise ValueError(f"targets are of shape {targets.shape} beside {len(features)} features")
    draw = np.random.default_rng(seed)
    shown = np.sort(draw.permutation(np.unique(subject))[:SUBJECTS])
    drawn: list[NDArray[np.int64]] = []
    for number in shown.tolist():
        rows = np.flatnonzero(subject == number)
        rows = rows[np.lexsort((frame[rows], video[rows]))]
        drawn.append(np.random.default_rng([seed, number]).permutation(rows)[:FRAMES_PER_SUBJECT])
    rows = np.concatenate(drawn) if drawn else np.zeros(0, np.int64)
    if len(rows) < 10:
        raise UserError(f"t-SNE needs ten frames and gets {len(rows)}: give it more frames or subjects")
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    with one_thread():
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        points = tsne.fit_transform(features[rows])
    return Embedding(
        points=np.asarray(points, np.float32),
        rows=rows,
        subject=np.searchsorted(shown, subject[rows]),
        subjects=tuple(subjects[int(number)] for number in shown.tolist()),
        targets=np.asarray(targets, np.float32)[rows],
        perplexity=perplexity,
    )


PANEL_PX: Final = 900
SMALL_PANEL_PX: Final = 480
LEGEND_PX: Final = 260
COLUMNS: Final = 4

_MARKERS: Final = ("o", "^", "s", "D", "P", "X")
_PRESENT: Final = COLOURS[1]
_ABSENT: Final = "#B9C6D0"


def draw_tsne(embedding: Embedding, path: Path, aus: Sequence[str]) -> None:
    """Write a PNG of 2060 x 900: the points by subject, and by the AU nearest to half present.

    aus: names of the targets' columns. A subject is told by colour and marker together.

    Raises:
        ValueError: `aus` does not fit the targets.
    """
    column = int(np.argmin(np.abs(np.nan_to_num(_shares(embedding, aus), nan=9) - 0.5)))
    with canvas(path, 2 * PANEL_PX + LEGEND_PX, PANEL_PX) as figure:
        left, right = figure.subplots(1, 2)
        _by_subject(left, embedding, "by subject")
        _by_au(right, embedding, aus, column, size=14)
        figure.legend(handles=_au_handles(embedding), loc="outside right lower", handlelength=1)
        figure.legend(handles=_subject_handles(embedding), loc="outside right upper", handlelength=1)
        _foot(figure, embedding)


def draw_tsne_aus(embedding: Embedding, path: Path, aus: Sequence[str]) -> None:
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
