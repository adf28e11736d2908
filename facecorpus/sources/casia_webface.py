"""CASIA-WebFace: folders of one person each (IMDb numbers), an archive of them, or InsightFace's RecordIO.

Several copies are about, with and without the people it shares with LFW; a note says which one it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Member, Part, Source, adapter
from facecorpus.sources.layouts import record_part, whole

_COPIES = {
    (10_575, 494_414): "the original release",
    (10_572, 490_623): "InsightFace's copy, without three of the people in LFW",
    (10_591, 500_452): "a copy with more people than the original release",
}


@adapter("casia_webface")
class CasiaWebFace(Source):
    """One folder `0000045/001.jpg`, ..., one archive, or `train.rec`."""

    def parts(self) -> Sequence[Part]:
        """The RecordIO file, else an archive that lies alone, else the folder."""
        return whole(self)

    def annotation_files(self) -> Sequence[str]:
        """InsightFace's `property` file, which says how many people there are."""
        found = record_part(self)
        path = found and self.first_of(f"{found.container.removesuffix('train.rec')}property")
        return [path] if path else []

    def load_annotations(self) -> None:
        """Start counting."""
        self._people: set[str] = set()
        self._images = 0

    def annotate(self, record: Record, member: Member) -> None:
        """The folder's name, or the label in the RecordIO."""
        if member.label is None and PurePosixPath(member.path).name == "train.rec":
            place = storage.join(self.location, record.container)
            raise UserError(
                f"{place} holds {member.path}, and a RecordIO is not read inside another archive; unpack it, "
                f"and give the folder: {self.adapter}:FOLDER"
            )
        record.identity = member.label or PurePosixPath(member.path).parent.name or None
        if record.identity is not None:
            self._people.add(record.identity)
            self._images += 1

    def why_nobody(self) -> str | None:
        """The paths."""
        return "no picture lies in a person's folder"

    def finish(self) -> None:
        """Note which copy it is."""
        copy = _COPIES.get((len(self._people), self._images), "neither the original nor InsightFace's copy")
        self.notes.append(f"{self._images:,} images of {len(self._people):,} people: {copy}")
