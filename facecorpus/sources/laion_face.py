"""LAION-Face: photographs from the web in the shards that img2dataset writes, with published faces.

`split_N/NNNNN.tar` hold them. Of the detections (`sample2detect_N.pth`) each is an input of its own where a
photograph has several. They are of the photographs as they were in 2021: where the metadata
(`laion_face_part_NNNNN.parquet`) tells the size then, boxes are scaled to the size now, and left out where
the shape is another; where it does not, those that lie outside are. What is left out is found anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.archives import Container
from facecorpus.sources.base import Member, adapter
from facecorpus.sources.detections import FACE, Detections, Floats, read_detections
from facecorpus.sources.several import GivenFace, a_record_each
from facecorpus.sources.webdataset import WebDataset

_SPLIT = re.compile(r"(?:.*/)?split_(\d{1,2})(?:/.*)?")
_SPLITS = 32
_NONE: Floats = np.empty((0, FACE), np.float32)
_SAME_SHAPE = 0.02
"""Largest difference of the two scales at which a photograph counts as the same."""


@adapter("laion_face")
class LaionFace(WebDataset):
    """`split_N/NNNNN.tar`; `detection_metadata/` and `laion_face_meta/` beside, as far as they are there."""

    def annotation_files(self) -> Sequence[str]:
        """Detections and metadata."""
        found = (path for n in range(_SPLITS) for path in (self._detections(n), self._metadata(n)))
        return [path for path in found if path is not None]

    def load_annotations(self) -> None:
        """Start counting; files are read split by split."""
        super().load_annotations()
        self._split: int | None = None
        self._known: Detections | None = None
        self._sizes: dict[str, np.ndarray] | None = None
        self._found = _NONE
        self._other_shape = 0

    def members(self, container: Container) -> Iterator[Member]:
        """As of any shard; of a further split, its detections are read first."""
        match = _SPLIT.fullmatch(container.url)
        split = int(match[1]) if match else None
        if split != self._split:
            self._split, self._known, self._sizes = split, None, None
            if split is not None and (path := self._detections(split)) is not None:
                self._known = read_detections(storage.join(self.location, path))
            if split is not None and (path := self._metadata(split)) is not None:
                self._sizes = _read_sizes(storage.join(self.location, path))
        return super().members(container)

    def annotate(self, record: Record, member: Member) -> None:
        """The photograph by its link."""
        super().annotate(record, member)
        record.identity = None
        self._found = self._faces_now()

    def faces(self, record: Record) -> Sequence[Record]:
        """One for each published face."""
        return a_record_each(record, [_given(face) for face in self._found.tolist()])

    def finish(self) -> None:
        """Say how many photographs changed."""
        super().finish()
        if self._other_shape:
            self.notes.append(
                f"the published faces of {self._other_shape:,} photographs are left out, since those have "
                "another shape or size now"
            )

    def _faces_now(self) -> Floats:
        """The published faces of the sample at hand, in the pixels of the photograph as it is now."""
        facts = self.facts()
        try:
            sample, width, height = (int(facts[name]) for name in ("SAMPLE_ID", "width", "height"))
        except (LookupError, TypeError, ValueError, OverflowError):
            return _NONE
        if self._known is None or min(width, height) < 1:
            return _NONE
        faces = self._known.of(sample).copy()
        then = self._size_then(sample) or (width, height)
        across, down = width / then[0], height / then[1]
        faces[:, 0:14:2] *= across
        faces[:, 1:14:2] *= down
        inside = bool((faces[:, 2] <= 1.1 * width).all() and (faces[:, 3] <= 1.1 * height).all())
        if len(faces) and (abs(across / down - 1) > _SAME_SHAPE or not inside):
            self._other_shape += 1
            return faces[:0]
        return faces

    def _size_then(self, sample: int) -> tuple[float, float] | None:
        if self._sizes is None:
            return None
        place = int(np.searchsorted(self._sizes["SAMPLE_ID"], sample))
        if place == len(self._sizes["SAMPLE_ID"]) or self._sizes["SAMPLE_ID"][place] != sample:
            return None
        width, height = (float(self._sizes[name][place]) for name in ("WIDTH", "HEIGHT"))
        return (width, height) if width > 0 and height > 0 else None

    def _detections(self, split: int) -> str | None:
        name = f"sample2detect_{split}.pth"
        return self.first_of(f"detection_metadata/{name}", f"detections/{name}", name)

    def _metadata(self, split: int) -> str | None:
        name = f"laion_face_part_{split:05d}.parquet"
        return self.first_of(f"laion_face_meta/{name}", name)


def _given(face: Sequence[float]) -> GivenFace:
    x0, y0, x1, y1, *points = face
    return GivenFace(None, (x0, y0, x1, y1), tuple(points[:10]))


def _read_sizes(url: str) -> dict[str, np.ndarray]:
    """Number, width and height of each photograph when it was listed, by number."""
    names = ("SAMPLE_ID", "WIDTH", "HEIGHT")
    try:
        with storage.open_read(url) as stream:
            table = pq.read_table(stream, columns=list(names))
        columns = {name: table.column(name).cast(pa.float64()).to_numpy() for name in names}
    except (pa.ArrowException, OSError, LookupError, ValueError) as error:
        words = str(error).partition("\n")[0][:200]
        raise UserError(
            f"{url} is not a Parquet file of SAMPLE_ID, WIDTH and HEIGHT ({words}); get it again"
        ) from error
    order = np.argsort(columns["SAMPLE_ID"], kind="stable")
    return {name: np.nan_to_num(values[order]) for name, values in columns.items()}
