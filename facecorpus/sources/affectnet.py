"""AffectNet: the release of 2017 (photographs, with lists) and that of 2021 (crops, with arrays beside).

2017: `Manually_Annotated_Images/12/HASH.jpg`, of which `training.csv` and `validation.csv` tell (some copies
lack their header), and `Automatically_Annotated_Images` with `automatically_annotated.csv`. 2021:
`train_set/images/12.jpg` with `train_set/annotations/12_exp.npy`, `_val`, `_aro`, `_lnd`.

Expression 10 (Non-Face) is no face: those pictures are left out. 8 (None) and 9 (Uncertain) are faces of no
certain expression: they are kept, with that as their label. Arrays with pickles in them are not read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pyarrow import csv

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.annotations import Annotations, five_of_68
from facecorpus.sources.archives import Container
from facecorpus.sources.base import InputError, Member, Part, Source, adapter
from facecorpus.sources.layouts import part_named
from facecorpus.sources.texts import check_text

_LISTS = {
    "Manually_Annotated": {"training.csv": "train", "validation.csv": "val"},
    "Automatically_Annotated": {"automatically_annotated.csv": "train"},
}
_SETS = {"train_set": "train", "val_set": "val"}
_SPLITS = ("train", "val")
_COLUMNS = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks"),
    *("expression", "valence", "arousal"),
)
_UNKNOWN = -1e6
"""Stands for a number that a row does not give."""
_UNRATED = -2
"""AffectNet's own valence and arousal of what could not be rated."""
_NON_FACE = 10
_EXPRESSIONS = range(_NON_FACE)
_BESIDE = re.compile(r"(?:.*/)?annotations/(\d{1,8})_(exp|val|aro|lnd)\.npy")
_ABOUT = {"exp": 0, "val": 1, "aro": 2}


