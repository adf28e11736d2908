"""Sources whose inputs are the annotated frames of recordings."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record, label_order
from facecorpus.sources.archives import (
    Container,
    InputError,
    Member,
    VideoContainer,
    is_archive_name,
    is_video_name,
    printable,
)
from facecorpus.sources.codings import Levels, counted_from_one, is_blank
from facecorpus.sources.facts import facts
from facecorpus.sources.recordings import Recording, claims_picture, listed
from facecorpus.sources.source import Part, Source, lies_there

_OTHERS = 1000
PICTURE_0: Mapping[str, Mapping[str, str]] = {
    "picture_0": {
        "frame_1": "pictures count from 0 and labels from 1",
        "frame_0": "a picture is called by the number of its frame in the labels",
    }
}
"""The setting of data sets of which some copies number pictures from 0 and labels from 1."""


class Labelled(Source):
    """A data set of annotated recordings, found by the names of its files at any depth.

    An adapter sorts the files by their names and reads the labels; frames are counted, compared and listed
    here. Frames that are annotated but not there are inputs all the same, so that the ledger has them.
    """

    recipe = "au"
    whole: ClassVar[bool] = True
    """Whether each label tells of a recording's frames up to the last that is annotated."""

    def __init__(self, name: str, location: str, cache: str | None = None) -> None:
        super().__init__(name, location, cache)
        self._stamps: dict[str, str] = {}
        self._videos: dict[tuple[str, str], Recording] = {}
        self._pictures: dict[tuple[str, str], Recording] = {}
        self.labels: dict[str, dict[str, str]] = {}
        """What was handed to `add_labels`: what the labels are about -> what a file holds -> its path."""
        self._others: list[str] = []
        """The first pictures, videos and archives that the adapter took for nothing of the data set."""
        self._met: defaultdict[str, dict[str, None]] = defaultdict(dict[str, None])

    @abstractmethod
    def sort(self, path: str, size: int) -> bool:
        """Hand a file to `add_video`, `add_picture` or `add_labels`; whether it belongs to the data set."""

    @abstractmethod
    def about(self, recording: Recording) -> str:
        """The name under which the labels of a recording were added."""

    @abstractmethod
    def read(self, what: str, url: str) -> dict[str, Levels]:
        """Label -> frame -> level, from a file and what it holds (as added)."""

    @abstractmethod
    def expected(self) -> Collection[str]:
        """Labels that every recording should have; a note says where one is missing."""

    def part(self, recording: Recording) -> str | None:
        """The data set's own split that a recording is of."""
        return None

    def settle(self) -> None:
        """Runs once, when all files are sorted and recordings and labels are there: the place to see what
        only all of them together tell."""

    def check_numbering(self, recording: Recording, frames: Collection[int]) -> None:
        """Refuse pictures whose numbers are not surely those of the annotated frames (`UserError`)."""

    def takes_for(self, paths: Sequence[str]) -> str | None:
        """What a place without a recording seems to be, from the files there that were not sorted."""
        pictures = [path for path in paths if claims_picture(path) or is_video_name(path)]
        if pictures:
            return f"no picture or video there is called as the adapter expects (there is {listed(pictures)})"
        if paths:
            return f"the archive {paths[0]} is not read in place; unpack it"
        return None

    def add_video(self, subject: str, video: str, path: str) -> None:
        """A video was found."""
        held = self._videos.setdefault((subject, video), Recording(subject, video, path))
        if held.container != path:
            raise self._twice(held.container, path, f"the recording {held.title}")

    def add_picture(
        self, subject: str, video: str, frame: int, container: str, member: Member, shift: int = 0
    ) -> None:
        """A picture of a frame was found; it is called by the frame's number less `shift`."""
        held = self._pictures.setdefault((subject, video), Recording(subject, video, container, shift=shift))
        if held.container != container or frame in held.pictures:
            before = storage.join(held.container, held.member(frame).path)
            after = storage.join(container, member.path)
            raise self._twice(before, after, f"the recording {held.title}, frame {frame}")
        held.pictures[frame] = member

    def add_labels(self, about: str, what: str, path: str) -> None:
        """A file of labels was found: the recordings it is about, and what it holds."""
        held = self.labels.setdefault(about, {}).setdefault(what, path)
        if held != path:
            raise self._twice(held, path, f"{what} of {about}")

    def parts(self) -> Sequence[Part]:
        """The videos, and the folders and archives of pictures."""
        return [Part(name) for name in sorted({recording.container for recording in self._recordings()})]

    def stamps(self) -> dict[str, str]:
        """A stamp of every file that is a recording or holds labels."""
        self._recordings()
        return self._stamps | ({"/setting": "=".join(self.setting)} if self.setting else {})

    def open(self, container: str, under: str = "") -> Container:
        """A video, told by its name so that a damaged one costs its own frames alone; else any container."""
        if is_video_name(container):
            return VideoContainer(storage.join(self.location, container))
        return super().open(container, under)

    def inventory(self, repeated: frozenset[int] = frozenset()) -> Iterator[Record]:
        """Every annotated frame exactly once, by person, recording and number, so that no id repeats."""
        del repeated
        self.notes.clear()
        self._met.clear()
        left_out = 0
        recordings = self._recordings()
        for recording in recordings:
            coding = self._coding(recording)
            annotated = sorted(set[int]().union(*coding.values()))
            left_out += self._compare(recording, annotated)
            for frame in annotated:
                labels = {label: levels[frame] for label, levels in coding.items() if frame in levels}
                yield self._frame(recording, frame, labels)
        for key in sorted(self._videos.keys() & self._pictures.keys()):
            self._meet("videos left aside, since their frames are there as pictures", self._videos[key].title)
        for about in sorted(self.labels.keys() - {self.about(recording) for recording in recordings}):
            self._meet("labels without a recording", about)
            if cause := self.takes_for(self._others):
                self._meet("perhaps the reason for that", cause)
        if left_out:
            self.notes.append(f"{left_out:,} frames are not annotated, and are no inputs")
        self.notes += [f"{what}: {listed(list(names))}" for what, names in sorted(self._met.items())]

    def _frame(self, recording: Recording, frame: int, labels: dict[str, int]) -> Record:
        member = recording.member(frame)
        return Record(
            id=f"{self.name}/{recording.id(frame)}",
            source=self.name,
            container=recording.container,
            member=member.path,
            offset=member.offset,
            bytes=member.bytes,
            identity=recording.subject,
            split=self.part(recording),
            video=recording.video,
            frame=frame,
            labels=labels,
        )

    def _recordings(self) -> list[Recording]:
        """By person, then video; where there are pictures, the video is left aside."""
        if not self._stamps:
            self._stamps = self._sort_files()
        found = self._videos | self._pictures
        if not found or not self.labels:
            raise self._incomplete(found)
        return [found[key] for key in sorted(found)]

    def _sort_files(self) -> dict[str, str]:
        """Sort all files; returns the stamps of those that belong to the data set."""
        if not storage.is_dir(self.location):
            raise self.missing("a folder of recordings")
        stamps: dict[str, str] = {}
        for raw, size, stamp in storage.walk_files(self.location):
            path = printable(raw)
            if self.sort(path, size):
                stamps[path] = stamp
            elif len(self._others) < _OTHERS and _may_hold_pictures(path):
                self._others.append(path)
        if self.labels and (self._videos or self._pictures):
            self.settle()
        return stamps

    def _incomplete(self, found: Mapping[tuple[str, str], Recording]) -> UserError:
        """The error for a place without recordings or without labels: first what is there."""
        if found:
            first = found[min(found)]
            there = f"recordings ({first.title} in {first.container or 'it'}) but no file of labels"
        elif self.labels:
            about = min(self.labels)
            there = f"labels ({next(iter(self.labels[about].values()))}) but no recording"
        else:
            there = "neither recordings nor labels"
        cause = None if found else self.takes_for(self._others)
        return UserError(
            f"{self.location} holds {there} of {facts()[self.adapter].title}: "
            f"{cause or lies_there(self.location)}; {self.layout_hint()}"
        )

    def _coding(self, recording: Recording) -> dict[str, Levels]:
        """The labels of a recording; those of a video with frames counted from 1."""
        about = self.about(recording)
        coding: dict[str, Levels] = {}
        blank: dict[str, str] = {}
        for what, path in self.labels.get(about, {}).items():
            url = storage.join(self.location, path)
            found = {label: levels for label, levels in self.read(what, url).items() if levels}
            if not found and is_blank(url):
                blank[what] = f" ({PurePosixPath(path).name} is empty; copy it again)"
            coding |= found
        if not coding:
            why = next(iter(blank.values()), "")
            self._meet("recordings without labels, which are left out", f"{recording.title}{why}")
            return coding
        for label in self.expected():
            if label not in coding:
                self._meet(f"no labels of {label}", f"{about}{blank.get(label, '')}")
        if recording.pictures:
            self.check_numbering(recording, set[int]().union(*coding.values()))
        else:
            if any(0 in levels for levels in coding.values()):
                self._meet("labels that count frames from 0, renumbered from 1", about)
            coding = counted_from_one(coding)
        last = {label: max(levels) for label, levels in coding.items()}
        for label in sorted(last, key=label_order):
            if self.whole and last[label] < max(last.values()):
                self._meet(
                    "labels that end before others, as in a file cut short",
                    f"{label} of {about} ends at frame {last[label]}, others at {max(last.values())}",
                )
        return coding

    def _compare(self, recording: Recording, annotated: Sequence[int]) -> int:
        """Note annotated frames that are not there; returns the number of frames that are not annotated."""
        if not annotated:
            return 0
        if recording.pictures:
            there = recording.pictures.keys()
        else:
            try:
                with VideoContainer(storage.join(self.location, recording.container)) as video:
                    packets = video.packets
            except InputError as error:
                self._meet(
                    f"all {len(annotated)} annotated frames fail, because {error}", recording.container
                )
                return 0
            there = set(packets.numbers)
            if there and max(there) < packets.frames:
                self._meet(
                    "videos that hold fewer frames than they say: look whether labels and pictures agree",
                    f"{recording.title} ({max(there):,} of {packets.frames:,})",
                )
        absent = sum(frame not in there for frame in annotated)
        if absent:
            self._meet("annotated frames that are not there", f"{absent:,} of {recording.title}")
        return len(there) - (len(annotated) - absent)

    def ways_to_say(self, setting: str) -> str:
        """What to type for each value of a setting, and when."""
        return " or ".join(
            f"{self.adapter}/{setting}={value}:PATH if {meaning}"
            for value, meaning in self.settings[setting].items()
        )

    def _meet(self, what: str, name: str) -> None:
        self._met[what][name] = None

    def _twice(self, first: str, second: str, what: str) -> UserError:
        places = " and ".join(storage.join(self.location, path) for path in (first, second))
        return UserError(f"{places} are both {what}; keep one of them below {self.location}")


def _may_hold_pictures(path: str) -> bool:
    return claims_picture(path) or is_video_name(path) or is_archive_name(path)
