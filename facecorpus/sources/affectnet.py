"""AffectNet: the release of 2017 (photographs, with lists) and that of 2021 (crops, with arrays beside).

2017: `Manually_Annotated_Images/12/HASH.jpg`, of which `training.csv` and `validation.csv` tell (some copies
lack their header), and `Automatically_Annotated_Images` with `automatically_annotated.csv`. 2021:
`train_set/images/12.jpg` with `train_set/annotations/12_exp.npy`, `_val`, `_aro`, `_lnd`.

What was annotated automatically is a split of its own, `automatic`: no benchmark trains on it unasked.

Expression 10 (Non-Face) is no face: those pictures are left out. 8 (None) and 9 (Uncertain) are faces of no
certain expression: they are kept, with that as their label. Arrays with pickles in them are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from facecorpus.record import Record
from facecorpus.sources.affectnet_rows import UNKNOWN, Arrays, read_lists
from facecorpus.sources.annotations import Annotations
from facecorpus.sources.archives import Container
from facecorpus.sources.base import InputError, Member, Part, Source, adapter
from facecorpus.sources.layouts import part_named

_LISTS = {
    "Manually_Annotated": {"training.csv": "train", "validation.csv": "val"},
    "Automatically_Annotated": {"automatically_annotated.csv": "automatic"},
}
_SETS = {"train_set": "train", "val_set": "val"}
_SPLITS = ("train", "val", "automatic")
_UNRATED = -2
"""AffectNet's own valence and arousal of what could not be rated."""
_NON_FACE = 10
_EXPRESSIONS = range(_NON_FACE)
_BESIDE = re.compile(r"(?:.*/)?annotations/(\d{1,6})_(exp|val|aro|lnd)\.npy")


@adapter("affectnet")
class AffectNet(Source):
    """The folders, or archives of them; any one suffices."""

    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "validation": {"left_out": "the validation set is to be left out, to be tested on"}
    }

    def parts(self) -> Sequence[Part]:
        """The sets of either release, as far as they are there."""
        old = [part_named(self, f"{name}_Images", "", name) or part_named(self, name) for name in _LISTS]
        new = [part_named(self, name) for name in _SETS]
        if not (parts := [part for part in (*old, *new) if part is not None]):
            raise self.missing("Manually_Annotated_Images or train_set")
        return parts

    def annotation_files(self) -> Sequence[str]:
        """The lists that are there."""
        return [path for about in _LISTS for path, _ in self._lists(about)]

    def load_annotations(self) -> None:
        """Read the lists."""
        self._rows: dict[str, Annotations] = {}
        self._arrays = Arrays()
        self._non_faces = self._unread = 0
        for about in _LISTS:
            if lists := self._lists(about):
                self._rows[about] = read_lists(
                    self.location, [(path, _SPLITS.index(split)) for path, split in lists]
                )

    def members(self, container: Container) -> Iterator[Member]:
        """The pictures; of the release of 2021 after the arrays that tell of them were read."""
        pictures: list[Member] = []
        self._arrays = Arrays()
        for member in container.members():
            if PurePosixPath(member.path).name.lower().endswith(".csv"):
                continue
            if (found := _BESIDE.fullmatch(member.path)) is not None:
                self._arrays.add(int(found[1]), found[2], self._bytes(container, member))
            elif "/images/" in member.path:
                pictures.append(member)
            else:
                yield member
        self._unread += self._arrays.unread
        yield from pictures

    def annotate(self, record: Record, member: Member) -> None:
        """Split, expression, valence, arousal, box and landmarks, by list or arrays."""
        path = PurePosixPath(member.path)
        place = f"{record.container}/{member.path}"
        if about := next((name for name in self._rows if name in place), None):
            row = self._rows[about].row(f"{path.parent.name}/{path.stem}")
            if row is None:
                return
            record.split = _SPLITS[int(row[0])]
            x, y, width, height = row[1:5]
            if width > 0 and height > 0 and UNKNOWN not in (x, y):
                record.given_box_xyxy_px = (x, y, x + width, y + height)
            self._fill(record, row[5:])
        elif split := next((split for name, split in _SETS.items() if name in place), None):
            record.split = split
            number = int(path.stem) if path.stem.isascii() and path.stem.isdigit() else -1
            if (row := self._arrays.row(number)) is not None:
                self._fill(record, row)
        if record.split == "val" and self.setting == ("validation", "left_out"):
            record.left_out = "it belongs to AffectNet's validation set, which is kept to be tested on"

    def finish(self) -> None:
        """Note what is left out, what could not be read, and what does not match."""
        if self._non_faces:
            self.notes.append(f"{self._non_faces:,} pictures are Non-Face (expression 10): left out")
        if self._unread:
            self.notes.append(f"{self._unread:,} files of annotations are no plain arrays: not read")
        self.notes.extend(note for rows in self._rows.values() if (note := rows.note()))

    def _fill(self, record: Record, row: Sequence[float]) -> None:
        """Expression, valence, arousal and ten numbers of points."""
        expression, valence, arousal = row[:3]
        if expression == _NON_FACE:
            self._non_faces += 1
            record.left_out = "AffectNet calls it Non-Face (expression 10)"
            record.given_box_xyxy_px = None
            return
        if expression in _EXPRESSIONS:
            record.labels = {"expression": int(expression)}
        rated = {"valence": valence, "arousal": arousal}
        record.given_values = {k: float(v) for k, v in rated.items() if v > _UNRATED} or None
        if UNKNOWN not in row[3:]:
            record.given_points_px = tuple(row[3:])

    def _lists(self, about: str) -> list[tuple[str, str]]:
        """(path, split) of the lists that tell of a folder."""
        above = ("", f"{about}_file_lists/", f"{about}_Images/", f"{about}/")
        found = {name: self.first_of(*(f"{folder}{name}" for folder in above)) for name in _LISTS[about]}
        return [(path, _LISTS[about][name]) for name, path in found.items() if path]

    def _bytes(self, container: Container, member: Member) -> bytes:
        try:
            return container.read(member)
        except InputError:
            return b""
