"""Illumination: a smooth relief of the face, lit from one side."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facecorpus.synth.geometry import DEPTH, HALF_HEIGHT
from facecorpus.synth.identity import Rgb
from facecorpus.synth.paint import Array
from facecorpus.synth.sketch import Sketch


@dataclass(frozen=True, slots=True)
class Light:
    """One soft main light and an even ambient."""

    x: float = -0.4
    """Where the light comes from: -1 image-left, 1 image-right."""
    y: float = -0.5
    """-1 above, 1 below."""
    strength: float = 0.6
    """How much the main light outweighs the ambient, 0 (flat) to 1."""
    exposure: float = 1.0
    """Overall brightness factor, about 0.6 to 1.25."""
    colour: Rgb = (1.0, 0.98, 0.95)
    """Per-channel factor of the main light, around 1."""


_BUMPS = np.array(
    [
        # x, y, width, height of the bump, amplitude in face units
        (0.00, 0.72, 0.16, 0.16, 0.16), (0.00, 0.30, 0.12, 0.34, 0.10), (0.50, -0.02, 0.24, 0.16, -0.075),
        (-0.50, -0.02, 0.24, 0.16, -0.075), (0.60, 0.46, 0.26, 0.20, 0.07), (-0.60, 0.46, 0.26, 0.20, 0.07),
        (0.45, -0.38, 0.38, 0.12, 0.05), (-0.45, -0.38, 0.38, 0.12, 0.05), (0.00, 1.14, 0.36, 0.14, 0.06),
        (0.00, 1.36, 0.24, 0.07, -0.05), (0.00, 1.64, 0.24, 0.16, 0.08), (0.16, 0.80, 0.10, 0.09, 0.03),
        (-0.16, 0.80, 0.10, 0.09, 0.03),
    ]
)  # fmt: skip


def _normals(x: Array, y: Array, half_width: float, cheek: float, jaw: float) -> tuple[Array, Array, Array]:
    """Unit normals of the relief at face coordinates (any shape)."""
    wide, high = half_width * 1.06, HALF_HEIGHT * 0.97
    inside = np.clip(1 - (x / wide) ** 2 - (y / high) ** 2, 0.06, None)
    z = DEPTH * np.sqrt(inside)
    gx, gy = -DEPTH * DEPTH * x / (wide**2 * z), -DEPTH * DEPTH * y / (high**2 * z)
    for k, (bx, by, wx, wy, height) in enumerate(_BUMPS):
        if k in (4, 5):
            height, by = height + 0.05 * cheek, by - 0.07 * cheek
        if by > 1.2:
            by = by + 0.9 * jaw
        u, v = (x - bx) / wx, (y - by) / wy
        bump = height * np.exp(-u * u - v * v)
        gx = gx - 2 * u / wx * bump
        gy = gy - 2 * v / wy * bump
    norm = 1 / np.sqrt(gx * gx + gy * gy + 1)
    return -gx * norm, -gy * norm, norm


def light_face(s: Sketch, light: Light, figure: list[Array], skin_strength: float = 1.0) -> None:
    """Multiply the figure (its outlines in pixels) by the light that falls on it."""
    canvas, pose = s.canvas, s.pose
    points = np.concatenate(figure)
    region = canvas.region(points, 3.0)
    if region is None:
        return
    x0, y0, x1, y1 = region
    step = max(1.0, 0.055 * s.unit)
    nx, ny = max(8, int((x1 - x0) / step)), max(8, int((y1 - y0) / step))
    px, py = np.meshgrid(
        x0 + (np.arange(nx) + 0.5) * (x1 - x0) / nx, y0 + (np.arange(ny) + 0.5) * (y1 - y0) / ny
    )
    fx, fy = s.projection.unproject(px, py)
    hx, hy, hz = _normals(fx, fy, s.who.half_width, s.rig.cheek, s.rig.jaw)
    yaw, pitch = float(np.deg2rad(pose.yaw)), float(np.deg2rad(pose.pitch))
    hx, hz = hx * np.cos(yaw) + hz * np.sin(yaw), hz * np.cos(yaw) - hx * np.sin(yaw)
    hy, hz = hy * np.cos(pitch) - hz * np.sin(pitch), hz * np.cos(pitch) + hy * np.sin(pitch)
    direction = np.array([light.x, light.y, 0.85])
    direction /= np.linalg.norm(direction)
    lambert = hx * direction[0] + hy * direction[1] + hz * direction[2]
    # neck and shoulders: a gentle cylinder instead of the head's relief
    body_x = (px - s.projection.centre[0]) / (2.4 * s.unit)
    body = 0.72 + 0.35 * light.x * body_x - 0.1 * body_x * body_x
    below = 1 / (1 + np.exp(-(fy - s.who.chin_y - s.rig.jaw - 0.25) * 8))
    lambert = lambert * (1 - below) + body * below
    lit = np.clip(0.5 + 0.5 * lambert, 0, 1) ** 1.6  # wrapped: skin scatters light into the shadow
    level = (1 - 0.62 * light.strength) + 0.85 * light.strength * lit
    warm = np.clip(1 - lit, 0, 1)[..., None] * np.array([0.0, -0.035, -0.055]) * light.strength
    tint = 1 + (np.asarray(light.colour) - 1) * (0.4 + 0.6 * lit[..., None])
    spec = 0.10 * light.strength * np.clip(lambert, 0, 1)[..., None] ** 14 * (1 - below)[..., None]
    factor = ((level[..., None] + warm) * tint + spec).astype(np.float32) * np.float32(light.exposure)
    factor = cv2.GaussianBlur(factor, (0, 0), 0.8)  # else the grid shows through
    factor = cv2.resize(factor, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    canvas.scale(canvas.mask(figure, region, 0.6), region, factor)
