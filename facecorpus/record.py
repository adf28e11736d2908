"""The one type that crosses every stage of the corpus pipeline.

A `Record` is one input (an image in a source), or one face of it where the recipe keeps every face.
`inventory` fills the first group of fields, `score` the second, `select` the third, `materialise` the last;
each stage writes the fields it knows to Parquet (see `schema.py` for the columns) and leaves the others
alone.

Coordinates are pixels of the upright source image (after EXIF orientation) at full resolution, with the
centre of the top-left pixel at (0, 0), x to the right, y down. "Left eye" is the eye at image-left.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa


class State(StrEnum):
    """What became of an input. `CANDIDATE` is the only state that is not terminal."""

    CANDIDATE = "candidate"
    """Scored and good; `select` decides."""
    KEPT = "kept"
    """In a shard."""
    REJECTED = "rejected"
    """A rule of the recipe said no; `reason` names it."""
    DUPLICATE = "duplicate"
    """Another record shows the same picture and was preferred; `duplicate_of` names it."""
    FAILED = "failed"
    """It could not be read or processed; `reason` and `detail` say why."""


@dataclass(slots=True)
class Record:
    """One input, or one of its faces, and everything known about it."""

    # -- inventory ---------------------------------------------------------------------------------------
    id: str
    """Stable and unique: `SOURCE/MEMBER` (POSIX path), plus `#N` for face N of an input where N > 0; and
    `#fN` before that where the source annotates several faces of one picture, each an input. A member
    whose own name ends in `#`, `#N` or `#fN` has another `#` after it."""
    source: str
    """Name of the source in this build."""
    container: str
    """File or folder that holds the input, relative to the source's location ("" when it is the location
    itself)."""
    member: str
    """Path inside the container (a RecordIO key for `.rec`)."""
    offset: int = -1
    """Byte offset of the payload in the uncompressed container; -1 where the container is addressed by
    name."""
    bytes: int = 0
    """Size of the encoded input in bytes."""
    identity: str | None = None
    """The source's own identity label (who is shown); comparable only within one source."""
    split: str | None = None
    """The source's own split ("train", "val", "test")."""
    photo_id: str | None = None
    """The source's own id of the photograph, equal for several faces cut from one picture."""
    video: str | None = None
    """Which recording of the subject: camera (DISFA: "left", "right"), task (BP4D: "T1" ...), trial, clip."""
    frame: int | None = None
    """Number of the frame in its recording, as annotated; DISFA and BP4D count from 1."""
    labels: dict[str, int] | None = None
    """Levels as annotated, by label: "AU12" is the set's main coding (DISFA: intensity 0 to 5; BP4D:
    occurrence 0 or 1, 9 unknown; GFT and Aff-Wild2: likewise, -999 and -1 unknown), "AU12_intensity" a second
    one (0 to 5, 9 unknown). What was not coded has no key. Other labels are classes: "expression", or CASME
    II's "phase"."""
    given_box_xyxy_px: tuple[float, float, float, float] | None = None
    """The source's own face box."""
    given_points_px: tuple[float, ...] | None = None
    """The source's own landmarks: x, y of left eye, right eye, nose tip, left and right mouth corner (10
    numbers)."""
    given_values: dict[str, float] | None = None
    """Numbers that the source gives besides, by name, as it counts them: AffectNet's "valence", IMDB-WIKI's
    "face_score" (-inf where its authors found no face). What it does not say has no key."""
    left_out: str | None = None
    """Why the source itself says that the input must not be taken, in words; none where it does not."""
    redistributable: bool | None = None
    """Whether a crop of it may be passed on, by its own licence or else by the source's terms. An adapter
    fills it in where a picture has a licence of its own."""

    # -- score -------------------------------------------------------------------------------------------
    face_index: int = 0
    """Which face of the input, by decreasing prominence."""
    state: State = State.CANDIDATE
    reason: str | None = None
    """Name of the reason (see `facecorpus.reasons`)."""
    detail: str | None = None
    """One sentence for a person, where the reason alone does not say it all."""
    sha256: str | None = None
    """SHA-256 of the encoded input, hexadecimal."""
    pixel_hash: str | None = None
    """BLAKE2b-128 of the RGB pixels as the detector looked at them and of their shape, hexadecimal: equal
    for lossless re-encodings that were decoded at the same scale. Only JPEG is decoded at less than its size,
    so a large JPEG and a PNG of its pixels differ here, and are found by `image_hash`."""
    image_format: str | None = None
    """What the bytes are ("jpeg", "png", ...), whatever the name says."""
    width_px: int | None = None
    height_px: int | None = None
    orientation: int | None = None
    """EXIF orientation that was undone, 1 to 8."""
    decode_scale: float | None = None
    """Linear scale at which the pixels for the crop were decoded (1.0, or M/8 by the JPEG's DCT)."""
    faces_found: int | None = None
    """Number of faces at or above the recipe's score in the whole input."""
    face_score: float | None = None
    box_xyxy_px: tuple[float, float, float, float] | None = None
    points_px: tuple[float, ...] | None = None
    """Detected landmarks, ordered as `given_points_px`."""
    interocular_px: float | None = None
    yaw_deg: float | None = None
    pitch_deg: float | None = None
    roll_deg: float | None = None
    """Head pose estimated from the five points; positive yaw turns the nose to image-right, positive pitch
    up, positive roll clockwise in the image."""
    brightness: float | None = None
    """Mean luma of the crop, 0 to 255."""
    sharpness: float | None = None
    """Variance of the Laplacian of the crop's luma."""
    image_hash: bytes | None = None
    """256-bit perceptual hash of the whole upright image (32 bytes)."""
    image_hash_quality: int | None = None
    """0 (flat) to 100 (textured)."""
    crop_hash: bytes | None = None
    """256-bit perceptual hash of the crop (32 bytes)."""
    crop_hash_quality: int | None = None
    alignment: str | None = None
    """Alignment recipe and template, for example "similarity/arcface-224"."""
    matrix: tuple[float, ...] | None = None
    """2x3 matrix, row-major, that maps source pixels to crop pixels."""
    zoom: float | None = None
    """How much nearer than its alignment asks for the crop is cut, because the picture ends: at least 1."""
    padded: float | None = None
    """Fraction of the crop that lies outside the source image, and shows it mirrored at its edge."""
    crop_offset: int | None = None
    """Byte offset of the encoded crop in the unit's staged file."""
    crop_bytes: int | None = None
    crop_sha256: str | None = None

    # -- select ------------------------------------------------------------------------------------------
    key: str | None = None
    """Sample key in the shards: 16 hexadecimal digits of a hash of `id`."""
    cluster: str | None = None
    """Smallest id of the duplicate cluster the record belongs to, absent where it stands alone."""
    duplicate_of: str | None = None
    """Id of the kept record of the cluster."""
    duplicate_kind: str | None = None
    """"file", "pixels", "photo", "image" or "crop": the strongest link on the way to the kept record."""
    duplicate_distance: int | None = None
    """Hamming distance in bits for "image" and "crop"."""


