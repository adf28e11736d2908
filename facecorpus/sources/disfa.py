"""DISFA: 27 people watching a video clip, 4,845 frames of each, from the right and the left; intensities.

`ActionUnit_Labels/SN001/SN001_au1.txt` holds lines `frame,intensity`, the frames counted from 1, the same for
both cameras.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from facecorpus.sources.archives import VIDEO
from facecorpus.sources.codings import INTENSITY, Levels, read_levels
from facecorpus.sources.labelled import Labelled
from facecorpus.sources.recordings import Recording

AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
_VIDEO = re.compile(rf"(left|right)video(sn\d{{3}})_comp{VIDEO}", re.IGNORECASE)
_LABELS = re.compile(r"(sn\d{3})_au(\d+)\.txt", re.IGNORECASE)


class DISFA(Labelled):
    """Videos of either camera, or of both, and the folder of labels."""

    adapter = "disfa"

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

    def read(self, files: Mapping[str, str]) -> dict[str, Levels]:
        """A file for each action unit."""
        return {label: read_levels(url, INTENSITY) for label, url in files.items()}

    def expected(self) -> Collection[str]:
        """The 12 action units of the release."""
        return [f"AU{unit}" for unit in AUS]
