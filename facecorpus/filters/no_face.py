"""Pictures in which the detector is sure of no face."""

from __future__ import annotations

from typing import Any

from facecorpus.faces.weights import STRONGEST
from facecorpus.filters.base import Limit, Limits, rejects
from facecorpus.record import Record

MIN_FACE_SCORE = Limit(
    "min_face_score", float, 0.8, "Detector score, 0 to 1, from which a face counts as one.", high=1.0
)


def _remedy(recipe: Any) -> str:
    better = "" if recipe.detector == STRONGEST else f"--set detector={STRONGEST} or "
    return (
        f"where its pictures do show faces, {better}--set limits.min_face_score=NUMBER below "
        f"{recipe.limits.min_face_score:g} finds more"
    )


@rejects("faces", MIN_FACE_SCORE, remedy=_remedy, order=10)
def no_face(record: Record, limits: Limits, _: object) -> str | None:
    """The detector saw no face, or none it was sure of (yellow, where there was one)."""
    if record.face_score is None:
        return "no face was found"
    if record.face_score >= limits.min_face_score:
        return None
    return f"the best face scores {record.face_score:.3f}, below {limits.min_face_score:g}"
