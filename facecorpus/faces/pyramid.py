"""Finding faces with a scale pyramid that spends no more on an image than it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from facecorpus.faces.detector import Detector
from facecorpus.faces.face import Face, Image, iou
from facecorpus.faces.pose import interocular_px

PRECISE_EYES_PX = 20.0
"""Distance between the eyes, at the level looked at, from which the five points are precise: landmarks found
at one scale and at its double then differ by 5 % of it on average, by 6 % at 12 px, by 14 % at 8 px
(docs/benchmarks.md)."""
ACCEPT = 0.9
"""Score of a face that needs no closer look, unless the recipe asks for a higher one."""
SECOND_PERSON = 0.1
"""Size of an uncertain face, as a fraction of the best one's, from which it may be a second person worth a
look."""
_SAME_FACE = 0.4
"""Overlap of boxes from which faces of two levels are one."""
_WORTH_SHRINKING = 1.25
"""A level this near to the image's own size is left out for it."""
_ENLARGE_TO_PX = 160
"""Smaller images are enlarged to this (or to the pyramid's smallest level, if that is less)."""


def detect(detector: Detector, rgb: Image, **how: Any) -> list[Face]:
    """Faces of one image; see `detect_many`."""
    return detect_many(detector, [rgb], **how)[0]


def detect_many(
    detector: Detector,
    images: Sequence[Image],
    *,
    pyramid: Sequence[int] = (160, 320, 640),
    accept: float = ACCEPT,
    min_score: float = 0.8,
) -> list[list[Face]]:
    """Faces of many images, each looked at as coarsely as suffices.

    Every image starts at the smallest level and climbs while the answer is unsure: no face reaches `accept`;
    or the best face's eyes are nearer than `PRECISE_EYES_PX` (then it climbs straight to the level where they
    are not); or something uncertain is large enough to be a second person. What several levels found is
    united, the finer one's word going first. All images that look at their next level go to the detector
    together, which batches equal sizes; the result of an image does not depend on the others.

    Args:
        detector: the detector.
        images: uint8 RGB (H, W, 3), any sizes.
        pyramid: rising lengths in pixels for the longer side; see `levels_px`.
        accept: score of a face that needs no closer look.
        min_score: lowest score of a face in the result.

    Returns:
        per image, its faces in pixels of that image, the most prominent (large and central) first.
    """
    levels = [levels_px(max(image.shape[:2]), pyramid) for image in images]
    found: list[list[Face]] = [[] for _ in images]
    climbing = dict.fromkeys(range(len(images)), 0)
    while climbing:
        looks = [_resized(images[index], levels[index][step]) for index, step in climbing.items()]
        seen = detector.detect_batch(looks)
        onward: dict[int, int] = {}
        for (index, step), look, faces in zip(climbing.items(), looks, seen, strict=True):
            found[index] = _unite(found[index], _rescaled(faces, look, images[index]), min_score)
            further = _next_step(faces, step, levels[index], accept)
            if further is not None:
                onward[index] = further
        climbing = onward
    return [
        sorted(
            (face for face in faces if face.score >= min_score), key=lambda face: -_prominence(face, image)
        )
        for faces, image in zip(found, images, strict=True)
    ]


def levels_px(longest_px: int, pyramid: Sequence[int]) -> list[int]:
    """Lengths of the longer side at which an image is looked at, rising.

    Nothing is enlarged beyond its own size, except that a tiny image fills the smallest level (at most 160
    px). The own size of an image below the largest level stands in for a level that is nearly as large.
    """
    if longest_px <= pyramid[0]:
        return [max(longest_px, min(pyramid[0], _ENLARGE_TO_PX))]
    top = min(longest_px, pyramid[-1])
    return [level for level in pyramid if level * _WORTH_SHRINKING <= longest_px and level < top] + [top]


def _next_step(faces: Sequence[Face], step: int, levels: Sequence[int], accept: float) -> int | None:
    """The level to look at next, or None when this one suffices or is the last."""
    last = len(levels) - 1
    if step == last:
        return None
    eyes = [interocular_px(face.points_px) for face in faces]
    best = max((px for px, face in zip(eyes, faces, strict=True) if face.score >= accept), default=0.0)
    if best <= 0.0:
        return step + 1
    if best < PRECISE_EYES_PX:
        enough = levels[step] * PRECISE_EYES_PX / best
        return next((i for i in range(step + 1, last) if levels[i] >= enough), last)
    uncertain = any(
        face.score < accept and px >= SECOND_PERSON * best for px, face in zip(eyes, faces, strict=True)
    )
    return step + 1 if uncertain else None


def _resized(image: Image, longest_px: int) -> Image:
    """The image with its longer side at `longest_px`, keeping its shape to the pixel."""
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest == longest_px:
        return image
    size = (max(1, round(width * longest_px / longest)), max(1, round(height * longest_px / longest)))
    method = cv2.INTER_AREA if longest_px < longest else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)


def _rescaled(faces: Sequence[Face], look: Image, image: Image) -> list[Face]:
    """Faces from pixels of a resized image to pixels of the image itself."""
    if look is image:
        return list(faces)
    x, y = image.shape[1] / look.shape[1], image.shape[0] / look.shape[0]
    return [face.scaled(x, y) for face in faces]


def _unite(before: Sequence[Face], now: Sequence[Face], min_score: float) -> list[Face]:
    """Faces of the levels so far and of a finer one.

    Of two that are one face the finer is kept, its points being more precise, unless only the coarser is good
    enough: a face that fills a large level exceeds the anchors there.
    """
    good = [face for face in now if face.score >= min_score]
    ranked = [*good, *before, *(face for face in now if face.score < min_score)]
    united: list[Face] = []
    for face in ranked:
        if all(iou(face.box_xyxy_px, other.box_xyxy_px) <= _SAME_FACE for other in united):
            united.append(face)
    return united


def _prominence(face: Face, image: Image) -> float:
    """Side of the face in pixels, halved for one whose centre is in a corner of the image."""
    x0, y0, x1, y1 = face.box_xyxy_px
    height, width = image.shape[:2]
    off_x = (x0 + x1 + 1) / width - 1
    off_y = (y0 + y1 + 1) / height - 1
    away = min(1.0, ((off_x * off_x + off_y * off_y) / 2) ** 0.5)
    side = (max(0.0, x1 - x0) * max(0.0, y1 - y0)) ** 0.5
    return side * (1.0 - 0.5 * away)
