"""The average of kept crops: sharp eyes and mouth where the alignment works, a smear where it does not."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facecorpus.faces.align import TEMPLATES
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

    def add(self, rgb: Pixels) -> None:
        """Add a square picture of any size."""
        side = self.side_px
        if rgb.shape[:2] != (side, side):
            rgb = np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        self._sum += rgb
        self.count += 1

    def picture(self) -> Pixels:
        """The mean, (side, side, 3) uint8; black where nothing was added."""
        return np.rint(self._sum / max(self.count, 1)).astype(np.uint8)


def template_points(recipe: CorpusRecipe) -> NDArray[np.float64]:
    """Where the five points belong, (5, 2) fractions of the crop's side; (0, 2) without a template."""
    if recipe.align != "similarity" or recipe.template not in TEMPLATES:
        return np.empty((0, 2))
    return (TEMPLATES[recipe.template] + 0.5) / TEMPLATE_PX
