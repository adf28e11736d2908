"""Hair, behind and on the head."""

from __future__ import annotations

import numpy as np

from facecorpus.synth.coverings import both_sides, draw_beanie, draw_scarf
from facecorpus.synth.geometry import curve, ellipse, mirrored, shifted, smoothstep
from facecorpus.synth.identity import Identity
from facecorpus.synth.paint import Array, Clip
from facecorpus.synth.sketch import SOFT, Sketch


def _paint(s: Sketch, polygon: Array, *, lock: list[Array], shine: float = 1.0) -> None:
    """One mass of hair, in pixels, with darker and lighter locks along it."""
    clip = Clip(s.canvas, [polygon])
    s.canvas.blend(clip.mask, clip.region, s.who.hair)
    thick = max(1, round(0.045 * s.unit))
    s.canvas.strands(lock[0::3], 0.66, 0.65, clip, thick, 0.02 * s.unit + 0.3)
    s.canvas.strands(lock[1::3], 1.0 + 0.28 * shine, 0.65, clip, thick, 0.02 * s.unit + 0.3)
    s.canvas.strands(lock[2::3], 0.78, 0.9, clip, max(1, thick // 2), 0.012 * s.unit + 0.3)


def _paths(s: Sketch, x: Array, y: Array, lift: Array | float) -> list[Array]:
    """Rows of x and y (each (paths, points)) as paths in pixels."""
    return list(s.projection.rim(np.stack([x.ravel(), y.ravel()], 1), lift).reshape(*x.shape, 2))


def _falling(s: Sketch, bottom: float, wave: float, width: float) -> list[Array]:
    """Locks that fall from the crown to `bottom`, in pixels."""
    rng = np.random.default_rng(s.who.hair_seed)
    w, top = s.who.half_width, s.who.skull_y
    v = np.linspace(0, 1, 14)
    side = np.repeat([-1.0, 1.0], 17)[:, None]
    reach, phase = rng.uniform(0.35, width, (34, 1)), rng.uniform(0, 6.28, (34, 1))
    x = (
        side * (w + 0.12) * reach * np.sin(np.clip(v * 2.4, 0, 1.45)) ** 0.8
        + wave * np.sin(9 * v + phase) * v
    )
    y = np.broadcast_to(top - 0.1 + (bottom + 0.2 - top) * v, x.shape)
    return _paths(s, x[order := rng.permutation(34)], y[order], 0.0)


def _combed(s: Sketch, lean: float) -> list[Array]:
    """Locks combed from the hairline over the crown, in pixels."""
    rng = np.random.default_rng(s.who.hair_seed + 1)
    w, top, line = s.who.half_width, s.who.skull_y, s.who.hairline_y
    v = np.linspace(0, 1, 9)
    x0 = rng.permutation(np.linspace(-1.0, 1.0, 39))[:, None]
    middle = 1 - np.abs(x0)
    jitter = rng.normal(0, 1, (3, 39, 1))
    y0 = line + 0.75 * np.abs(x0) ** 3 + 0.03 * jitter[1] + 0.05
    x = w * x0 + 0.03 * jitter[0] + (lean * middle + 0.1 * x0 + 0.05 * jitter[2]) * v
    y = y0 + (top - 0.3 - y0) * v * (0.75 + 0.25 * middle) + 0.1 * np.sin(3 * v)
    return _paths(s, x, y, np.tile(0.35 * (1 - v), 39))


def _bumpy(s: Sketch, x: float, y: float, rx: float, ry: float, bumps: int, depth: float) -> Array:
    """A curly outline around an ellipse, in pixels."""
    rng = np.random.default_rng(s.who.hair_seed + 2)
    angle = np.linspace(0, 2 * np.pi, 6 * bumps, endpoint=False)
    radius = 1 + depth * np.abs(np.sin(0.5 * bumps * angle)) + 0.03 * np.sin(3 * angle + rng.uniform(0, 6))
    return s.projection.rim(
        np.stack([x + rx * radius * np.cos(angle), y + ry * radius * np.sin(angle)], 1), -0.2
    )


def _curls(s: Sketch, x: float, y: float, rx: float, ry: float, count: int) -> list[Array]:
    rng = np.random.default_rng(s.who.hair_seed + 3)
    angle, turn = rng.uniform(0, 6.28, (2, count, 1))
    reach = np.sqrt(rng.uniform(0, 1, (count, 1)))
    t = turn + np.linspace(0, 4.2, 9)
    cx, cy = x + rx * reach * np.cos(angle), y + ry * reach * np.sin(angle)
    return _paths(s, cx + 0.09 * np.cos(t), cy + 0.09 * np.sin(t), -0.1)


def draw_back_hair(s: Sketch) -> list[Array]:
    """What hangs behind head and neck; returns its outlines in pixels."""
    who, style, v = s.who, s.who.hair_style, s.who.hair_volume
    w, top = who.half_width, who.skull_y
    if style in ("long", "wavy", "bob"):
        bottom = {"long": 3.2, "wavy": 2.8, "bob": 1.62}[style]
        flare = {"long": 0.16, "wavy": 0.42, "bob": 0.26}[style] + 0.1 * v
        right = [
            (0.5 * w, bottom),
            (w + flare - 0.1, bottom - 0.08),
            (w + flare, 0.55 * bottom),
            (w + 0.14 + 0.1 * v, 0.0),
            (0.8 * w, top + 0.3),
            (0.0, top - 0.16),
        ]
        polygon = s.projection.rim(both_sides(right, 60), -0.25)
        dark = s.tint(who.hair, (8, 6, 8), 0.42)
        s.canvas.fill(polygon, dark)
        s.canvas.strands(
            _falling(s, bottom, 0.12 if style == "wavy" else 0.02, 1.35),
            1.35,
            0.6,
            Clip(s.canvas, [polygon]),
            2,
            0.6,
        )
        return [polygon]
    if style == "afro":
        polygon = _bumpy(s, 0.0, -0.45, 1.5 + 0.3 * v, 1.5 + 0.25 * v, 17, 0.055)
        _paint(s, polygon, lock=_curls(s, 0.0, -0.45, 1.5 + 0.3 * v, 1.5, 110), shine=0.8)
        return [polygon]
    if style == "bun":
        polygon = _bumpy(s, 0.15 * who.part_side, top - 0.28, 0.5 + 0.12 * v, 0.42, 9, 0.04)
        _paint(s, polygon, lock=_curls(s, 0.0, top - 0.3, 0.45, 0.35, 24))
        return [polygon]
    return []


def _crown(s: Sketch, volume: float, side_y: float) -> Array:
    """The outer edge of hair on the head, image-right to image-left, in pixels."""
    w, top = s.who.half_width, s.who.skull_y
    right = [
        (w + 0.05, side_y),
        (w + 0.07 + 0.05 * volume, -0.35),
        (0.86 * w + 0.08 + 0.1 * volume, top + 0.42),
        (0.48 * w, top + 0.03 - 0.2 * volume),
        (0.0, top - 0.1 - 0.26 * volume),
    ]
    return s.projection.rim(both_sides(right, 44), -0.02)


def _parting(who: Identity) -> list[tuple[float, float]]:
    """The middle of a long-haired person's hairline: parted, with a fringe, or swept to one side."""
    line, kind = who.hairline_y, who.hair_seed % 4
    at = who.part_side * (who.hair_seed // 4 % 100) / 220
    if kind == 0:
        return [(-0.82, -0.56), (-0.45, -0.7), (0.0, -0.74), (0.45, -0.7), (0.82, -0.56)]
    if kind == 1:
        swept = [
            (-0.8, -0.45),
            (-0.58, -0.7),
            (-0.1, -0.85),
            (0.3, line - 0.1),
            (0.56, line + 0.02),
            (0.8, -0.62),
        ]
        return swept if who.part_side > 0 else [(-x, y) for x, y in reversed(swept)]
    low = (-0.5, -0.3)[kind - 2]
    return [
        (-0.83, low),
        (-0.6, -0.72),
        (at - 0.2, line + 0.04),
        (at, line - 0.15),
        (at + 0.2, line + 0.04),
        (0.6, -0.72),
        (0.83, low),
    ]


def _hairline(s: Sketch, side_y: float) -> Array:
    """The inner edge of hair around the face, image-left to image-right, in pixels."""
    who, part = s.who, s.who.part_side
    w, line, style = who.half_width, who.hairline_y, who.hair_style
    side = [(w - 0.09, side_y), (w - 0.13, -0.3)]
    left = [(-x, y) for x, y in side]
    right = list(reversed(side))
    if style == "fringe":
        middle = [(-0.8, -0.66), (-0.45, -0.69), (-0.1, -0.74), (0.3, -0.69), (0.62, -0.68), (0.82, -0.66)]
    elif style == "side_part":
        middle = [
            (-0.74, -0.68),
            (-0.5, -0.82),
            (-0.1, line + 0.02),
            (0.42, line - 0.14),
            (0.6, line - 0.05),
            (0.78, -0.7),
        ]
        middle = middle if part > 0 else [(-x, y) for x, y in reversed(middle)]
    elif style in ("long", "wavy", "bob"):
        middle = _parting(who)
    else:
        recede = 0.1 * (1 - who.feminine) + 0.14 * max(0.0, who.age - 0.5)
        middle = [
            (-0.78, -0.62 - 0.4 * recede),
            (-0.56, line + 0.06 - recede),
            (0.0, line),
            (0.56, line + 0.06 - recede),
            (0.78, -0.62 - 0.4 * recede),
        ]
    jitter = np.random.default_rng(who.hair_seed + 4).normal(0, 1, (len(middle), 2)) * (0.012, 0.035)
    return s.on(curve(np.array([*left, *(np.array(middle) + jitter), *right]), 48), 0.02)


def draw_front_hair(s: Sketch) -> list[Array]:
    """Hair on the head and around the face, or what covers it; returns its outlines in pixels."""
    who, style, v = s.who, s.who.hair_style, s.who.hair_volume
    if style == "bald":
        s.shade(ellipse(-0.3, who.skull_y + 0.4, 0.4, 0.16), (1.12, 1.12, 1.12), 0.6, 0.12)
        return []
    if style == "scarf":
        return draw_scarf(s)
    if style == "beanie":
        return draw_beanie(s)
    side_y = 0.18 - 0.16 * float(smoothstep((who.feminine - 0.4) / 0.2))
    volume = {"buzz": -0.25, "quiff": 0.9 + 0.5 * v, "afro": 0.2, "bun": 0.1, "fringe": 0.35 + 0.4 * v}.get(
        style, 0.25 + 0.5 * v
    )
    polygon = np.concatenate([_crown(s, volume, side_y), _hairline(s, side_y)])
    if style == "buzz":
        clip = Clip(s.canvas, [polygon], 0.03 * s.unit)
        s.canvas.blend(clip.mask * np.float32(0.74), clip.region, who.hair)
        return [polygon]
    # the hair's shadow on the forehead
    shadow = np.concatenate([polygon[:44], shifted(polygon[44:], 0.0, 0.07 * s.unit)])
    s.canvas.shade(shadow, SOFT, 0.7, 0.05 * s.unit, s.head)
    if style == "afro":
        _paint(s, polygon, lock=_curls(s, 0.0, -1.2, 1.05, 0.5, 90), shine=0.8)
        return [polygon]
    lock = (
        _falling(s, 1.0, 0.02, 1.3)
        if style in ("long", "wavy", "bob", "fringe")
        else _combed(s, 0.5 * who.part_side if style == "side_part" else 0.05)
    )
    _paint(s, polygon, lock=lock)
    if style in ("long", "wavy", "bob"):
        return [polygon, *_side_locks(s)]
    return [polygon]


def _side_locks(s: Sketch) -> list[Array]:
    """Hair that frames the face in front of the ears."""
    who, style = s.who, s.who.hair_style
    bottom = {"long": 3.1, "wavy": 2.6, "bob": 1.55}[style]
    flare = {"long": 0.1, "wavy": 0.34, "bob": 0.2}[style] + 0.1 * who.hair_volume
    w = who.half_width
    out = []
    for side in (-1.0, 1.0):
        outer = [
            (0.8, -1.2),
            (w + 0.08, -0.5),
            (w + 0.1 + 0.5 * flare, 0.4),
            (w + flare, 0.75 * bottom),
            (w + 0.6 * flare, bottom),
        ]
        inner = [
            (w - 0.2 + 0.4 * flare, bottom - 0.05),
            (w - 0.02, 0.62 * bottom),
            (w - 0.09, 0.4),
            (w - 0.12, -0.35),
            (0.84, -0.85),
        ]
        edge = s.projection.rim(mirrored(curve(np.array(outer), 18), side), 0.05)
        polygon = np.concatenate([edge, s.on(mirrored(curve(np.array(inner), 18), side))])
        s.canvas.shade(polygon - (side * 0.06 * s.unit, 0.0), SOFT, 0.6, 0.05 * s.unit, s.head)
        _paint(s, polygon, lock=_falling(s, bottom, 0.1 if style == "wavy" else 0.015, 1.25))
        out.append(polygon)
    return out