def is_one_of_several(id: str) -> bool:
    """Whether an input is one of several annotated faces of a picture, whose box says which face is meant.

    >>> is_one_of_several("umdfaces/batch1/a/b.jpg#f2"), is_one_of_several("folder/b.jpg")
    (True, False)
    """
    return re.search(r"#f[0-9]+\Z", id) is not None


_NAMES = tuple(field.name for field in dataclasses.fields(Record))
_AU = re.compile(r"AU(\d+)(.*)")


def label_order(label: str) -> tuple[int, str]:
    """Sort key of labels: by the number of the action unit.

    >>> sorted(["AU12", "AU1_intensity", "AU2", "AU1"], key=label_order)
    ['AU1', 'AU1_intensity', 'AU2', 'AU12']
    """
    unit = _AU.fullmatch(label)
    return (int(unit[1]), unit[2]) if unit else (0, label)


def to_table(records: Iterable[Record], schema: pa.Schema) -> pa.Table:
    """The records as a table with exactly the columns of `schema`, each of them a field of `Record`."""
    rows = list(records)
    columns = [
        pa.array([_value(row, name) for row in rows], schema.field(name).type) for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _value(record: Record, name: str) -> Any:
    value = getattr(record, name)
    if name == "labels" and value is not None:
        return sorted(value.items(), key=lambda item: label_order(item[0]))
    if name == "given_values" and value is not None:
        return sorted(value.items())
    return value


def from_table(table: pa.Table) -> Iterator[Record]:
    """The rows of a table as records; columns that are no field of `Record` are left out."""
    names = [name for name in table.column_names if name in _NAMES]
    for batch in table.select(names).to_batches(max_chunksize=4096):
        columns = [batch.column(name).to_pylist() for name in names]
        for values in zip(*columns, strict=True):
            yield _record(dict(zip(names, values, strict=True)))


def _record(fields: dict[str, Any]) -> Record:
    for name in ("given_box_xyxy_px", "given_points_px", "box_xyxy_px", "points_px", "matrix"):
        if fields.get(name) is not None:
            fields[name] = tuple(fields[name])
    for name in ("labels", "given_values"):
        if fields.get(name) is not None:
            fields[name] = dict(fields[name])
    if fields.get("state") is not None:
        fields["state"] = State(fields["state"])
    return Record(**fields)
