"""CASME II: micro-expressions of 26 people, filmed at 200 frames a second; onset, apex and offset of each.

`CASME2-coding-....xlsx` (or that sheet as .csv) has a row for each clip: Subject, Filename, OnsetFrame,
ApexFrame, OffsetFrame, Action Units. Its frames are `CASME2_RAW_selected/sub01/EP02_01f/img46.jpg`, or
`Cropped/sub01/EP02_01f/reg_img46.jpg`, called by the numbers of the sheet.

Each clip gives up to three inputs, told apart by the label `phase`: 1 onset, 2 apex, 3 offset. Action units
(`4+L10`: L and R tell the side, and are dropped) are labels of the apex alone, where they are at their
height; one that the row does not name is absent (0), of all that the sheet names anywhere. Benchmarks count
frames that have such a label, so they see the apexes alone.

Traps: rows without an apex (`/`), which give onset and offset; a column that Excel took for numbers; several
releases of the sheet, of which one must be chosen; the same frames raw and cropped, of which one set is read.

Not checked on the real data: signs in the sheet other than these (rows that hold others are noted by name).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from facecorpus import storage
from facecorpus.sources.archives import Member
from facecorpus.sources.codings import Levels
from facecorpus.sources.labelled import Labelled
from facecorpus.sources.recordings import PICTURE, Recording
from facecorpus.sources.sheets import read_sheet
from facecorpus.sources.source import adapter

AUS = (1, 2, 4, 7, 12, 14, 15, 17)
"""Action units of the detection benchmark."""
PHASE = "phase"
_ONSET, _APEX, _OFFSET = 1, 2, 3
_FRAMES = {"onsetframe": _ONSET, "offsetframe": _OFFSET, "apexframe": _APEX}
"""Column -> phase; where two fall on one frame, the later here counts."""
_UNITS = "actionunits"
_ALL = ""
"""What the sheet is about."""
_CROPPED = "|cropped"
"""Behind a clip's name while both sets are told apart."""
_FLAGS = re.IGNORECASE | re.ASCII
_PICTURE = re.compile(rf"((?:.*/)?(sub\d\d)/([^/]+))/((reg_)?img(\d{{1,9}}){PICTURE})", _FLAGS)
_SHEET = re.compile(r"casme2?[-_ ]?.*coding.*\.(?:xlsx|csv)", _FLAGS)
_FRAME = re.compile(r"[0-9]{1,9}")
_UNIT = re.compile(r"(?:AU)?[LR]?0*(\d{1,3})", _FLAGS)


@adapter("casme2")
class CASME2(Labelled):
    """The folders of frames, raw or cropped, and the coding sheet."""

    whole = False
    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "images": {
            "raw": "the frames as filmed are to be read",
            "cropped": "the aligned faces that come with them are to be read",
        }
    }

    def __init__(self, name: str, location: str, cache: str | None = None) -> None:
        super().__init__(name, location, cache)
        self._clips: dict[str, dict[str, dict[int, int]]] = {}
        """Clip -> label -> frame -> level."""
        self._aside = ""
        self._odd: list[str] = []
        """Rows that say something else of their action units."""

    def sort(self, path: str, size: int) -> bool:
        """Pictures by their names and those of two folders, the sheet by its name."""
        if picture := _PICTURE.fullmatch(path):
            clip = picture[3] + (_CROPPED if picture[5] else "")
            member = Member(picture[4], -1, size)
            self.add_picture(picture[2].lower(), clip, int(picture[6]), picture[1], member)
        elif _SHEET.fullmatch(PurePosixPath(path).name):
            self.add_labels(_ALL, "the coding sheet", path)
        else:
            return False
        return True

    def settle(self) -> None:
        """Choose raw or cropped frames, and deal the rows of the sheet to the clips."""
        self._choose_images()
        (sheet,) = self.labels.pop(_ALL).values()
        rows = read_sheet(storage.join(self.location, sheet), ["subject", "filename", _UNITS, *_FRAMES])
        units = [_units_of(row[_UNITS]) for row in rows]
        coded = sorted({unit for named in units for unit in named or ()})
        for row, named in zip(rows, units, strict=True):
            clip = f"sub{row['subject'].zfill(2)} {row['filename']}"
            if named is None:
                self._odd.append(f"{clip} ({row[_UNITS]})")
            if clip in self._clips:
                raise self._twice(sheet, sheet, f"rows of {clip}")
            if labels := _labels_of(row, named, coded):
                self._clips[clip] = labels
                self.add_labels(clip, clip, sheet)

    def about(self, recording: Recording) -> str:
        """The clip."""
        return recording.title

    def read(self, what: str, url: str) -> dict[str, Levels]:
        """What the clip's row says."""
        return dict(self._clips[what])

    def expected(self) -> Collection[str]:
        """None: a row without an apex has phases alone."""
        return ()

    def check_numbering(self, recording: Recording, frames: Collection[int]) -> None:
        """Note what was left aside."""
        if self._aside:
            self._meet("frames left aside, since others show the same; these would be read by", self._aside)
        for clip in self._odd:
            self._meet("rows whose action units are not numbers, which are not labelled with any", clip)
        if _APEX not in self._clips[recording.title][PHASE].values():
            self._meet("clips without an apex, and so without action units", recording.title)

    def _choose_images(self) -> None:
        sets: dict[str, dict[tuple[str, str], Recording]] = {"raw": {}, "cropped": {}}
        for (subject, clip), recording in self._pictures.items():
            recording.video = clip.removesuffix(_CROPPED)
            sets["cropped" if clip.endswith(_CROPPED) else "raw"][subject, recording.video] = recording
        there = [kind for kind, found in sets.items() if found]
        wanted = self.setting[1] if self.setting is not None else there[0]
        if wanted not in there:
            raise self.missing(f"what {self.adapter}/images={wanted} asks for")
        self._pictures = sets[wanted]
        self._aside = ", ".join(f"{self.adapter}/images={kind}:PATH" for kind in there if kind != wanted)


def _units_of(text: str) -> set[int] | None:
    """The action units that a cell names; None where it holds something else."""
    found = [_UNIT.fullmatch(part.strip()) for part in text.split("+")]
    return {int(unit[1]) for unit in found if unit is not None} if all(found) else None


def _labels_of(
    row: Mapping[str, str], units: set[int] | None, coded: Sequence[int]
) -> dict[str, dict[int, int]]:
    """Label -> frame -> level of one clip; nothing where its row names no frame."""
    phases = {int(row[column]): phase for column, phase in _FRAMES.items() if _FRAME.fullmatch(row[column])}
    apex = [frame for frame, phase in phases.items() if phase == _APEX]
    named = coded if units is not None else ()
    labels = {f"AU{unit}": dict.fromkeys(apex, int(unit in (units or ()))) for unit in named}
    return {label: levels for label, levels in {PHASE: phases, **labels}.items() if levels}
