"""GFT, the Sayette Group Formation Task: 96 people who talk, three at a table; occurrence, a minute of each.

A person is called by the group and the seat, `001A`. There is a video `001A.mp4` of each, or pictures of its
frames `001A/1.jpg`; a table `001A.csv` has a line for each annotated frame, with the frame's number first and
a column for each action unit, named in its first line: 1 present, 0 absent, 9 or -999 not coded. Frames in
which nothing is coded are no inputs; where something is, all codes are kept.

The published partition trains on 78 people and tests on 18 (all of a group on one side); a list of either,
`train.txt` and `test.txt` with a person in each line, becomes the split of their frames.

Not checked on the real data: the names of files and columns, and which of the codes 9 and -999 occur (the
authors publish the annotations at osf.io/7wcyz, which could not be reached). Intensities are not read.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath

from facecorpus import storage
from facecorpus.sources.archives import VIDEO, Member
from facecorpus.sources.codings import MISSING, OCCURRENCE, Levels, read_table, where_coded
from facecorpus.sources.labelled import Labelled
from facecorpus.sources.recordings import PICTURE, Recording
from facecorpus.sources.source import adapter
from facecorpus.sources.texts import read_text

AUS = (1, 2, 4, 6, 10, 12, 14, 15, 23, 24)
"""Action units of the detection benchmark."""
_FLAGS = re.IGNORECASE | re.ASCII
_PERSON = r"(\d{3}[abc])"
_VIDEO = re.compile(rf"{_PERSON}{VIDEO}", _FLAGS)
_PICTURE = re.compile(rf"((?:.*/)?{_PERSON})/((?:frame_?)?(\d{{1,9}}){PICTURE})", _FLAGS)
_TABLE = re.compile(rf"{_PERSON}\.csv", _FLAGS)
_PART = re.compile(r"(train|test)(?:ing)?\.txt", _FLAGS)


@adapter("gft")
class GFT(Labelled):
    """Videos, or pictures of their frames; a table for each person; lists of both parts, if there are any."""

    def __init__(self, name: str, location: str, cache: str | None = None) -> None:
        super().__init__(name, location, cache)
        self._parts: dict[str, str] = {}

    def sort(self, path: str, size: int) -> bool:
        """By name; of a picture by that of its folder too."""
        name = PurePosixPath(path).name
        if video := _VIDEO.fullmatch(name):
            self.add_video(video[1].upper(), _group(video[1]), path)
        elif picture := _PICTURE.fullmatch(path):
            member = Member(picture[3], -1, size)
            self.add_picture(picture[2].upper(), _group(picture[2]), int(picture[4]), picture[1], member)
        elif labels := _TABLE.fullmatch(name):
            self.add_labels(labels[1].upper(), "occurrences", path)
        elif part := _PART.fullmatch(name):
            people = read_text(storage.join(self.location, path)).split()
            self._parts |= dict.fromkeys(map(str.upper, people), part[1].lower())
        else:
            return False
        return True

    def part(self, recording: Recording) -> str | None:
        """Training or testing, as the lists say."""
        return self._parts.get(recording.subject)

    def about(self, recording: Recording) -> str:
        """The person."""
        return recording.subject

    def read(self, what: str, url: str) -> dict[str, Levels]:
        """A column for each action unit."""
        table = where_coded(read_table(url, {}, OCCURRENCE | MISSING))
        return {f"AU{unit}": levels for unit, levels in table.items()}

    def expected(self) -> Collection[str]:
        """The action units of the benchmark."""
        return [f"AU{unit}" for unit in AUS]


def _group(person: str) -> str:
    """The three who talked together; what the recording of a person is called."""
    return person[:3]
