"""Eyes, brows and the skin around them."""

from __future__ import annotations

import numpy as np

from facecorpus.synth.geometry import curve, ellipse, mirrored, shifted, stroke
from facecorpus.synth.paint import Array, Clip
from facecorpus.synth.sketch import FOLD, SOFT, Sketch


def _lids(s: Sketch) -> tuple[Array, Array]:
    """Upper and lower lid edges (each (17, 2), inner to outer corner) of the image-right eye."""
    who, rig = s.who, s.rig
    w, tilt = who.eye_width, who.eye_tilt
    x = np.array([-1.0, -0.62, -0.1, 0.45, 1.0]) * w + who.eye_spacing
    base = np.array([0.25, 0.1, 0.0, -0.6, -1.0]) * tilt
    upper = base - rig.lid_upper * np.array([0.0, 0.66, 1.0, 0.82, 0.0])
    round_lower = np.array([0.0, 0.62, 1.0, 0.86, 0.0])
    flat_lower = np.array([0.0, 0.95, 1.0, 0.95, 0.0])
    lower = base + rig.lid_lower * (round_lower + (flat_lower - round_lower) * rig.lid_straight)
    return curve(np.stack([x, upper], 1), 17), curve(np.stack([x, lower], 1), 17)


def _surroundings(s: Sketch, side: float, upper: Array, lower: Array) -> None:
    who, rig = s.who, s.rig
    e = who.eye_spacing

    def at(points: Array) -> Array:
        return mirrored(points, side)

    s.shade(at(ellipse(e - 0.02, -0.06, 0.3, 0.19)), SOFT, 0.42, 0.08)
    s.shade(at(ellipse(e - 0.3, -0.05, 0.09, 0.16)), SOFT, 0.45, 0.06)
    # under-eye hollow, and the pouch that AU 6 and 7 push up into the lower lid
    s.shade(
        at(stroke(curve(lower[[1, 6, 11, 15]] + (0.0, 0.10), 10), 0.05)), SOFT, 0.2 + 0.35 * who.age, 0.025
    )
    if rig.lid_pouch > 0.003:
        path = curve(
            lower[[0, 4, 8, 12, 16]]
            + np.array([[0.03, 0.03], [0, 0.055], [0, 0.06], [0, 0.055], [-0.03, 0.03]]),
            12,
        )
        s.shade(at(stroke(path, 0.075)), (1.13, 1.11, 1.09), 0.8 * rig.lid_pouch, 0.018)
        s.shade(at(stroke(shifted(path, 0.0, 0.055), 0.035)), FOLD, 0.62 * rig.lid_pouch, 0.014)
    # crease of the upper lid
    gap = 0.035 + 0.05 * who.eye_fold - 0.25 * max(0.0, rig.lid_upper - who.eye_height)
    crease = upper[[1, 4, 8, 12, 15]] - np.array(
        [[0.0, 0.6], [0, 0.95], [0, 1.0], [-0.01, 0.95], [-0.02, 0.7]]
    ) * max(0.022, gap)
    s.shade(at(stroke(curve(crease, 14), 0.03)), FOLD, 0.35 + 0.4 * who.eye_fold, 0.01)
    crow = max(rig.crow_feet, 0.3 * max(0.0, who.age - 0.5))
    for dy, slope in ((-0.05, -0.085), (0.015, 0.0), (0.075, 0.085)):
        knots = [(e + 0.31, dy), (e + 0.39, dy + 0.45 * slope), (e + 0.45, dy + 1.0 * slope)]
        s.furrow([(side * x, y) for x, y in knots], 0.018, 0.6 * crow, blur=0.01)


def _ball(s: Sketch, side: float, clip: Clip) -> Array:
    """White, iris, pupil and highlight inside the lids; returns the iris' centre in face coordinates (2,)."""
    who, pose = s.who, s.pose
    centre = np.array([side * who.eye_spacing + 0.085 * pose.gaze_x, -0.012 + 0.05 * pose.gaze_y])
    x, y, r = float(centre[0]), float(centre[1]), who.iris_radius
    s.canvas.blend(clip.mask, clip.region, (238, 232, 228))
    s.fill(ellipse(x, y, r, r), s.tint(who.iris, (12, 10, 10), 0.55), 1.0, 0.006, clip)
    s.fill(ellipse(x, y, 0.84 * r, 0.84 * r), who.iris, 1.0, 0.008, clip)
    s.fill(
        ellipse(x, y + 0.4 * r, 0.55 * r, 0.4 * r),
        s.tint(who.iris, (255, 240, 200), 0.35),
        0.6,
        0.02,
        clip,
    )
    s.fill(ellipse(x, y, 0.43 * r, 0.43 * r), (14, 11, 11), 1.0, 0.006, clip)
    return centre


