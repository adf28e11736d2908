"""The average of kept crops: sharp eyes and mouth where the alignment works, a smear where it does not.

A crop that was cut nearer than its template is put back to where the template has it, so that one mean holds
crops of every zoom.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from facecorpus.faces.align import TEMPLATES, align_similarity
from facecorpus.faces.warp import inverse
from facecorpus.images import Pixels
from facecorpus.recipes import CorpusRecipe

TEMPLATE_PX = 224
"""Side of the crop that `TEMPLATES` describe."""


class MeanFace:
    """A running mean of pictures of one size."""

    def __init__(self, side_px: int) -> None:
        self.side_px = side_px
        self.count = 0
        self._sum = np.zeros((side_px, side_px, 3), np.float64)
        self._weight = np.zeros((side_px, side_px, 1), np.float64)

    def add(self, rgb: Pixels, place: NDArray[np.float64] | None = None) -> None:
        """Add a square picture of any size; `place` (2, 3) maps its pixels to those of the mean."""
        side = self.side_px
        self.count += 1
        if place is not None:
            ones = np.ones(rgb.shape[:2], np.float32)
            self._sum += cv2.warpAffine(rgb, place, (side, side))  # black outside
            self._weight += cv2.warpAffine(ones, place, (side, side))[..., None]
            return
        if rgb.shape[:2] != (side, side):
            rgb = np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        self._sum += rgb
        self._weight += 1

    def picture(self) -> Pixels:
        """The mean, (side, side, 3) uint8; grey where fewer than a tenth of the pictures reach."""
        mean = self._sum / np.maximum(self._weight, 1e-9)
        return np.where(
            self._weight < max(0.1 * self.count, 0.5), 128, np.rint(np.minimum(mean, 255))
        ).astype(np.uint8)


def place_in_template(
    points: Sequence[float] | None, matrix: Sequence[float], recipe: CorpusRecipe
) -> NDArray[np.float64] | None:
    """The matrix (2, 3) that puts a crop back to where the recipe's template has it, or None without one.

    Args:
        points: the ten coordinates of the five points in the source.
        matrix: the six numbers of the matrix from source to crop.
        recipe: says the template.
    """
    if points is None or not len(template_points(recipe)):
        return None
    whole = align_similarity(points, recipe.size_px, recipe.template).matrix
    back = inverse(np.reshape(np.array(matrix, np.float64), (2, 3)))
    linear = whole[:, :2] @ back
    linear[:, 2] += whole[:, 2]
    return linear


def template_points(recipe: CorpusRecipe) -> NDArray[np.float64]:
    """Where the five points belong, (5, 2) fractions of the crop's side; (0, 2) without a template."""
    if recipe.align != "similarity" or recipe.template not in TEMPLATES:
        return np.empty((0, 2))
    return (TEMPLATES[recipe.template] + 0.5) / TEMPLATE_PX
