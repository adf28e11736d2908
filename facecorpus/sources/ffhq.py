"""FFHQ: aligned faces (1024 x 1024, thumbnails), the photographs they were cut from, and others' resizes.

`ffhq-dataset-v2.json` tells of each picture by its number: the photograph's page, by which people may opt
out, and 68 landmarks in the aligned picture and in the photograph. All three sets show the same faces, so one
is read. Of resizes by others, only the numbers in their names are known to hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar

import numpy as np

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.annotations import five_of_68
from facecorpus.sources.archives import Container
from facecorpus.sources.base import Member, Part, Source, adapter
from facecorpus.sources.layouts import chosen, part_named, whole
from facecorpus.sources.sidecars import entries

_SETS = {"1024": "images1024x1024", "wild": "in-the-wild-images", "thumbnails": "thumbnails128x128"}
_METADATA = ("ffhq-dataset-v2.json", "ffhq-dataset-v1.json")
_MOST = 70_000
_NUMBERED = re.compile(r"[0-9]{1,5}\.\w+")
_TRAINING = 60_000


@adapter("ffhq")
class FFHQ(Source):
    """The folders of 1,000, zips of them, or any folder, archive or Parquet files of pictures so called."""

    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "pictures": {
            "1024": "the aligned pictures are to be read (images1024x1024)",
            "wild": "the photographs are to be read (in-the-wild-images)",
            "thumbnails": "the thumbnails are to be read (thumbnails128x128)",
        }
    }

    def parts(self) -> Sequence[Part]:
        """One of the three sets, the largest faces first; else everything there."""
        sets = {key: part_named(self, name, "", "zips") for key, name in _SETS.items()}
        found = {key: part for key, part in sets.items() if part is not None}
        return [chosen(self, "pictures", found, "the same faces")] if found else whole(self)

    def annotation_files(self) -> Sequence[str]:
        """The JSON file, where it is there."""
        path = self.first_of(*_METADATA)
        return [path] if path else []

    def load_annotations(self) -> None:
        """Read the JSON file, entry by entry."""
        self._photos: dict[int, str] = {}
        self._numbers = np.full((_MOST, 24), np.nan, dtype=np.float32)
        if not (path := self.first_of(*_METADATA)):
            self.notes.append(
                f"without {_METADATA[0]} the photographs' pages are not known, nor who opted out"
            )
            return
        url = storage.join(self.location, path)
        with storage.open_read(url) as stream:
            for key, entry in entries(url, iter(lambda: stream.read(1 << 20), b"")):
                self._add(url, key, entry)

    def members(self, container: Container) -> Iterator[Member]:
        """All but the JSON file and the licence."""
        beside = (*_METADATA, "LICENSE.txt")
        return (m for m in container.members() if PurePosixPath(m.path).name not in beside)

    def annotate(self, record: Record, member: Member) -> None:
        """All by the picture's number."""
        path = PurePosixPath(member.path)
        if not (_NUMBERED.fullmatch(path.name) and int(path.stem) < _MOST):
            return
        number = int(path.stem)
        record.split = "train" if number < _TRAINING else "val"
        record.photo_id = self._photos.get(number)
        row = self._numbers[number].astype(float)
        where = f"{record.container}/{member.path}"
        if _SETS["1024"] in where:
            record.given_points_px = _known(row[:10])
        elif _SETS["thumbnails"] in where:
            record.given_points_px = _known((row[:10] + 0.5) / 8 - 0.5)
        elif _SETS["wild"] in where:
            record.given_points_px = _known(row[10:20])
            x0, y0, x1, y1 = row[20:]
            record.given_box_xyxy_px = (x0, y0, x1, y1) if np.isfinite(row[20:]).all() else None

    def _add(self, url: str, key: str, entry: Any) -> None:
        try:
            number, page = int(key), str(entry["metadata"]["photo_url"])
            aligned, wild = entry["image"]["face_landmarks"], entry["in_the_wild"]
            numbers = [*five_of_68(aligned), *five_of_68(wild["face_landmarks"]), *wild["face_rect"]]
            row = np.array(numbers, dtype=np.float32)
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(f"{url}, entry {key[:20]}, is not as FFHQ's ({error!r}); get it again") from error
        if not 0 <= number < _MOST or row.shape != (24,) or not np.isfinite(row).all():
            raise UserError(f"{url}, entry {key[:20]}, has numbers that no picture has; get it again")
        self._numbers[number] = row
        self._photos[number] = page


def _known(points: np.ndarray[Any, Any]) -> tuple[float, ...] | None:
    return tuple(points.tolist()) if np.isfinite(points).all() else None
