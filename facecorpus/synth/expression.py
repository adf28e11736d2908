"""Action units as displacements of the face (Facial Action Coding System, Ekman, Friesen and Hager 2002)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from facecorpus.synth.identity import Identity

ACTION_UNITS: dict[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
}
"""The action units that can be drawn."""


@dataclass(frozen=True, slots=True)
class Expression:
    """Action-unit intensities, each continuous from 0 (absent) to 5 (maximal, FACS "E")."""

    au: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for unit, intensity in self.au.items():
            if unit not in ACTION_UNITS:
                raise ValueError(f"AU{unit} cannot be drawn; choose from {sorted(ACTION_UNITS)}")
            if not 0.0 <= intensity <= 5.0:
                raise ValueError(f"AU{unit} = {intensity}: intensities run from 0 to 5")

    def fraction(self, unit: int) -> float:
        """Intensity of `unit` as a fraction of the maximum, 0 to 1."""
        return float(self.au.get(unit, 0.0)) / 5.0


@dataclass(frozen=True, slots=True)
class Rig:
    """Where a face's features are under an expression, in face units, and how deep its furrows (0 to 1)."""

    brow_inner: tuple[float, float]
    """Displacement of the brow's inner end (x outward, y down); likewise the next two."""
    brow_middle: tuple[float, float]
    brow_outer: tuple[float, float]
    lid_upper: float
    """Height of the upper lid's edge above the eye's axis."""
    lid_lower: float
    """Depth of the lower lid's edge below it."""
    lid_straight: float
    """How straight the lower lid is, 0 to 1."""
    lid_pouch: float
    cheek: float
    """Raised cheek, 0 to 1."""
    nose_lift: float
    """Upward displacement of the nostril wings."""
    nose_flare: float
    jaw: float
    """Downward displacement of the chin."""
    mouth_half: float
    corner_y: float
    """Absolute y of the lip corners."""
    corner_tuck: float
    line_upper: float
    """Absolute y of the upper lip's lower edge at the middle."""
    line_lower: float
    """Absolute y of the lower lip's upper edge at the middle."""
    line_power: float
    """How the mouth's line runs to the corners: 2 is a parabola, higher flatter in the middle."""
    lip_upper: float
    """Height of the upper lip."""
    lip_lower: float
    furrow_forehead_inner: float
    furrow_forehead_outer: float
    furrow_glabella: float
    furrow_nose: float
    furrow_nasolabial: float
    furrow_square: float
    """How angular the nasolabial furrow is (AU 9, 10), 0 to 1."""
    crow_feet: float
    dimple: float
    corner_down: float
    chin_boss: float
    lip_creases: float
    press: float


def rig(who: Identity, expression: Expression) -> Rig:
    """The face of `who` under `expression`; every field is a smooth function of every intensity."""
    a = expression.fraction
    a1, a2, a4, a5, a6, a7, a9, a10 = (a(u) for u in (1, 2, 4, 5, 6, 7, 9, 10))
    a12, a14, a15, a17, a20, a23, a24, a25, a26 = (a(u) for u in (12, 14, 15, 17, 20, 23, 24, 25, 26))

    jaw = 0.36 * a26
    sealed = (1 - 0.9 * a24) * (1 - 0.5 * a17)  # pressed or pushed-up lips stay together
    part_lower = (0.10 * a25 + 0.31 * a26) * sealed + 0.02 * a12 * a25
    part_upper = (0.03 * a25 + 0.035 * a10 + 0.02 * a9) * sealed
    lift_upper = 0.085 * a10 + 0.05 * a9 + 0.02 * a12
    thin = (1 - 0.30 * a12) * (1 - 0.28 * a20)
    rolled = (1 - 0.58 * a23) * (1 - 0.62 * a24)
    middle = who.mouth_y + 0.02 * a12 - 0.05 * a17 - 0.005 * a15 + 0.16 * jaw
    corner = (
        who.mouth_y - 0.012 - 0.18 * a12 + 0.135 * a15 + 0.03 * a20 - 0.03 * a14 + 0.03 * a17 + 0.42 * jaw
    )
    return Rig(
        brow_inner=(-0.075 * a4 - 0.015 * a1, -0.155 * a1 + 0.13 * a4 + 0.07 * a9),
        brow_middle=(-0.05 * a4, -0.065 * a1 - 0.10 * a2 + 0.125 * a4 + 0.045 * a9 + 0.01 * a6),
        brow_outer=(-0.01 * a4, -0.005 * a1 - 0.19 * a2 + 0.06 * a4 + 0.035 * a6),
        lid_upper=who.eye_height
        * (1 + 0.62 * a5)
        * (1 - 0.26 * a7)
        * (1 - 0.16 * a6)
        * (1 - 0.12 * a4)
        * (1 - 0.1 * a9),
        lid_lower=who.eye_height
        * (0.62 + 0.12 * a5)
        * (1 - 0.75 * a7)
        * (1 - 0.5 * a6)
        * (1 - 0.16 * a12)
        * (1 - 0.3 * a9),
        lid_straight=min(1.0, 0.8 * a7 + 0.35 * a6),
        lid_pouch=1 - (1 - 0.75 * a7) * (1 - 0.85 * a6) * (1 - 0.2 * a12),
        cheek=1 - (1 - 0.95 * a6) * (1 - 0.6 * a12) * (1 - 0.25 * a9) * (1 - 0.25 * a10),
        nose_lift=0.075 * a9 + 0.035 * a10 + 0.012 * a12,
        nose_flare=0.02 * a9 + 0.025 * a12 + 0.01 * a10,
        jaw=jaw - 0.045 * a17,
        mouth_half=who.mouth_width
        * (
            1
            + 0.30 * a12
            + 0.26 * a20
            + 0.07 * a14
            - 0.02 * a15
            - 0.16 * a23
            - 0.04 * a24
            - 0.05 * a17
            - 0.1 * a26
        ),
        corner_y=corner,
        corner_tuck=1 - (1 - a14) * (1 - 0.35 * a12) * (1 - 0.3 * a15),
        line_upper=middle - lift_upper - part_upper,
        line_lower=middle + part_lower - 0.02 * a17 - 0.55 * lift_upper * (1 - a25) * (1 - a26),
        line_power=2.0 + 0.4 * a15 + 1.2 * a20,
        lip_upper=who.lip_upper * thin * rolled * (1 - 0.25 * a10) * (1 - 0.1 * a9) * (1 - 0.1 * a26),
        lip_lower=who.lip_lower * thin * rolled * (1 + 0.25 * a17) * (1 - 0.12 * a15),
        furrow_forehead_inner=a1 * (1 - 0.5 * a4),
        furrow_forehead_outer=a2 * (1 - 0.4 * a4),
        furrow_glabella=1 - (1 - a4) * (1 - 0.3 * a9),
        furrow_nose=a9,
        furrow_nasolabial=1
        - (1 - 0.85 * a12) * (1 - 0.75 * a10) * (1 - 0.6 * a9) * (1 - 0.12 * a6) * (1 - 0.2 * a20),
        furrow_square=1 - (1 - a10) * (1 - 0.7 * a9),
        crow_feet=a6,
        dimple=1 - (1 - a14) * (1 - 0.25 * a12),
        corner_down=a15,
        chin_boss=a17,
        lip_creases=a23,
        press=a24,
    )
