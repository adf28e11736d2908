"""Pictures with a short side."""

from __future__ import annotations

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.reasons import change
from facecorpus.record import Record

MIN_SIDE = Limit("min_side_px", int, 64, "Shorter side of the source image, in pixels.", low=1)
REMEDY = change("min_side_px", "lower", "the recipe drops pictures whose shorter side is so short")


@rejects("header", MIN_SIDE, remedy=REMEDY, order=20)
def too_small(record: Record, limits: Limits) -> str | None:
    """The shorter side is below the limit."""
    width, height = measured(record, "width_px"), measured(record, "height_px")
    if min(width, height) >= limits.min_side_px:
        return None
    return f"the image is {width} x {height} px, its shorter side below {limits.min_side_px} px"
