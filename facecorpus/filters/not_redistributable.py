"""Pictures of which no crop may be passed on, for a corpus that is to be published."""

from __future__ import annotations

from facecorpus.filters.base import Limit, Limits, rejects
from facecorpus.record import Record

REDISTRIBUTABLE_ONLY = Limit(
    "redistributable_only",
    bool | None,
    None,
    "Leave out pictures of which no crop may be passed on (`--redistributable-only`); none keeps them.",
)
REMEDY = (
    "its terms forbid it, or do not say: leave --redistributable-only out, for a corpus that stays with you"
)


@rejects("listed", REDISTRIBUTABLE_ONLY, remedy=REMEDY)
def not_redistributable(record: Record, limits: Limits) -> str | None:
    """No crop of it may be passed on, by its own licence or by the data set's terms."""
    if record.redistributable or not limits.redistributable_only:
        return None
    return f"the terms of {record.source}, or its own licence, do not let a crop of it be passed on"
