"""Which record of a duplicate cluster is kept: a total order over recorded columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

KEEP_COLUMNS = ("id", "source", "interocular_px", "face_score", "bytes", "width_px", "height_px")

OCTAVE_STEP = 0.125
SCORE_STEP = 0.05


def keep_order(table: pa.Table, source_priority: tuple[str, ...] = ()) -> NDArray[np.int64]:
    """Rows from the best to keep to the worst.

    A row is preferred for, in this order: a source earlier in `source_priority` (sources not named come last
    and tie), a larger interocular distance in source pixels (by steps of an eighth octave, 9 %), a higher
    detector score (by steps of 0.05), more bytes per source pixel (less compressed), a smaller id (by UTF-8
    bytes). The steps keep the detector's jitter from deciding: without them a dithered one-bit copy can win
    over the photograph by a hundredth of a pixel. Missing values are worst. No two rows tie, as ids
    are unique, so the order of the ids does not depend on the order of the rows.

    Args:
        table: has the columns `KEEP_COLUMNS`, described in `record.py`.
        source_priority: names of sources, most preferred first.

    Returns:
        int64 (N,): row positions.
    """
    width, height, size = (_numbers(table, name) for name in ("width_px", "height_px", "bytes"))
    # A missing value is -inf; a picture without pixels has no rate either.
    known = (width > 0) & (height > 0) & np.isfinite(size)
    area = np.multiply(width, height, out=np.ones(width.shape), where=known)
    rate = np.divide(size, area, out=np.full(width.shape, -np.inf), where=known)
    return np.lexsort(
        (
            id_rank(table),
            -rate,
            -np.round(_numbers(table, "face_score") / SCORE_STEP),
            -np.round(_octaves(_numbers(table, "interocular_px")) / OCTAVE_STEP),
            _source_place(table, source_priority),
        )
    )


def id_rank(table: pa.Table) -> NDArray[np.int64]:
    """Place of each row's id in the sorted ids, from 0: int64 (N,)."""
    order = pc.sort_indices(table["id"]).to_numpy()
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    return rank


def _source_place(table: pa.Table, source_priority: tuple[str, ...]) -> NDArray[np.int64]:
    if not source_priority:
        return np.zeros(table.num_rows, np.int64)
    place = pc.index_in(table["source"], value_set=pa.array(source_priority, pa.string()))
    return pc.fill_null(place, len(source_priority)).to_numpy().astype(np.int64)


def _octaves(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log2(distance, out=np.full(distance.shape, -np.inf), where=distance > 0)


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """The column as float64 (N,), with -inf for null and NaN."""
    values = pc.fill_null(table[name].cast(pa.float64()), -np.inf).to_numpy().copy()
    values[np.isnan(values)] = -np.inf
    return values
