"""RAF-DB, basic expressions: `Image/original` or `Image/aligned`, and `EmoLabel/list_patition_label.txt`.

Both show the same faces, so one is read. Labels are RAF-DB's own: 1 surprise, 2 fear, 3 disgust, 4 happiness,
5 sadness, 6 anger, 7 neutral. Copies without the list have a folder for each label (Kaggle's).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.annotations import Annotations, read_listing
from facecorpus.sources.base import Member, Part, Source, adapter
from facecorpus.sources.layouts import chosen, part_named, whole

_LISTS = tuple(
    f"{above}{name}.txt"
    for above in ("EmoLabel/", "basic/EmoLabel/", "")
    for name in ("list_patition_label", "list_partition_label")  # the first is how the authors spell it
)
_NAME = re.compile(r"((train|test)_\d+)(?:_aligned)?")
_LABELS = range(1, 8)


@adapter("rafdb")
class RAFDB(Source):
    """`basic` or its content, in folders or zips; or any folders called by the labels."""

    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "images": {
            "original": "the photographs are to be read",
            "aligned": "the aligned faces of 100 x 100 are to be read",
        }
    }

    def parts(self) -> Sequence[Part]:
        """The photographs, else the aligned faces; else everything there."""
        above = ("Image", "basic/Image", "")
        sets = {name: part_named(self, name, *above) for name in ("original", "aligned")}
        found = {name: part for name, part in sets.items() if part is not None}
        return [chosen(self, "images", found, "the same faces")] if found else whole(self)

    def annotation_files(self) -> Sequence[str]:
        """The list, where it is there."""
        path = self.first_of(*_LISTS)
        return [path] if path else []

    def load_annotations(self) -> None:
        """Read the list."""
        self._list: Annotations | None = None
        self._unlabelled = 0
        for path in self.annotation_files():
            self._list = read_listing(storage.join(self.location, path), 1, int)

    def annotate(self, record: Record, member: Member) -> None:
        """Split by the name; the label by the list, else by the folder."""
        path = PurePosixPath(member.path)
        name = _NAME.fullmatch(path.stem)
        if name is None:
            return
        record.split = name[2]
        row = self._list.row(name[1]) if self._list is not None else None
        folder = int(path.parent.name) if path.parent.name in map(str, _LABELS) else 0
        label = row[0] if row is not None else folder if self._list is None else 0
        if label in _LABELS:
            record.labels = {"expression": int(label)}
        else:
            self._unlabelled += 1

    def finish(self) -> None:
        """Note pictures without a label, and rows without a picture."""
        if self._unlabelled:
            self.notes.append(f"{self._unlabelled:,} pictures have no label (list_patition_label.txt)")
        if self._list is not None and (note := self._list.note()):
            self.notes.append(note)
