"""Nose, cheeks, mouth and chin."""

from __future__ import annotations

import numpy as np

from facecorpus.synth.geometry import curve, ellipse, mirrored, shifted, stroke
from facecorpus.synth.paint import Array, Clip
from facecorpus.synth.sketch import FOLD, SOFT, Sketch

_HOLLOW = ((0.5, 1.15), (0.78, 0.85), (0.98, 0.5), (1.02, 1.0), (0.75, 1.35))
"""Below the cheekbone."""


def draw_nose(s: Sketch) -> None:
    """Bridge, tip, wings and nostrils; records the nose-tip landmark."""
    who, rig = s.who, s.rig
    w, y, b = who.nose_width + rig.nose_flare, who.nose_y, who.nose_bridge
    wing = y + 0.03 - rig.nose_lift
    for side in (-1.0, 1.0):
        flank = [
            (0.13, -0.1),
            (b, 0.12),
            (b + 0.02, 0.42),
            (0.14, 0.6),
            (0.24, 0.5),
            (0.24, 0.1),
            (0.2, -0.08),
        ]
        s.shade(mirrored(curve(np.array(flank), 24, closed=True), side), SOFT, 0.38, 0.055)
        ala = curve(
            np.array(
                [
                    (0.62 * w, wing - 0.15),
                    (1.0 * w, wing - 0.06),
                    (0.98 * w, wing + 0.05),
                    (0.72 * w, wing + 0.08),
                ]
            ),
            12,
        )
        s.shade(mirrored(stroke(ala, 0.032), side), FOLD, 0.75, 0.012)
        s.shade(mirrored(stroke(shifted(ala, 0.03, 0.01), 0.08), side), SOFT, 0.4, 0.04)
        nostril = curve(
            np.array(
                [
                    (0.2 * w, wing + 0.065),
                    (0.42 * w, wing + 0.03),
                    (0.72 * w, wing + 0.055),
                    (0.45 * w, wing + 0.085),
                ]
            ),
            16,
            closed=True,
        )
        s.fill(mirrored(nostril, side), s.tint(who.skin, (26, 8, 6), 0.82), 0.85, 0.012)
    base = curve(
        np.array(
            [
                (-0.62 * w, wing + 0.09),
                (-0.2 * w, y + 0.105),
                (0.0, y + 0.125),
                (0.2 * w, y + 0.105),
                (0.62 * w, wing + 0.09),
            ]
        ),
        20,
    )
    s.shade(stroke(base, 0.03), FOLD, 0.6, 0.014)
    s.shade(stroke(shifted(base, 0, 0.05), 0.09), SOFT, 0.45, 0.04)
    s.shade(
        stroke(curve(np.array([(0, -0.06), (0, 0.25), (0, 0.52)]), 8), 0.1, start=0.5, end=0.9),
        (1.12, 1.11, 1.1),
        0.55,
        0.035,
    )
    s.shade(ellipse(0.0, y - 0.05, 0.085, 0.07), (1.16, 1.14, 1.13), 0.7, 0.04)
    s.points["nose"] = s.on(np.array([[0.0, y - 0.05 - 0.3 * rig.nose_lift]]))[0]


def draw_cheeks(s: Sketch) -> None:
    """Blush, raised cheeks, nasolabial furrows, freckles."""
    who, rig = s.who, s.rig
    for side in (-1.0, 1.0):
        up = 0.08 * rig.cheek
        s.shade(
            mirrored(ellipse(0.62, 0.58 - up, 0.3, 0.22), side), (1.03, 0.86, 0.85), 0.55 * who.blush, 0.12
        )
        s.shade(
            mirrored(ellipse(0.6, 0.42 - up, 0.2, 0.13), side),
            (1.12, 1.1, 1.08),
            0.25 + 0.6 * rig.cheek,
            0.08,
        )
        s.shade(
            mirrored(curve(np.array(_HOLLOW), 20, closed=True), side),
            SOFT, 0.2 * who.cheekbones + 0.15 * rig.cheek, 0.1,
        )  # fmt: skip
        strength = max(rig.furrow_nasolabial, 0.42 * who.age)
        corner = rig.mouth_half + 0.10
        wing = who.nose_y - rig.nose_lift
        square = rig.furrow_square
        knots = [
            (who.nose_width + 0.045 + rig.nose_flare, wing - 0.08 - 0.04 * square),
            (
                who.nose_width + 0.13 + 0.09 * square + 0.35 * (rig.mouth_half - who.mouth_width),
                wing + 0.09 - 0.03 * square,
            ),
            (corner + 0.02 + 0.05 * square, 0.5 * (wing + rig.corner_y) + 0.03),
            (corner + 0.005, rig.corner_y - 0.04),
        ]
        s.furrow([(side * x, v) for x, v in knots], 0.045, 0.72 * strength, blur=0.02)
        lit = curve(shifted(np.array(knots[:3]), 0.10, -0.03), 10)
        s.shade(mirrored(stroke(lit, 0.12), side), (1.12, 1.1, 1.09), 0.55 * rig.furrow_nasolabial, 0.04)
    if who.freckles:
        rng = np.random.default_rng(who.hair_seed)
        for _ in range(26):
            x, y = rng.normal(0, 0.42), 0.42 + rng.normal(0, 0.13)
            s.fill(
                ellipse(x, y, 0.013, 0.012, 8),
                s.tint(who.skin, (120, 60, 30), 0.6),
                0.5 * who.freckles,
                0.006,
            )
    if who.mole:
        s.fill(ellipse(*who.mole, 0.024, 0.023, 12), s.tint(who.skin, (50, 24, 18), 0.75), 0.9, 0.006)


