"""Curves on a head, and the head's projection into the picture.

Face coordinates: origin midway between the eyes, unit = the mean adult inter-ocular distance (about 63 mm), x
to image-right, y down, z towards the viewer, head centre at z = 0. Whatever is drawn is a polygon in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Array = np.ndarray

DEPTH = 1.2
"""Half the depth of the head's ellipsoid; its half width is the identity's, its half height 2.25."""
HALF_HEIGHT = 2.25


@lru_cache(maxsize=256)
def _catmull_rom(knots: int, samples: int, closed: bool) -> Array:
    """Weights (samples, knots) that turn knots into points of a Catmull-Rom spline."""
    weights = np.zeros((samples, knots))
    spans = knots if closed else knots - 1
    for row in range(samples):
        at = row * spans / samples if closed else row * spans / (samples - 1)
        span = min(int(at), spans - 1)
        t = at - span
        for offset, value in (
            (-1, -0.5 * t + t * t - 0.5 * t**3),
            (0, 1 - 2.5 * t * t + 1.5 * t**3),
            (1, 0.5 * t + 2 * t * t - 1.5 * t**3),
            (2, -0.5 * t * t + 0.5 * t**3),
        ):
            knot = span + offset
            if closed:
                weights[row, knot % knots] += value
            elif knot < 0:  # mirrored end knots: 2 p0 - p1
                weights[row, 0] += 2 * value
                weights[row, 1] -= value
            elif knot >= knots:
                weights[row, -1] += 2 * value
                weights[row, -2] -= value
            else:
                weights[row, knot] += value
    weights.setflags(write=False)
    return weights


def curve(knots: Array | list[tuple[float, float]], samples: int = 24, *, closed: bool = False) -> Array:
    """A smooth curve through `knots` ((K, 2), K >= 2), as (samples, 2); linear in the knots."""
    points = np.asarray(knots, dtype=np.float64)
    return _catmull_rom(len(points), samples, closed) @ points


@lru_cache(maxsize=64)
def _circle(samples: int) -> Array:
    angle = np.arange(samples) * (2 * np.pi / samples)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ellipse(x: float, y: float, rx: float, ry: float, samples: int = 28) -> Array:
    """An ellipse as a polygon (samples, 2)."""
    return _circle(samples) * (rx, ry) + (x, y)


@lru_cache(maxsize=64)
def _taper(samples: int, start: float, end: float) -> Array:
    t = np.linspace(0.0, 1.0, samples)
    body = np.sin(np.pi * np.clip(t, 0, 1)) ** 0.6
    return (body * (1 - (1 - t) * start - t * end) + (1 - t) * start + t * end)[:, None]


def stroke(path: Array, width: float, *, start: float = 0.0, end: float = 0.0) -> Array:
    """Outline (2N, 2) of a brush stroke along `path` (N, 2); `start`, `end` are the relative widths there."""
    along = np.empty_like(path)
    along[1:-1] = path[2:] - path[:-2]
    along[0], along[-1] = path[1] - path[0], path[-1] - path[-2]
    length = np.sqrt((along * along).sum(axis=1, keepdims=True)) + 1e-9
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / length
    across *= _taper(len(path), start, end) * (0.5 * width)
    return np.concatenate([path + across, (path - across)[::-1]])


def mirrored(points: Array, side: float) -> Array:
    """`points` as given for image-right (`side` = 1), or their mirror image (-1)."""
    return points * (side, 1.0)


def shifted(points: Array, dx: float, dy: float) -> Array:
    """`points` (..., 2) moved."""
    return points + np.array([dx, dy])


def smoothstep(x: Array | float) -> Array:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(x, 0.0, 1.0)
    return t * t * (3 - 2 * t)


def surface_z(x: Array, y: Array, half_width: float) -> Array:
    """Depth of the face's surface at (x, y): an ellipsoid with a nose on it."""
    inside = 1 - (x / (half_width * 1.04)) ** 2 - (y / HALF_HEIGHT) ** 2
    body = DEPTH * np.sqrt(0.5 * (inside + np.sqrt(inside * inside + 0.01)))  # a smooth max(inside, 0)
    nose = 0.36 * np.exp(-((x / 0.2) ** 2) - ((y - 0.66) / 0.33) ** 2)
    return body + nose


