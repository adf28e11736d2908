"""The data set's own landmarks, re-checked by the detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facecorpus.faces.face import Face, iou
from facecorpus.faces.pose import interocular_px

AGREEMENT = 0.25
"""Largest mean distance between given and detected points, in detected inter-ocular distances."""
MIN_IOU = 0.3
"""Least overlap of the given box with the detected one."""


def confirm_given(
    faces: Sequence[Face],
    points: Sequence[float] | None,
    box_xyxy_px: tuple[float, float, float, float] | None = None,
) -> list[Face]:
    """Put the annotated face first, with its given points where the detector agrees with them.

    An annotation says who of several people is meant, and a person's clicks may be better than the detector;
    it may also be wrong, mirrored, or belong to another copy of the image. It is believed only where the
    detector sees a face in the same place: the boxes overlap (where a box is given) and the points agree.
    Where the box agrees and the points do not, the face is first with the detector's points; where nothing
    agrees, nothing changes.

    Args:
        faces: what the detector found, in source pixels.
        points: ten numbers as in `Record.given_points_px`, or None.
        box_xyxy_px: the set's box in source pixels, or None.

    Returns:
        the faces, with the score and box of the detector.
    """
    given = None if points is None else np.asarray(points, np.float32).reshape(5, 2)
    best, best_distance = -1, AGREEMENT
    if given is not None and np.isfinite(given).all():
        for index, face in enumerate(faces):
            distance = _disagreement(face, given)
            if distance <= best_distance and (box_xyxy_px is None or _meet(face, box_xyxy_px)):
                best, best_distance = index, distance
    if best >= 0 and given is not None:
        face = faces[best]
        return [Face(face.box_xyxy_px, given, face.score), *faces[:best], *faces[best + 1 :]]
    if box_xyxy_px is not None:
        overlaps = [iou(face.box_xyxy_px, box_xyxy_px) for face in faces]
        if overlaps and max(overlaps) >= MIN_IOU:
            best = overlaps.index(max(overlaps))
            return [faces[best], *faces[:best], *faces[best + 1 :]]
    return list(faces)


def is_where(faces: Sequence[Face], box_xyxy_px: tuple[float, float, float, float] | None) -> bool:
    """Whether one of the faces is where a box says that there is one; so too without a box."""
    return box_xyxy_px is None or any(_meet(face, box_xyxy_px) for face in faces)


def _meet(face: Face, box: tuple[float, float, float, float]) -> bool:
    return iou(face.box_xyxy_px, box) >= MIN_IOU


def _disagreement(face: Face, given: np.ndarray) -> float:
    """Mean distance of the points in inter-ocular distances."""
    distance = float(np.linalg.norm(face.points_px - given, axis=1).mean())
    return distance / max(interocular_px(face.points_px), 1e-6)
