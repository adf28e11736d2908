"""Crops without fine detail."""

from __future__ import annotations

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.reasons import change
from facecorpus.record import Record

MIN_SHARPNESS = Limit(
    "min_sharpness",
    float,
    0.0,
    "Variance of the Laplacian of the crop's luma (`measure_crop`); depends on the crop's size; 0 is off.",
)
REMEDY = change("min_sharpness", "lower", "the recipe drops crops so blurred")


@rejects("crop", MIN_SHARPNESS, remedy=REMEDY, order=30)
def too_blurred(record: Record, limits: Limits) -> str | None:
    """The crop is less sharp than the limit."""
    sharpness = measured(record, "sharpness")
    if sharpness >= limits.min_sharpness:
        return None
    return f"the sharpness is {sharpness:.1f}, below {limits.min_sharpness:g}"
