"""The disk contract: what a built corpus looks like to whoever reads it.

    OUT/corpus.json                      recipe, sources, detector, versions
    OUT/inventory/SOURCE.parquet         INVENTORY: every input exactly once
    OUT/scores/SOURCE/part-HASH.parquet  SCORES: one row per input (or per face), kept or not, with the reason
    OUT/staged/SOURCE/part-HASH.crops    the encoded crops of that part, end to end
    OUT/selection.parquet                SELECTION: exactly one terminal state per row
    OUT/gathered/NUMBER.crops            kept crops by shard, while a large corpus is written
    OUT/forgotten.json                   keyed hashes of what must be forgotten; see `phases/forgotten.py`
    OUT/excluded/FILE                    what --exclude named: fingerprints and lists of persons
    OUT/shards/NAME-000000.tar           USTAR, KEY.jpg (and KEY.json where the recipe asks), for webdataset
    OUT/shards/NAME-000000.tar.idx       little-endian uint64 offsets of the samples, and their end
    OUT/shards/NAME-000000.parquet       MANIFEST: one row per sample, in tar order
    OUT/shards.parquet                   SHARDS: one row per shard, with its SHA-256; its metadata hold CROPS
    OUT/done/PHASE/UNIT.json             a finished unit of work: its digest and the hashes of what it wrote

The shards of a corpus that has changed may have gaps in their numbers: go by `shards.parquet`.
The fields are described in `record.py`; a field has the same name and type in every table that holds it.
"""

from __future__ import annotations

import pyarrow as pa

VERSION = 6
"""Raised when a table or member changes its meaning; part of every digest."""

JPG, JSON = "jpg", "json"
"""Extensions of a sample's members: `KEY.jpg`, `KEY.json`."""

KEY_DIGITS = 16
"""Length of a sample key in hexadecimal digits."""

_box = pa.list_(pa.float32(), 4)
_points = pa.list_(pa.float32(), 10)

_FOUND = [
    ("id", pa.string()),
    ("source", pa.string()),
    ("container", pa.string()),
    ("member", pa.string()),
    ("offset", pa.int64()),
    ("bytes", pa.int64()),
    ("identity", pa.string()),
    ("split", pa.string()),
    ("photo_id", pa.string()),
    ("video", pa.string()),
    ("frame", pa.int32()),
    ("labels", pa.map_(pa.string(), pa.int16())),
    ("given_box_xyxy_px", _box),
    ("given_points_px", _points),
    ("given_values", pa.map_(pa.string(), pa.float64())),
    ("left_out", pa.string()),
    ("redistributable", pa.bool_()),
]
_JUDGED = [
    ("face_index", pa.int16()),
    ("state", pa.string()),
    ("reason", pa.string()),
    ("detail", pa.string()),
]
_MEASURED = [
    ("sha256", pa.string()),
    ("pixel_hash", pa.string()),
    ("image_format", pa.string()),
    ("width_px", pa.int32()),
    ("height_px", pa.int32()),
    ("orientation", pa.int8()),
    ("decode_scale", pa.float32()),
    ("faces_found", pa.int16()),
    ("face_score", pa.float32()),
    ("box_xyxy_px", _box),
    ("points_px", _points),
    ("interocular_px", pa.float32()),
    ("yaw_deg", pa.float32()),
    ("pitch_deg", pa.float32()),
    ("roll_deg", pa.float32()),
    ("brightness", pa.float32()),
    ("sharpness", pa.float32()),
    ("image_hash", pa.binary(32)),
    ("image_hash_quality", pa.int16()),
    ("crop_hash", pa.binary(32)),
    ("crop_hash_quality", pa.int16()),
    ("alignment", pa.string()),
    ("matrix", pa.list_(pa.float64(), 6)),
    ("zoom", pa.float32()),
    ("padded", pa.float32()),
]
_STAGED = [("crop_offset", pa.int64()), ("crop_bytes", pa.int32()), ("crop_sha256", pa.string())]
_DECIDED = [
    ("key", pa.string()),
    ("cluster", pa.string()),
    ("duplicate_of", pa.string()),
    ("duplicate_kind", pa.string()),
    ("duplicate_distance", pa.int16()),
]
_PLACED = [
    ("sample_offset", pa.int64()),
    ("jpg_offset", pa.int64()),
    ("jpg_bytes", pa.int32()),
    ("jpg_sha256", pa.string()),
]

INVENTORY = pa.schema(_FOUND)
SCORES = pa.schema([*_FOUND, *_JUDGED, *_MEASURED, *_STAGED])
SELECTION = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        *_JUDGED,
        *_DECIDED,
        ("identity_conflict", pa.bool_()),
        ("unit", pa.string()),
        ("row", pa.int32()),
        ("shard", pa.int32()),
    ]
)
"""`unit` and `row` say where the record's SCORES row is; `shard` where its sample is (null unless kept)."""
MANIFEST = pa.schema([("key", pa.string()), *_FOUND, ("face_index", pa.int16()), *_MEASURED, *_PLACED])
"""`sample_offset`: first tar header of the sample; `jpg_offset`, `jpg_bytes`: the JPEG itself."""
SHARDS = pa.schema(
    [
        ("shard", pa.string()),
        ("samples", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("first_key", pa.string()),
        ("last_key", pa.string()),
    ]
)

CROPS = b"facecorpus.crops"
"""Key in the metadata of `shards.parquet`: how the crops were cut and of what, as a JSON object, so that a
model that learnt from them can be given such crops without the corpus.

    recipe          every recipe value that a crop depends on (`facecorpus.recipes.CorpusRecipe`): align,
                    template, box_margin, size_px, limits, ...
    points_px       where eyes, nose and corners of the mouth lie in the crop, [[x, y] * 5] (null unless
                    align is similarity)
    detector        name of the detector that ran
    detector_build  hash of its weights, runtime and provider
    sources         [{"name", "adapter", "terms", "redistributable", "origin"}]: terms is null where none are
                    known, redistributable what holds where a picture has no licence of its own, origin what
                    the data set's `origin.json` says ({"synthetic": true}, ...), else null
"""


def shard_name(name: str, number: int) -> str:
    """File name of shard `number` (from 0) of the corpus `name`, in webdataset's six-digit convention."""
    return f"{name}-{number:06d}.tar"
