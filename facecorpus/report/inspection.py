"""Everything known about one input, found by what a person types (an id, the id of an input, a sample
key): its verdict first, then where it is, its face and its duplicates."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute

from facecorpus import schema, storage
from facecorpus.errors import UserError
from facecorpus.faces.warp import warp
from facecorpus.images import Pixels
from facecorpus.phases import materialise
from facecorpus.phases.corpus import Corpus
from facecorpus.record import Record, State
from facecorpus.report.counts import words
from facecorpus.report.sampled import Originals, pixels, read_crops, read_records, staged_crop
from facecorpus.report.survey import Row, batches, rows_where
from facecorpus.report.tiles import draw_crop, draw_face, link

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

_KEY = re.compile(rf"[0-9a-f]{{{schema.KEY_DIGITS}}}")
_NEAREST = 3
_CANDIDATES = 300
"""Ids that are compared letter by letter with an unknown one."""


def find(corpus: Corpus, what: str) -> list[Row]:
    """The rows that `what` names: one, or every face of an input that has several.

    Args:
        corpus: with a selection.
        what: an id (`SOURCE/MEMBER`, `SOURCE/MEMBER#N`) or a sample key; `.jpg` after a key is allowed.

    Raises:
        UserError: there is no such record; the nearest ids are named.
    """
    key = what.removesuffix(f".{schema.JPG}")
    if _KEY.fullmatch(key):
        by_key = list(rows_where(corpus, lambda table: pc.equal(table["key"], key)))
        if by_key:
            return by_key

    def mine(table: pa.Table) -> pa.Array:
        further = pc.and_(pc.greater(table["face_index"], 0), pc.starts_with(table["id"], f"{what}#"))
        return pc.or_(pc.equal(table["id"], what), further)

    found = [row for row in rows_where(corpus, mine) if row.id in (what, f"{what}#{row.face_index}")]
    if found:
        return found
    near = nearest(corpus, what)
    hint = f"the nearest are {', '.join(near)}" if near else "the corpus has no inputs"
    raise UserError(f"{what!r} is neither an id nor a sample key in {corpus.out}; {hint}")


def nearest(corpus: Corpus, what: str) -> list[str]:
    """The ids most like `what`, the best first.

    Only ids that share the longest possible beginning or end with it are compared letter by letter, so that
    millions of them are searched in seconds.
    """
    chunks = [chunk for table in batches(corpus, ["id"]) for chunk in table["id"].chunks]
    ids = pa.chunked_array(chunks, pa.string())
    if not len(ids):
        return []
    folded, wanted = pc.utf8_lower(ids), what.lower()
    places: set[int] = set()
    for mask in (
        _longest(len(wanted), lambda n: pc.starts_with(folded, wanted[:n])),
        _longest(len(wanted), lambda n: pc.ends_with(folded, wanted[len(wanted) - n :])),
    ):
        places.update(pc.indices_nonzero(mask)[:_CANDIDATES].to_pylist())
    candidates = ids.take(pa.array(sorted(places))).to_pylist()
    ratio = {i: difflib.SequenceMatcher(None, i.lower(), wanted).ratio() for i in candidates}
    return sorted(candidates, key=lambda i: (-ratio[i], i))[:_NEAREST]


def _longest(limit: int, mask: Callable[[int], pa.ChunkedArray]) -> pa.ChunkedArray:
    """The mask of the largest length, 0 to `limit`, that still has a match (fewer match as it grows)."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if pc.any(mask(middle)).as_py():
            low = middle
        else:
            high = middle - 1
    return mask(low)


_MEMBERS = 12
"""Records of the cluster that are listed."""
_SIDE_PX = 900
"""Largest width and height of the source in the saved picture."""
_GAP_PX = 16


class Place(NamedTuple):
    """Where a sample is."""

    shard: str
    sample_offset: int
    jpg_offset: int
    jpg_bytes: int