@adapter("affectnet")
class AffectNet(Source):
    """The folders, or archives of them; any one suffices."""

    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "validation": {"left_out": "the validation set is to be left out, to be tested on"}
    }

    def parts(self) -> Sequence[Part]:
        """The sets of either release, as far as they are there."""
        old = [part_named(self, f"{name}_Images", "", name) or part_named(self, name) for name in _LISTS]
        new = [part_named(self, name) for name in _SETS]
        if not (parts := [part for part in (*old, *new) if part is not None]):
            raise self.missing("Manually_Annotated_Images or train_set")
        return parts

    def annotation_files(self) -> Sequence[str]:
        """The lists that are there."""
        return [path for about in _LISTS for path, _ in self._lists(about)]

    def load_annotations(self) -> None:
        """Read the lists."""
        self._rows: dict[str, Annotations] = {}
        self._arrays = np.empty((0, 13))
        self._counts = {"non-faces": 0, "unread": 0}
        for about in _LISTS:
            if lists := self._lists(about):
                self._rows[about] = self._read(lists)

    def members(self, container: Container) -> Iterator[Member]:
        """The pictures; of the release of 2021 after the arrays that tell of them were read."""
        pictures: list[Member] = []
        self._arrays = np.empty((0, 13))
        for member in container.members():
            if PurePosixPath(member.path).name.lower().endswith(".csv"):
                continue
            if (found := _BESIDE.fullmatch(member.path)) is not None:
                self._keep(int(found[1]), found[2], container, member)
            elif "/images/" in member.path:
                pictures.append(member)
            else:
                yield member
        yield from pictures

    def annotate(self, record: Record, member: Member) -> None:
        """Split, expression, valence, arousal, box and landmarks, by list or arrays."""
        path = PurePosixPath(member.path)
        place = f"{record.container}/{member.path}"
        if about := next((name for name in self._rows if name in place), None):
            row = self._rows[about].row(f"{path.parent.name}/{path.stem}")
            if row is None:
                return
            record.split = _SPLITS[int(row[0])]
            x, y, width, height = row[1:5]
            if width > 0 and height > 0 and _UNKNOWN not in (x, y):
                record.given_box_xyxy_px = (x, y, x + width, y + height)
            self._fill(record, row[5:])
        elif split := next((split for name, split in _SETS.items() if name in place), None):
            record.split = split
            number = int(path.stem) if path.stem.isascii() and path.stem.isdigit() else -1
            if 0 <= number < len(self._arrays):
                self._fill(record, self._arrays[number].tolist())
        if record.split == "val" and self.setting == ("validation", "left_out"):
            record.left_out = "it belongs to AffectNet's validation set, which is kept to be tested on"

    def finish(self) -> None:
        """Note what is left out, what could not be read, and what does not match."""
        if self._counts["non-faces"]:
            self.notes.append(
                f"{self._counts['non-faces']:,} pictures are Non-Face (expression 10): left out"
            )
        if self._counts["unread"]:
            self.notes.append(
                f"{self._counts['unread']:,} files of annotations are no plain arrays: not read"
            )
        self.notes.extend(note for rows in self._rows.values() if (note := rows.note()))

    def _fill(self, record: Record, row: Sequence[float]) -> None:
        """Expression, valence, arousal and ten numbers of points."""
        expression, valence, arousal = row[:3]
        if expression == _NON_FACE:
            self._counts["non-faces"] += 1
            record.left_out = "AffectNet calls it Non-Face (expression 10)"
            record.given_box_xyxy_px = None
            return
        if expression in _EXPRESSIONS:
            record.labels = {"expression": int(expression)}
        rated = {"valence": valence, "arousal": arousal}
        record.given_values = {k: float(v) for k, v in rated.items() if v > _UNRATED} or None
        if _UNKNOWN not in row[3:]:
            record.given_points_px = tuple(row[3:])

    def _lists(self, about: str) -> list[tuple[str, str]]:
        """(path, split) of the lists that tell of a folder."""
        above = ("", f"{about}_file_lists/", f"{about}_Images/", f"{about}/")
        found = {name: self.first_of(*(f"{folder}{name}" for folder in above)) for name in _LISTS[about]}
        return [(path, _LISTS[about][name]) for name, path in found.items() if path]

    def _read(self, lists: Sequence[tuple[str, str]]) -> Annotations:
        names: list[bytes] = []
        values: list[np.ndarray[Any, Any]] = []
        for path, split in lists:
            url = storage.join(self.location, path)
            for batch in _batches(url):
                columns = batch.to_pydict()
                stems = (PurePosixPath(name.replace("\\", "/")) for name in columns[_COLUMNS[0]])
                names += [f"{stem.parent.name}/{stem.stem}".encode() for stem in stems]
                numbers = [[_number(text) for text in columns[c]] for c in (*_COLUMNS[1:5], *_COLUMNS[6:])]
                points = [_five(text) for text in columns["facial_landmarks"]]
                splits = np.full((len(points), 1), _SPLITS.index(split))
                values.append(np.hstack([splits, np.transpose(numbers), np.array(points).reshape(-1, 10)]))
        urls = " and ".join(storage.join(self.location, path) for path, _ in lists)
        rows = np.vstack(values) if values else np.empty((0, 18))
        return Annotations(urls, names, rows, several=True)

    def _keep(self, number: int, about: str, container: Container, member: Member) -> None:
        """Keep what one array of the release of 2021 says; rows grow to the largest number."""
        try:
            array = np.load(io.BytesIO(container.read(member)), allow_pickle=False).reshape(-1)
            value = five_of_68(array) if about == "lnd" else [float(array[0])]
            if not np.isfinite(value).all() or np.abs(value).max() > -_UNKNOWN:
                raise ValueError(value)
        except Exception as error:  # NumPy raises whatever damaged bytes lead to
            if isinstance(error, OSError) and not isinstance(error, InputError):
                raise
            self._counts["unread"] += 1
            return
        if number >= len(self._arrays):
            grown = np.full((max(2 * number, 1024), 13), _UNKNOWN)
            grown[: len(self._arrays)] = self._arrays
            self._arrays = grown
        at = slice(3, 13) if about == "lnd" else slice(_ABOUT[about], _ABOUT[about] + 1)
        self._arrays[number, at] = value


def _batches(url: str) -> Iterator[pa.RecordBatch]:
    """Rows of a list, as text; with or without a header.

    Raises:
        UserError: it is no such list.
    """
    try:
        with storage.open_read(url) as stream:
            check_text(url, head := stream.read(4096))
            stream.seek(0)
            skip = int(head.lstrip(b"\xef\xbb\xbf").lower().startswith(b"subdirectory"))
            read = csv.ReadOptions(column_names=_COLUMNS, skip_rows=skip, use_threads=False)
            convert = csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string()))
            yield from csv.open_csv(stream, read_options=read, convert_options=convert)
    except (pa.ArrowException, OSError) as error:
        words = str(error).partition("\n")[0][:200]
        raise UserError(f"{url} is no list of AffectNet's ({words}); get it again") from error


def _number(text: str) -> float:
    """A number, or `_UNKNOWN` (AffectNet writes NULL)."""
    try:
        value = float(text)
    except ValueError:
        return _UNKNOWN
    return value if abs(value) < -_UNKNOWN else _UNKNOWN


def _five(text: str) -> Sequence[float]:
    """The five points of 68, written `x;y;...`; unknown where there are not 68."""
    numbers = [_number(part) for part in text.split(";")]
    if len(numbers) != 136 or _UNKNOWN in numbers:
        return [_UNKNOWN] * 10
    return five_of_68(np.array(numbers))
