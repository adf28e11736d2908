"""CelebA as its authors, Drive or Kaggle give it: aligned (JPEG or PNG), or the photographs in the wild.

All three show the same faces, so one is read. Each annotation file is of the one or the other:
`list_landmarks_align_celeba` is of the aligned pictures, `list_bbox_celeba` and `list_landmarks_celeba` are
of the photographs, on which others may stand around the one who is named. Every file only enriches: what is
missing is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.annotations import Annotations, read_listing
from facecorpus.sources.archives import Container
from facecorpus.sources.base import Member, Part, Source, adapter
from facecorpus.sources.layouts import chosen, part_named, tables
from facecorpus.sources.parquet import split_of

_SETS = {"aligned": "img_align_celeba", "png": "img_align_celeba_png", "wild": "img_celeba"}
_SPLITS = ("train", "val", "test")
# file, number of values, their type, what is lost without it
_FILES = {
    "identity": ("identity_CelebA", 1, int, "who is shown is not known"),
    "points": ("list_landmarks_align_celeba", 10, float, "the landmarks are not known"),
    "split": ("list_eval_partition", 1, int, "the split is not known"),
}
_WILD = {
    "points": ("list_landmarks_celeba", 10, float, "the landmarks are not known"),
    "box": ("list_bbox_celeba", 4, float, "it is not known which face of a photograph is meant"),
}


@adapter("celeba")
class CelebA(Source):
    """`Img/img_align_celeba.zip`, PNGs or photographs in parts of 7z, or folders of them; and text files."""

    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "pictures": {
            "aligned": "the aligned JPEGs are to be read (img_align_celeba)",
            "png": "the aligned PNGs are to be read (img_align_celeba_png)",
            "wild": "the photographs are to be read (img_celeba)",
        }
    }

    def parts(self) -> Sequence[Part]:
        """One of the three sets; archive and folder have the same paths."""
        if not storage.is_dir(self.location):
            return [Part("")]
        found: dict[str, Part] = {}
        for key, name in _SETS.items():  # Kaggle repeats the folder's name; Drive gives parts in a folder
            if part := part_named(self, name, name, f"Img/{name}", "Img", f"Img/{name}.7z", ""):
                found[key] = part
        if not found and (parquet := tables(self)):
            return parquet
        if not found:
            raise self.missing(f"Img/{_SETS['aligned']}.zip")
        return [chosen(self, "pictures", found, "the same faces")]

    def annotation_files(self) -> Sequence[str]:
        """Those of the files that are there."""
        return [path for stem, *_ in self._files().values() if (path := self._file(stem)) is not None]

    def load_annotations(self) -> None:
        """Read the files, and note which are missing."""
        self._annotations: dict[str, Annotations] = {}
        for what, (stem, columns, kind, lost) in self._files().items():
            if (path := self._file(stem)) is not None:
                url = storage.join(self.location, path)
                self._annotations[what] = read_listing(url, columns, kind)
            else:
                self.notes.append(f"without {stem}.txt (from CelebA's page) {lost}")

    def members(self, container: Container) -> Iterator[Member]:
        """All but text files among the pictures, as in Kaggle's one zip."""
        return (m for m in container.members() if not m.path.lower().endswith(".csv"))

    def annotate(self, record: Record, member: Member) -> None:
        """Identity, split, landmarks and box by file name."""
        record.identity, record.split = member.label, split_of(record.container)
        stem = PurePosixPath(member.path).stem
        rows = {what: annotations.row(stem) for what, annotations in self._annotations.items()}
        if identity := rows.get("identity"):
            record.identity = str(identity[0])
        if split := rows.get("split"):
            record.split = _SPLITS[split[0]] if 0 <= split[0] < len(_SPLITS) else None
        if points := rows.get("points"):
            record.given_points_px = points
        if box := rows.get("box"):
            x, y, width, height = box
            record.given_box_xyxy_px = (x, y, x + width, y + height) if min(width, height) > 0 else None

    def why_nobody(self) -> str | None:
        """The names; a missing file is noted already."""
        return "identity_CelebA names no picture that is there" if "identity" in self._annotations else None

    def finish(self) -> None:
        """Note rows without inputs and inputs without rows."""
        self.notes.extend(note for a in self._annotations.values() if (note := a.note()))

    def _files(self) -> Mapping[str, tuple[str, int, type, str]]:
        part = self.parts()[0]
        if part.container.endswith(".parquet"):  # Hugging Face's copy holds who is shown
            return {}
        place = storage.join(self.location, part.container, part.under)
        wild = place.rfind(_SETS["wild"]) > place.rfind(_SETS["aligned"])
        return _FILES | _WILD if wild else _FILES

    def _file(self, stem: str) -> str | None:
        return self.first_of(
            *(f"{above}{stem}{ext}" for above in ("Anno/", "Eval/", "") for ext in (".txt", ".csv"))
        )
