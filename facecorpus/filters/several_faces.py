"""Pictures of several people, and which of their faces are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.record import Record

FACES = Limit(
    "faces",
    Literal["one", "main", "all"],
    "main",
    "`one`: reject images where a second face rivals the main one; `main`: keep the most prominent face of "
    "each; `all`: a record for every face.",
)
RIVAL_RATIO = Limit(
    "rival_ratio",
    float,
    0.4,
    "For `one`: a further face is a rival if its eyes are at least this fraction of the main face's distance "
    "apart; smaller ones are passers-by.",
)
REMEDY = "--set limits.faces=main keeps the most prominent face of each, --set limits.faces=all every one"


@rejects("faces", FACES, RIVAL_RATIO, remedy=REMEDY, order=30)
def several_faces(record: Record, limits: Limits, others: Sequence[tuple[float, float]]) -> str | None:
    """The recipe wants one face, and another one rivals it."""
    main_px, ratio = measured(record, "interocular_px"), limits.rival_ratio
    rivals = [px for score, px in others if score >= limits.min_face_score and px >= ratio * main_px]
    if limits.faces != "one" or not rivals:
        return None
    return (
        f"{len(rivals) + 1} faces: the eyes are {main_px:.1f} px apart in the main one, {max(rivals):.1f} px "
        f"in another, at least {ratio:g} of that"
    )
