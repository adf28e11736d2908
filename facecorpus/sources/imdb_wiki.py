"""IMDB-WIKI: photographs (`imdb_0.tar` ... `imdb_9.tar`, `wiki.tar.gz`) or crops (`imdb_crop.tar`,
`wiki_crop.tar`), or the folders they unpack to, with what `imdb.mat` and `wiki.mat` tell of them.

A path says who it is and which photograph: `08/nm0000008_rm2517339648_1924-4-3_1990.jpg`; one photograph
stands under several people. Boxes count from 1 and are those of the photographs, not of the crops. A face
score of -inf means that the authors found no face: the box is then the whole picture, and is not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.annotations import Annotations
from facecorpus.sources.archives import ARCHIVE_ENDINGS, Container
from facecorpus.sources.base import Member, Part, Source, adapter
from facecorpus.sources.imdb_wiki_rows import NO_FACE, NOT_SAID, read_mat
from facecorpus.sources.layouts import part_named
from facecorpus.sources.texts import read_bytes

_SETS = ("imdb", "wiki")
_PERSON = re.compile(r"(?:.*/)?(\d\d/((nm\d+|\d+)_(?:(rm\d+)_)?.*))\.\w+", re.DOTALL)


@adapter("imdb_wiki")
class IMDBWiki(Source):
    """Photographs or crops of either part; where both are there, the photographs."""

    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "faces": {
            "found": "pictures without a face, by the authors' score, are to be left out",
            "one": "pictures without a face or with a second one, by the authors' scores, are to be left out",
        }
    }

    def parts(self) -> Sequence[Part]:
        """For IMDb and Wikipedia, what is there of each."""
        if not storage.is_dir(self.location):
            return [Part("")]
        parts = [part for name in _SETS for part in self._of(name)]
        if parts:
            return parts
        if self.first_of(*(f"{n:02d}" for n in range(100))):
            return [Part("")]
        raise self.missing("imdb_crop.tar")

    def _of(self, name: str) -> list[Part]:
        """The photographs, else the crops, of one part."""
        numbered = [part_named(self, f"{name}_{n}") for n in range(10)]
        found = [part for part in (part_named(self, name), *numbered) if part is not None]
        crops = part_named(self, f"{name}_crop")
        if found and crops is not None:
            said = f"left aside, as the photographs are there: {name}_crop"
            self.notes += [said] if said not in self.notes else []
        return found or ([crops] if crops is not None else [])

    def annotation_files(self) -> Sequence[str]:
        """The `.mat` files, or the archives of them, that lie beside the pictures' archives."""
        found = (self._mat(name) for name in _SETS)
        return [path for path in found if path is not None]

    def load_annotations(self) -> None:
        """Read the `.mat` files, from wherever they are."""
        self._rows: dict[str, Annotations] = {}
        self._without: set[str] = set()
        self._counts = {"no face": 0, "second": 0}
        archives = [part.container for part in self.parts() if not part.under]
        for path in (*self.annotation_files(), *archives):
            url = storage.join(self.location, path)
            if path.endswith(".mat"):
                name = PurePosixPath(path).stem
                self._rows[name] = read_mat(url, name, read_bytes(url))
            elif not storage.is_dir(url):
                self._find_in(path)

    def members(self, container: Container) -> Iterator[Member]:
        """All but the `.mat` files."""
        return (member for member in container.members() if not member.path.lower().endswith(".mat"))

    def annotate(self, record: Record, member: Member) -> None:
        """Person and photograph by the path, the rest by the `.mat`."""
        found = _PERSON.fullmatch(member.path)
        if found is None:
            return
        record.identity, record.photo_id = found[3], found[4]
        name = "imdb" if found[3].startswith("nm") else "wiki"
        if name not in self._rows:
            self._without.add(name)
        elif (row := self._rows[name].row(found[1])) is not None:
            above = self.location.rstrip("/").rpartition("/")[2]
            self._fill(record, row, is_crop="_crop" in f"{above}/{record.container}/{member.path}")

    def finish(self) -> None:
        """Note how many faces the authors found, and what does not match."""
        if any(self._counts.values()):
            self.notes.append(
                f"by the authors' scores, {self._counts['no face']:,} pictures show no face and "
                f"{self._counts['second']:,} a second one; imdb_wiki/faces=one:PATH leaves them out"
            )
        self.notes += [
            f"without {name}.mat the authors' face scores and boxes are not known"
            for name in sorted(self._without)
        ]
        self.notes.extend(note for rows in self._rows.values() if (note := rows.note()))

    def _fill(self, record: Record, row: Sequence[float], *, is_crop: bool) -> None:
        *box, score, second, gender, taken, born = row
        values = {"face_score": -np.inf if score == NO_FACE else score, "second_face_score": second}
        values |= {"gender": gender, "photo_taken": taken}
        if NOT_SAID not in (taken, born):
            values["age"] = taken - born
        record.given_values = {k: float(v) for k, v in values.items() if v != NOT_SAID}
        seen, several = score > NO_FACE, second > NO_FACE
        self._counts["no face"] += not seen
        self._counts["second"] += several
        if seen and not is_crop and box[2] > box[0] and box[3] > box[1]:
            record.given_box_xyxy_px = (box[0] - 1, box[1] - 1, box[2] - 1, box[3] - 1)
        if self.setting and not seen:
            record.left_out = "its authors found no face in it (face score -inf)"
        elif self.setting == ("faces", "one") and several:
            record.left_out = "its authors found a second face in it"

    def _mat(self, name: str) -> str | None:
        plain = (f"{name}.mat", f"{name}/{name}.mat", f"{name}_crop/{name}.mat", f"meta/{name}.mat")
        packed = (f"{name}_meta{ending}" for ending in ARCHIVE_ENDINGS)
        return self.first_of(*plain, *packed) if storage.is_dir(self.location) else None

    def _find_in(self, path: str) -> None:
        """Read the `.mat` files that an archive holds, unless they are read already."""
        last = storage.join(self.location, path).rpartition("/")[2]
        wanted = [name for name in _SETS if last.startswith(name)] or _SETS
        if all(name in self._rows for name in wanted):
            return
        with self.open(path) as container:
            for member in container.members():
                name = PurePosixPath(member.path).stem
                if member.path.endswith(".mat") and name in wanted and name not in self._rows:
                    url = storage.join(container.url, member.path)
                    self._rows[name] = read_mat(url, name, container.read(member))
