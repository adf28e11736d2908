"""Who is drawn: a person as a few dozen numbers, sampled from a seed and an index."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np

Rgb = tuple[float, float, float]
HairStyle = Literal[
    "bald",
    "buzz",
    "short",
    "side_part",
    "fringe",
    "quiff",
    "bob",
    "long",
    "wavy",
    "afro",
    "bun",
    "scarf",
    "beanie",
]
Beard = Literal["none", "stubble", "full", "goatee", "moustache"]

SKIN_TONES = np.array(
    [
        (249, 221, 200), (241, 206, 180), (232, 190, 158), (221, 174, 138), (203, 152, 114),
        (178, 127, 91), (150, 102, 71), (122, 81, 57), (98, 65, 47),
    ],
    dtype=np.float64,
)  # fmt: skip
HAIR_COLOURS: dict[str, Rgb] = {
    "black": (34, 29, 30),
    "dark brown": (58, 40, 32),
    "brown": (92, 62, 42),
    "light brown": (130, 92, 60),
    "blond": (196, 158, 102),
    "pale blond": (222, 196, 148),
    "red": (156, 76, 40),
    "grey": (142, 140, 140),
    "white": (212, 210, 207),
}
IRIS_COLOURS: dict[str, Rgb] = {
    "dark brown": (66, 40, 24),
    "brown": (104, 66, 36),
    "hazel": (134, 104, 54),
    "green": (98, 124, 82),
    "blue": (92, 134, 172),
    "grey": (122, 136, 146),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """One person's looks. Lengths are in face units (`geometry`), colours RGB 0 to 255, the rest 0 to 1."""

    index: int
    feminine: float
    age: float
    skin: Rgb
    blush: float
    freckles: float
    mole: tuple[float, float] | None
    half_width: float
    """Of the head at the cheekbones."""
    jaw_width: float
    """Half width at the jaw's angle."""
    chin_y: float
    chin_width: float
    skull_y: float
    """Top of the skull (negative)."""
    hairline_y: float
    ear_size: float
    eye_spacing: float
    """Half the distance between the pupils."""
    eye_width: float
    eye_height: float
    eye_tilt: float
    eye_fold: float
    iris: Rgb
    iris_radius: float
    lashes: float
    brow_y: float
    brow_thickness: float
    brow_arch: float
    brow_length: float
    nose_width: float
    nose_y: float
    nose_bridge: float
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    lip_colour: Rgb
    cheekbones: float
    hair_style: HairStyle
    hair: Rgb
    hair_volume: float
    hair_seed: int
    part_side: float
    beard: Beard
    glasses: int
    """0 none, 1 round, 2 rectangular, 3 thin."""
    frame: Rgb
    cloth: Rgb
    cloth_style: int
    """0 round neck, 1 V-neck, 2 shirt collar, 3 hood, 4 jacket."""

    @staticmethod
    def sample(seed: int, index: int) -> Identity:
        """Person `index` (>= 0) of `seed`: a pure function of both."""
        return _sample(np.random.default_rng([seed, index, 0xFACE]), index)


def _mix(a: Rgb | np.ndarray, b: Rgb | np.ndarray, t: float) -> Rgb:
    mixed = np.asarray(a, dtype=np.float64) * (1 - t) + np.asarray(b, dtype=np.float64) * t
    return float(mixed[0]), float(mixed[1]), float(mixed[2])


def _skin(rng: np.random.Generator) -> tuple[float, Rgb]:
    tone = float(rng.uniform(0, 1))
    at = tone * (len(SKIN_TONES) - 1)
    low = min(int(at), len(SKIN_TONES) - 2)
    skin = SKIN_TONES[low] * (1 - at + low) + SKIN_TONES[low + 1] * (at - low)
    warm = float(rng.normal(0, 4))
    return tone, (float(skin[0]) + warm, float(skin[1]), float(skin[2]) - warm)


def _hair_colour(rng: np.random.Generator, tone: float, age: float) -> Rgb:
    names = list(HAIR_COLOURS)[:7]
    dark = min(1.0, tone * 1.5)
    weights = np.array([0.15 + 2.5 * dark, 0.8 + dark, 1.0, 0.9, 0.9, 0.45, 0.5])
    weights[2:] *= max(0.02, 1 - dark)
    colour = HAIR_COLOURS[names[int(rng.choice(len(names), p=weights / weights.sum()))]]
    greying = float(np.clip((age - 0.55) * 2.4 + rng.normal(0, 0.15), 0, 1))
    return _mix(colour, HAIR_COLOURS["grey" if rng.random() < 0.6 else "white"], greying)


def _hair_style(rng: np.random.Generator, feminine: float, age: float, tone: float) -> HairStyle:
    # fmt: off
    weights = (
        {"long": 3, "wavy": 3, "bob": 2.5, "bun": 1.6, "fringe": 1.2, "afro": 0.3 + 1.5 * tone, "scarf": 0.7,
         "short": 0.7,
         "beanie": 0.3, "side_part": 0.4}
        if feminine > 0.5
        else {"short": 2.6, "side_part": 2.4, "quiff": 2.0, "buzz": 1.0 + tone, "fringe": 1.2,
              "bald": 0.3 + 1.6 * age,
              "afro": 0.1 + 1.0 * tone, "long": 0.4, "wavy": 0.4, "beanie": 0.5}
    )
    # fmt: on
    names: list[HairStyle] = list(weights)  # type: ignore[arg-type]
    p = np.array([weights[n] for n in names], dtype=np.float64)
    return names[int(rng.choice(len(names), p=p / p.sum()))]


