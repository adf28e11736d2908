"""Head, ears, neck, clothes and beard: the parts the features are painted on."""

from __future__ import annotations

import math

import numpy as np

from facecorpus.synth.geometry import curve, ellipse, mirrored, shifted, stroke
from facecorpus.synth.paint import Array, Clip
from facecorpus.synth.sketch import FOLD, SOFT, Sketch


def head_outline(s: Sketch) -> Array:
    """The head's silhouette in pixels (72, 2)."""
    who, jaw = s.who, s.rig.jaw
    w, chin = who.half_width, who.chin_y + s.rig.jaw
    puff = 0.015 * s.rig.cheek
    right = [
        (0.52 * w, who.skull_y + 0.1),
        (0.86 * w, who.skull_y + 0.46),
        (w - 0.01, -0.5),
        (w + 0.2 * puff, 0.1),
        (0.965 * w + puff, 0.55),
        *_jaw(who.jaw_width + 0.04, 0.95 + 0.3 * jaw, chin, who.chin_width),
    ]
    knots = [(0.0, who.skull_y), *right, (0.0, chin), *[(-x, y) for x, y in reversed(right)]]
    return s.projection.rim(curve(np.array(knots), 72, closed=True))


def _jaw(half: float, top: float, chin: float, chin_width: float) -> list[tuple[float, float]]:
    """The jaw's right half from its angle nearly to the chin: an ellipse, squarer where the chin is wide."""
    power = 1.52 - 1.35 * chin_width
    out = []
    for degrees in (8, 26, 44, 60, 74, 84):
        angle = math.radians(degrees)
        out.append((half * math.cos(angle) ** power, top + (chin - top) * math.sin(angle) ** 1.05))
    return out


def draw_ears(s: Sketch) -> list[Array]:
    """Both ears, behind the head; returns their outlines in pixels."""
    who, yaw = s.who, s.pose.yaw
    outlines = []
    for side in (-1.0, 1.0):
        e, hidden = who.ear_size, side * yaw * 0.007
        x = who.half_width + 0.045 - hidden
        shape = np.array(
            [
                (x - 0.1, -0.12),
                (x + 0.08 * e, -0.2 * e),
                (x + 0.16 * e, 0.0),
                (x + 0.12 * e, 0.28 * e),
                (x + 0.05, 0.5 * e),
                (x - 0.12, 0.5),
            ]
        )
        outline = s.projection.rim(mirrored(curve(shape, 30, closed=True), side), -0.12)
        s.canvas.fill(outline, s.tint(who.skin, (200, 90, 80), 0.14))
        inner = np.array([(x + 0.02, -0.08), (x + 0.1 * e, -0.06), (x + 0.09 * e, 0.14), (x + 0.02, 0.3)])
        s.canvas.shade(
            s.projection.rim(mirrored(stroke(curve(inner, 14), 0.06), side), -0.12), FOLD, 0.6, 0.015 * s.unit
        )
        outlines.append(outline)
    return outlines


def draw_body(s: Sketch) -> list[Array]:
    """Neck and clothes; returns their outlines in pixels."""
    who, canvas = s.who, s.canvas
    neck_half = 0.64 - 0.12 * who.feminine
    side_knots = [
        (neck_half, 0.9),
        (neck_half - 0.02, 1.7),
        (neck_half + 0.06, 2.25),
        (neck_half + 0.5, 2.75),
        (neck_half + 0.6, 3.6),
    ]
    knots = curve(np.array(side_knots), 16)
    neck = s.projection.body(np.concatenate([knots, mirrored(knots[::-1], -1.0)]))
    canvas.fill(neck, s.tint(who.skin, (150, 80, 60), 0.08))
    clip = Clip(canvas, [neck])
    outline = head_outline(s)
    canvas.shade(shifted(outline, 0.0, 0.22 * s.unit), FOLD, 0.9, 0.11 * s.unit, clip)
    for side in (-1.0, 1.0):  # the neck's muscles and collar bones
        line = curve(
            np.array([(side * (neck_half - 0.06), 1.75), (side * 0.34, 2.25), (side * 0.12, 2.62)]), 10
        )
        canvas.shade(s.projection.body(stroke(line, 0.09)), SOFT, 0.4, 0.05 * s.unit, clip)
    return [neck, *_clothes(s, neck_half)]


