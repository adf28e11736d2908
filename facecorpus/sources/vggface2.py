"""VGGFace2: loosely cropped faces, one folder per person, as published (two tar.gz) or unpacked.

`train/n000002/0001_01.jpg` is face 01 of photograph 0001 of person n000002; photographs are numbered within a
person. Boxes and landmarks are in pixels of the loose crop, may be negative, and only enrich. Copies with
`train` and `val` are about, whose `val` holds people of the test set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.annotations import Annotations, read_numbers
from facecorpus.sources.base import Member, Part, Source, adapter, is_archive_name, listed
from facecorpus.sources.layouts import record_part

_FACE = re.compile(r"(?:.*/)?(?P<key>(?P<person>n\d+)/(?P<photo>\d+)_\d+)\.\w+")
_SPLIT = re.compile(r"(?:^|[/_])(train|test|val)[/.]")
_SPLITS = ("train", "test", "val")
_COLUMNS = {"bb": 4, "landmark": 10}
_ANNOTATED = {"train": "train", "test": "test", "val": "test"}
"""Split -> the one whose annotation files tell of it."""


_BESIDE = frozenset(("bb_landmark", "bb_landmark.tar.gz", "meta", "data"))


@adapter("vggface2")
class VGGFace2(Source):
    """`vggface2_train.tar.gz` and `vggface2_test.tar.gz`, or folders `train`, `test`, `val`; one suffices."""

    def parts(self) -> Sequence[Part]:
        """The training set, then the others, as far as they are there."""
        parts = [part for split in _SPLITS if (part := self._part(split)) is not None]
        if not parts and (records := record_part(self)) is not None:
            return [records]
        if not parts and not self._has_people():
            raise self.missing("vggface2_train.tar.gz")
        return parts or [Part("")]

    def _part(self, split: str) -> Part | None:
        stems = (f"vggface2_{split}", f"data/vggface2_{split}")
        archive = self.first_of(
            *(stem + ext for stem in stems for ext in (".tar.gz", ".tgz", ".tar", ".zip"))
        )
        if archive is not None:
            return Part(archive)
        for above in ("", "data", *stems):
            if self.first_of(storage.join(above, split)):
                return Part(above, split)
        return None

    def annotation_files(self) -> Sequence[str]:
        """Those of the box and landmark files that are there."""
        splits = sorted(set(_ANNOTATED.values()))
        return [path for what in _COLUMNS for split in splits if (path := self._file(what, split))]

    def load_annotations(self) -> None:
        """Read the files of the splits that are there, and note which are missing."""
        self._annotations: dict[tuple[str, str], Annotations] = {}
        for split in sorted({_ANNOTATED[split] for split in _SPLITS if self._part(split)}, reverse=True):
            for what, columns in _COLUMNS.items():
                path = self._file(what, split)
                if path is not None:
                    self._annotations[what, split] = read_numbers(storage.join(self.location, path), columns)
                else:
                    wanted = f"bb_landmark/loose_{what}_{split}.csv"
                    self.notes.append(f"{wanted} (in VGGFace2's bb_landmark.tar.gz) is not there")

    def annotate(self, record: Record, member: Member) -> None:
        """All from the path; box and landmarks by the last two parts of it."""
        if split := _SPLIT.search(f"{record.container}/{member.path}"):
            record.split = split[1]
        face = _FACE.fullmatch(member.path)
        if face is None:
            record.identity = member.label
            return
        record.identity = face["person"]
        record.photo_id = f"{face['person']}/{face['photo']}"
        if box := self._row("bb", record.split, face["key"]):
            x, y, width, height = box
            record.given_box_xyxy_px = (x, y, x + width, y + height)
        record.given_points_px = self._row("landmark", record.split, face["key"])

    def why_nobody(self) -> str | None:
        """The paths."""
        return "no path is of the form n000002/0001_01.jpg"

    def finish(self) -> None:
        """Note rows without inputs and inputs without rows, and folders that were not read."""
        if any(self._part(split) for split in _SPLITS):
            used = {
                name for part in self.parts() for name in (part.under, *part.container.split("/")) if name
            }
            others = [name.rstrip("/") for name in storage.list_dir(self.location) if _may_hold_people(name)]
            if aside := [name for name in others if name not in used | _BESIDE]:
                said = f"left aside, since only {', '.join(_SPLITS)} are read: {listed(aside)}"
                self.notes.append(said)
        self.notes.extend(note for a in self._annotations.values() if (note := a.note()))

    def _has_people(self) -> bool:
        """Whether the location is an archive, or has people's folders itself, in no split (as on Kaggle)."""
        if not storage.is_dir(self.location):
            return True
        return any(re.fullmatch(r"n\d{6}/", name) for name in storage.list_dir(self.location))

    def _row(self, what: str, split: str | None, key: str) -> tuple[float, ...] | None:
        annotations = self._annotations.get((what, _ANNOTATED.get(split or "", "")))
        return annotations.row(key) if annotations is not None else None

    def _file(self, what: str, split: str) -> str | None:
        name = f"loose_{what}_{split}.csv"
        return self.first_of(f"bb_landmark/{name}", f"meta/{name}", name)


def _may_hold_people(name: str) -> bool:
    return name.endswith("/") or is_archive_name(name)
