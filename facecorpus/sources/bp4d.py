"""BP4D: 41 people in 8 tasks; occurrence of action units in the annotated part of each, and five intensities.

`AU_OCC/F001_T1.csv` has a line for each annotated frame; `AU_INT/AU06/F001_T1_AU06.csv` holds lines
`frame,level`. Frames are pictures `F001/T1/2440.jpg`, called by their number, in folders or in a zip for each
person; or those of a video, counted from 1. Some copies number pictures from 0 and labels from 1: where
pictures begin with 0 and labels do not, the setting `picture_0` must say which frame that picture shows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from facecorpus.errors import UserError
from facecorpus.record import label_order
from facecorpus.sources.archives import VIDEO, Member
from facecorpus.sources.codings import INTENSITY, OCCURRENCE, UNKNOWN, Levels, read_levels, read_table
from facecorpus.sources.labelled import PICTURE_0, Labelled
from facecorpus.sources.recordings import PICTURE, Recording
from facecorpus.sources.source import adapter

AUS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
"""Action units of the detection benchmarks."""
_OCCURRENCE = "occurrences"

_FLAGS = re.IGNORECASE | re.ASCII
_PERSON, _TASK = r"([fm]\d{3})", r"(t\d)"
_VIDEO = re.compile(rf"{_PERSON}_{_TASK}{VIDEO}", _FLAGS)
_NUMBERED = re.compile(rf"2([fm])(\d\d)_(\d\d|t\d){VIDEO}", _FLAGS)
_TASKS = {"01": "T1", "03": "T2", "07": "T3", "08": "T4", "09": "T5", "10": "T6", "11": "T7", "13": "T8"}
"""Number of a video -> task."""
_PICTURE = re.compile(rf"(?:.*/)?{_PERSON}/{_TASK}/(\d{{1,9}}){PICTURE}", _FLAGS)
_ZIP = re.compile(rf"{_PERSON}\.zip", _FLAGS)
_ZIPPED = re.compile(rf"(?:.*/)?{_TASK}/(\d{{1,9}}){PICTURE}", _FLAGS)
_TABLE = re.compile(rf"{_PERSON}_{_TASK}\.csv", _FLAGS)
_ONE_UNIT = re.compile(rf"{_PERSON}_{_TASK}_au(\d{{1,3}})\.csv", _FLAGS)


@adapter("bp4d")
class BP4D(Labelled):
    """Pictures, zips of them, or videos; `AU_OCC`, and `AU_INT` where it is there."""

    settings = PICTURE_0
    columns: ClassVar[Mapping[int, int]] = {column: column for column in range(1, 100)}
    """Column of the occurrence table -> action unit, where its first line does not name them."""

    def sort(self, path: str, size: int) -> bool:
        """By name; of a picture by the names of its two folders too."""
        name = PurePosixPath(path).name
        if video := _VIDEO.fullmatch(name):
            self.add_video(video[1].upper(), video[2].upper(), path)
        elif (video := _NUMBERED.fullmatch(name)) and (task := _task(video[3])):
            self.add_video(f"{video[1].upper()}0{video[2]}", task, path)
        elif picture := _PICTURE.fullmatch(path):
            above, member = path[: picture.start(1)].rstrip("/"), path[picture.start(1) :]
            subject, task, frame = picture[1].upper(), picture[2].upper(), int(picture[3])
            self._add_picture(subject, task, frame, above, Member(member, -1, size))
        elif archive := _ZIP.fullmatch(name):
            self._add_archive(archive[1].upper(), path)
        elif labels := _TABLE.fullmatch(name):
            self.add_labels(f"{labels[1]} {labels[2]}".upper(), _OCCURRENCE, path)
        elif labels := _ONE_UNIT.fullmatch(name):
            self.add_labels(f"{labels[1]} {labels[2]}".upper(), f"AU{int(labels[3])}_intensity", path)
        else:
            return False
        return True

    def about(self, recording: Recording) -> str:
        """The person and the task."""
        return recording.title

    def read(self, what: str, url: str) -> dict[str, Levels]:
        """One table of occurrences, and a file for each intensity."""
        if what != _OCCURRENCE:
            return {what: read_levels(url, INTENSITY | {UNKNOWN})}
        table = read_table(url, self.columns, OCCURRENCE | {UNKNOWN})
        return {f"AU{unit}": levels for unit, levels in table.items()}

    def expected(self) -> Collection[str]:
        """The 12 action units of the detection benchmark, and every intensity that some recording has."""
        intensities = {what for files in self.labels.values() for what in files} - {_OCCURRENCE}
        return [*(f"AU{unit}" for unit in AUS), *sorted(intensities, key=label_order)]

    def check_numbering(self, recording: Recording, frames: Collection[int]) -> None:
        """Refuse to guess which frame a picture called 0 is."""
        shown = recording.pictures.keys()
        if self.setting is not None or not frames or 0 not in shown or 0 in frames:
            return
        raise UserError(
            f"{self.location}: pictures of {recording.title} are called {min(shown)} to {max(shown)} and its "
            f"labels are of frames {min(frames)} to {max(frames)}: if pictures begin with 0 and labels "
            "with 1, every label would be one picture late; say in --sources which it is: "
            + self.ways_to_say("picture_0")
        )

    def _add_picture(self, subject: str, task: str, number: int, container: str, member: Member) -> None:
        shift = int(self.setting == ("picture_0", "frame_1"))
        self.add_picture(subject, task, number + shift, container, member, shift)

    def _add_archive(self, subject: str, path: str) -> None:
        with self.open(path) as archive:
            for member in archive.members():
                if picture := _ZIPPED.fullmatch(member.path):
                    self._add_picture(subject, picture[1].upper(), int(picture[2]), path, member)


def _task(number: str) -> str | None:
    """Task that a video shows, by its number in the release or by name; None where it is not one of the 8."""
    return _TASKS.get(number, number.upper() if number.upper().startswith("T") else None)
