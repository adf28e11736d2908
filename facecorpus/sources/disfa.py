"""DISFA: 27 people watching a video clip, 4,845 frames of each, from the right and the left; intensities.

`ActionUnit_Labels/SN001/SN001_au1.txt` holds lines `frame,intensity`, the frames counted from 1, the same for
both cameras. Frames are those of the videos, counted from 1; or pictures that somebody extracted:
`RightVideoSN001/frame_1.jpg` (FMAE), `img/SN001/0.png` (ME-GraphAU, AUNCE), `Images/Left/SN001/1.png`.

The numbering trap: ME-GraphAU calls the first frame 0, the labels call it 1, and code that joins both by name
trains every frame on its neighbour's labels. All pictures together tell which it is: from 0, where one is
called 0 and none like the last annotated frame; from 1, where none is called 0 and one is called like that
frame or later. Else the setting `picture_0` must say it.

A folder that names no camera is taken for the left one: ME-GraphAU's authors say that theirs is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.sources.archives import VIDEO, Member
from facecorpus.sources.codings import INTENSITY, Levels, read_levels
from facecorpus.sources.labelled import PICTURE_0, Labelled
from facecorpus.sources.recordings import PICTURE, Recording
from facecorpus.sources.source import adapter

AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
_FLAGS = re.IGNORECASE | re.ASCII
_VIDEO = re.compile(rf"(left|right)video(sn\d{{3}})_comp{VIDEO}", _FLAGS)
_PICTURE = re.compile(
    rf"((?:.*/)?(?:(left|right)video)?(sn\d{{3}})(?:_comp)?)/((?:frame_?)?(\d{{1,9}}){PICTURE})", _FLAGS
)
_CAMERA = re.compile(r"left|right", _FLAGS)
_PLUS = re.compile(r"Tr(?:ai|ia)lNo", _FLAGS)
_LABELS = re.compile(r"(sn\d{3})_au(\d{1,3})\.txt", _FLAGS)


@adapter("disfa")
class DISFA(Labelled):
    """Videos of either camera, or of both, or pictures of their frames; and the folder of labels."""

    settings = PICTURE_0

    def sort(self, path: str, size: int) -> bool:
        """By name; of a picture by the names of its folders too."""
        name = PurePosixPath(path).name
        if video := _VIDEO.fullmatch(name):
            self.add_video(video[2].upper(), video[1].lower(), path)
        elif picture := _PICTURE.fullmatch(path):
            named = [picture[2]] if picture[2] else _CAMERA.findall(picture[1])
            camera = named[-1].lower() if named else "left"
            member = Member(picture[4], -1, size)
            self.add_picture(picture[3].upper(), camera, int(picture[5]), picture[1], member)
        elif labels := _LABELS.fullmatch(name):
            self.add_labels(labels[1].upper(), f"AU{int(labels[2])}", path)
        else:
            return False
        return True

    def settle(self) -> None:
        """Number the pictures as the labels do."""
        if not (labelled := [r for r in self._pictures.values() if r.subject in self.labels]):
            return
        last, where = max(self._last_frame(recording.subject) for recording in labelled)
        lowest = min(min(recording.pictures) for recording in labelled)
        highest = max(max(recording.pictures) for recording in labelled)
        if self.setting is not None:
            from_0 = self.setting[1] == "frame_1"
        elif (lowest == 0) == (highest < last):
            from_0 = lowest == 0
        else:
            raise self._ask(lowest, highest, f"{last} ({where})")
        for recording in labelled if from_0 else []:
            recording.renumber(1)

    def about(self, recording: Recording) -> str:
        """The person: both cameras share the labels."""
        return recording.subject

    def read(self, what: str, url: str) -> dict[str, Levels]:
        """A file for each action unit."""
        return {what: read_levels(url, INTENSITY)}

    def takes_for(self, paths: Sequence[str]) -> str | None:
        """DISFA+, perhaps."""
        if any(_PLUS.search(path) for path in paths):
            return (
                "these are the trials of DISFA+, another data set; give them as "
                f"disfa_plus:{self.location}, or below it"
            )
        return super().takes_for(paths)

    def check_numbering(self, recording: Recording, frames: Collection[int]) -> None:
        """Note pictures that were numbered anew, and those whose camera no name tells."""
        if recording.shift:
            self._meet("pictures that count from 0, taken for the frames from 1 on", recording.title)
        if not _CAMERA.search(recording.container):
            self._meet("pictures of no named camera, taken for the left one", recording.title)

    def expected(self) -> Collection[str]:
        """The 12 action units of the release."""
        return [f"AU{unit}" for unit in AUS]

    def _last_frame(self, subject: str) -> tuple[int, str]:
        """The last frame that a person's first file of labels tells of, and that file."""
        what, path = min(self.labels[subject].items())
        (levels,) = self.read(what, storage.join(self.location, path)).values()
        return max(levels, default=0), path

    def _ask(self, lowest: int, highest: int, last: str) -> UserError:
        return UserError(
            f"{self.location}: pictures are called {lowest} to {highest} and the last annotated frame is "
            f"{last}, so whether they count from 0 or from 1 is not sure, and one off every frame would get "
            "its neighbour's labels; say in --sources which it is: " + self.ways_to_say("picture_0")
        )
