"""CelebA, aligned and cropped (178 x 218), as its authors or Kaggle publish it.

`list_bbox_celeba` and `list_landmarks_celeba` refer to the images in the wild, not to the aligned ones, and
are not read. Every annotation file only enriches: what is missing is noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.annotations import Annotations, read_listing
from facecorpus.sources.base import Member, Part, Source, adapter

_IMAGES = "img_align_celeba"
_SPLITS = ("train", "val", "test")
# file, number of values, their type, what is lost without it
_FILES = {
    "identity": ("identity_CelebA", 1, int, "who is shown is not known"),
    "points": ("list_landmarks_align_celeba", 10, float, "the landmarks are not known"),
    "split": ("list_eval_partition", 1, int, "the split is not known"),
}


@adapter("celeba")
class CelebA(Source):
    """`Img/img_align_celeba.zip`, or the folder it unpacks to, and the text files (Kaggle: CSV) beside it."""

    def parts(self) -> Sequence[Part]:
        """The zip, or the folder; the members' paths are the same."""
        if not storage.is_dir(self.location):
            return [Part("")]
        for above in ("Img", ""):
            archive = storage.join(above, f"{_IMAGES}.zip")
            if self.first_of(archive):
                return [Part(archive)]
        for above in (_IMAGES, "Img", f"Img/{_IMAGES}", ""):
            if self.first_of(storage.join(above, _IMAGES)):
                return [Part(above, _IMAGES)]
        raise self.missing(f"Img/{_IMAGES}.zip")

    def annotation_files(self) -> Sequence[str]:
        """Those of the three files that are there."""
        return [path for path in map(self._file, _FILES) if path is not None]

    def load_annotations(self) -> None:
        """Read the files, and note which are missing."""
        self._annotations: dict[str, Annotations] = {}
        for what, (stem, columns, kind, lost) in _FILES.items():
            path = self._file(what)
            if path is not None:
                url = storage.join(self.location, path)
                self._annotations[what] = read_listing(url, columns, kind)
            else:
                self.notes.append(f"without {stem}.txt (from CelebA's page) {lost}")

    def annotate(self, record: Record, member: Member) -> None:
        """Identity, split and aligned landmarks by file name."""
        stem = PurePosixPath(member.path).stem
        rows = {what: annotations.row(stem) for what, annotations in self._annotations.items()}
        if identity := rows.get("identity"):
            record.identity = str(identity[0])
        if split := rows.get("split"):
            record.split = _SPLITS[split[0]] if 0 <= split[0] < len(_SPLITS) else None
        if points := rows.get("points"):
            record.given_points_px = points

    def why_nobody(self) -> str | None:
        """The names; a missing file is noted already."""
        return "identity_CelebA names no picture that is there" if "identity" in self._annotations else None

    def finish(self) -> None:
        """Note rows without inputs and inputs without rows."""
        self.notes.extend(note for a in self._annotations.values() if (note := a.note()))

    def _file(self, what: str) -> str | None:
        stem = _FILES[what][0]
        return self.first_of(
            *(f"{above}{stem}{ext}" for above in ("Anno/", "Eval/", "") for ext in (".txt", ".csv"))
        )
