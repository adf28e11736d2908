"""Pictures that would take too much memory. Judged first of all, as it bounds what the others cost."""

from __future__ import annotations

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.record import Record

MAX_PIXELS = Limit(
    "max_pixels",
    int,
    80_000_000,
    "Width times height of the source image; bounds a worker's memory. Checked before decoding.",
    low=1,
)


@rejects("header", MAX_PIXELS, order=10)
def too_many_pixels(record: Record, limits: Limits) -> str | None:
    """See `reasons.TOO_MANY_PIXELS`: the codecs give it too."""
    width, height = measured(record, "width_px"), measured(record, "height_px")
    if width * height <= limits.max_pixels:
        return None
    pixels = f"{width * height:,} pixels, above the limit of {limits.max_pixels:,}"
    return f"the image is {width} x {height} px = {pixels}"