def _clothes(s: Sketch, neck_half: float) -> list[Array]:
    who, canvas = s.who, s.canvas
    wide = 2.35 - 0.25 * who.feminine
    neckline = {0: 2.5, 1: 3.05, 2: 2.55, 3: 2.45, 4: 3.0}[who.cloth_style]
    shoulder = [
        (neck_half + 0.12, 2.22),
        (neck_half + 0.6, 2.5),
        (wide - 0.3, 2.78),
        (wide, 3.3),
        (wide + 0.15, 5.2),
        (wide + 0.2, 12.0),
    ]
    sharp = who.cloth_style in (1, 4)
    inner = (
        [(0.0, neckline), (0.3, neckline - 0.28), (neck_half, 2.4)]
        if sharp
        else [(0.0, neckline), (0.4, neckline - 0.08), (neck_half + 0.02, 2.34)]
    )
    right = np.concatenate([curve(np.array(inner), 8), curve(np.array(shoulder), 16)])
    polygon = s.projection.body(np.concatenate([right, mirrored(right[::-1], -1.0)]))
    canvas.fill(polygon, who.cloth)
    clip = Clip(canvas, [polygon])
    dark, light = s.tint(who.cloth, (10, 10, 16), 0.45), s.tint(who.cloth, (255, 255, 255), 0.3)
    for side in (-1.0, 1.0):
        fold = curve(np.array([(side * 1.25, 2.75), (side * 1.15, 3.3), (side * 1.3, 4.2)]), 10)
        canvas.fill(s.projection.body(stroke(fold, 0.14)), dark, 0.5, 0.08 * s.unit, clip)
        rim = curve(np.array([(side * x, y) for x, y in inner]), 10)
        canvas.fill(s.projection.body(stroke(rim, 0.1, start=1, end=1)), dark, 0.7, 0.012 * s.unit, clip)
        if who.cloth_style == 2:
            collar = np.array(
                [
                    (side * 0.05, 2.62),
                    (side * 0.3, 3.0),
                    (side * 0.78, 2.62),
                    (side * (neck_half + 0.02), 2.16),
                    (side * 0.42, 2.4),
                ]
            )
            canvas.fill(s.projection.body(collar), light, 1.0, 0.01 * s.unit)
            canvas.fill(
                s.projection.body(stroke(collar[[1, 2]], 0.03, start=1, end=1)), dark, 0.7, 0.01 * s.unit
            )
        if who.cloth_style == 3:
            hood = curve(
                np.array(
                    [
                        (side * 0.02, 2.95),
                        (side * 0.35, 2.62),
                        (side * 0.8, 2.4),
                        (side * 1.0, 2.6),
                        (side * 0.6, 2.95),
                    ]
                ),
                20,
                closed=True,
            )
            canvas.fill(s.projection.body(hood), light, 0.8, 0.02 * s.unit)
        if who.cloth_style == 4:
            lapel = np.array(
                [(side * 0.02, 3.9), (side * 0.62, 2.35), (side * 0.95, 2.9), (side * 0.72, 3.2)]
            )
            canvas.fill(s.projection.body(lapel), dark, 0.85, 0.012 * s.unit)
    return [polygon]


def draw_head(s: Sketch) -> Array:
    """The head's skin; sets `s.head` to its clip and returns the outline in pixels."""
    outline = head_outline(s)
    s.head = Clip(s.canvas, [outline], fine=2)
    s.canvas.blend(s.head.mask, s.head.region, s.who.skin)
    return outline


def draw_beard(s: Sketch) -> None:
    """Stubble, beard or moustache, below the features and above the skin."""
    who, rig = s.who, s.rig
    if who.beard == "none":
        return
    jaw, chin = rig.jaw, who.chin_y + rig.jaw
    colour = s.tint(who.hair, (36, 26, 22), 0.25)
    alpha = 0.26 if who.beard == "stubble" else 0.8
    lip, half = rig.line_upper - rig.lip_upper, rig.mouth_half
    if who.beard in ("stubble", "full"):
        w = who.half_width
        right = [
            (w + 0.04, 0.12), (w + 0.1, 0.9), (who.jaw_width + 0.12, 1.35 + 0.4 * jaw),
            (who.chin_width + 0.14, chin + 0.06), (0.0, chin + 0.12),
        ]  # fmt: skip
        inner = [
            (0.0, lip - 0.02),
            (0.3, lip - 0.03),
            (half + 0.16, lip + 0.03),
            (0.72, 0.98),
            (w - 0.14, 0.5),
            (w - 0.1, 0.12),
        ]
        path = np.concatenate([curve(np.array(right), 18), curve(np.array(inner), 20)])
        for side in (-1.0, 1.0):
            s.fill(mirrored(path, side), colour, alpha, 0.045)
        hollow = ellipse(0.0, 0.5 * (rig.line_upper + rig.line_lower), half + 0.04, 0.06 + rig.lip_lower)
        s.fill(hollow, who.skin, 0.55 * alpha, 0.035)
    elif who.beard == "goatee":
        goat = curve(
            np.array(
                [
                    (0.3, rig.line_lower + rig.lip_lower + 0.1),
                    (0.34, chin - 0.2),
                    (0.2, chin + 0.02),
                    (-0.2, chin + 0.02),
                    (-0.34, chin - 0.2),
                    (-0.3, rig.line_lower + rig.lip_lower + 0.1),
                ]
            ),
            30,
            closed=True,
        )
        s.fill(goat, colour, 0.75, 0.04)
    if who.beard in ("goatee", "moustache", "full"):
        wing = [
            (0.0, lip - 0.075),
            (0.2, lip - 0.1),
            (half + 0.04, rig.corner_y - 0.07),
            (half + 0.06, rig.corner_y + 0.03),
            (0.25, lip + 0.01),
            (0.0, lip),
        ]
        for side in (-1.0, 1.0):
            s.fill(mirrored(curve(np.array(wing), 26, closed=True), side), colour, 0.85, 0.022)
