"""Pictures of inputs with their words: a thumbnail with the face drawn on it, or what to say in its place."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from facecorpus.images import Pixels, encode_jpeg
from facecorpus.phases.corpus import Corpus
from facecorpus.record import Record, State
from facecorpus.report.counts import words
from facecorpus.report.sampled import Originals, pixels, read_records, staged_crop
from facecorpus.report.survey import Row

BOX = (255, 196, 0)
POINT = (0, 229, 255)
QUAD = (255, 64, 160)
"""Colours (RGB) of the detected box, the five points and the outline of the crop."""

_OUTSIDE = (128, 128, 128)
_SHIFT = 4
"""Fractional bits of OpenCV's drawing coordinates: 1/16 pixel."""


def draw_face(rgb: Pixels, zoom: float, record: Record, width: int = 1) -> Pixels:
    """A copy with the record's box and points, as far as they are known.

    Args:
        rgb: (H, W, 3) uint8, the upright source at `zoom` times its size.
        zoom: pixels of `rgb` per source pixel.
        record: box and points in source pixels.
        width: of the lines, in pixels.
    """
    drawn = rgb.copy()
    if record.box_xyxy_px is not None:
        x0, y0, x1, y1 = record.box_xyxy_px
        _outline(drawn, to_picture([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], zoom), BOX, width)
    if record.points_px is not None:
        for x, y in to_picture(np.reshape(record.points_px, (5, 2)), zoom):
            _dot(drawn, x, y, 1.6 * width + 0.6, (0, 0, 0))
            _dot(drawn, x, y, 1.2 * width + 0.2, POINT)
    return drawn


def draw_crop(rgb: Pixels, zoom: float, record: Record, size_px: int, width: int) -> Pixels:
    """A copy with the outline of the crop of side `size_px`, widened in grey where that reaches outside.

    Args as for `draw_face`; without a matrix the picture is returned as it is.
    """
    if record.matrix is None:
        return rgb
    corners = to_picture(crop_corners(record.matrix, size_px), zoom)
    height, wide = rgb.shape[:2]
    margin = min(height, wide)  # a crop that is mostly outside is not worth more
    left, top = np.clip(np.ceil(3 * width - corners.min(axis=0)), 0, margin).astype(int).tolist()
    right, bottom = (
        np.clip(np.ceil(corners.max(axis=0) + 3 * width) - (wide, height), 0, margin).astype(int).tolist()
    )
    wider = cv2.copyMakeBorder(rgb, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_OUTSIDE)
    drawn = np.asarray(wider, np.uint8)
    _outline(drawn, corners + np.array([left, top]), QUAD, width)
    return drawn


def crop_corners(matrix: Sequence[float], size_px: int) -> NDArray[np.float64]:
    """Where the crop's corners lie in the source: (4, 2) source pixels, clockwise from its top left."""
    affine = np.reshape(np.asarray(matrix, np.float64), (2, 3))
    low, high = -0.5, size_px - 0.5
    corners = np.array([(low, low), (high, low), (high, high), (low, high)])
    return np.asarray(np.linalg.solve(affine[:, :2], (corners - affine[:, 2]).T).T, np.float64)


def to_picture(
    points: Sequence[tuple[float, float]] | NDArray[np.float64], zoom: float
) -> NDArray[np.float64]:
    """Source pixels to pixels of the picture at `zoom` times its size, centres of pixels at whole numbers."""
    return (np.asarray(points, np.float64) + 0.5) * zoom - 0.5


def _outline(rgb: Pixels, corners: NDArray[np.float64], colour: tuple[int, int, int], width: int) -> None:
    shape = np.array([_fixed(x, y) for x, y in corners], np.int32).reshape(-1, 1, 2)
    dark = rgb.copy()
    cv2.polylines(dark, [shape], True, (0, 0, 0), width + 2, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(dark, 0.45, rgb, 0.55, 0, rgb)  # a faint edge: the line shows on bright pictures too
    cv2.polylines(rgb, [shape], True, colour, width, cv2.LINE_AA, _SHIFT)


def _dot(rgb: Pixels, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    cv2.circle(rgb, _fixed(x, y), round(radius * (1 << _SHIFT)), colour, -1, cv2.LINE_AA, _SHIFT)


def _fixed(x: float, y: float) -> tuple[int, int]:
    """Fixed-point coordinates; far-away ones are clipped, as OpenCV's integers would overflow."""
    fixed = np.clip(np.rint(np.array([x, y]) * (1 << _SHIFT)), -(1 << 22), 1 << 22)
    return int(fixed[0]), int(fixed[1])


def shrink(rgb: Pixels, side_px: int) -> Pixels:
    """The picture at most `side_px` wide and high."""
    zoom = min(1.0, side_px / max(rgb.shape[:2]))
    size = (max(round(rgb.shape[1] * zoom), 1), max(round(rgb.shape[0] * zoom), 1))
    if zoom == 1.0:
        return rgb
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def data_uri(rgb: Pixels, quality: int = 80) -> str:
    """The picture as a JPEG in a `data:` address."""
    jpeg = encode_jpeg(np.ascontiguousarray(rgb), quality=quality, chroma="420")
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


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
