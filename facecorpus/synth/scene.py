"""Pictures that are no portraits: several people, landscapes, still lifes; and sheets of many pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facecorpus.synth.backdrop import draw_backdrop
from facecorpus.synth.expression import Expression
from facecorpus.synth.face import Camera, Drawn, Framing, Sitter, draw_people, expose
from facecorpus.synth.geometry import Pose, curve, ellipse, shifted
from facecorpus.synth.identity import Identity, Rgb, hsv
from facecorpus.synth.light import Light
from facecorpus.synth.paint import Array, Canvas


def draw_group(
    people: Sequence[Identity], size_px: int | tuple[int, int], seed: int
) -> tuple[Array, list[Drawn]]:
    """`people` (2 to 4) side by side, all clearly visible.

    Returns RGB uint8 (H, W, 3) and the truth about each face, left to right.
    """
    rng = np.random.default_rng([seed, 0x6209])
    width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
    light = Light(float(rng.uniform(-1, 1)), float(rng.uniform(-0.8, 0.0)), float(rng.uniform(0.3, 0.8)))
    step = 1.0 / len(people)
    unit = min(0.37 * step * width / min(width, height), 0.185)
    sitters = []
    for k, who in enumerate(people):
        au = {12: float(rng.uniform(0, 4)), 25: float(rng.uniform(0, 3)), 6: float(rng.uniform(0, 3))}
        pose = Pose(float(rng.uniform(-10, 10)), float(rng.uniform(-6, 6)), float(rng.uniform(-7, 7)))
        x = (k + 0.5) * step + float(rng.uniform(-0.01, 0.01))
        y = 0.4 + float(rng.uniform(-0.07, 0.07))
        framing = Framing(x, y, unit * float(rng.uniform(0.94, 1.06)))
        sitters.append(Sitter(who, Expression(au), pose, light, framing))
    order = rng.permutation(len(sitters))
    camera = Camera(float(rng.uniform(0, 0.5)), float(rng.uniform(1, 4)), seed)
    rgb, drawn = draw_people(
        [sitters[i] for i in order], (width, height), backdrop=int(rng.integers(1 << 30)), camera=camera
    )
    return rgb, [drawn[int(np.flatnonzero(order == k)[0])] for k in range(len(people))]


def _colour(rng: np.random.Generator, hue: tuple[float, float], saturation: float, value: float) -> Rgb:
    return hsv(
        float(rng.uniform(*hue)) % 1.0,
        saturation * float(rng.uniform(0.7, 1.0)),
        value * float(rng.uniform(0.7, 1.0)),
    )


def _landscape(rng: np.random.Generator, width: int, height: int) -> Canvas:
    sky = np.array(
        [_colour(rng, (0.5, 0.68), 0.6, 1.0), _colour(rng, (0.0, 0.65), 0.25, 1.0)], dtype=np.float32
    )
    canvas = Canvas(cv2.resize(sky[:, None], (width, height), interpolation=cv2.INTER_LINEAR).copy())
    sun = rng.uniform(0.05, 0.95) * width, rng.uniform(0.05, 0.35) * height
    canvas.fill(ellipse(*sun, 0.09 * width, 0.09 * width), (255, 244, 210), 0.9, 0.03 * width)
    for _ in range(int(rng.integers(2, 7))):  # clouds
        x, y, w = rng.uniform(0, width), rng.uniform(0.02, 0.35) * height, rng.uniform(0.08, 0.25) * width
        for dx in (-0.6, 0.0, 0.55):
            canvas.fill(ellipse(x + dx * w, y, 0.6 * w, 0.22 * w), (250, 250, 252), 0.6, 0.05 * w)
    horizon, layers = rng.uniform(0.35, 0.6), int(rng.integers(3, 6))
    hue = float(rng.uniform(0.2, 0.45))
    for k in range(layers):  # hills, nearer ones darker and greener
        base = (horizon + (1 - horizon) * k / layers) * height
        x = np.linspace(-0.05, 1.05, 9) * width
        y = base + rng.normal(0, 0.09 * height * (1 - 0.5 * k / layers), 9)
        ridge = curve(np.stack([x, y], 1), 60)
        polygon = np.concatenate([ridge, [(1.1 * width, 1.1 * height), (-0.1 * width, 1.1 * height)]])
        canvas.fill(
            polygon, _colour(rng, (hue - 0.06, hue + 0.06), 0.25 + 0.5 * k / layers, 0.85 - 0.5 * k / layers)
        )
        for _ in range(int(rng.integers(0, 9))):
            at = ridge[int(rng.integers(len(ridge)))]
            size = (0.03 + 0.05 * k / layers) * height * rng.uniform(0.6, 1.6)
            tree = at + np.array([(-0.4, 0.2), (0.0, -2.2), (0.4, 0.2)]) * size
            canvas.fill(tree, _colour(rng, (0.28, 0.42), 0.6, 0.4 - 0.05 * k), 1.0, 0.5)
    return canvas


def _still_life(rng: np.random.Generator, width: int, height: int) -> Canvas:
    canvas = Canvas(draw_backdrop(int(rng.integers(1 << 30)), width, height))
    table = float(rng.uniform(0.5, 0.7)) * height
    slab = np.array(
        [
            (-5, table),
            (width + 5, table + rng.uniform(-0.06, 0.06) * height),
            (width + 5, height + 5),
            (-5, height + 5),
        ]
    )
    canvas.fill(slab, _colour(rng, (0.04, 0.12), 0.55, 0.7))
    count = int(rng.integers(4, 9))
    for k in range(count):
        x, y = rng.uniform(0.05, 0.95) * width, table + rng.uniform(-0.02, 0.3) * height
        size = rng.uniform(0.07, 0.16) * min(width, height)
        colour = _colour(rng, (0.0, 1.0), 0.8, 0.95)
        dark = (colour[0] * 0.45, colour[1] * 0.4, colour[2] * 0.45)
        canvas.fill(ellipse(x, y + size, 1.2 * size, 0.3 * size), (20, 14, 10), 0.45, 0.15 * size)
        if k % 3 == 0:  # a vase or a bottle
            side = [(0.5, 1.0), (0.7, 0.2), (0.5, -0.9), (0.18, -1.5), (0.22, -2.1)]
            right = curve(np.array(side), 16) * size
            body = shifted(np.concatenate([right, (right * (-1, 1))[::-1]]), x, y)
        elif k % 3 == 1:  # a book
            w, h = size * rng.uniform(0.35, 0.6), size * rng.uniform(1.6, 2.6)
            body = np.array(
                [(x - w, y + size), (x - w, y + size - h), (x + w, y + size - h), (x + w, y + size)]
            )
        else:  # fruit
            body = ellipse(x, y, size, 0.95 * size, 40)
        canvas.fill(body, colour)
        canvas.fill(shifted(body, 0.4 * size, 0.35 * size), dark, 0.5, 0.3 * size)
        canvas.fill(
            ellipse(x - 0.3 * size, y - 0.35 * size, 0.2 * size, 0.16 * size),
            (255, 255, 255),
            0.5,
            0.08 * size,
        )
    return canvas


def draw_scene(size_px: int | tuple[int, int], seed: int) -> Array:
    """A landscape or a still life without anybody in it, RGB uint8 (H, W, 3), from size and seed alone."""
    rng = np.random.default_rng([seed, 0x5CE])
    width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
    over = 2 if min(width, height) < 150 else 1
    paint = _landscape if rng.random() < 0.6 else _still_life
    pixels = paint(rng, width * over, height * over).pixels
    if over > 1:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return expose(pixels, Camera(float(rng.uniform(0, 0.4)), float(rng.uniform(1, 4)), seed))


def contact_sheet(
    pictures: Sequence[Array], columns: int, *, captions: Sequence[str] = (), gap_px: int = 4
) -> Array:
    """Pictures (uint8 RGB, any sizes) in rows of `columns`, with captions, as one RGB uint8 picture."""
    height = max(p.shape[0] for p in pictures)
    width = max(p.shape[1] for p in pictures)
    rows = -(-len(pictures) // columns)
    sheet = np.full(
        (rows * (height + gap_px) + gap_px, columns * (width + gap_px) + gap_px, 3), 246, dtype=np.uint8
    )
    for k, picture in enumerate(pictures):
        y, x = gap_px + k // columns * (height + gap_px), gap_px + k % columns * (width + gap_px)
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        if k < len(captions):
            for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(
                    sheet,
                    captions[k],
                    (x + 5, y + 16),
                    cv2.FONT_HERSHEY_SIMPLEX,
                    0.45,
                    colour,
                    thickness,
                    cv2.LINE_AA,
                )
    return sheet