def rim_z(y: Array) -> Array:
    """Depth of the head's silhouette: the jaw lies further forward than the skull."""
    return 0.02 + 0.55 * smoothstep((y - 0.5) / 1.4)


@dataclass(frozen=True, slots=True)
class Pose:
    """Rotation of the head in degrees, and where the eyes look.

    Positive yaw turns the nose to image-right, pitch up, roll clockwise. Sensible range: yaw
    and pitch within 25, roll within 40.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze_x: float = 0.0
    """Gaze relative to the head, -1 (image-left) to 1."""
    gaze_y: float = 0.0
    """-1 (up) to 1 (down)."""


@lru_cache(maxsize=16)
def _cosines(pose: Pose) -> tuple[float, float, float, float, float, float]:
    """Cosine and sine of yaw, pitch and roll."""
    yaw, pitch, roll = math.radians(pose.yaw), math.radians(pose.pitch), math.radians(pose.roll)
    return math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll)


@dataclass(frozen=True, slots=True)
class Projection:
    """From face coordinates to canvas pixels: pose, `scale` pixels per unit, the origin at `centre`."""

    pose: Pose
    half_width: float
    scale: float
    centre: tuple[float, float]

    def _angles(self) -> tuple[float, float, float, float, float, float]:
        return _cosines(self.pose)

    def _place(self, x: Array, y: Array, cos_roll: float, sin_roll: float) -> Array:
        cos_roll, sin_roll = self.scale * cos_roll, self.scale * sin_roll
        out = np.empty((len(x), 2))
        out[:, 0] = x * cos_roll - y * sin_roll + self.centre[0]
        out[:, 1] = x * sin_roll + y * cos_roll + self.centre[1]
        return out

    def surface(self, points: Array, lift: Array | float = 0.0) -> Array:
        """Points (N, 2) on the face's surface, `lift` in front of it, to pixels (N, 2)."""
        cy, sy, cp, sp, cr, sr = self._angles()
        x, y = points[:, 0], points[:, 1]
        z = surface_z(x, y, self.half_width) + lift
        turned = z * cy - x * sy
        return self._place(x * cy + z * sy, y * cp - turned * sp, cr, sr)

    def rim(self, points: Array, lift: Array | float = 0.0) -> Array:
        """Points (N, 2) of the head's silhouette to pixels: rows slide, the outline keeps its width."""
        _, sy, _, sp, cr, sr = self._angles()
        z = rim_z(points[:, 1]) + lift
        return self._place(points[:, 0] + z * sy, points[:, 1] - z * sp, cr, sr)

    def body(self, points: Array) -> Array:
        """Points (N, 2) of neck and shoulders, which follow a third of the roll alone, to pixels."""
        roll = math.radians(self.pose.roll) * 0.35
        return self._place(points[:, 0], points[:, 1], math.cos(roll), math.sin(roll))

    def unproject(self, pixels_x: Array, pixels_y: Array) -> tuple[Array, Array]:
        """Approximate face coordinates of pixels (for shading): a fixed-point inverse of `surface`."""
        cy, sy, cp, sp, cr, sr = self._angles()
        u = (pixels_x - self.centre[0]) / self.scale
        v = (pixels_y - self.centre[1]) / self.scale
        u, v = u * cr + v * sr, v * cr - u * sr
        x, y = u, v
        for _ in range(4):
            inside = np.clip(1 - (x / (self.half_width * 1.04)) ** 2 - (y / HALF_HEIGHT) ** 2, 0.05, None)
            z = DEPTH * np.sqrt(inside)
            x = 0.5 * x + 0.5 * (u - z * sy) / cy
            y = 0.5 * y + 0.5 * (v + (z * cy - x * sy) * sp) / cp
        return x, y