def _lines(s: Sketch) -> tuple[Array, Array, Array, Array]:
    """Top edge, upper lip's lower edge, lower lip's upper edge, bottom edge: each (25, 2), left to right."""
    rig = s.rig
    u = np.linspace(-1.0, 1.0, 25)
    bend = np.abs(u) ** rig.line_power
    x = u * rig.mouth_half
    bow = 0.012 * np.exp(-((u / 0.22) ** 2)) * (1 - rig.press)
    upper = rig.line_upper + (rig.corner_y - rig.line_upper) * bend + bow
    lower = (
        rig.line_lower
        + (rig.corner_y - rig.line_lower) * bend
        + bow * (1 - min(1.0, 8 * abs(rig.line_lower - rig.line_upper)))
    )
    lower = np.maximum(lower, upper)
    bow_shape = np.interp(np.abs(u), [0, 0.16, 0.34, 0.62, 0.86, 1.0], [0.84, 1.0, 0.94, 0.62, 0.24, 0.0])
    bottom_shape = np.sqrt(np.clip(1 - np.abs(u) ** 2.1, 0, 1)) * (1 - 0.12 * np.abs(u))
    top = upper - rig.lip_upper * bow_shape
    bottom = lower + rig.lip_lower * bottom_shape
    return tuple(np.stack([x, v], 1) for v in (top, upper, lower, bottom))  # type: ignore[return-value]


def _inside(s: Sketch, upper: Array, lower: Array) -> None:
    rig = s.rig
    opening = np.concatenate([upper, lower[::-1]])
    gap = float(lower[12, 1] - upper[12, 1])
    if gap < 0.004:
        return
    clip = Clip(s.canvas, [s.on(opening, 0.02)], fine=4)
    s.canvas.blend(clip.mask, clip.region, (62, 18, 20))
    half = rig.mouth_half
    y = float(upper[12, 1])
    tongue = ellipse(0.0, float(lower[12, 1]) + 0.02, 0.55 * half, 0.45 * gap + 0.01)
    s.fill(tongue, (176, 78, 82), 0.85, 0.03, clip)
    edge = min(0.105, 0.05 + 0.5 * gap)
    teeth = np.stack([upper[3:22, 0], upper[3:22, 1] - 0.03], 1)
    bite = np.stack([upper[3:22, 0], upper[3:22, 1] + edge * (1 - 0.35 * (upper[3:22, 0] / half) ** 2)], 1)
    s.fill(np.concatenate([teeth, bite[::-1]]), (240, 234, 224), 1.0, 0.006, clip)
    for k in range(-4, 5):
        x = 0.082 * k + 0.041
        if abs(x) < 0.8 * half:
            s.fill(
                stroke(np.array([(x, y - 0.05), (x, y + 0.5 * edge), (x, y + edge)]), 0.01, start=1, end=1),
                (150, 120, 110),
                0.35,
                0.004,
                clip,
            )
    s.shade(stroke(shifted(upper, 0, 0.012), 0.06, start=1, end=1), (0.5, 0.42, 0.42), 0.6, 0.015, clip)
    for side in (-1.0, 1.0):
        s.shade(ellipse(side * 0.92 * half, rig.corner_y, 0.3 * half, 0.12), (0.4, 0.3, 0.3), 0.8, 0.04, clip)


