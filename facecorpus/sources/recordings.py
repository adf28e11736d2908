"""A recording of a person: a video, or a picture for each frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from facecorpus.sources.archives import Member, frame_name

PICTURE = r"\.(?:jpe?g|png|bmp|tiff?|webp)"
"""How the names of pictures of frames end, as a regular expression that ignores case."""
_NAMED = 5


@dataclass(slots=True)
class Recording:
    """One video of one person, or the pictures made of it."""

    subject: str
    video: str
    """Camera, task, trial or clip."""
    container: str
    """The video; or the folder or archive that holds the pictures."""
    pictures: dict[int, Member] = field(default_factory=dict[int, Member])
    """Frame -> picture; empty for a video."""
    shift: int = 0
    """Frame less the number that its picture is called by."""
    _like: str = ""
    """The first picture's path, as which one that is missing would be called."""

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.subject} {self.video}"

    def member(self, frame: int) -> Member:
        """Where a frame is in the container; one without a picture, where its picture would be."""
        if not self.pictures:
            return Member(frame_name(self.container, frame), -1, 0)
        if frame in self.pictures:
            return self.pictures[frame]
        if not self._like:
            self._like = min(member.path for member in self.pictures.values())
        like = PurePosixPath(self._like)
        before = like.stem.rstrip("0123456789")
        number = like.stem[len(before) :]
        digits = len(number) if number.startswith("0") else 1
        return Member(str(like.with_stem(f"{before}{frame - self.shift:0{digits}d}")), -1, 0)

    def renumber(self, shift: int) -> None:
        """Let the pictures show the frames `shift` behind the numbers that they are called by."""
        self.pictures = {number + shift: member for number, member in self.pictures.items()}
        self.shift = shift

    def id(self, frame: int) -> str:
        """Id of a frame within its source."""
        path = self.member(frame).path
        return f"{self.subject}/{self.video}/{PurePosixPath(path).name}" if self.pictures else path


def claims_picture(path: str) -> bool:
    """Whether a file is called like a picture."""
    return re.search(f"{PICTURE}$", path, re.IGNORECASE) is not None


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    >>> listed(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
