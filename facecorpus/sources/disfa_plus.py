"""DISFA+: nine people of DISFA who pose action units and expressions in trials; 12 intensities.

`Images/SN001/A1_AU1_TrailNo_1/000.jpg` (Trail is how the release spells it), and for each trial
`Labels/SN001/A1_AU1_TrailNo_1/AU1.txt` with lines `000.jpg 0` below two others. Pictures and labels have the
same names, so there is no numbering to settle. Copies that nest `SN001/SN001` are read too.

The identity trap: SN001 here is SN001 of DISFA. Who trains on DISFA+ and tests on DISFA tests on people that
were trained on.

Not checked on the real data: what the two lines above hold (what names no picture is passed over there).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from facecorpus.sources.archives import Member
from facecorpus.sources.codings import INTENSITY, Levels, read_named_levels
from facecorpus.sources.disfa import AUS
from facecorpus.sources.labelled import Labelled
from facecorpus.sources.recordings import PICTURE, Recording
from facecorpus.sources.source import adapter

_FLAGS = re.IGNORECASE | re.ASCII
_ABOVE = r"((?:.*/)?(sn\d{3})(?:/\2)?/([^/]*tr(?:ai|ia)lno[^/]*))"
_PICTURE = re.compile(rf"{_ABOVE}/(\d{{1,9}}){PICTURE}", _FLAGS)
_LABELS = re.compile(rf"{_ABOVE}/au(\d{{1,3}})\.txt", _FLAGS)


@adapter("disfa_plus")
class DISFAPlus(Labelled):
    """The folders of pictures and of labels."""

    def sort(self, path: str, size: int) -> bool:
        """By the names of the person's and the trial's folders."""
        if picture := _PICTURE.fullmatch(path):
            member = Member(path[len(picture[1]) + 1 :], -1, size)
            self.add_picture(picture[2].upper(), picture[3], int(picture[4]), picture[1], member)
        elif labels := _LABELS.fullmatch(path):
            self.add_labels(f"{labels[2].upper()} {labels[3]}", f"AU{int(labels[4])}", path)
        else:
            return False
        return True

    def about(self, recording: Recording) -> str:
        """The person and the trial."""
        return recording.title

    def read(self, what: str, url: str) -> dict[str, Levels]:
        """A file for each action unit."""
        return {what: read_named_levels(url, INTENSITY)}

    def expected(self) -> Collection[str]:
        """The 12 action units of the release."""
        return [f"AU{unit}" for unit in AUS]
