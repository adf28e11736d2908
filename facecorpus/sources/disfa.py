"""DISFA: 27 people watching a video clip, 4,845 frames of each, from the right and the left; intensities.

`ActionUnit_Labels/SN001/SN001_au1.txt` holds lines `frame,intensity`, the frames counted from 1, the same for
both cameras.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from facecorpus.sources.archives import VIDEO
from facecorpus.sources.codings import INTENSITY, Levels, read_levels
from facecorpus.sources.labelled import Labelled
from facecorpus.sources.recordings import Recording, claims_picture
from facecorpus.sources.source import adapter

AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
_VIDEO = re.compile(rf"(left|right)video(sn\d{{3}})_comp{VIDEO}", re.IGNORECASE | re.ASCII)
_PLUS = re.compile(r"Tr(?:ai|ia)lNo", re.IGNORECASE | re.ASCII)
_LABELS = re.compile(r"(sn\d{3})_au(\d{1,3})\.txt", re.IGNORECASE | re.ASCII)


@adapter("disfa")
class DISFA(Labelled):
    """Videos of either camera, or of both, and the folder of labels."""

    def sort(self, path: str, size: int) -> bool:
        """By name: `RightVideoSN001_comp.avi`, `SN001_au1.txt`."""
        name = PurePosixPath(path).name
        if video := _VIDEO.fullmatch(name):
            self.add_video(video[2].upper(), video[1].lower(), path)
        elif labels := _LABELS.fullmatch(name):
            self.add_labels(labels[1].upper(), f"AU{int(labels[2])}", path)
        else:
            return False
        return True

    def about(self, recording: Recording) -> str:
        """The person: both cameras share the labels."""
        return recording.subject

    def read(self, what: str, url: str) -> dict[str, Levels]:
        """A file for each action unit."""
        return {what: read_levels(url, INTENSITY)}

    def takes_for(self, paths: Sequence[str]) -> str | None:
        """DISFA+, or frames that somebody extracted."""
        if any(_PLUS.search(path) for path in paths):
            return "these are the trials of DISFA+, another data set, which no adapter reads"
        if pictures := [path for path in paths if claims_picture(path)]:
            return (
                f"it holds frames that were extracted ({pictures[0]}), and whether they count from 0 or 1 is "
                "not known; give the folder with the videos as released"
            )
        return super().takes_for(paths)

    def expected(self) -> Collection[str]:
        """The 12 action units of the release."""
        return [f"AU{unit}" for unit in AUS]
