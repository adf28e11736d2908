"""Crops without fine detail."""

from __future__ import annotations

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.reasons import change, declare
from facecorpus.record import Record, State

TOO_BLURRED = declare(
    "too_blurred",
    State.REJECTED,
    "clear crop",
    "The crop is less sharp than the limit.",
    change("min_sharpness", "lower", "the recipe drops crops so blurred"),
)
MIN_SHARPNESS = Limit(
    "min_sharpness",
    float,
    0.0,
    "Variance of the Laplacian of the crop's luma (`measure_crop`); depends on the crop's size; 0 is off.",
)


@rejects(TOO_BLURRED, "crop", MIN_SHARPNESS, order=30)
def too_blurred(record: Record, limits: Limits) -> str | None:
    """By the crop's sharpness."""
    sharpness = measured(record, "sharpness")
    if sharpness >= limits.min_sharpness:
        return None
    return f"the sharpness is {sharpness:.1f}, below {limits.min_sharpness:g}"