def inspect_record(corpus: Corpus, what: str, save: Path | None) -> str:
    """Text about what `what` names: an id, the id of an input with several faces, or a sample key.

    `save` writes a PNG: the upright source with box (yellow), points (cyan) and outline of the crop (pink),
    and the crop beside it.

    Raises:
        UserError: there is no such record (the nearest are named), or neither picture can be had for `save`.
    """
    rows = find(corpus, what)
    records = read_records(corpus, rows)
    parts = [_about(corpus, row, records.get(row.id)) for row in rows]
    if save is not None:
        row = rows[0]
        if row.id not in records:
            raise UserError(f"{row.id} has no scored row in {corpus.out}; run 'facecorpus build' again")
        trouble = _save(corpus, row, records[row.id], save)
        parts.append(f"saved {save}" + (f" without the source picture: {trouble}" if trouble else ""))
    return "\n\n".join(parts)


def _about(corpus: Corpus, row: Row, record: Record | None) -> str:
    lines = [row.id, _verdict(row, record)]
    if record is not None:
        parts = {"input": _input, "labels": _labels, "image": _image, "face": _face, "crop": _crop}
        pairs = [(name, describe(record)) for name, describe in parts.items()]
        place = place_of(corpus, row)
        if place is not None:
            jpeg = f"JPEG {place.jpg_bytes:,} bytes from byte {place.jpg_offset:,}"
            pairs.append(("sample", f"{place.shard}, key {row.key}, at byte {place.sample_offset:,}; {jpeg}"))
        elif row.key is not None:
            pairs.append(("key", row.key))
        lines += ["", *(f"{name:8s}{text}" for name, text in pairs if text)]
    lines += _cluster(corpus, row)
    return "\n".join(lines)


def _verdict(row: Row, record: Record | None) -> str:
    if row.state == State.KEPT:
        return "KEPT"
    if row.state == State.DUPLICATE:
        how = row.duplicate_kind if record is None else link(record)
        return f"DUPLICATE of {row.duplicate_of}: {how}"
    detail = f": {record.detail}" if record is not None and record.detail else ""
    return f"{row.state.upper()}, {words(row.reason or '')}{detail}"


def _input(record: Record) -> str:
    at = f", payload at byte {record.offset:,}" if record.offset >= 0 else ""
    names = ("identity", "split", "photo_id", "video", "frame")
    known = [(name.removesuffix("_id"), getattr(record, name)) for name in names]
    more = "".join(f", {name} {value}" for name, value in known if value is not None)
    container = f"{record.container}: " if record.container else ""
    size = f", {record.bytes:,} bytes" if record.bytes or record.frame is None else ""
    return f"source {record.source}, {container}{record.member}{at}{size}{more}"


def _labels(record: Record) -> str:
    said = {**(record.labels or {}), **(record.given_values or {})}
    return ", ".join(f"{name} {value:g}" for name, value in said.items())


def _image(record: Record) -> str:
    if record.width_px is None:
        return ""
    turned = f", EXIF orientation {record.orientation} undone" if (record.orientation or 1) != 1 else ""
    size = f"{record.width_px:,} x {record.height_px:,} px"
    return f"{record.image_format}, {size}{turned}, SHA-256 {record.sha256}"


def _face(record: Record) -> str:
    if record.box_xyxy_px is None:
        return ""
    x0, y0, x1, y1 = record.box_xyxy_px
    parts = [f"box {x0:.1f}, {y0:.1f} to {x1:.1f}, {y1:.1f} px"]
    if record.face_score is not None:
        parts.insert(0, f"score {record.face_score:.3f}")
    if record.faces_found is not None:
        parts.append(f"number {record.face_index + 1} of {record.faces_found} found")
    if record.interocular_px is not None:
        parts.append(f"eyes {record.interocular_px:.1f} px apart")
    angles = [("yaw", record.yaw_deg), ("pitch", record.pitch_deg), ("roll", record.roll_deg)]
    parts += [f"{name} {value:+.0f}°" for name, value in angles if value is not None]
    return ", ".join(parts)


