"""Pictures in which the detector is sure of no face."""

from __future__ import annotations

from typing import Any

from facecorpus.faces.weights import STRONGEST
from facecorpus.filters.base import Limit, Limits, rejects
from facecorpus.reasons import declare
from facecorpus.record import Record, State


def _remedy(recipe: Any) -> str:
    better = "" if recipe.detector == STRONGEST else f"--set detector={STRONGEST} or "
    return (
        f"where its pictures do show faces, {better}--set limits.min_face_score=NUMBER below "
        f"{recipe.limits.min_face_score:g} finds more"
    )


NO_FACE = declare(
    "no_face",
    State.REJECTED,
    "usable face",
    "The detector saw no face, or none it was sure of (yellow, where there was one).",
    _remedy,
)
MIN_FACE_SCORE = Limit(
    "min_face_score", float, 0.8, "Detector score, 0 to 1, from which a face counts as one.", high=1.0
)


@rejects(NO_FACE, "faces", MIN_FACE_SCORE, order=10)
def no_face(record: Record, limits: Limits, _: object) -> str | None:
    """No face, or a main one of too low a score."""
    if record.face_score is None:
        return "no face was found"
    if record.face_score >= limits.min_face_score:
        return None
    return f"the best face scores {record.face_score:.3f}, below {limits.min_face_score:g}"
