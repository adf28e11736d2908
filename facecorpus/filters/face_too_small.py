"""Faces whose eyes are few pixels apart."""

from __future__ import annotations

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.reasons import change
from facecorpus.record import Record

MIN_INTEROCULAR = Limit(
    "min_interocular_px",
    float,
    16.0,
    "Distance between the eyes in source pixels. A profile's eyes are close however large the face is. 0 is "
    "off.",
)
REMEDY = change("min_interocular_px", "lower", "the recipe drops faces whose eyes are so near")


@rejects("faces", MIN_INTEROCULAR, remedy=REMEDY, order=20)
def face_too_small(record: Record, limits: Limits, _: object) -> str | None:
    """The eyes are closer together, in source pixels, than the limit."""
    apart = measured(record, "interocular_px")
    if apart >= limits.min_interocular_px:
        return None
    return f"the eyes are {apart:.1f} px apart, below {limits.min_interocular_px:g} px"
