"""What the page reads of the rows it picked: scores, crops and the pictures they were made from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa

from facecorpus import schema, storage
from facecorpus.errors import UserError
from facecorpus.images import ImageError, Pixels, decode, read_header
from facecorpus.phases import materialise, score
from facecorpus.phases.corpus import Corpus
from facecorpus.record import Record, State, from_table
from facecorpus.report.survey import Row
from facecorpus.sources.base import InputError, Reader


@dataclass(frozen=True, slots=True)
class Original:
    """The picture an input was, or why there is none."""

    rgb: Pixels | None
    """Upright, shrunk to fit."""
    zoom: float
    """Pixels of `rgb` per source pixel."""
    trouble: str = ""
    """One sentence where there is no picture, else ""."""
    gone: bool = False
    """Whether the bytes could not be had; if not, they were read and are no picture."""


class Geometry(NamedTuple):
    """How a crop was cut; the fields are those of `schema.MANIFEST`."""

    zoom: float
    points_px: list[float] | None
    matrix: list[float]


def read_records(corpus: Corpus, rows: Iterable[Row]) -> dict[str, Record]:
    """The scored rows by id, with the verdict of the selection. Parts that are gone leave their rows out."""
    by_unit: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_unit[row.unit].append(row)
    found: dict[str, Record] = {}
    for unit, wanted in sorted(by_unit.items()):
        url = storage.join(corpus.out, score.rows_path(unit))
        if not storage.exists(url):
            continue
        table = storage.read_table(url).take(pa.array([row.row for row in wanted]))
        for row, record in zip(wanted, from_table(table), strict=True):
            found[row.id] = decided(record, row)
    return found


def decided(record: Record, row: Row) -> Record:
    """The scored record with what the selection says of it."""
    return dataclasses.replace(
        record,
        state=State(row.state),
        reason=row.reason or None,
        key=row.key,
        cluster=row.cluster,
        duplicate_of=row.duplicate_of,
        duplicate_kind=row.duplicate_kind,
        duplicate_distance=row.duplicate_distance,
    )


def read_crops(corpus: Corpus, rows: Iterable[Row]) -> Iterator[tuple[Row, bytes]]:
    """The encoded crops of kept rows, from the shards; rows whose shard is gone are left out."""
    return ((row, data) for row, data, _ in read_samples(corpus, rows))


def read_samples(corpus: Corpus, rows: Iterable[Row]) -> Iterator[tuple[Row, bytes, Geometry]]:
    """The encoded crops of kept rows and how they were cut; rows whose shard is gone are left out."""
    by_shard: dict[int, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if row.shard is not None and row.key is not None:
            by_shard[row.shard][row.key] = row
    for number, wanted in sorted(by_shard.items()):
        tar = storage.join(corpus.out, materialise.FOLDER, schema.shard_name(corpus.recipe.name, number))
        manifest = tar.removesuffix(".tar") + ".parquet"
        if not (storage.exists(tar) and storage.exists(manifest)):
            continue
        columns = ["key", "jpg_offset", "jpg_bytes", *Geometry._fields]
        placed = storage.read_table(manifest, columns=columns)
        with storage.open_read(tar) as file:
            listed = zip(*(column.to_pylist() for column in placed.columns), strict=True)
            for key, offset, size, *geometry in listed:
                if key in wanted:
                    file.seek(offset)
                    yield wanted[key], file.read(size), Geometry(*geometry)


def staged_crop(corpus: Corpus, unit: str, record: Record) -> bytes | None:
    """The crop as it was staged when the record was scored; None where there is none (any more)."""
    url = storage.join(corpus.out, score.crops_path(unit))
    if record.crop_offset is None or record.crop_bytes is None or not storage.exists(url):
        return None
    with storage.open_read(url) as file:
        file.seek(record.crop_offset)
        data = file.read(record.crop_bytes)
    return data if hashlib.sha256(data).hexdigest() == record.crop_sha256 else None


def pixels(data: bytes | None, name: str = "crop.jpg") -> Pixels | None:
    """The pixels of an encoded crop, or None where there is none or it is damaged."""
    if data is None:
        return None
    try:
        return decode(data, read_header(data, name)).rgb
    except ImageError:
        return None


class Originals:
    """Reads source pictures. A source that is gone, or has changed since, gives a sentence instead."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._readers: dict[str, Reader | str] = {}
        self.troubles: dict[str, str] = {}
        """Source -> the first thing that could not be read of it."""

    def read(self, record: Record, width_px: int, height_px: int, *, enlarge: float = 1.0) -> Original:
        """The picture of a record, shrunk (or enlarged up to `enlarge` times) to fit the size given."""
        try:
            data = self._data(record)
            header = read_header(data, record.member)
            zoom = min(width_px / header.width_px, height_px / header.height_px, enlarge)
            size = (max(round(header.width_px * zoom), 1), max(round(header.height_px * zoom), 1))
            limit = self._corpus.recipe.limits.max_pixels
            rgb = decode(data, header, min_side_px=min(size), max_pixels=limit).rgb
        except (ImageError, InputError) as error:
            return Original(None, 1.0, str(error))
        except (OSError, UserError) as error:
            self.troubles.setdefault(record.source, str(error))
            return Original(None, 1.0, str(error), gone=True)
        if rgb.shape[1::-1] != size:
            method = cv2.INTER_AREA if zoom <= 1 else cv2.INTER_CUBIC
            rgb = np.asarray(cv2.resize(rgb, size, interpolation=method), np.uint8)
        return Original(rgb, zoom)

    def read_all(
        self, records: Iterable[Record], width_px: int, height_px: int
    ) -> Iterator[tuple[Record, Original]]:
        """Many of them, in the order that archives are read fastest."""
        for record in sorted(records, key=_place):
            yield record, self.read(record, width_px, height_px)

    def close(self) -> None:
        """Close the sources."""
        for reader in self._readers.values():
            if not isinstance(reader, str):
                reader.close()

    def _data(self, record: Record) -> bytes:
        if record.source not in self._readers:
            self._readers[record.source] = self._open(record.source)
        reader = self._readers[record.source]
        if isinstance(reader, str):
            raise UserError(reader)
        data = reader.read(record)
        if record.sha256 is not None and hashlib.sha256(data).hexdigest() != record.sha256:
            raise UserError("the file has changed since it was scored")
        return data

    def _open(self, source: str) -> Reader | str:
        try:
            spec = next(spec for spec in self._corpus.sources if spec.name == source)
            return spec.open(self._corpus.out).reader()
        except StopIteration:
            return f"source {source} is not part of the corpus any more"
        except (OSError, UserError) as error:
            return str(error)


def _place(record: Record) -> tuple[str, str, int, str]:
    return record.source, record.container, record.offset, record.id


def round_robin(lists: Iterable[Sequence[Row]], count: int) -> list[Row]:
    """Up to `count` rows, taking turns between the lists so that each of them is seen."""
    queues = [list(rows) for rows in lists if rows]
    taken: list[Row] = []
    for turn in range(max(map(len, queues), default=0)):
        taken += [queue[turn] for queue in queues if turn < len(queue)]
    return taken[:count]