def _lips(s: Sketch) -> None:
    who, rig = s.who, s.rig
    top, upper, lower, bottom = _lines(s)
    _inside(s, upper, lower)
    s.fill(np.concatenate([top, upper[::-1]]), s.tint(who.lip_colour, (70, 16, 18), 0.16), 0.88, 0.008)
    s.fill(np.concatenate([lower, bottom[::-1]]), who.lip_colour, 0.85, 0.009)
    shine = np.stack([0.5 * lower[:, 0], 0.5 * (lower[12, 1] + bottom[12, 1]) + 0 * lower[:, 1]], 1)
    s.shade(
        stroke(shine, 0.45 * rig.lip_lower),
        (1.22, 1.22, 1.22),
        0.55 * min(1.0, rig.lip_lower / who.lip_lower),
        0.02,
    )
    # the line between the lips: two strokes once they part
    dark = s.tint(who.lip_colour, (40, 8, 10), 0.72)
    s.fill(stroke(upper, 0.024 + 0.008 * rig.press, start=0.7, end=0.7), dark, 0.9, 0.006)
    s.fill(stroke(lower, 0.016, start=0.7, end=0.7), dark, 0.6, 0.006)
    s.shade(stroke(shifted(bottom[4:21], 0, 0.035), 0.07), SOFT, 0.75, 0.03)
    s.shade(
        stroke(
            curve(np.array([(0.0, who.nose_y + 0.16), (0.0, float(top[12, 1]) - 0.01)]), 6),
            0.07,
            start=0.7,
            end=1,
        ),
        SOFT,
        0.3,
        0.02,
    )
    for side, end in ((-1.0, 0), (1.0, -1)):
        s.points["right mouth" if side > 0 else "left mouth"] = s.on(upper[[end]])[0]
    if rig.lip_creases > 0.003:  # AU 23: fine lines across the tightened lips
        for k in range(-2, 3):
            x = 0.33 * k * rig.mouth_half
            v = float(np.interp(x, upper[:, 0], upper[:, 1]))
            s.furrow([(x, v - 0.085), (x * 0.96, v - 0.03)], 0.016, 0.4 * rig.lip_creases, blur=0.006)
            s.furrow([(x, v + 0.085), (x * 0.96, v + 0.03)], 0.016, 0.3 * rig.lip_creases, blur=0.006)
    if rig.press > 0.003:  # AU 24: skin bulges above and below the pressed lips
        s.shade(stroke(shifted(top, 0, -0.045), 0.06), (1.13, 1.12, 1.1), 0.8 * rig.press, 0.02)
        s.shade(stroke(shifted(bottom[3:22], 0, 0.05), 0.06), (1.12, 1.1, 1.09), 0.7 * rig.press, 0.02)
        s.shade(stroke(shifted(bottom[3:22], 0, 0.115), 0.03), FOLD, 0.5 * rig.press, 0.016)


def _corners(s: Sketch) -> None:
    rig = s.rig
    for side in (-1.0, 1.0):
        x, y = side * rig.mouth_half, rig.corner_y
        s.shade(ellipse(x, y, 0.045, 0.04), FOLD, 0.25 + 0.6 * rig.corner_tuck, 0.02)
        out = side * 0.075
        knots = [(x + out * 0.8, y - 0.11), (x + out * 1.5, y - 0.01), (x + out * 0.9, y + 0.095)]
        s.furrow(knots, 0.04, 0.95 * rig.dimple, blur=0.012)
        s.shade(ellipse(x + side * 0.17, y + 0.0, 0.055, 0.1), (1.13, 1.12, 1.1), 0.7 * rig.dimple, 0.03)
        knots = [(x - side * 0.01, y + 0.015), (x + side * 0.035, y + 0.09), (x + side * 0.015, y + 0.2)]
        s.furrow(knots, 0.034, 0.85 * rig.corner_down, blur=0.014)


def draw_mouth(s: Sketch) -> None:
    """Lips, teeth, corners and chin; records the mouth-corner landmarks."""
    who, rig = s.who, s.rig
    _lips(s)
    _corners(s)
    chin = who.chin_y + rig.jaw
    low = 0.5 * (rig.line_lower + rig.lip_lower + chin)
    s.shade(ellipse(0.0, low + 0.06, 0.2, 0.13), (1.1, 1.09, 1.08), 0.45 + 0.5 * rig.chin_boss, 0.07)
    if rig.chin_boss > 0.003:  # AU 17: the fold under the lip and the dimpled boss
        y = rig.line_lower + rig.lip_lower + 0.07
        s.furrow(
            [(-0.24, y + 0.07), (-0.1, y + 0.005), (0.1, y + 0.005), (0.24, y + 0.07)],
            0.036,
            0.85 * rig.chin_boss,
            blur=0.014,
        )
        spots = (
            (-0.1, 0.09),
            (0.02, 0.075),
            (0.11, 0.1),
            (-0.05, 0.145),
            (0.06, 0.15),
            (0.0, 0.2),
            (-0.12, 0.165),
            (0.13, 0.175),
        )
        for dx, dy in spots:
            s.shade(ellipse(dx, y + dy, 0.018, 0.014, 10), FOLD, 0.6 * rig.chin_boss, 0.009)
