"""Cutting a square crop out of an image: one anti-aliased resample.

What the matrices decide is computed in plain floating point, operation by operation: a linear algebra library
rounds differently from processor to processor, and the matrices are stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from facecorpus.faces.face import Image

Matrix = NDArray[np.float64]
"""(2, 3): maps source pixels to crop pixels, pixel centres at whole numbers on both sides."""
Point = tuple[float, float]

_SHARP_STEP = 1.2
"""Source pixels per crop pixel up to which interpolating is nearer to an ideal filter than averaging is."""
_COARSEST_STEP = 2.5
"""Source pixels per crop pixel beyond which the source is first averaged over whole pixels."""
_GLIMPSE_STEP = 1.5
"""Source pixels per pixel up to which a glimpse takes single samples."""


def matrix_for_scale(matrix: Matrix, scale: float) -> Matrix:
    """The matrix for pixels decoded at linear `scale` (decoded / source), from that for source pixels."""
    if scale == 1.0:
        return matrix
    shift = 0.5 / scale - 0.5
    (a, b, c), (d, e, f) = matrix.tolist()
    return np.array(
        [[a / scale, b / scale, (a + b) * shift + c], [d / scale, e / scale, (d + e) * shift + f]]
    )


def inverse(matrix: Matrix) -> Matrix:
    """The matrix (2, 3) from crop pixels back to source pixels.

    Raises:
        ValueError: the matrix is singular or not finite.
    """
    (a, b, c), (d, e, f) = matrix.tolist()
    det = a * e - b * d
    if not (math.isfinite(det + c + f) and abs(det) >= 1e-12):
        raise ValueError(f"the matrix {matrix.tolist()} maps the image to nothing")
    return np.array([[e / det, -b / det, (b * f - c * e) / det], [-d / det, a / det, (c * d - a * f) / det]])


def corners(back: Matrix, x: float, y: float, side: float) -> list[Point]:
    """Source positions of the corners, in turn, of the square with that corner and side in the crop.

    Args:
        back: (2, 3), crop to source pixels.
        x, y, side: crop pixels, from the crop's own edge at 0 (the centre of its first pixel is at 0.5).
    """
    (a, b, c), (d, e, f) = back.tolist()
    ends = ((x, y), (x + side, y), (x + side, y + side), (x, y + side))
    return [(a * (u - 0.5) + b * (v - 0.5) + c, d * (u - 0.5) + e * (v - 0.5) + f) for u, v in ends]


def warp(rgb: Image, matrix: Matrix, size_px: int) -> Image:
    """Cut a crop from an image by one anti-aliased resample.

    Enlarging interpolates linearly on a grid that cubics have made at least three times finer, which costs
    half of a cubic at every crop pixel. Shrinking interpolates linearly at 2 x 2 points in every crop pixel,
    about a source pixel apart, and averages them: a box filter of the crop pixel's own footprint, so nothing
    aliases. Where the source is finer still, it is first averaged over whole pixels. Outside the image it
    shows the image mirrored at its edge.

    Args:
        rgb: uint8 (H, W, 3).
        matrix: (2, 3), source to crop pixels, not singular.
        size_px: side S of the crop.

    Returns:
        the crop, uint8 (S, S, 3). How much of it lies outside the image, `outside` says of its `corners`.

    Raises:
        ValueError: the matrix is singular or not finite.
    """
    region, back = _seen(rgb, matrix, size_px)
    step = max(_steps(back))
    if step <= _SHARP_STEP:
        return _enlarge(region, back, size_px, step)
    region, back = _reduce(region, back, matrix, _COARSEST_STEP)
    return _shrink(region, back, size_px)


def glimpse(rgb: Image, matrix: Matrix, size_px: int) -> Image:
    """A rough crop, for hashing: sampled linearly, edges repeated outside the image.

    Args and errors: as `warp`. Returns uint8 (S, S, 3).
    """
    region, back = _reduce(*_seen(rgb, matrix, size_px), matrix, _GLIMPSE_STEP)
    return _sampled(region, back, size_px, size_px, cv2.BORDER_REPLICATE)


def _steps(back: Matrix) -> tuple[float, float]:
    """Source pixels per crop pixel, along u and v."""
    along_u, along_v = (math.hypot(*row) for row in back[:, :2].T.tolist())
    return along_u, along_v


def _seen(rgb: Image, matrix: Matrix, size_px: int) -> tuple[Image, Matrix]:
    """The part of the image that the crop can see, with two pixels around it, and the matrix from crop pixels
    to its pixels."""
    back = inverse(matrix)
    seen = corners(back, 0.0, 0.0, size_px)
    height, width = rgb.shape[:2]
    (x0, x1), (y0, y1) = (
        (min(max(math.floor(min(along)) - 2, 0), length - 1), min(max(math.ceil(max(along)) + 3, 1), length))
        for along, length in zip(zip(*seen, strict=True), (width, height), strict=True)
    )
    back[:, 2] -= (x0, y0)
    return rgb[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)], back


def _enlarge(region: Image, back: Matrix, size_px: int, step: float) -> Image:
    # An odd factor puts a sample of the finer grid on every source pixel: at a step of 1 the crop is a copy.
    finer = min(2 * math.ceil(0.5 / max(step, 0.01)) + 1, 9)
    fine = _typed(cv2.resize(region, None, fx=finer, fy=finer, interpolation=cv2.INTER_CUBIC))
    back = back * finer
    back[:, 2] += (finer - 1) / 2
    return _sampled(fine, back, size_px, size_px)


def _reduce(region: Image, back: Matrix, matrix: Matrix, coarsest: float) -> tuple[Image, Matrix]:
    """Average the region over whole pixels where it is far finer than the crop needs."""
    across = (1.0 / max(math.hypot(*column), 1e-12) for column in matrix[:, :2].T.tolist())
    by_x, by_y = (max(1, math.ceil(step / coarsest)) for step in across)
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


def _shrink(region: Image, back: Matrix, size_px: int) -> Image:
    per_x, per_y = (1 if step <= _SHARP_STEP else 2 for step in _steps(back))
    # Sample u of a crop pixel grid that is k times finer sits at crop pixel (u + 0.5) / k - 0.5.
    fine = back.copy()
    fine[:, 0] /= per_x
    fine[:, 1] /= per_y
    fine[:, 2] += back[:, 0] * (0.5 / per_x - 0.5) + back[:, 1] * (0.5 / per_y - 0.5)
    samples = _sampled(region, fine, size_px * per_x, size_px * per_y)
    return _typed(cv2.resize(samples, (size_px, size_px), interpolation=cv2.INTER_AREA))


def _sampled(region: Image, back: Matrix, width: int, height: int, beyond: int = cv2.BORDER_REFLECT) -> Image:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return _typed(cv2.warpAffine(region, back, (width, height), flags=flags, borderMode=beyond))


def outside(polygon: Sequence[Point], width: int, height: int) -> float:
    """Fraction (0 to 1) of a convex polygon's area that lies outside an image of that size, by clipping it at
    the four edges; its corners are source positions in turn."""
    xs, ys = zip(*polygon, strict=True)
    if min(*xs, *ys) >= -0.5 and max(xs) <= width - 0.5 and max(ys) <= height - 0.5:
        return 0.0
    whole, left = _area(polygon), list(polygon)
    for axis, limit, sign in ((0, -0.5, 1), (1, -0.5, 1), (0, width - 0.5, -1), (1, height - 0.5, -1)):
        left = _clip(left, axis, limit, sign)
    return round(min(1.0, max(0.0, 1.0 - _area(left) / whole)), 9)


def _clip(polygon: Sequence[Point], axis: int, limit: float, sign: int) -> list[Point]:
    """The part of a convex polygon with sign * (coordinate - limit) >= 0 (Sutherland & Hodgman, 1974)."""
    kept: list[Point] = []
    for here, there in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True):
        a, b = sign * (here[axis] - limit), sign * (there[axis] - limit)
        if a >= 0:
            kept.append(here)
        if (a >= 0) != (b >= 0):
            t = a / (a - b)
            kept.append((here[0] + t * (there[0] - here[0]), here[1] + t * (there[1] - here[1])))
    return kept


def _area(polygon: Sequence[Point]) -> float:
    pairs = zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2


def _typed(pixels: object) -> Image:
    return np.asarray(pixels, np.uint8)
