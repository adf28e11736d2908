"""Backgrounds: out-of-focus rooms, foliage, streets and studio walls, each a pure function of a seed."""

from __future__ import annotations

import cv2
import numpy as np

from facecorpus.synth.identity import hsv
from facecorpus.synth.paint import SHIFT, Array, fixed

_SIDE = 96


def _gradient(rng: np.random.Generator) -> Array:
    corners = np.array(
        [
            hsv(float(rng.random()), float(rng.uniform(0.03, 0.4)), float(rng.uniform(0.15, 0.95)))
            for _ in range(4)
        ]
    )
    grid = corners.reshape(2, 2, 3).astype(np.float32)
    return cv2.resize(grid, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)


def _shapes(rng: np.random.Generator, picture: Array) -> None:
    kind = int(rng.integers(5))
    count = int(rng.integers(7, 22))
    for _ in range(count):
        colour = hsv(float(rng.random()), float(rng.uniform(0.03, 0.5)), float(rng.uniform(0.05, 0.97)))
        x, y = rng.uniform(-0.1, 1.1, 2) * _SIDE
        w, h = rng.uniform(0.08, 0.45, 2) * _SIDE
        if kind == 0:  # bokeh
            w = h = 0.35 * w + 3
        if kind in (0, 1):
            angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
            polygon = np.stack([x + w * np.cos(angle), y + h * np.sin(angle)], 1)
        elif kind == 2:  # upright panels
            polygon = np.array([(x, -5), (x + 0.5 * w, -5), (x + 0.5 * w, _SIDE + 5), (x, _SIDE + 5)])
        elif kind == 3:  # shelves and windows
            polygon = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        else:  # slanted facades
            polygon = np.array(
                [(x, y), (x + w, y + 0.4 * h), (x + 0.8 * w, y + h), (x - 0.3 * w, y + 0.7 * h)]
            )
        cv2.fillPoly(picture, [fixed(polygon)], colour, cv2.LINE_AA, SHIFT)


def draw_backdrop(seed: int, width: int, height: int) -> Array:
    """An out-of-focus background (height, width, 3), float32 RGB 0 to 255."""
    rng = np.random.default_rng([seed, 0xBAC])
    picture = np.clip(_gradient(rng), 0, 255).astype(np.uint8)
    _shapes(rng, picture)
    blur = float(rng.uniform(0.8, 4.5))
    soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), blur)
    side = max(width, height)
    large = cv2.resize(soft, (side, side), interpolation=cv2.INTER_CUBIC)
    x0, y0 = (side - width) // 2, (side - height) // 2
    return np.clip(large[y0 : y0 + height, x0 : x0 + width], 0, 255).copy()