def _eye(s: Sketch, side: float) -> None:
    who = s.who
    upper, lower = _lids(s)
    _surroundings(s, side, upper, lower)
    outline = mirrored(np.concatenate([upper, lower[-2:0:-1]]), side)
    clip = Clip(s.canvas, [s.on(outline)], fine=4)
    centre = _ball(s, side, clip)
    # the lid's shadow on the ball, the pink inner corner
    s.shade(
        mirrored(stroke(shifted(upper, 0.0, 0.02), 0.08, start=0.6, end=0.6), side),
        (0.55, 0.52, 0.55),
        0.75,
        0.012,
        clip,
    )
    s.fill(
        mirrored(ellipse(upper[0, 0] + 0.03, upper[0, 1] + 0.005, 0.035, 0.025), side),
        (206, 128, 118),
        0.7,
        0.01,
        clip,
    )
    glint = shifted(centre, -0.035, -0.042)
    s.fill(ellipse(float(glint[0]), float(glint[1]), 0.03, 0.028, 12), (255, 255, 255), 0.95, 0.006, clip)
    # lashes and lid edges
    wing = np.concatenate([upper, shifted(upper[-1:], 0.02 + 0.02 * who.lashes, -0.012 * who.lashes)])
    dark = s.tint(s.tint(who.skin, (30, 18, 16), 0.82), (18, 12, 12), who.lashes)
    s.fill(
        mirrored(stroke(shifted(wing, 0, -0.006), 0.03 + 0.028 * who.lashes, start=0.25, end=0.2), side),
        dark,
        0.95,
        0.005,
    )
    s.shade(mirrored(stroke(lower[2:], 0.022, end=0.6), side), FOLD, 0.75, 0.007)
    s.points["right eye" if side > 0 else "left eye"] = s.on(centre[None])[0]


def _brow(s: Sketch, side: float) -> None:
    who, rig = s.who, s.rig
    (inner_x, inner_y), (middle_x, middle_y), (outer_x, outer_y) = (
        rig.brow_inner,
        rig.brow_middle,
        rig.brow_outer,
    )
    x0, length, y, t = 0.17, who.brow_length, who.brow_y, who.brow_thickness
    knots = np.array(
        [
            (x0 + inner_x, y - 0.003 + inner_y),
            (x0 + 0.33 * length + 0.6 * middle_x, y - 0.5 * who.brow_arch + 0.5 * (inner_y + middle_y)),
            (x0 + 0.66 * length + 0.5 * middle_x, y - who.brow_arch + 0.55 * middle_y + 0.45 * outer_y),
            (x0 + length + outer_x, y + 0.05 + outer_y),
        ]
    )  # fmt: skip
    path = curve(knots, 16)
    u = np.linspace(0, 1, 16)
    half = 0.5 * t * np.interp(u, [0, 0.08, 0.3, 0.7, 1], [0.5, 0.85, 1.0, 0.75, 0.16])
    outline = np.concatenate([path - np.stack([0 * u, half], 1), (path + np.stack([0 * u, half], 1))[::-1]])
    colour = s.tint(
        who.hair if who.hair_style != "bald" else s.tint(who.hair, (60, 46, 40), 0.5), (40, 28, 24), 0.4
    )
    s.shade(mirrored(shifted(outline, 0, 0.04), side), SOFT, 0.25, 0.04)
    s.fill(mirrored(outline, side), colour, 0.62 + 0.2 * (1 - who.feminine), 0.016)
    s.fill(mirrored(outline, side), colour, 0.35, 0.004)


def _forehead(s: Sketch) -> None:
    who, rig = s.who, s.rig
    lift = 0.10 * rig.furrow_forehead_inner + 0.08 * rig.furrow_forehead_outer
    inner = max(rig.furrow_forehead_inner, 0.22 * max(0.0, who.age - 0.55))
    outer = max(rig.furrow_forehead_outer, 0.22 * max(0.0, who.age - 0.55))
    for k in range(3):
        y = who.brow_y - 0.2 - 0.11 * k - lift * 0.5
        s.furrow(
            [(-0.27, y + 0.035), (0.0, y - 0.012), (0.27, y + 0.035)],
            0.02,
            (0.6 - 0.1 * k) * inner,
            blur=0.012,
            ridge=0.035,
        )
        for side in (-1.0, 1.0):
            knots = [(0.3, y + 0.02), (0.52, y - 0.045), (0.76, y + 0.035)]
            s.furrow(
                [(side * x, v) for x, v in knots], 0.02, (0.6 - 0.1 * k) * outer, blur=0.012, ridge=0.035
            )
    glabella = max(rig.furrow_glabella, 0.25 * max(0.0, who.age - 0.6))
    for side in (-1.0, 1.0):
        top, bottom = who.brow_y - 0.06 + rig.brow_inner[1], who.brow_y + 0.16 + 0.6 * rig.brow_inner[1]
        s.furrow(
            [(side * 0.085, top), (side * 0.062, 0.5 * (top + bottom)), (side * 0.078, bottom)],
            0.024,
            0.95 * glabella,
            blur=0.008,
        )
    s.shade(ellipse(0.0, who.brow_y + 0.03, 0.07, 0.13), (1.1, 1.1, 1.1), 0.6 * glabella, 0.03)
    for k in range(3):  # AU 9: folds across the root of the nose
        y = 0.0 + 0.085 * k
        s.furrow(
            [(-0.10 - 0.02 * k, y + 0.02), (0.0, y - 0.012), (0.10 + 0.02 * k, y + 0.02)],
            0.022,
            0.55 * rig.furrow_nose,
            blur=0.012,
        )
        for side in (-1.0, 1.0):
            knots = [(0.12 + 0.02 * k, 0.12 + 0.09 * k), (0.2 + 0.02 * k, 0.15 + 0.1 * k)]
            s.furrow([(side * x, v) for x, v in knots], 0.02, 0.5 * rig.furrow_nose, blur=0.012)


def draw_eyes(s: Sketch) -> None:
    """Forehead furrows, eyes and brows; records the eye landmarks (centres of the irises)."""
    _forehead(s)
    for side in (-1.0, 1.0):
        _eye(s, side)
    for side in (-1.0, 1.0):
        _brow(s, side)
