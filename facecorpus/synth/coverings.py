"""Scarf, cap and glasses."""

from __future__ import annotations

import numpy as np

from facecorpus.synth.geometry import curve, ellipse, mirrored, shifted, stroke
from facecorpus.synth.paint import Array, Clip
from facecorpus.synth.sketch import SOFT, Sketch


def both_sides(right: list[tuple[float, float]], samples: int) -> Array:
    """A curve from its image-right half, given from the bottom up to the middle."""
    knots = [*right, *[(-x, y) for x, y in reversed(right[:-1])]]
    return curve(np.array(knots), samples)


def draw_scarf(s: Sketch) -> list[Array]:
    """A scarf around head and neck; returns its outline in pixels."""
    who = s.who
    w, top = who.half_width, who.skull_y
    right = [
        (1.9, 3.6),
        (1.45, 2.5),
        (w + 0.2, 1.4),
        (w + 0.2, 0.0),
        (0.86 * w, top + 0.2),
        (0.0, top - 0.16),
    ]
    outer = s.projection.rim(both_sides(right, 50), -0.02)
    chin = who.chin_y + s.rig.jaw
    opening = [
        (0.0, chin - 0.02),
        (0.5, chin - 0.16),
        (0.84, 1.1),
        (w - 0.1, 0.3),
        (0.86, -0.5),
        (0.5, -0.86),
        (0.0, -0.95),
    ]
    hole = curve(np.array([*opening, *[(-x, y) for x, y in reversed(opening[1:-1])]]), 48, closed=True)
    inner = s.projection.rim(hole, 0.25)
    cloth = s.tint(who.cloth, who.frame, 0.12)
    ring = np.concatenate([outer, outer[:1], inner, inner[:1]])
    s.canvas.shade(
        np.concatenate([outer, outer[:1], inner * 1.0 + (0.0, 0.05 * s.unit), inner[:1]]),
        SOFT,
        0.5,
        0.05 * s.unit,
    )
    s.canvas.fill(ring, cloth)
    clip = Clip(s.canvas, [ring])
    for k in range(5):
        fold = curve(
            np.array(
                [
                    (1.1 - 0.1 * k, -0.4),
                    (0.95, 0.9 + 0.2 * k),
                    (0.3 * (k - 2), 2.1 + 0.2 * k),
                    (-0.9 + 0.2 * k, 2.6 + 0.15 * k),
                ]
            ),
            20,
        )
        s.canvas.shade(s.projection.rim(stroke(fold, 0.1)), (0.72, 0.72, 0.74), 0.6, 0.03 * s.unit, clip)
        s.canvas.shade(
            s.projection.rim(mirrored(stroke(fold, 0.07), -1.0)), (1.14, 1.14, 1.14), 0.5, 0.03 * s.unit, clip
        )
    return [outer]


def draw_beanie(s: Sketch) -> list[Array]:
    """A knitted cap; returns its outline in pixels."""
    who = s.who
    w, top = who.half_width, who.skull_y
    cloth = s.tint(who.frame, who.cloth, 0.6)
    polygon = np.concatenate(
        [
            s.projection.rim(
                both_sides([(w + 0.06, -0.6), (w + 0.08, -1.0), (0.75 * w, top - 0.05), (0.0, top - 0.3)], 40)
            ),
            s.on(
                curve(
                    np.array(
                        [(-w + 0.03, -0.62), (-0.5, -0.74), (0.0, -0.78), (0.5, -0.74), (w - 0.03, -0.62)]
                    ),
                    24,
                )
            ),
        ]
    )
    s.canvas.shade(shifted(polygon, 0.0, 0.06 * s.unit), SOFT, 0.7, 0.04 * s.unit, s.head)
    s.canvas.fill(polygon, cloth)
    clip = Clip(s.canvas, [polygon])
    band = s.on(
        np.concatenate(
            [
                curve(np.array([(-w, -0.62), (0.0, -0.78), (w, -0.62)]), 20),
                curve(np.array([(w, -0.92), (0.0, -1.1), (-w, -0.92)]), 20),
            ]
        )
    )
    s.canvas.fill(band, s.tint(cloth, (255, 255, 255), 0.14), 1.0, 0.01 * s.unit, clip)
    ribs = [
        s.on(np.array([(x, -1.05 + 0.1 * x * x), (x, -0.7 + 0.1 * x * x)])) for x in np.linspace(-1, 1, 21)
    ]
    s.canvas.strands(ribs, 0.7, 0.6, clip, max(1, round(0.02 * s.unit)))
    return [polygon]


def draw_glasses(s: Sketch) -> None:
    """Frames in front of the eyes; the eyes stay visible."""
    who = s.who
    if not who.glasses:
        return
    thick = {1: 0.045, 2: 0.06, 3: 0.028}[who.glasses]
    e, lift = who.eye_spacing, 0.06
    for side in (-1.0, 1.0):
        if who.glasses == 1:
            lens = ellipse(e, 0.05, 0.37, 0.34, 44)
        else:
            knots = [
                (e - 0.34, -0.17),
                (e, -0.22),
                (e + 0.38, -0.2),
                (e + 0.38, 0.14),
                (e + 0.2, 0.3),
                (e - 0.18, 0.3),
                (e - 0.34, 0.12),
            ]
            lens = curve(np.array(knots), 44, closed=True)
        path = mirrored(np.concatenate([lens, lens[:1]]), side)
        s.canvas.shade(
            s.on(shifted(stroke(path, thick, start=1, end=1), 0.0, 0.03), lift), SOFT, 0.5, 0.02 * s.unit
        )
        s.canvas.fill(s.on(mirrored(lens, side), lift), (235, 245, 255), 0.05)
        s.canvas.fill(s.on(stroke(path, thick, start=1, end=1), lift), who.frame, 0.95)
        if who.hair_style not in ("long", "wavy", "bob", "scarf"):
            hinge = s.on(np.array([[side * (e + 0.36), -0.1]]), lift)
            ear = s.projection.rim(np.array([[side * (who.half_width + 0.01), -0.06]]))
            s.canvas.fill(
                stroke(np.concatenate([hinge, ear]), 0.9 * thick * s.unit, start=1, end=1), who.frame, 0.9
            )
    bridge = curve(np.array([(-e + 0.35, -0.02), (0.0, -0.08), (e - 0.35, -0.02)]), 12)
    s.canvas.fill(s.on(stroke(bridge, thick, start=1, end=1), 0.1), who.frame, 0.95)
