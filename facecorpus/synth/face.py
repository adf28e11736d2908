"""Drawn people: a face from an identity, an expression, a pose and a light.

The drawing is a pure function of its arguments and changes smoothly with every continuous one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from facecorpus.synth.backdrop import draw_backdrop
from facecorpus.synth.coverings import draw_glasses
from facecorpus.synth.expression import Expression, rig
from facecorpus.synth.eyes import draw_eyes
from facecorpus.synth.geometry import Pose, Projection
from facecorpus.synth.hair import draw_back_hair, draw_front_hair
from facecorpus.synth.head import draw_beard, draw_body, draw_ears, draw_head
from facecorpus.synth.identity import Identity
from facecorpus.synth.light import Light, light_face
from facecorpus.synth.mouth import draw_cheeks, draw_mouth, draw_nose
from facecorpus.synth.paint import Array, Canvas
from facecorpus.synth.sketch import Sketch

POINT_NAMES = ("left eye", "right eye", "nose", "left mouth", "right mouth")


@dataclass(frozen=True, slots=True)
class Framing:
    """Where the face is in the picture."""

    x: float = 0.5
    """Midpoint of the eyes, as a fraction of the width."""
    y: float = 0.44
    """Likewise, of the height."""
    interocular: float = 0.22
    """Length of one face unit (the mean inter-ocular distance) as a fraction of the shorter side."""


@dataclass(frozen=True, slots=True)
class Camera:
    """What the camera adds."""

    blur: float = 0.0
    """Sigma in pixels per 256 pixels of the shorter side."""
    noise: float = 2.0
    """Standard deviation of the sensor noise in 8-bit levels."""
    seed: int = 0
    """Which noise."""


NEUTRAL, FRONTAL, WINDOW_LIGHT = Expression(), Pose(), Light()
CENTRED, PLAIN_CAMERA = Framing(), Camera()


@dataclass(frozen=True, slots=True)
class Sitter:
    """One person as drawn: who, doing what, turned how, lit how, placed where."""

    identity: Identity
    expression: Expression = NEUTRAL
    pose: Pose = FRONTAL
    light: Light = WINDOW_LIGHT
    framing: Framing = CENTRED


@dataclass(frozen=True, slots=True)
class Drawn:
    """The truth about one drawn face, in pixels of the picture."""

    points_px: Array
    """(5, 2) float32: left eye, right eye, nose tip, left and right mouth corner."""
    box_xyxy_px: tuple[float, float, float, float]
    """From hairline to chin, from cheek to cheek."""


def _size(size_px: int | tuple[int, int]) -> tuple[int, int]:
    return (size_px, size_px) if isinstance(size_px, int) else size_px


def _oversampling(width: int, height: int) -> int:
    """Small pictures are drawn larger and reduced."""
    return 2 if min(width, height) < 150 else 1


def _paint_sitter(canvas: Canvas, sitter: Sitter) -> Drawn:
    who, framing = sitter.identity, sitter.framing
    unit = framing.interocular * min(canvas.width, canvas.height)
    centre = (framing.x * canvas.width - 0.5, framing.y * canvas.height - 0.5)
    # the head turns about its own centre, which lies behind the eyes: keep the eyes about where they belong
    projection = Projection(sitter.pose, who.half_width, unit, (0.0, 0.0))
    shift = projection.surface(np.array([[0.0, 0.15]]))[0] - np.array([0.0, 0.15 * unit])
    projection = Projection(
        sitter.pose, who.half_width, unit, (centre[0] - 0.6 * shift[0], centre[1] - 0.6 * shift[1])
    )
    s = Sketch(canvas, who, rig(who, sitter.expression), sitter.pose, projection)
    figure = draw_back_hair(s)
    figure += draw_body(s)
    if who.hair_style not in ("long", "wavy", "bob", "scarf"):
        figure += draw_ears(s)
    outline = draw_head(s)
    figure.append(outline)
    draw_beard(s)
    draw_cheeks(s)
    draw_nose(s)
    draw_mouth(s)
    draw_eyes(s)
    figure += draw_front_hair(s)
    light_face(s, sitter.light, figure)
    draw_glasses(s)
    points = np.stack([s.points[name] for name in POINT_NAMES])
    top = projection.rim(np.array([[0.0, who.hairline_y]]), 0.6)[0]
    box = (outline[:, 0].min(), min(top[1], outline[:, 1].mean()), outline[:, 0].max(), outline[:, 1].max())
    return Drawn(points.astype(np.float32), (float(box[0]), float(box[1]), float(box[2]), float(box[3])))


@lru_cache(maxsize=1)
def _noise_bank() -> Array:
    noise = np.random.default_rng(0x0153).standard_normal((768, 768, 3)).astype(np.float32)
    return 0.75 * noise + 0.5 * noise.mean(axis=2, keepdims=True)


def expose(pixels: Array, camera: Camera) -> Array:
    """Float pixels (H, W, 3) to uint8 through the camera's blur and noise."""
    height, width = pixels.shape[:2]
    blur = camera.blur * min(height, width) / 256
    if blur > 0.15:
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur)
    if camera.noise > 0:
        bank = _noise_bank()
        y, x = (int(v) for v in np.random.default_rng([camera.seed, 0xCA]).integers(0, 384, 2))
        if max(height, width) > 384:
            bank = np.tile(bank, (1 + height // 384, 1 + width // 384, 1))
        grain = bank[y : y + height, x : x + width] * np.float32(camera.noise)
        grain += pixels
        pixels = grain
    return np.clip(pixels + np.float32(0.5), 0, 255).astype(np.uint8)


def draw_people(
    sitters: list[Sitter],
    size_px: int | tuple[int, int],
    *,
    backdrop: int | Array = 0,
    camera: Camera = PLAIN_CAMERA,
) -> tuple[Array, list[Drawn]]:
    """Any number of people in one picture, later ones in front.

    `size_px` is the side or (width, height); `backdrop` the seed of a background or its pixels (H, W, 3) RGB.
    Returns RGB uint8 (H, W, 3) and the truth about each face.
    """
    width, height = _size(size_px)
    over = _oversampling(width, height)
    if isinstance(backdrop, int):
        pixels = draw_backdrop(backdrop, width * over, height * over)
    else:
        pixels = cv2.resize(backdrop, (width * over, height * over), interpolation=cv2.INTER_LINEAR).astype(
            np.float32
        )
    canvas = Canvas(pixels)
    drawn = [_paint_sitter(canvas, sitter) for sitter in sitters]
    if over > 1:
        pixels = cv2.resize(canvas.pixels, (width, height), interpolation=cv2.INTER_AREA)
        drawn = [
            Drawn((d.points_px + 0.5) / over - 0.5, tuple((v + 0.5) / over - 0.5 for v in d.box_xyxy_px))  # type: ignore[arg-type]
            for d in drawn
        ]
    return expose(pixels, camera), drawn


def draw_face(
    identity: Identity,
    expression: Expression = NEUTRAL,
    pose: Pose = FRONTAL,
    light: Light = WINDOW_LIGHT,
    size_px: int | tuple[int, int] = 256,
    *,
    framing: Framing = CENTRED,
    backdrop: int | Array = 0,
    camera: Camera = PLAIN_CAMERA,
) -> tuple[Array, Array, tuple[float, float, float, float]]:
    """One person.

    Returns RGB uint8 (H, W, 3), true landmarks (5, 2) float32 and the face box (x0, y0, x1, y1) in pixels.
    """
    rgb, drawn = draw_people(
        [Sitter(identity, expression, pose, light, framing)], size_px, backdrop=backdrop, camera=camera
    )
    return rgb, drawn[0].points_px, drawn[0].box_xyxy_px
