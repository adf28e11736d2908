"""From scored candidates to duplicates: which record is kept, and what every other one is a duplicate of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facecorpus.dedup.clusters import NEAR_KINDS, Clusters, Int32, Rows, find_clusters
from facecorpus.dedup.join import TooManyPairsError
from facecorpus.dedup.rules import DedupRules
from facecorpus.errors import UserError

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

OCTAVE_STEP = 0.125
SCORE_STEP = 0.05

COLUMNS = (
    "id",
    "source",
    "interocular_px",
    "face_score",
    "bytes",
    "width_px",
    "height_px",
    "identity",
    "photo_id",
    "face_index",
    "sha256",
    "pixel_hash",
    "image_hash",
    "image_hash_quality",
    "crop_hash",
    "crop_hash_quality",
)
"""Columns that `resolve` reads, described in `record.py`."""

RESOLVED = pa.schema(
    [
        pa.field("id", pa.large_string(), nullable=False),
        pa.field("cluster", pa.large_string()),
        pa.field("duplicate_of", pa.large_string()),
        pa.field("duplicate_kind", pa.string()),
        pa.field("duplicate_distance", pa.int16()),
        pa.field("identity_conflict", pa.bool_(), nullable=False),
    ]
)
"""Columns that `resolve` returns."""

_KINDS = pa.array(["file", "pixels", *NEAR_KINDS])
_FILE, _PIXELS, _NEAR = 0, 1, 2


class Arranged(NamedTuple):
    """Candidates as numbers, best first: all that deciding needs besides their ids."""

    rows: Rows
    order: NDArray[np.int64]
    """(N,): position in the table of each."""
    rank: NDArray[np.int32]
    """(N,): place of each row of the table among the sorted ids."""


def resolve(table: pa.Table, rules: DedupRules, *, workers: int = 1) -> pa.Table:
    """Find the duplicates among scored candidates: `decide` of what `arrange` makes of them."""
    return decide(table["id"], arrange(table, rules), rules, workers=workers)


def arrange(table: pa.Table, rules: DedupRules) -> Arranged:
    """The candidates as numbers, for `decide`; the table is not needed after that, but for its ids.

    Args:
        table: one row per candidate, any order, with the columns `COLUMNS`; nulls where a value is not known.
        rules: see `DedupRules`.

    Raises:
        UserError: an id occurs twice, or a column is missing.
    """
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise UserError(f"the table of candidates lacks the column {missing[0]}; run score again.")
    rank, unique = _id_rank(table["id"])
    if not unique:
        raise UserError(
            "an id occurs twice (or is missing) among the candidates; ids must be unique across sources."
        )
    order = keep_order(table, rules.source_priority, rank)
    return Arranged(_rows(table, order, rules), order, rank)


def decide(ids: pa.ChunkedArray, arranged: Arranged, rules: DedupRules, *, workers: int = 1) -> pa.Table:
    """Which of the candidates are duplicates.

    Links, from the strongest to the weakest: "file" (equal bytes), "pixels" (equal decoded pixels), "photo"
    (equal photo id within a source), "image" (whole-image hashes within the radius), "crop" (crop hashes
    within the radius). All but the last also require the crops, where both have a usable hash, to show the
    same face, so the faces of a group picture never become duplicates of each other. `clusters.py` states
    what the clusters promise, `keep_order` which record of a cluster is kept. A mirrored copy is not a
    duplicate: training mirrors pictures anyway.

    Args:
        ids: of the rows of the table that was arranged.
        arranged: see `arrange`.
        rules: see `DedupRules`.
        workers: threads; the result does not depend on it.

    Returns:
        Table with the schema `RESOLVED`, row by row as the input. cluster: smallest id of the cluster, null
        for a record that stands alone. duplicate_of: id of the kept record, null for kept records.
        duplicate_kind: "file" or "pixels" where the record is a copy of the kept one, else the near link
        between the two (of copies, the best one's).
        duplicate_distance: bits between the two, for "image" and "crop". identity_conflict: the cluster holds
            two different identities of this record's source, so one of them is wrong.

    Raises:
        UserError: there are too many near-duplicates to list.
    """
    try:
        clusters = find_clusters(arranged.rows, rules, workers=workers)
    except TooManyPairsError as error:
        raise UserError(
            f"dedup: {error}; for video or burst photographs set image_radius and crop_radius to none, "
            "or raise max_pairs if there is memory for it."
        ) from error
    return _result(ids.cast(pa.large_string()), arranged, clusters)


def _rows(table: pa.Table, order: NDArray[np.int64], rules: DedupRules) -> Rows:
    """The columns as numbers, best row first."""
    source = _numbered(table["source"])

    def within_source(column: str) -> Int32:
        value = _numbered(table[column])
        both = (source.astype(np.int64) << 32) | np.maximum(value, 0)
        joint = np.unique(both, return_inverse=True)[1].astype(np.int32)
        return np.where(value >= 0, joint, np.int32(-1))

    image_hash, image_good = _hashes(table, "image_hash", rules.min_quality)
    crop_hash, crop_good = _hashes(table, "crop_hash", rules.min_quality)
    face = pc.fill_null(table["face_index"].cast(pa.int32()), 0).to_numpy()
    return Rows(
        input=_inputs(table["id"], face)[order],
        face=face[order],
        file=_numbered(table["sha256"])[order],
        pixels=_numbered(table["pixel_hash"])[order],
        source=source[order],
        identity=within_source("identity")[order],
        photo=within_source("photo_id")[order],
        image_hash=image_hash[order],
        image_good=image_good[order],
        crop_hash=crop_hash[order],
        crop_good=crop_good[order],
    )


def _inputs(ids: pa.ChunkedArray, face: Int32) -> Int32:
    """A number for the input of each row: that of its first face's row, where there is one.

    Face N > 0 of an input is called `INPUT#N`.
    """
    found = np.arange(len(face), dtype=np.int32)
    further = np.flatnonzero(face > 0)
    if further.size:
        names = pc.replace_substring_regex(ids.take(pa.array(further)), "#[0-9]+$", "")
        first = pc.index_in(names, value_set=ids.filter(pa.array(face == 0)))
        there = first.is_valid().to_numpy()
        found[further] = len(face) + _numbered(names)
        found[further[there]] = np.flatnonzero(face == 0)[first.drop_null().to_numpy()]
    return found


def _numbered(column: pa.ChunkedArray) -> Int32:
    """Equal numbers for equal values, -1 for null."""
    indices = column.dictionary_encode().combine_chunks().indices
    return pc.fill_null(indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)


def _hashes(table: pa.Table, name: str, min_quality: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The hashes, uint8 (N, 32), and which of them are there and of the wanted quality."""
    column = pc.fill_null(table[name].cast(pa.binary()), bytes(32)).combine_chunks().cast(pa.binary(32))
    hashes = np.frombuffer(column.buffers()[1], np.uint8, 32 * len(column), 32 * column.offset).reshape(
        -1, 32
    )
    quality = pc.fill_null(table[f"{name}_quality"], -1).to_numpy()
    return hashes, (quality >= min_quality) & table[name].is_valid().to_numpy()


def _result(ids: pa.ChunkedArray, arranged: Arranged, clusters: Clusters) -> pa.Table:
    """The clusters in the order of the input, with ids for row numbers."""
    rows, order, rank = arranged
    place = np.empty(order.size, np.int32)
    place[order] = np.arange(order.size)
    size = np.bincount(clusters.leader, minlength=order.size)
    alone = size[clusters.leader] == 1
    kept = clusters.leader == np.arange(order.size)

    smallest = np.full(order.size, order.size, np.int32)
    np.minimum.at(smallest, clusters.leader, rank[order])
    row_of_rank = np.argsort(rank)
    cluster_row = row_of_rank[smallest[clusters.leader]]

    same_file = (rows.file >= 0) & (rows.file == rows.file[clusters.leader])
    kind = np.where(clusters.kind >= 0, _NEAR + clusters.kind, np.where(same_file, _FILE, _PIXELS))

    def text(row: NDArray[np.int64], absent: NDArray[np.bool_]) -> pa.ChunkedArray:
        return pc.take(ids, pa.array(row[place], mask=absent[place]))

    return pa.table(
        [
            ids,
            text(cluster_row, alone),
            text(order[clusters.leader], kept),
            pc.take(_KINDS, pa.array(kind[place], mask=kept[place])),
            pa.array(clusters.distance[place], pa.int16(), mask=(clusters.distance < 0)[place]),
            pa.array(_conflicts(rows, clusters)[place]),
        ],
        schema=RESOLVED,
    )


def _conflicts(rows: Rows, clusters: Clusters) -> NDArray[np.bool_]:
    """Whether a row's cluster holds several identities of the row's source (rows without an identity
    aside)."""
    conflict = np.zeros(rows.source.size, bool)
    at = np.flatnonzero(rows.identity >= 0)
    group = np.unique((clusters.leader[at].astype(np.int64) << 32) | rows.source[at], return_inverse=True)[1]
    low = np.full(at.size, np.iinfo(np.int32).max, np.int32)
    high = np.full(at.size, -1, np.int32)
    np.minimum.at(low, group, rows.identity[at])
    np.maximum.at(high, group, rows.identity[at])
    conflict[at] = (low != high)[group]
    return conflict


def keep_order(
    table: pa.Table, source_priority: tuple[str, ...] = (), rank: NDArray[np.int32] | None = None
) -> NDArray[np.int64]:
    """Rows from the best to keep to the worst.

    A row is preferred for, in this order: a source earlier in `source_priority` (sources not named come last
    and tie), a larger interocular distance in source pixels (by steps of an eighth octave, 9 %), a higher
    detector score (by steps of 0.05), more bytes per source pixel (less compressed), a smaller id (by UTF-8
    bytes). The steps keep the detector's jitter from deciding: without them a dithered one-bit copy can win
    over the photograph by a hundredth of a pixel. Missing values are worst. No two rows tie, as ids
    are unique, so the order of the ids does not depend on the order of the rows.

    Args:
        table: as for `arrange`.
        source_priority: names of sources, most preferred first.
        rank: place of each row's id among the sorted ids, where it is known.

    Returns:
        int64 (N,): row positions.
    """
    width, height, size = (_numbers(table, name) for name in ("width_px", "height_px", "bytes"))
    # A missing value is -inf; a picture without pixels has no rate either.
    known = (width > 0) & (height > 0) & np.isfinite(size)
    area = np.multiply(width, height, out=np.ones(width.shape), where=known)
    rate = np.divide(size, area, out=np.full(width.shape, -np.inf), where=known)
    return np.lexsort(
        (
            _id_rank(table["id"])[0] if rank is None else rank,
            -rate,
            -np.round(_numbers(table, "face_score") / SCORE_STEP),
            -np.round(_octaves(_numbers(table, "interocular_px")) / OCTAVE_STEP),
            _source_place(table, source_priority),
        )
    )


def _id_rank(ids: pa.ChunkedArray) -> tuple[NDArray[np.int32], bool]:
    """Place of each row's id in the sorted ids, from 0, int32 (N,); and whether each is there once."""
    order = pc.sort_indices(ids)
    ranked = ids.take(order)
    twice = len(ranked) > 1 and pc.any(pc.equal(ranked[1:], ranked[:-1])).as_py()
    rank = np.empty(len(order), np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return rank, not (twice or ids.null_count)


def _source_place(table: pa.Table, source_priority: tuple[str, ...]) -> NDArray[np.int64]:
    place = pc.index_in(table["source"], value_set=pa.array(source_priority, pa.string()))
    return pc.fill_null(place, len(source_priority)).to_numpy().astype(np.int64)


def _octaves(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log2(distance, out=np.full(distance.shape, -np.inf), where=distance > 0)


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """The column as float64 (N,), with -inf for null and NaN."""
    values = pc.fill_null(table[name].cast(pa.float64()), -np.inf).to_numpy().copy()
    values[np.isnan(values)] = -np.inf
    return values