def _sample(rng: np.random.Generator, index: int) -> Identity:
    def around(mean: float, spread: float) -> float:
        return float(mean + spread * np.clip(rng.normal(), -1.8, 1.8))

    feminine = float(np.clip(rng.choice([0.2, 0.8]) + rng.normal(0, 0.12), 0, 1))
    age = float(np.clip(rng.beta(1.4, 1.9), 0, 1))
    tone, skin = _skin(rng)
    style = _hair_style(rng, feminine, age, tone)
    hair = _hair_colour(rng, tone, age)
    half_width = around(1.06 - 0.03 * feminine, 0.045)
    beards: list[Beard] = ["none", "stubble", "full", "goatee", "moustache"]
    beard = beards[int(rng.choice(5, p=[0.46, 0.2, 0.18, 0.08, 0.08]))] if feminine < 0.5 else "none"
    iris_names = list(IRIS_COLOURS)
    iris_p = np.array([0.3 + 3 * tone, 1.0, 0.6, 0.5, 1.0, 0.5])
    iris_p[2:] *= max(0.02, 1 - 1.7 * tone)
    lip_base = _mix(skin, (176, 66, 66) if tone < 0.6 else (112, 44, 48), 0.36 + 0.2 * feminine)
    lipstick = feminine > 0.5 and rng.random() < 0.35
    lips = _mix(lip_base, (178, 32, 52), float(rng.uniform(0.3, 0.65))) if lipstick else lip_base
    cloth = np.array(hsv(float(rng.random()), float(rng.uniform(0.1, 0.65)), float(rng.uniform(0.22, 0.9))))
    return Identity(
        index=index,
        feminine=feminine,
        age=age,
        skin=skin,
        blush=float(rng.uniform(0.3, 1.0)),
        freckles=float(rng.uniform(0.5, 1.0)) if tone < 0.35 and rng.random() < 0.22 else 0.0,
        mole=(float(rng.choice([-1, 1]) * rng.uniform(0.45, 0.7)), float(rng.uniform(0.75, 1.3)))
        if rng.random() < 0.14
        else None,
        half_width=half_width,
        jaw_width=half_width * around(0.84 - 0.06 * feminine, 0.035),
        chin_y=around(1.80 - 0.08 * feminine, 0.06),
        chin_width=around(0.4 - 0.08 * feminine, 0.05),
        skull_y=around(-1.62, 0.05),
        hairline_y=around(-0.98, 0.06) - 0.12 * max(0.0, age - 0.5) * (1 - feminine),
        ear_size=around(1.0, 0.1),
        eye_spacing=around(0.5, 0.017),
        eye_width=around(0.25 + 0.015 * feminine, 0.014),
        eye_height=around(0.106 + 0.018 * feminine - 0.02 * age, 0.01),
        eye_tilt=around(0.02 + 0.012 * feminine, 0.016),
        eye_fold=float(rng.uniform(0.25, 1.0)),
        iris=IRIS_COLOURS[iris_names[int(rng.choice(len(iris_names), p=iris_p / iris_p.sum()))]],
        iris_radius=around(0.116, 0.004),
        lashes=0.25 + 0.75 * feminine,
        brow_y=around(-0.36 - 0.02 * feminine, 0.025),
        brow_thickness=max(0.05, around(0.098 - 0.032 * feminine, 0.012)),
        brow_arch=around(0.04 + 0.025 * feminine, 0.018),
        brow_length=around(0.62, 0.03),
        nose_width=around(0.235 - 0.02 * feminine + 0.06 * tone, 0.02),
        nose_y=around(0.67, 0.03),
        nose_bridge=around(0.115, 0.014),
        mouth_y=around(1.09, 0.03),
        mouth_width=around(0.4, 0.03),
        lip_upper=max(0.05, around(0.078 + 0.02 * feminine + 0.025 * tone - 0.02 * age, 0.01)),
        lip_lower=max(0.07, around(0.115 + 0.02 * feminine + 0.025 * tone - 0.02 * age, 0.013)),
        lip_colour=lips,
        cheekbones=float(rng.uniform(0.2, 1.0)),
        hair_style=style,
        hair=hair,
        hair_volume=float(rng.uniform(0.0, 1.0)),
        hair_seed=int(rng.integers(1 << 30)),
        part_side=float(rng.choice([-1, 1])),
        beard=beard,
        glasses=int(rng.integers(1, 4)) if rng.random() < 0.16 else 0,
        frame=(30.0, 28.0, 30.0)
        if rng.random() < 0.6
        else _mix((120, 70, 40), (90, 90, 100), float(rng.random())),
        cloth=(float(cloth[0]), float(cloth[1]), float(cloth[2])),
        cloth_style=int(rng.integers(5)),
    )


def hsv(hue: float, saturation: float, value: float) -> Rgb:
    """RGB 0 to 255 of a hue, saturation and value of 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return red * 255, green * 255, blue * 255
