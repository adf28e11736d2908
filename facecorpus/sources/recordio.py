"""InsightFace's and MXNet's RecordIO files, of any data set: `train.rec` with `.idx`, `.lst` and `property`.

The numbers of people are those in the records; a `.lst` beside gives those that the records' 32-bit floats
cannot hold. Its paths, boxes and landmarks are those of the photographs that the pictures were cut from, and
are not read. The evaluation sets beside (`lfw.bin`, ...) are pickles, which are never opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.archives import Container
from facecorpus.sources.base import Member, Part, Source, adapter, listed
from facecorpus.sources.texts import read_text

_EXACT = 1 << 24
"""Whole numbers from here on are not exact in 32-bit floats."""


@adapter("recordio")
class RecordIO(Source):
    """Every `.rec` below a folder, or one alone."""

    ids_name_containers = True

    def parts(self) -> Sequence[Part]:
        """The `.rec` files, by their paths."""
        if not storage.is_dir(self.location):
            return [Part("")]
        names = [path for path, _, _ in storage.walk_files(self.location)]
        records = [name for name in names if name.lower().endswith(".rec")]
        if not records:
            raise self.missing("a .rec file")
        return [Part(name) for name in records]

    def annotation_files(self) -> Sequence[str]:
        """The lists and `property` files beside the `.rec` files."""
        if not storage.is_dir(self.location):
            return []
        found = [
            name for part in self.parts() for name in (_list_of(part.container), _property(part.container))
        ]
        return sorted({name for name in found if storage.exists(storage.join(self.location, name))})

    def load_annotations(self) -> None:
        """Start counting."""
        self._several = len(self.parts()) > 1
        self._people: set[str] = set()
        self._inexact = 0

    def members(self, container: Container) -> Iterator[Member]:
        """The records with a picture; the list that goes with them is read when a label needs it."""
        self._url, self._place = container.url, -1
        self._labels: npt.NDArray[np.int64] | None = None
        self._before: str | None = None
        people = len(self._people)
        yield from container.members()
        self._compare(len(self._people) - people)

    def annotate(self, record: Record, member: Member) -> None:
        """Who is shown: the record's number, or the list's; with several files, each has its own numbers."""
        self._place += 1
        label = member.label
        if label is None:
            self._inexact += 1
            label = self._listed(self._place)
        self._before = label
        if label is not None:
            above = str(PurePosixPath(record.container).with_suffix("")) if self._several else ""
            record.identity = storage.join(above, label)
            self._people.add(record.identity)

    def why_nobody(self) -> str | None:
        """The labels."""
        return "no record has a whole number as its label, and no .lst gives one"

    def finish(self) -> None:
        """Say how many people there are, and what was left aside."""
        if self._inexact:
            self.notes.append(
                f"{self._inexact:,} labels are no whole numbers below {_EXACT:,}, beyond which a record's "
                "32-bit float is not exact; those that a .lst gives were taken from it"
            )
        names = storage.list_dir(self.location) if storage.is_dir(self.location) else []
        if aside := [name for name in names if name.endswith(".bin")]:
            self.notes.append(f"left aside, as they are pickles, which are never opened: {listed(aside)}")

    def _listed(self, place: int) -> str | None:
        """The label that the `.lst` gives the picture at a place, counting from 0."""
        if self._labels is None:
            url = _list_of(self._url)
            self._labels = read_list(url) if storage.exists(url) else np.empty(0, np.int64)
            before = self._labels[place - 1 : place]
            if place and self._before is not None and before.size and str(before[0]) != self._before:
                self._labels = self._labels[:0]
                self.notes.append(f"{url} is not read: its lines do not go with the records")
        label = int(self._labels[place]) if place < len(self._labels) else -1
        return str(label) if label >= 0 else None

    def _compare(self, people: int) -> None:
        """Look whether there are as many people as the `property` file says."""
        url = _property(self._url)
        if not storage.exists(url):
            return
        said = read_text(url).partition(",")[0].strip()
        if said.isascii() and said.isdigit() and int(said) != people:
            self.notes.append(
                f"{url} says {int(said):,} people; there are {people:,}: a part, or another copy"
            )


def read_list(url: str) -> npt.NDArray[np.int64]:
    """Labels of a `.lst`, line by line; -1 where a line has none.

    InsightFace's lines are `aligned, path, label, ...`, im2rec's `number, label, path`, tabs between.
    """
    labels: list[int] = []
    for line in read_text(url).splitlines():
        fields = line.split("\t")
        found = next((field for field in reversed(fields[1:3]) if _is_whole(field)), None)
        labels.append(int(float(found)) if found is not None else -1)
    return np.array(labels, dtype=np.int64)


def _is_whole(field: str) -> bool:
    whole, dot, rest = field.strip().partition(".")
    return whole.isascii() and whole.isdigit() and len(whole) < 16 and not (dot and rest.strip("0"))


def _list_of(url: str) -> str:
    return f"{url[:-4] if url.lower().endswith('.rec') else url}.lst"


def _property(url: str) -> str:
    above = url.rpartition("/")[0]
    return storage.join(above, "property") if above else "property"
