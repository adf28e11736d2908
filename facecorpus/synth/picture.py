"""From a planned picture to pixels and to the bytes of its files."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facecorpus.synth.expression import Expression
from facecorpus.synth.face import Camera, Drawn, Framing, Sitter, draw_people
from facecorpus.synth.geometry import Pose
from facecorpus.synth.identity import Identity
from facecorpus.synth.light import Light
from facecorpus.synth.paint import Array
from facecorpus.synth.plan import Damage, Edit, Item, Shot
from facecorpus.synth.scene import draw_group, draw_scene

_HTML = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body><h1>Not Found</h1></body></html>\n"
_TEXT = b"Drawn people. Nobody here exists.\n"
_THUMBS = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
"""The head of a Microsoft compound document, which a Thumbs.db is."""

_MOODS: tuple[dict[int, tuple[float, float]], ...] = (
    {},
    {},
    {12: (1.5, 4.5), 6: (0, 4), 25: (0, 4)},
    {12: (2, 5), 25: (2, 5), 26: (0, 2.5)},
    {15: (1, 4), 1: (0, 4), 17: (0, 3)},
    {4: (1, 4.5), 7: (0, 4), 24: (0, 4)},
    {1: (1, 5), 2: (1, 5), 5: (0, 4), 25: (0, 4), 26: (0, 4)},
    {9: (1, 4), 10: (0, 4)},
    {20: (1, 4), 5: (0, 3)},
    {14: (1, 5)},
    {23: (1, 4), 17: (0, 3)},
)


@dataclass(frozen=True, slots=True)
class Taken:
    """A drawn picture and the truth about it."""

    rgb: Array
    faces: tuple[Drawn, ...]
    au: dict[int, float] | None
    """Intensities of the one person's action units; None for groups and scenes."""


def take(shot: Shot, seed: int, attempt: int = 0) -> Taken:
    """Draw a shot: a pure function of the arguments."""
    key = int(np.random.default_rng([seed, shot.number, attempt, 0x5407]).integers(1 << 30))
    if shot.kind == "scene":
        return Taken(draw_scene(shot.size_px, key), (), None)
    people = [Identity.sample(seed, k) for k in shot.people]
    if shot.kind == "group":
        rgb, drawn = draw_group(people, shot.size_px, key)
        return Taken(rgb, tuple(drawn), None)
    return _portrait(people[0], shot, np.random.default_rng(key))


def _portrait(who: Identity, shot: Shot, rng: np.random.Generator) -> Taken:
    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    mood = _MOODS[int(rng.integers(len(_MOODS)))]
    au = {unit: round(between(*span), 2) for unit, span in mood.items()}
    aligned = shot.style in ("celeba", "casia_webface_rec")
    roll = between(-3, 3) if aligned else between(-14, 14)
    pose = Pose(between(-19, 19), between(-10, 10), roll, between(-0.9, 0.9), between(-0.5, 0.5))
    colour = (1.0, between(0.93, 1.0), between(0.82, 1.04))
    light = Light(between(-1.4, 1.4), between(-1.0, 0.3), between(0.3, 1.0), between(0.88, 1.14), colour)
    if shot.style == "celeba":
        framing = Framing(
            0.5 + between(-0.01, 0.01), 0.513 + between(-0.008, 0.008), 0.2135 * between(0.96, 1.04)
        )
    elif shot.style == "casia_webface_rec":
        framing = Framing(0.5 + between(-0.02, 0.02), 0.46 + between(-0.02, 0.02), between(0.25, 0.29))
    else:
        framing = Framing(between(0.43, 0.57), between(0.39, 0.46), between(0.18, 0.245))
    camera = Camera(between(0, 0.5), between(1, 3.5), int(rng.integers(1 << 30)))
    sitter = Sitter(who, Expression(au), pose, light, framing)
    rgb, drawn = draw_people([sitter], shot.size_px, backdrop=int(rng.integers(1 << 30)), camera=camera)
    return Taken(rgb, tuple(drawn), au)


def edited(rgb: Array, edit: Edit, size_px: tuple[int, int]) -> Array:
    """The picture (H, W, 3) after the edit, at `size_px` (width, height)."""
    if edit == "cropped":
        height, width = rgb.shape[:2]
        top, left = max(1, round(0.008 * height)), max(1, round(0.008 * width))
        original = (width, height)
        rgb = cv2.resize(rgb[top:-top, left:-left], original, interpolation=cv2.INTER_LINEAR)
    elif edit == "brighter":
        rgb = np.clip(rgb.astype(np.float32) * 1.06 + 8, 0, 255).astype(np.uint8)
    if (rgb.shape[1], rgb.shape[0]) != size_px:
        shrinks = size_px[0] < rgb.shape[1]
        rgb = cv2.resize(rgb, size_px, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return rgb


def encode(rgb: Array, coding: tuple[str, int]) -> bytes:
    """The file: coding is ("jpg" | "png" | "webp", quality)."""
    kind, quality = coding
    flags = {
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "png": [cv2.IMWRITE_PNG_COMPRESSION, quality],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }[kind]
    done, data = cv2.imencode(f".{kind}", np.ascontiguousarray(rgb[..., ::-1]), flags)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture as {kind}")
    return data.tobytes()


def damaged(damage: Damage, data: bytes, seed: int) -> bytes:
    """What a broken input holds instead of `data`."""
    if damage == "truncated":
        return data[: int(len(data) * 0.45)]
    garbage = np.random.default_rng([seed, 0x6A6]).integers(0, 256, 2048, dtype=np.uint8).tobytes()
    return {"empty": b"", "html": _HTML, "garbage": b"\x00\x01" + garbage, "thumbs": _THUMBS, "text": _TEXT}[
        damage
    ]


def file_bytes(item: Item, rgb: Array | None, seed: int) -> bytes:
    """The bytes of one input that shows `rgb` (None where it shows nothing)."""
    if rgb is None:
        assert item.damage is not None
        return damaged(item.damage, b"", seed)
    data = encode(edited(rgb, item.edit, item.size_px), item.coding)
    return damaged(item.damage, data, seed) if item.damage else data


def edited_points(
    face: Drawn, item: Item, size_px: tuple[int, int]
) -> tuple[tuple[float, ...], tuple[float, float, float, float]]:
    """Landmarks (10 numbers) and box of `face`, drawn at `size_px`, in the picture as `item` stores it."""
    points = np.concatenate([face.points_px, np.reshape(face.box_xyxy_px, (2, 2))]).astype(np.float64)
    size = np.array(size_px, dtype=np.float64)
    if item.edit == "cropped":
        border = np.maximum(1, np.round(0.008 * size))
        points = (points + 0.5 - border) * size / (size - 2 * border) - 0.5
    points = (points + 0.5) * np.array(item.size_px) / size - 0.5
    x0, y0, x1, y1 = (float(v) for v in points[5:].ravel())
    return tuple(float(v) for v in points[:5].ravel()), (x0, y0, x1, y1)
