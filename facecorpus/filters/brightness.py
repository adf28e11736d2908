"""Crops that are too dark or too bright."""

from __future__ import annotations

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.reasons import change, declare
from facecorpus.record import Record, State

TOO_DARK = declare(
    "too_dark",
    State.REJECTED,
    "clear crop",
    "The crop is darker than the limit.",
    change("min_brightness", "lower", "the recipe drops crops so dark"),
)
TOO_BRIGHT = declare(
    "too_bright",
    State.REJECTED,
    "clear crop",
    "The crop is brighter than the limit.",
    change("max_brightness", "higher", "the recipe drops crops so bright"),
)
MIN_BRIGHTNESS = Limit("min_brightness", float, 0.0, "Mean luma of the crop, 0 to 255; 0 is off.", high=255.0)
MAX_BRIGHTNESS = Limit(
    "max_brightness",
    float,
    255.0,
    "Mean luma of the crop, 0 to 255; 255 is off.",
    high=255.0,
    above="min_brightness",
)


@rejects(TOO_DARK, "crop", MIN_BRIGHTNESS, order=20)
def too_dark(record: Record, limits: Limits) -> str | None:
    """By the crop's mean luma."""
    luma = measured(record, "brightness")
    if luma >= limits.min_brightness:
        return None
    return f"the mean luma is {luma:.1f}, below {limits.min_brightness:g}"


@rejects(TOO_BRIGHT, "crop", MAX_BRIGHTNESS, order=20)
def too_bright(record: Record, limits: Limits) -> str | None:
    """By the crop's mean luma."""
    luma = measured(record, "brightness")
    if luma <= limits.max_brightness:
        return None
    return f"the mean luma is {luma:.1f}, above {limits.max_brightness:g}"
