"""Pictures of inputs with their words: a thumbnail with the face drawn on it, or what to say in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from facecorpus.phases.corpus import Corpus
from facecorpus.record import Record, State
from facecorpus.report.counts import words
from facecorpus.report.drawing import data_uri, draw_face, shrink
from facecorpus.report.sampled import Originals, pixels, read_records, staged_crop
from facecorpus.report.survey import Row

THUMB_PX = (156, 116)
"""Largest width and height of a picture of a source."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture, or what to say in its place, with its words."""

    id: str
    image: str
    """`data:` address, or "" where there is none."""
    width_px: int
    height_px: int
    kind: str
    """What the bytes are or claim to be: shown in place of a picture."""
    size: str
    """How large it is, likewise."""
    note: str
    """Detail of the verdict, or the link to the kept record."""
    missing: str = ""
    """Why the source picture is not shown, where the verdict does not say so itself."""
    kept: bool = False
    conflict: bool = False
    """A duplicate of a record that has another identity."""

    @property
    def name(self) -> str:
        """File name, with the last of its folders."""
        return "/".join(self.id.split("/")[1:][-2:])

    @property
    def source(self) -> str:
        """Name of the source."""
        return self.id.partition("/")[0]


def source_tiles(
    corpus: Corpus, rows: Sequence[Row], originals: Originals, *, points: bool = True
) -> Mapping[str, Tile]:
    """Tiles, by id, of the pictures that rows were made from, with the box and points of the face."""
    records = read_records(corpus, rows)
    by_id = {row.id: row for row in rows}
    tiles: dict[str, Tile] = {}
    for record, original in originals.read_all(records.values(), *THUMB_PX):
        row = by_id[record.id]
        if original.rgb is not None:
            shown = record if points else replace(record, points_px=None)
            picture = draw_face(original.rgb, original.zoom, shown)
        else:
            picture = pixels(staged_crop(corpus, row.unit, record))
            picture = None if picture is None else shrink(picture, THUMB_PX[1])
        image = "" if picture is None else data_uri(picture)
        height, width = (THUMB_PX[1], THUMB_PX[1]) if picture is None else picture.shape[:2]
        kept = record.state == State.KEPT
        expected = record.state in (State.REJECTED, State.FAILED) and not original.gone
        missing = "" if expected else original.trouble
        conflict = bool(row.identity_conflict)
        tiles[record.id] = Tile(
            record.id, image, width, height, *_claims(record), _note(record), missing, kept, conflict
        )
    return tiles


def _claims(record: Record) -> tuple[str, str]:
    """`.png` and `1,844 bytes`: what an input claims to be."""
    name = record.member.rpartition("/")[2]
    kind = record.image_format or (f".{name.rpartition('.')[2]}"[:12] if "." in name else "no extension")
    size = f"{record.width_px:,} x {record.height_px:,} px, " if record.width_px and record.height_px else ""
    if record.frame is not None:
        return f"frame {record.frame}", f"{size}{record.identity} {record.video}"
    return kind, f"{size}{record.bytes:,} {'byte' if record.bytes == 1 else 'bytes'}"


def _note(record: Record) -> str:
    return link(record) if record.state == State.DUPLICATE else record.detail or ""


def link(record: Record) -> str:
    """How a duplicate is linked to the kept record: `same picture, 3 of 256 bits apart`."""
    kind = words(record.duplicate_kind or "")
    bits = record.duplicate_distance
    return kind if bits is None else f"{kind}, {bits} of 256 bits apart"