def _crop(record: Record) -> str:
    if record.alignment is None or record.padded is None:
        return ""
    measured = [("brightness", record.brightness), ("sharpness", record.sharpness)]
    listed = "".join(f", {name} {value:.1f}" for name, value in measured if value is not None)
    nearer = f", cut {record.zoom:.3g} times nearer" if record.zoom is not None and record.zoom > 1 else ""
    return f"{record.alignment}{nearer}, {100 * record.padded:.1f} % outside the picture{listed}"


def place_of(corpus: Corpus, row: Row) -> Place | None:
    """Where the sample of a kept row is; None where its shard has not been written or is gone."""
    if row.shard is None:
        return None
    name = schema.shard_name(corpus.recipe.name, row.shard)
    manifest = storage.join(corpus.out, materialise.FOLDER, name.removesuffix(".tar") + ".parquet")
    if not storage.exists(manifest):
        return None
    table = storage.read_table(manifest, columns=["key", *Place._fields[1:]])
    found = table.filter(pc.equal(table["key"], row.key)).drop_columns("key").to_pylist()
    return Place(name, **found[0]) if found else None


def _cluster(corpus: Corpus, row: Row) -> Iterator[str]:
    if row.cluster is None:
        return
    members = list(rows_where(corpus, lambda table: pc.equal(table["cluster"], row.cluster)))
    members.sort(key=lambda member: (member.state != State.KEPT, member.id))
    yield ""
    yield f"cluster of {len(members):,} records that show the same picture:"
    yield from _listed(members[:_MEMBERS], row)
    if len(members) > _MEMBERS:
        yield f"    and {len(members) - _MEMBERS:,} more"
    if row.identity_conflict:
        yield "    it holds two different identities of this source, so one of the labels is wrong"


def _listed(members: Iterable[Row], this: Row) -> Iterator[str]:
    for member in members:
        mark = ">" if member.id == this.id else " "
        near = f" ({member.duplicate_distance} bits)" if member.duplicate_distance is not None else ""
        how = f": {words(member.duplicate_kind)}{near}" if member.duplicate_kind else ""
        yield f"  {mark} {member.state:9s} {member.id}{how}"


def _save(corpus: Corpus, row: Row, record: Record, save: Path) -> str:
    """Write the picture; returns why the source is not in it, or ""."""
    originals = Originals(corpus)
    try:
        original = originals.read(record, _SIDE_PX, _SIDE_PX, enlarge=3.0)
        stored = row.key is not None or record.matrix is None
        whole = None if stored else originals.read(record, 1 << 20, 1 << 20)
    finally:
        originals.close()
    side = corpus.recipe.size_px
    panels: list[Pixels] = []
    if original.rgb is not None:
        width = max(1, round(max(original.rgb.shape) / 300))
        face = draw_face(original.rgb, original.zoom, record, width)
        panels.append(draw_crop(face, original.zoom, record, side, width))
    crop = next((pixels(data) for _, data in read_crops(corpus, [row])), None)
    if crop is None:
        crop = pixels(staged_crop(corpus, row.unit, record))
    if crop is None and whole is not None and whole.rgb is not None and record.matrix is not None:
        # Rejected for its crop, which was never stored: cut it again.
        crop = warp(whole.rgb, np.reshape(np.array(record.matrix), (2, 3)), side)
    if crop is not None:
        panels.append(crop)
    if not panels:
        raise UserError(f"--save: there is no picture of {row.id} to save: {original.trouble}")
    good, data = cv2.imencode(".png", cv2.cvtColor(_side_by_side(panels), cv2.COLOR_RGB2BGR))
    assert good
    storage.publish(str(save), lambda file: (file.write(data.tobytes()), None)[1])
    return original.trouble


def _side_by_side(panels: list[Pixels]) -> Pixels:
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + _GAP_PX * (len(panels) - 1)
    sheet = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for panel in panels:
        sheet[: panel.shape[0], left : left + panel.shape[1]] = panel
        left += panel.shape[1] + _GAP_PX
    return sheet
