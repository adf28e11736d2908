"""Faces at the edge of their picture."""

from __future__ import annotations

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.reasons import change
from facecorpus.record import Record

MAX_PADDED = Limit(
    "max_padded",
    float,
    0.1,
    "Fraction of the crop, 0 to 1, that may lie outside the source image. Where more would, the crop is cut "
    "nearer, at the nearest from the brows to just below the mouth (`facecorpus.faces.framing`); 1 is off.",
    high=1.0,
)
WHY = "its pictures end within the face, more than limits.max_padded even for the tightest crop"


@rejects("crop", MAX_PADDED, step="usable face", remedy=change("max_padded", "higher", WHY), order=10)
def face_cut_off(record: Record, limits: Limits) -> str | None:
    """The picture ends within the face: too much even of the tightest crop would lie outside."""
    padded = measured(record, "padded")
    if padded <= limits.max_padded:
        return None
    return (
        f"{padded:.3f} of the crop lies outside the image even where it shows brows to mouth alone, "
        f"above {limits.max_padded:g}"
    )
