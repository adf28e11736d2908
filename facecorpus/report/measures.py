"""The measured numbers of a sample of the scored rows, by what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
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
