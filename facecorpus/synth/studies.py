"""The recorded data sets in miniature: whom they show, doing what, and how often.

Subjects, tasks and codings are those of DISFA (Mavadati et al., 2013), BP4D (Zhang et al., 2014), BP4D+
(Zhang et al., 2016), DISFA+ (Mavadati et al., 2016), GFT (Girard et al., 2017) and CASME II (Yan et al.,
2014); of the videos of Aff-Wild2 there is a handful. Action units are more frequent than in DISFA, so that
every one of them occurs in a miniature's every fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Study:
    """One of the recorded data sets."""

    name: str
    groups: tuple[tuple[str, ...], ...]
    """Subjects as the set numbers them, in groups that get even shares of high and low rates."""
    tasks: Mapping[str, Mapping[str, float]]
    """By task, by how much it brings expressions of `dynamics.EXPRESSIONS` nearer; one task "" where there
    are none."""
    rates: Mapping[int, float]
    """By action unit shown in this set, in what share of the frames it is there."""
    positive: int
    """Level from which on it is there: DISFA's benchmark says 2; BP4D codes occurrence from level A, 1."""
    frames: Mapping[str, int]
    """Annotated frames of a recording by preset."""
    size_px: tuple[int, int]
    """Width and height of the pictures."""
    interocular_px: float
    """Length of one face unit in them."""
    seed: int
    """Tells this set's people from the others'."""
    like: str = ""
    """A data set whose people of the same names these are."""

    @property
    def subjects(self) -> list[str]:
        """All subjects, sorted."""
        return sorted(name for group in self.groups for name in group)


def _numbered(prefix: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{k:03d}" for k in numbers)


_DISFA_FOLDS = (
    _numbered("SN", 1, 2, 9, 10, 16, 26, 27, 30, 32),
    _numbered("SN", 6, 11, 12, 13, 18, 21, 24, 28, 31),
    _numbered("SN", 3, 4, 5, 7, 8, 17, 23, 25, 29),
)
_DISFA_RATES = {
    1: 0.24, 2: 0.22, 4: 0.28, 5: 0.10, 6: 0.26, 9: 0.20, 12: 0.32, 15: 0.10, 17: 0.12, 20: 0.08, 25: 0.38,
    26: 0.24,
}  # fmt: skip
_BP4D_RATES = {
    1: 0.24, 2: 0.20, 4: 0.24, 5: 0.10, 6: 0.40, 7: 0.42, 9: 0.12, 10: 0.42, 12: 0.44, 14: 0.36, 15: 0.18,
    17: 0.30, 20: 0.10, 23: 0.20, 24: 0.18,
}  # fmt: skip
_BP4D_PLUS_RATES = {
    1: 0.22, 2: 0.20, 4: 0.22, 5: 0.10, 6: 0.42, 7: 0.45, 9: 0.12, 10: 0.44, 12: 0.44, 14: 0.40, 15: 0.18,
    17: 0.22, 20: 0.10, 23: 0.22, 24: 0.16,
}  # fmt: skip
_BP4D_TASKS = {
    "T1": {"smile": 1.0},
    "T2": {"sadness": 1.0},
    "T3": {"surprise": 1.0},
    "T4": {"smile": 0.6},
    "T5": {"fear": 1.0},
    "T6": {"disgust": 0.5, "anger": 0.5},
    "T7": {"anger": 1.0},
    "T8": {"disgust": 1.0},
}
_BP4D_PLUS_TASKS = {
    "T1": {"smile": 1.0},
    "T6": {"smile": 0.6},
    "T7": {"fear": 0.7, "surprise": 0.5},
    "T8": {"disgust": 0.5, "anger": 0.7},
}
"""The tasks that are annotated."""

_STUDIES = (
    Study(
        name="disfa",
        groups=_DISFA_FOLDS,
        tasks={"": {}},
        rates=_DISFA_RATES,
        positive=2,
        frames={"sample": 100, "tiny": 12},
        size_px=(320, 240),
        interocular_px=52.0,
        seed=0xD15,
    ),
    Study(
        name="bp4d",
        groups=(_numbered("F", *range(1, 24)), _numbered("M", *range(1, 19))),
        tasks=_BP4D_TASKS,
        rates=_BP4D_RATES,
        positive=1,
        frames={"sample": 8, "tiny": 4},
        size_px=(208, 272),
        interocular_px=50.0,
        seed=0xB4D,
    ),
    Study(
        name="bp4d_plus",
        groups=(_numbered("F", *range(1, 83)), _numbered("M", *range(1, 59))),
        tasks=_BP4D_PLUS_TASKS,
        rates=_BP4D_PLUS_RATES,
        positive=1,
        frames={"sample": 6, "tiny": 4},
        size_px=(208, 272),
        interocular_px=50.0,
        seed=0xB4E,
    ),
    Study(
        name="disfa_plus",
        groups=(_numbered("SN", 1, 3, 4, 7, 9, 10, 13, 25, 27),),
        tasks={
            "A1_AU1_TrailNo_1": {"surprise": 0.8},
            "B2_AU6_TrailNo_2": {"smile": 0.8},
            "Y_HappyText_TrailNo_1": {"smile": 1.0},
            "Z_SupriseText_TrailNo_2": {"surprise": 1.0},
        },
        rates=_DISFA_RATES,
        positive=2,
        frames={"sample": 10, "tiny": 4},
        size_px=(320, 180),
        interocular_px=46.0,
        seed=0xD16,
        like="disfa",
    ),
    Study(
        name="gft",
        groups=tuple(
            tuple(f"{group:03d}{seat}" for group in groups for seat in "ABC")
            for groups in (range(1, 27), range(27, 33))
        ),
        tasks={"": {"speech": 0.8, "smile": 0.5}},
        rates={unit: _BP4D_RATES[unit] for unit in (1, 2, 4, 6, 10, 12, 14, 15, 23, 24)},
        positive=1,
        frames={"sample": 12, "tiny": 4},
        size_px=(240, 180),
        interocular_px=44.0,
        seed=0x6F7,
    ),
    Study(
        name="aff_wild2",
        groups=(
            (
                *("1-30-1280x720", "10-60-1280x720_left", "10-60-1280x720_right", "110-30-270x480"),
                *("122-60-1920x1080-1", "2-30-640x360", "video1", "video10_1"),
            ),
        ),
        tasks={"": {}},
        rates=_DISFA_RATES | {7: 0.3, 10: 0.3, 23: 0.15, 24: 0.15},
        positive=1,
        frames={"sample": 40, "tiny": 6},
        size_px=(160, 160),
        interocular_px=56.0,
        seed=0xAF2,
    ),
    Study(
        name="casme2",
        groups=(tuple(f"sub{k:02d}" for k in range(1, 27)),),
        tasks={
            "EP02_01f": {"smile": 0.8},
            "EP03_02": {"disgust": 0.8},
            "EP13_04": {"surprise": 0.8},
            "EP19_05f": {"sadness": 0.8},
        },
        rates={1: 0.3, 2: 0.3, 4: 0.4, 7: 0.3, 12: 0.3, 14: 0.25, 15: 0.25, 17: 0.3},
        positive=1,
        frames={"sample": 7, "tiny": 5},
        size_px=(240, 180),
        interocular_px=44.0,
        seed=0xCA5,
    ),
)
STUDIES: Mapping[str, Study] = {
    study.name: study for study in (*_STUDIES, replace(_STUDIES[0], name="disfa_frames"))
}
"""By name. `disfa_frames` is DISFA as pictures that somebody extracted from the left camera's videos."""
RECORDED = tuple(STUDIES)
"""The recorded data sets, in the order in which they are written."""
