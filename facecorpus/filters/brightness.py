"""Crops that are too dark or too bright."""

from __future__ import annotations

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.reasons import change
from facecorpus.record import Record

LEAST = Limit("min_brightness", float, 0.0, "Mean luma of the crop, 0 to 255; 0 is off.", high=255.0)
MOST = Limit(
    "max_brightness",
    float,
    255.0,
    "Mean luma of the crop, 0 to 255; 255 is off.",
    high=255.0,
    above="min_brightness",
)


@rejects("crop", LEAST, remedy=change(LEAST.name, "lower", "the recipe drops crops so dark"), order=20)
def too_dark(record: Record, limits: Limits) -> str | None:
    """The crop is darker than the limit."""
    luma = measured(record, "brightness")
    if luma >= limits.min_brightness:
        return None
    return f"the mean luma is {luma:.1f}, below {limits.min_brightness:g}"


@rejects("crop", MOST, remedy=change(MOST.name, "higher", "the recipe drops crops so bright"), order=20)
def too_bright(record: Record, limits: Limits) -> str | None:
    """The crop is brighter than the limit."""
    luma = measured(record, "brightness")
    if luma <= limits.max_brightness:
        return None
    return f"the mean luma is {luma:.1f}, above {limits.max_brightness:g}"
