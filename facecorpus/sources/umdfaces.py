"""UMDFaces (stills): whole photographs in three batches, with a table of faces for each.

Numbers of people begin anew in each batch, so a person is called BATCH/NUMBER. Several rows may be about one
photograph: each is a face, told by its box. Of the 21 points those are taken that mark eyes, nose and mouth
corners, where the table calls all of them visible; the others are guesses of a network's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.annotations import Annotations, read_columns
from facecorpus.sources.archives import Container
from facecorpus.sources.base import Member, Part, Source, adapter
from facecorpus.sources.layouts import part_named, record_part
from facecorpus.sources.several import GivenFace, a_record_each
from facecorpus.sources.sidecars import member_bytes
from facecorpus.sources.texts import read_bytes

_BATCHES = ("umdfaces_batch1", "umdfaces_batch2", "umdfaces_batch3")
_POINTS = (8, 11, 15, 18, 20)
"""Eyes, nose and mouth corners among the 21, counted from 1."""
_COLUMNS = (
    "SUBJECT_ID",
    *("FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT"),
    *(f"P{point}{axis}" for point in _POINTS for axis in "XY"),
    *(f"VIS{point}" for point in _POINTS),
)


@adapter("umdfaces")
class UMDFaces(Source):
    """`umdfaces_batch1.tar.gz`, ..., or the folders they unpack to; or InsightFace's `train.rec`."""

    def parts(self) -> Sequence[Part]:
        """The batches that are there, else the RecordIO."""
        found = [part for batch in _BATCHES if (part := part_named(self, batch)) is not None]
        if not found and (records := record_part(self)) is not None:
            return [records]
        if not found:
            raise self.missing(f"{_BATCHES[0]}.tar.gz, or the folder {_BATCHES[0]},")
        return found

    def annotation_files(self) -> Sequence[str]:
        """The tables that lie beside archives; those in a batch's folder or archive go with it."""
        return [path for batch in _BATCHES if (path := self.first_of(f"{batch}_ultraface.csv"))]

    def load_annotations(self) -> None:
        """Read the table of each batch, and note which is missing."""
        self._tables: dict[str, Annotations] = {}
        for batch in _BATCHES:
            part = part_named(self, batch)
            if part is None:
                continue
            if (table := self._table(batch, part)) is not None:
                self._tables[batch] = table
            else:
                self.notes.append(f"without {batch}_ultraface.csv faces are not told apart in {batch}")

    def members(self, container: Container) -> Iterator[Member]:
        """All but the tables."""
        return (m for m in container.members() if not m.path.lower().endswith("_ultraface.csv"))

    def annotate(self, record: Record, member: Member) -> None:
        """The folder's name, or the label in the RecordIO; the table says more."""
        record.identity = member.label or PurePosixPath(member.path).parent.name or None
        if (photo := self._photo(record)) is not None:
            record.photo_id = "/".join(photo)

    def faces(self, record: Record) -> Sequence[Record]:
        """One for each row of the table."""
        batch, name = self._photo(record) or ("", "")
        table = self._tables.get(batch)
        return a_record_each(record, [_face(batch, row) for row in table.rows(name)] if table else [])

    def why_nobody(self) -> str | None:
        """The paths."""
        return "no picture lies in a person's folder"

    def finish(self) -> None:
        """Note rows without photographs and photographs without rows."""
        self.notes.extend(note for table in self._tables.values() if (note := table.note()))

    def _photo(self, record: Record) -> tuple[str, str] | None:
        """Batch, and name in its table, of a photograph."""
        path = PurePosixPath(record.member)
        where = f"{record.container}/{record.member}"
        batch = next((batch for batch in _BATCHES if batch in where), None)
        return (batch, f"{path.parent.name}/{path.name}") if batch is not None else None

    def _table(self, batch: str, part: Part) -> Annotations | None:
        name = f"{batch}_ultraface.csv"
        if (path := self.first_of(f"{batch}/{name}", f"{batch}/{batch}/{name}", name)) is not None:
            url = storage.join(self.location, path)
            return read_columns(url, read_bytes(url), "FILE", _COLUMNS)
        found = member_bytes(self, part, lambda member: member.endswith(name))
        return None if found is None else read_columns(*found, "FILE", _COLUMNS)


def _face(batch: str, row: Sequence[float]) -> GivenFace:
    subject, x, y, width, height, *rest = row
    points, visible = tuple(rest[:10]), rest[10:]
    return GivenFace(
        f"{batch.removeprefix('umdfaces_')}/{int(subject)}",
        (x, y, x + width, y + height) if width > 0 and height > 0 else None,
        points if min(visible) > 0 else None,
    )
