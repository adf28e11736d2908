"""How much of a face's surroundings a crop shows: as much as the recipe wants and the picture holds.

An alignment says where the crop would lie if every picture were large. Where too much of it would lie outside
the picture, the crop becomes a smaller square within it, upright as before: smaller in steps, until little
enough is outside, and beside the middle where the picture ends on one side only. Its size is bounded from
below by the face's core, brows to mouth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from facecorpus.faces.align import similarity
from facecorpus.faces.pose import MODEL_MM
from facecorpus.faces.warp import Matrix, corners, inverse, outside

ZOOM_STEP = 1 / 32
"""Zooms are whole multiples of this, so that rounding elsewhere does not decide between two of them."""
CORE_SIDE, CORE_BELOW = 1.4, 0.4
"""The core, the tightest crop: a square of that side, its centre so far below the eyes, in distances between
the eyes of a face seen from the front. It reaches from the brows to just below the mouth, and the eyes are
0.71 of its side apart; ArcFace's template has them 0.31 apart, `wide-224` 0.27."""

_FRONT = MODEL_MM[:, :2] / 63.0
"""The five points of a head seen from the front, in distances between its eyes, from the middle between
them."""


@dataclass(frozen=True, slots=True, eq=False)
class Framing:
    """Where a crop is cut."""

    matrix: Matrix
    """(2, 3) float64: source pixels to crop pixels."""
    zoom: float
    """How much nearer than the alignment asks for, at least 1: the crop shows 1 / zoom of its side."""
    padded: float
    """Fraction of the crop (0 to 1) that lies outside the picture."""


def frame(
    matrix: Matrix, points: ArrayLike, width_px: int, height_px: int, size_px: int, max_padded: float
) -> Framing:
    """The widest crop within that of an alignment of which at most `max_padded` lies outside the picture.

    Args:
        matrix: (2, 3), the alignment: source to crop pixels.
        points: (5, 2) in source pixels, or the same ten numbers flat.
        width_px, height_px: of the source picture.
        size_px: side of the crop.
        max_padded: fraction of the crop, 0 to 1.

    Returns:
        that crop; where there is none, the tightest one, of which more than `max_padded` lies outside.

    Raises:
        ValueError: the matrix is singular, or the points coincide or are not finite.
    """
    back = inverse(matrix)
    padded = outside(corners(back, 0.0, 0.0, size_px), width_px, height_px)
    if padded <= max_padded:
        return Framing(matrix, 1.0, padded)
    x, y, core = _core(matrix, points, size_px)
    reach = _reach(back, x, y, width_px, height_px)
    middle = [at - core / 2 for at in (x, y)]
    best = Framing(matrix, 1.0, padded)
    for step in range(1, math.floor((size_px / core - 1) / ZOOM_STEP) + 1):
        zoom = 1.0 + step * ZOOM_STEP
        side = size_px / zoom
        left, top = (
            _place(side, size_px, at, core, low, high) for at, (low, high) in zip(middle, reach, strict=True)
        )
        padded = outside(corners(back, left, top, side), width_px, height_px)
        best = Framing(_zoomed(matrix, zoom, left, top), zoom, padded)
        if padded <= max_padded:
            break
    return best


def _core(matrix: Matrix, points: ArrayLike, size_px: int) -> tuple[float, float, float]:
    """Centre x, y and side of the face's core, in crop pixels from the crop's edge, within the crop."""
    front = similarity(points, _FRONT)
    x, y = (down * CORE_BELOW + shift for _, down, shift in inverse(front).tolist())
    (p, q, r), (s, t, u) = matrix.tolist()
    grown = math.sqrt(abs(p * t - q * s) / abs(front[0, 0] * front[1, 1] - front[0, 1] * front[1, 0]))
    side = min(CORE_SIDE * grown, float(size_px))
    half = side / 2
    x, y = (min(max(at, half), size_px - half) for at in (p * x + q * y + r + 0.5, s * x + t * y + u + 0.5))
    return x, y, side


def _reach(
    back: Matrix, x: float, y: float, width_px: int, height_px: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """How far the picture reaches along the crop's axes through a point of the crop: (left, right) and (top,
    bottom) in crop pixels from the crop's edge."""
    (a, b, c), (d, e, f) = back.tolist()
    at = (a * (x - 0.5) + b * (y - 0.5) + c, d * (x - 0.5) + e * (y - 0.5) + f)

    def until(along: tuple[float, float]) -> float:
        ends = (
            ((limit if step > 0 else 0) - 0.5 - start) / step
            for start, step, limit in zip(at, along, (width_px, height_px), strict=True)
            if step
        )
        return min(ends)

    return (x - until((-a, -d)), x + until((a, d))), (y - until((-b, -e)), y + until((b, e)))


def _place(side: float, size_px: int, core_start: float, core: float, low: float, high: float) -> float:
    """Where along an axis the smaller square starts: around the core as the whole crop is, or as near to that
    as the picture (from `low` to `high`) allows, with all of the core in it and all of it in the crop."""
    start = core_start * (size_px - side) / max(size_px - core, 1e-9)
    low, high = max(low, 0.0), min(high, float(size_px)) - side
    start = (low + high) / 2 if low > high else min(max(start, low), high)
    return min(max(start, 0.0, core_start + core - side), size_px - side, core_start)


def _zoomed(matrix: Matrix, zoom: float, left: float, top: float) -> Matrix:
    """The matrix of the square that starts at (`left`, `top`) of the crop and is 1 / zoom as wide."""
    zoomed = matrix * zoom
    # Edge to edge: 0.5 is the centre of a pixel.
    zoomed[:, 2] += (zoom * (0.5 - left) - 0.5, zoom * (0.5 - top) - 0.5)
    return np.asarray(zoomed, np.float64)
