"""Cutting a square crop out of an image: one anti-aliased resample."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]
"""(2, 3): maps source pixels to crop pixels, pixel centres at whole numbers on both sides."""

_SHARP_STEP = 1.2
"""Source pixels per crop pixel up to which a cubic alone is nearer to an ideal filter than averaging is."""
_COARSEST_STEP = 2.5
"""Source pixels per crop pixel beyond which the source is first averaged over whole pixels."""


def matrix_for_scale(matrix: Matrix, scale: float) -> Matrix:
    """The matrix for pixels decoded at linear `scale` (decoded / source), from that for source pixels."""
    if scale == 1.0:
        return matrix
    shift = 0.5 / scale - 0.5
    moved = matrix[:, 2] + (matrix[:, 0] + matrix[:, 1]) * shift
    return np.column_stack([matrix[:, :2] / scale, moved])


def inverse(matrix: Matrix) -> Matrix:
    """The matrix (2, 3) that undoes `matrix`, which must not be singular.

    Closed, in Python's own floats: the last bit of a LAPACK result depends on the processor, and so then
    would the crops.
    """
    (a, b, x), (c, d, y) = matrix.tolist()
    det = a * d - b * c
    return np.array([[d / det, -b / det, (b * y - d * x) / det], [-c / det, a / det, (c * x - a * y) / det]])


def warp(rgb: Image, matrix: Matrix, size_px: int) -> tuple[Image, float]:
    """Cut a crop from an image by one anti-aliased resample.

    Enlarging interpolates with a cubic. Shrinking interpolates linearly at 2 x 2 points in every crop pixel,
    about a source pixel apart, and averages them: a box filter of the crop pixel's own footprint, so nothing
    aliases. Where the source is finer still, it is first averaged over whole pixels. Outside the image its
    edge pixels are repeated.

    Args:
        rgb: uint8 (H, W, 3).
        matrix: (2, 3), source to crop pixels, not singular.
        size_px: side S of the crop.

    Returns:
        the crop, uint8 (S, S, 3), and the fraction of its area (0 to 1) that lies outside the image.

    Raises:
        ValueError: the matrix is singular or not finite.
    """
    linear = np.asarray(matrix[:, :2], np.float64)
    if (
        not np.isfinite(matrix).all()
        or abs(linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0]) < 1e-12
    ):
        raise ValueError(f"the matrix {np.asarray(matrix).tolist()} maps the image to nothing")
    back = inverse(matrix)
    height, width = rgb.shape[:2]
    low, high = -0.5, size_px - 0.5
    corners = np.array(
        [
            back[:, 0] * x + back[:, 1] * y + back[:, 2]
            for x, y in ((low, low), (high, low), (high, high), (low, high))
        ]
    )
    padded = _outside(corners, width, height)
    region, x0, y0 = _region(rgb, corners)
    back[:, 2] -= (x0, y0)
    region, back = _reduce(region, back, linear)
    return _resample(region, back, size_px), padded


def _region(rgb: Image, corners: NDArray[np.float64]) -> tuple[Image, int, int]:
    """The part of the image that the crop can see, with two pixels around it, and where it starts."""
    height, width = rgb.shape[:2]
    low = np.floor(corners.min(axis=0)).astype(np.int64) - 2
    high = np.ceil(corners.max(axis=0)).astype(np.int64) + 3
    x0, x1 = (int(np.clip(low[0], 0, width - 1)), int(np.clip(high[0], 1, width)))
    y0, y1 = (int(np.clip(low[1], 0, height - 1)), int(np.clip(high[1], 1, height)))
    return rgb[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)], x0, y0


def _reduce(region: Image, back: Matrix, linear: NDArray[np.float64]) -> tuple[Image, Matrix]:
    """Average the region over whole pixels where it is far finer than the crop needs."""
    steps = 1.0 / np.maximum(np.linalg.norm(linear, axis=0), 1e-12)
    by_x, by_y = (max(1, math.ceil(step / _COARSEST_STEP)) for step in steps)
    if by_x == by_y == 1:
        return region, back
    height, width = region.shape[:2]
    more_y, more_x = -height % by_y, -width % by_x
    if more_x or more_y:
        region = _typed(cv2.copyMakeBorder(region, 0, more_y, 0, more_x, cv2.BORDER_REPLICATE))
    size = (region.shape[1] // by_x, region.shape[0] // by_y)
    factors = np.array([[by_x], [by_y]])
    back = back / factors
    back[:, 2:] += 0.5 / factors - 0.5
    return _typed(cv2.resize(region, size, interpolation=cv2.INTER_AREA)), back


def _resample(region: Image, back: Matrix, size_px: int) -> Image:
    steps = np.linalg.norm(back[:, :2], axis=0)
    per_x, per_y = (1 if step <= _SHARP_STEP else 2 for step in steps)
    # Sample u of a crop pixel grid that is k times finer sits at crop pixel (u + 0.5) / k - 0.5.
    fine = back.copy()
    fine[:, 0] /= per_x
    fine[:, 1] /= per_y
    fine[:, 2] += back[:, 0] * (0.5 / per_x - 0.5) + back[:, 1] * (0.5 / per_y - 0.5)
    interpolation = cv2.INTER_CUBIC if per_x == per_y == 1 else cv2.INTER_LINEAR
    samples = cv2.warpAffine(
        region,
        fine,
        (size_px * per_x, size_px * per_y),
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if per_x == per_y == 1:
        return _typed(samples)
    return _typed(cv2.resize(samples, (size_px, size_px), interpolation=cv2.INTER_AREA))


def _outside(corners: NDArray[np.float64], width: int, height: int) -> float:
    """Fraction of a parallelogram's area outside the image, by clipping it at the four edges."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    if low.min() >= -0.5 and high[0] <= width - 0.5 and high[1] <= height - 0.5:
        return 0.0
    polygon = [(float(x), float(y)) for x, y in corners]
    whole = _area(polygon)
    for axis, limit, sign in ((0, -0.5, 1), (1, -0.5, 1), (0, width - 0.5, -1), (1, height - 0.5, -1)):
        polygon = _clip(polygon, axis, limit, sign)
    return min(1.0, max(0.0, 1.0 - _area(polygon) / whole))


def _clip(
    polygon: list[tuple[float, float]], axis: int, limit: float, sign: int
) -> list[tuple[float, float]]:
    """The part of a convex polygon with sign * (coordinate - limit) >= 0 (Sutherland & Hodgman, 1974)."""
    kept: list[tuple[float, float]] = []
    for here, there in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        a, b = sign * (here[axis] - limit), sign * (there[axis] - limit)
        if a >= 0:
            kept.append(here)
        if (a >= 0) != (b >= 0):
            t = a / (a - b)
            kept.append((here[0] + t * (there[0] - here[0]), here[1] + t * (there[1] - here[1])))
    return kept


def _area(polygon: list[tuple[float, float]]) -> float:
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2


def _typed(pixels: object) -> Image:
    return np.asarray(pixels, np.uint8)
