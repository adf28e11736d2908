"""What every feature painter needs: the canvas, the person, the expression's rig, and the projection."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from facecorpus.synth.expression import Rig
from facecorpus.synth.geometry import Pose, Projection, curve, shifted, stroke
from facecorpus.synth.identity import Identity, Rgb
from facecorpus.synth.paint import Array, Canvas, Clip

FOLD: Rgb = (0.62, 0.47, 0.42)
"""What a fold in the skin multiplies it by at full strength."""
SOFT: Rgb = (0.80, 0.68, 0.64)
"""Likewise, a soft shadow."""


@dataclass(slots=True)
class Sketch:
    """One face in the making; the painters of the features take it and paint on its canvas."""

    canvas: Canvas
    who: Identity
    rig: Rig
    pose: Pose
    projection: Projection
    points: dict[str, Array] = field(default_factory=dict)
    """Landmarks in pixels, filled in by the painters of the features."""
    head: Clip | None = None

    @property
    def unit(self) -> float:
        """Pixels per face unit."""
        return self.projection.scale

    def on(self, points: Array, lift: float = 0.0) -> Array:
        """Face coordinates (N, 2) on the surface to pixels."""
        return self.projection.surface(points, lift)

    def tint(self, colour: Rgb, toward: Rgb, amount: float) -> Rgb:
        """`colour` moved towards another by `amount` (0 to 1)."""
        a, b = np.asarray(colour), np.asarray(toward)
        mixed = a + (b - a) * amount
        return float(mixed[0]), float(mixed[1]), float(mixed[2])

    def fill(
        self, points: Array, colour: Rgb, alpha: float = 1.0, blur: float = 0.0, clip: Clip | None = None
    ) -> None:
        """Paint a polygon on the surface; `blur` in face units."""
        self.canvas.fill(self.on(points), colour, alpha, blur * self.unit, clip or self.head)

    def shade(
        self, points: Array, factor: Rgb, alpha: float = 1.0, blur: float = 0.0, clip: Clip | None = None
    ) -> None:
        """Darken or lighten a polygon on the surface; `blur` in face units."""
        self.canvas.shade(self.on(points), factor, alpha, blur * self.unit, clip or self.head)

    def furrow(
        self,
        knots: list[tuple[float, float]],
        width: float,
        strength: float,
        *,
        blur: float = 0.012,
        ridge: float = 0.0,
    ) -> None:
        """A fold in the skin along `knots`; `ridge` is the offset in y of a highlight beside it (0: none)."""
        if strength <= 0.003:
            return
        path = curve(np.array(knots), 12)
        self.shade(stroke(path, width), FOLD, min(1.0, strength), blur)
        self.shade(stroke(path, 3 * width), SOFT, 0.5 * min(1.0, strength), 2.5 * blur + 0.01)
        if ridge:
            self.shade(
                stroke(shifted(path, 0, ridge), 2 * width), (1.12, 1.12, 1.12), 0.7 * min(1.0, strength), 0.02
            )
