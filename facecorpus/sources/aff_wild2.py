"""Aff-Wild2, as the ABAW challenges give it: videos of people in the wild, action units and expressions.

`AU_Detection_Challenge/Train_Set/VIDEO.txt` has the names of the action units in its first line and then a
line of 0, 1 or -1 (not annotated) for each frame; `EXPR_Classification_Challenge/.../VIDEO.txt` one class in
each line: 0 neutral, 1 anger, 2 disgust, 3 fear, 4 happiness, 5 sadness, 6 surprise, 7 other, -1. The first
line behind the names is about frame 1, which is `cropped_aligned/VIDEO/00001.jpg`. Frames without a face have
no picture there and keep their numbers; frames of which nothing is annotated are no inputs.

Traps. The challenges divide the videos differently: one that trains action units may validate expressions.
The split of a frame is that of the action units where there are some; `aff_wild2/labels=expression:PATH`
reads expressions alone, with theirs. Labels called `VIDEO_left` or `VIDEO_right` are of one of two people in
the video; in a whole video it is not said which face is meant, so such videos are only read from
`cropped_aligned`. Who is shown is published for no video: each is taken for a person of its own, though some
show the same.

Not checked on the real data: that all copies name their folders so (older challenges say AU_Set, EXPR_Set and
Training_Set, which are read as well). Valence and arousal are not read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from facecorpus.sources.archives import VIDEO, Member
from facecorpus.sources.codings import MISSING, OCCURRENCE, Levels, read_classes, read_table, where_coded
from facecorpus.sources.labelled import Labelled
from facecorpus.sources.recordings import PICTURE, Recording, listed
from facecorpus.sources.source import adapter

AUS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
EXPRESSIONS = range(8)
_FLAGS = re.IGNORECASE | re.ASCII
_VIDEO = re.compile(rf"(.+){VIDEO}", _FLAGS)
_PICTURE = re.compile(rf"((?:.*/)?([^/]+))/((\d{{1,9}}){PICTURE})", _FLAGS)
_LABELS = re.compile(r"(?:.*/)?(au|expr)_[^/]*/(train|valid)[^/]*/([^/]+)\.txt", _FLAGS)
_ONE_OF_TWO = re.compile(r"(.+)_(?:left|right)", _FLAGS)
_HOLDS = {"au": "occurrences", "expr": "expression"}
_SPLITS = {"train": "train", "valid": "val"}


@adapter("aff_wild2")
class AffWild2(Labelled):
    """`cropped_aligned`, or videos; and the annotations of action units, of expressions, or of both."""

    whole = False
    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "labels": {
            "au": "action units alone are to be read",
            "expression": "expressions alone are to be read, with the split of their challenge",
        }
    }

    def __init__(self, name: str, location: str, cache: str | None = None) -> None:
        super().__init__(name, location, cache)
        self._splits: dict[str, dict[str, str]] = {}
        """What is labelled -> what a file holds -> the split that it lies in."""
        self._of_two: list[str] = []
        """Videos that were left aside, since they show two annotated people."""

    def sort(self, path: str, size: int) -> bool:
        """Labels by their folders, pictures by theirs, videos by name."""
        if labels := _LABELS.fullmatch(path):
            kind, name = labels[1].lower(), labels[3]
            if self.setting is not None and not self.setting[1].startswith(kind):
                return False
            self.add_labels(name, _HOLDS[kind], path)
            self._splits.setdefault(name, {})[_HOLDS[kind]] = _SPLITS[labels[2].lower()]
        elif picture := _PICTURE.fullmatch(path):
            member = Member(picture[3], -1, size)
            self.add_picture(picture[2], _shown_in(picture[2]), int(picture[4]), picture[1], member)
        elif video := _VIDEO.fullmatch(PurePosixPath(path).name):
            self.add_video(video[1], video[1], path)
        else:
            return False
        return True

    def settle(self) -> None:
        """Leave videos of two people aside."""
        for name in sorted({_shown_in(name) for name in self.labels if _shown_in(name) != name}):
            if self._videos.pop((name, name), None) is not None:
                self._of_two.append(name)

    def part(self, recording: Recording) -> str | None:
        """The split of its action units, else of its expressions."""
        splits = self._splits[recording.subject]
        return splits.get(_HOLDS["au"]) or splits.get(_HOLDS["expr"])

    def about(self, recording: Recording) -> str:
        """The video, or one of the two people in it."""
        return recording.subject

    def read(self, what: str, url: str) -> dict[str, Levels]:
        """The frames of which something is annotated."""
        if what == _HOLDS["expr"]:
            return {what: where_coded({0: read_classes(url, {*EXPRESSIONS, -1})})[0]}
        table = where_coded(read_table(url, {}, OCCURRENCE | MISSING, numbered=False))
        return {f"AU{unit}": levels for unit, levels in table.items()}

    def expected(self) -> Collection[str]:
        """None: a video may take part in one challenge alone."""
        return ()

    def takes_for(self, paths: Sequence[str]) -> str | None:
        """Two people in a video, of whom the labels mean one."""
        if self._of_two:
            return (
                f"of two people in a video it is not said who is labelled ({listed(self._of_two)}); "
                "give cropped_aligned"
            )
        return super().takes_for(paths)


def _shown_in(name: str) -> str:
    """The video in which a labelled person is seen."""
    return of_two[1] if (of_two := _ONE_OF_TWO.fullmatch(name)) else name
