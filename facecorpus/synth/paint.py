"""Anti-aliased painting of polygons on a float canvas."""

from __future__ import annotations

import cv2
import numpy as np

from facecorpus.synth.identity import Rgb

Array = np.ndarray
SHIFT = 4
"""Polygons are given to OpenCV in 1/16 pixel."""


def fixed(points: Array) -> Array:
    """Pixels (N, 2) as OpenCV's fixed-point int32."""
    return np.rint(points * (1 << SHIFT)).astype(np.int32)


class Canvas:
    """A float32 picture (H, W, 3), RGB 0 to 255, and the operations that paint on it."""

    def __init__(self, pixels: Array) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def region(self, points: Array, margin: float) -> tuple[int, int, int, int] | None:
        """The part (x0, y0, x1, y1) of the canvas that `points` and `margin` pixels around them touch."""
        (low_x, low_y), (high_x, high_y) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        x0, y0 = max(0, int(low_x - margin - 2)), max(0, int(low_y - margin - 2))
        x1, y1 = min(self.width, int(high_x + margin + 4)), min(self.height, int(high_y + margin + 4))
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def mask(
        self, polygons: list[Array], region: tuple[int, int, int, int], blur: float = 0.0, fine: int = 1
    ) -> Array:
        """Coverage (h, w) float32 0 to 1 of `polygons` in `region`, blurred by a sigma of `blur` pixels.

        OpenCV's anti-aliased polygons jump a little where a flat edge crosses a row of pixels; `fine` divides
        each pixel that many times where it matters.
        """
        x0, y0, x1, y1 = region
        shape = (y1 - y0, x1 - x0)
        if fine > 1:
            large = np.zeros((shape[0] * fine, shape[1] * fine), dtype=np.uint8)
            for polygon in polygons:
                points = fixed((polygon - (x0 - 0.5, y0 - 0.5)) * fine - 0.5)
                cv2.fillPoly(large, [points], 255, cv2.LINE_AA, SHIFT)
            return cv2.resize(
                large.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA
            ) * np.float32(1 / 255)
        shade = np.zeros(shape, dtype=np.uint8)
        corner = np.array([x0, y0])
        for polygon in polygons:
            cv2.fillPoly(shade, [fixed(polygon - corner)], 255, cv2.LINE_AA, SHIFT)
        if blur > 6:  # a wide blur is computed on a smaller grid
            factor = 1 << int(np.log2(blur / 1.5))
            size = (max(2, shape[1] // factor), max(2, shape[0] // factor))
            small = cv2.resize(shade, size, interpolation=cv2.INTER_AREA).astype(np.float32)
            small = cv2.GaussianBlur(small, (0, 0), blur / factor, borderType=cv2.BORDER_REPLICATE)
            return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR) * np.float32(1 / 255)
        soft = shade.astype(np.float32)
        if blur > 0.2:
            soft = cv2.GaussianBlur(soft, (0, 0), blur, borderType=cv2.BORDER_CONSTANT)
        return soft * np.float32(1 / 255)

    def blend(self, mask: Array, region: tuple[int, int, int, int], colour: Rgb | Array) -> None:
        """Move `region` towards `colour` (an RGB or pixels (h, w, 3)) by `mask` (h, w) 0 to 1."""
        x0, y0, x1, y1 = region
        part = self.pixels[y0:y1, x0:x1]
        step = np.asarray(colour, dtype=np.float32) - part
        step *= mask[..., None]
        part += step

    def scale(self, mask: Array, region: tuple[int, int, int, int], factor: Rgb | Array) -> None:
        """Multiply `region` by `factor` where `mask` is 1, by less where it is below."""
        x0, y0, x1, y1 = region
        gain = mask[..., None] * (np.asarray(factor, dtype=np.float32) - 1)
        gain += 1
        self.pixels[y0:y1, x0:x1] *= gain

    def fill(
        self, polygon: Array, colour: Rgb, alpha: float = 1.0, blur: float = 0.0, clip: Clip | None = None
    ) -> None:
        """Paint one polygon (N, 2), in pixels."""
        if alpha <= 0.003:
            return
        region = self.region(polygon, 2.5 * blur)
        if region is None:
            return
        # thin crisp strokes (lips, lashes, freckles) need a finer grid than one pixel
        fine = 2 if blur < 0.7 and (region[2] - region[0]) * (region[3] - region[1]) < 8000 else 1
        mask = self.mask([polygon], region, blur, fine) * np.float32(alpha)
        if clip is not None:
            mask *= clip.part(region)
        self.blend(mask, region, colour)

    def shade(
        self, polygon: Array, factor: Rgb, alpha: float = 1.0, blur: float = 0.0, clip: Clip | None = None
    ) -> None:
        """Multiply by `factor` (per channel, 1 = unchanged) inside a polygon."""
        if alpha <= 0.003:
            return
        region = self.region(polygon, 2.5 * blur)
        if region is None:
            return
        mask = self.mask([polygon], region, blur) * np.float32(alpha)
        if clip is not None:
            mask *= clip.part(region)
        self.scale(mask, region, factor)

    def strands(
        self,
        paths: list[Array],
        factor: float,
        alpha: float,
        clip: Clip,
        thickness: int = 1,
        blur: float = 0.6,
    ) -> None:
        """Lighten (`factor` > 1) or darken hair along many paths at once."""
        if not paths:
            return
        x0, y0, x1, y1 = region = clip.region
        lines = np.zeros((y1 - y0, x1 - x0), dtype=np.uint8)
        corner = np.array([x0, y0])
        cv2.polylines(lines, [fixed(p - corner) for p in paths], False, 255, thickness, cv2.LINE_AA, SHIFT)
        mask = cv2.GaussianBlur(lines, (0, 0), blur).astype(np.float32) * np.float32(alpha / 255)
        self.scale(mask * clip.mask, region, (factor, factor, factor))


class Clip:
    """A mask over one region of the canvas that later strokes stay inside of."""

    def __init__(self, canvas: Canvas, polygons: list[Array], blur: float = 0.0, fine: int = 1) -> None:
        points = np.concatenate(polygons)
        self.region = canvas.region(points, 2.5 * blur) or (0, 0, 1, 1)
        self.mask = canvas.mask(polygons, self.region, blur, fine)

    def part(self, region: tuple[int, int, int, int]) -> Array:
        """The mask (h, w) over another region, 0 outside its own."""
        x0, y0, x1, y1 = region
        a0, b0, a1, b1 = self.region
        if a0 <= x0 and b0 <= y0 and a1 >= x1 and b1 >= y1:
            return self.mask[y0 - b0 : y1 - b0, x0 - a0 : x1 - a0]
        out = np.zeros((y1 - y0, x1 - x0), dtype=np.float32)
        left, top, right, bottom = max(x0, a0), max(y0, b0), min(x1, a1), min(y1, b1)
        if right > left and bottom > top:
            out[top - y0 : bottom - y0, left - x0 : right - x0] = self.mask[
                top - b0 : bottom - b0, left - a0 : right - a0
            ]
        return out
