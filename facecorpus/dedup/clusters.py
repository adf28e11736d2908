"""Duplicate clusters of rows that are ordered from the best to keep to the worst.

Two steps. **Exact**: rows with equal bytes or equal pixels and the same face are copies of one item.
**Near**: items are visited from the best to the worst, and one that is not yet taken keeps its place and
takes its duplicates. This leader rule is what guards against chaining (a picture like the next one, like the
next one, ...), and it promises:

- every near duplicate lies within twice the radius of the record it is a duplicate of, in the hash that links
  them;
- in a cluster of more than `max_cluster` items, within the radius itself;
- no two kept records lie within the radius of each other, unless they are known to differ (two faces of a
  picture, two identities of a source);
- no cluster holds two faces of a picture, nor (with the identity veto) two identities of one source, except
  among rows of equal bytes or pixels;
- the outcome does not depend on the order of the input.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facecorpus.dedup.join import distinct_codes, hamming_join
from facecorpus.dedup.rules import DedupRules

NEAR_KINDS = ("photo", "image", "crop")

Int32 = NDArray[np.int32]


class Rows(NamedTuple):
    """What the clusters depend on, one entry per row, best row first. Numbers stand for equal values, -1 for
    none."""

    input: Int32
    """The file or record that the face was cut from."""
    face: Int32
    """Which face of the input."""
    file: Int32
    """The bytes of the input."""
    pixels: Int32
    """The pixels of the input."""
    source: Int32
    identity: Int32
    """The identity, within its source."""
    photo: Int32
    """The source's id of the photograph, within its source."""
    image_hash: NDArray[np.uint8]
    """uint8 (N, 32)."""
    image_good: NDArray[np.bool_]
    """Whether the hash is there and of sufficient quality."""
    crop_hash: NDArray[np.uint8]
    crop_good: NDArray[np.bool_]


class Clusters(NamedTuple):
    """One entry per row."""

    copy_of: Int32
    """Row that leads the copies (equal bytes or pixels, same face) this one belongs to, itself if it
    leads."""
    leader: Int32
    """Row that is kept of the cluster."""
    kind: NDArray[np.int8]
    """Index into `NEAR_KINDS` of the link from `copy_of` to `leader`, -1 where these are equal."""
    distance: NDArray[np.int16]
    """Bits between the hashes of `copy_of` and `leader`, -1 without a near link and for photo links."""


def find_clusters(rows: Rows, rules: DedupRules, *, workers: int = 1) -> Clusters:
    """Cluster the rows; see the module's promises.

    Args:
        rows: columns, best row first.
        rules: radii and vetoes.
        workers: threads of the joins.

    Raises:
        TooManyPairsError: the joins found more pairs than the rules allow.
    """
    from facecorpus.dedup import cluster_kernel as kernel

    n = rows.face.size
    # Rows of one picture with different faces never meet, so a picture is known by its name, its bytes or its
    # pixels.
    picture = _united([rows.input, rows.file, rows.pixels])
    copies = _united([_joint(rows.file, rows.face), _joint(rows.pixels, rows.face)])
    crop_words = np.ascontiguousarray(rows.crop_hash).view(np.uint64)
    copy_of = kernel.exact_leaders(copies, crop_words, rows.crop_good, rules.same_face_radius)

    leads = copy_of == np.arange(n)
    item_row = np.flatnonzero(leads).astype(np.int32)
    item_of_row = (np.cumsum(leads) - 1).astype(np.int32)[copy_of]
    items = item_row.size

    def links(hashes: NDArray[np.uint8], good: NDArray[np.bool_], radius: int | None) -> Links:
        return _links(hashes[item_row], good[item_row], radius, workers, rules.max_pairs)

    image = links(rows.image_hash, rows.image_good, rules.image_radius)
    crop = links(rows.crop_hash, rows.crop_good, rules.crop_radius)
    photo = _photos(rows.photo, item_of_row, items, enabled=rules.use_photo_id)
    label, label_item = _labels(rows, item_of_row, enabled=rules.identity_veto)
    sources = int(rows.source.max(initial=-1)) + 1
    numbered_picture = np.unique(picture[item_row], return_inverse=True)[1].astype(np.int32)
    about = Items(numbered_picture, rows.face[item_row], _starts(label_item, items), label)
    cluster = Cluster(_none(items), _none(items), _none(sources), _none(sources))
    kind, distance = kernel.near_leaders(
        about, cluster, photo, image, crop, rules.same_face_radius, rules.max_cluster
    )
    return Clusters(copy_of, item_row[cluster.leader][item_of_row], kind[item_of_row], distance[item_of_row])


class Items(NamedTuple):
    """What is known about items, best item first."""

    picture: Int32
    """Number of the picture an item was cut from."""
    face: Int32
    label_start: NDArray[np.int64]
    label: Int32
    """int32 (L, 2): the (source, identity) pairs of item i are label[label_start[i]:label_start[i + 1]]."""


class Cluster(NamedTuple):
    """The clusters so far, and what the newest one holds."""

    leader: Int32
    """Leader of each item, -1 while it is free."""
    picture_in: Int32
    """For each picture, the leader of the last cluster that took a face of it."""
    source_in: Int32
    """For each source, the leader of the last cluster that took an identity of it."""
    identity: Int32
    """That identity."""


class Photos(NamedTuple):
    """Items by photo id."""

    item_start: NDArray[np.int64]
    of_item: Int32
    """The photos of item i are of_item[item_start[i]:item_start[i + 1]]."""
    members: Int32
    """The items of photo p are the live[p] ones from member_start[p] on, ascending."""
    member_start: NDArray[np.int64]
    live: NDArray[np.int64]


class Links(NamedTuple):
    """Items by hash, and near hashes."""

    code: Int32
    """Number of each item's hash, -1 where it has none that is usable."""
    words: NDArray[np.uint64]
    """uint64 (C, 4), the distinct hashes."""
    members: Int32
    """The items of hash c are the live[c] ones from member_start[c] on, ascending."""
    member_start: NDArray[np.int64]
    live: NDArray[np.int64]
    link: Int32
    """The hashes near hash c are link[link_start[c]:link_start[c + 1]]."""
    link_start: NDArray[np.int64]
    radius: int
    """In bits, -1 where the hashes are not compared."""
    met: Int32
    """The leader that each hash was last compared with."""
    followed: Int32
    """The leader for which the links of each hash were last followed."""


def _links(
    hashes: NDArray[np.uint8],
    good: NDArray[np.bool_],
    radius: int | None,
    workers: int,
    max_pairs: int,
) -> Links:
    usable = np.flatnonzero(good).astype(np.int32)
    first, number = distinct_codes(hashes[usable])
    code = _none(good.size)
    code[usable] = number
    distinct = np.ascontiguousarray(hashes[usable[first]])
    if radius is None:
        pairs = hamming_join(distinct[:0], 0)
    else:
        pairs = hamming_join(distinct, radius, workers=workers, max_pairs=max_pairs)
    near = np.concatenate([pairs.u, pairs.v])
    return Links(
        code=code,
        words=distinct.view(np.uint64),
        members=usable[np.argsort(number, kind="stable")],
        member_start=_starts(number, first.size),
        live=np.bincount(number, minlength=first.size),
        link=np.concatenate([pairs.v, pairs.u])[np.argsort(near, kind="stable")],
        link_start=_starts(near, first.size),
        radius=-1 if radius is None else radius,
        met=_none(first.size),
        followed=_none(first.size),
    )


def _photos(photo: Int32, item_of_row: Int32, items: int, *, enabled: bool) -> Photos:
    at = np.flatnonzero((photo >= 0) & enabled)
    pairs = np.unique((item_of_row[at].astype(np.int64) << 32) | photo[at])
    item, group = (pairs >> 32).astype(np.int32), (pairs & 0xFFFFFFFF).astype(np.int32)
    groups = int(group.max(initial=-1)) + 1
    return Photos(
        item_start=_starts(item, items),
        of_item=group,
        members=item[np.argsort(group, kind="stable")],
        member_start=_starts(group, groups),
        live=np.bincount(group, minlength=groups),
    )


def _labels(rows: Rows, item_of_row: Int32, *, enabled: bool) -> tuple[Int32, Int32]:
    """The distinct (source, identity) pairs of each item, int32 (L, 2), and the item of each, ascending."""
    at = np.flatnonzero((rows.identity >= 0) & enabled)
    triples = np.stack([item_of_row[at], rows.source[at], rows.identity[at]], axis=1)
    triples = triples[np.lexsort(triples.T[::-1])]
    fresh = np.ones(len(triples), bool)
    fresh[1:] = (triples[1:] != triples[:-1]).any(axis=1)
    triples = triples[fresh]
    return np.ascontiguousarray(triples[:, 1:]), triples[:, 0]


def _united(keys: Sequence[Int32]) -> Int32:
    """Rows connected by an equal key in any of the columns: the smallest row of each set."""
    from facecorpus.dedup import cluster_kernel as kernel

    parent = np.arange(keys[0].size, dtype=np.int32)
    for key in keys:
        kernel.unite_equal(parent, key, int(key.max(initial=-1)) + 1)
    return kernel.roots(parent)


def _joint(key: Int32, face: Int32) -> Int32:
    """Numbers of the distinct (key, face) pairs, -1 where there is no key."""
    known = key >= 0
    joint = _none(key.size)
    joint[known] = np.unique((key[known].astype(np.int64) << 32) | face[known], return_inverse=True)[1]
    return joint


def _starts(values: Int32, size: int) -> NDArray[np.int64]:
    """Where the run of each value 0..size-1 begins once the values are sorted, and the end: int64 (size +
    1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(values, minlength=size))]).astype(np.int64)


def _none(size: int) -> Int32:
    return np.full(size, -1, np.int32)


def load_compiled() -> bool:
    """Import the kernels; returns whether they will be compiled at their first call, which takes a while.

    numba keeps machine code beside the module or in the user's cache folder. Where neither may be written it
    refuses to define a function; it then gets a folder of this process's own, and compiles each time.
    """
    from numba.core import config  # slow to import, and only a search for duplicates needs it

    try:
        from facecorpus.dedup import cluster_kernel
    except RuntimeError:
        settings: Any = config
        settings.CACHE_DIR = tempfile.mkdtemp(prefix="facecorpus-numba-")
        atexit.register(shutil.rmtree, settings.CACHE_DIR, ignore_errors=True)
        from facecorpus.dedup import cluster_kernel
    return not _is_kept(cluster_kernel.near_leaders, Path(cluster_kernel.__file__))


def _is_kept(function: Any, source: Path) -> bool:
    """Whether there is an index of machine code for the function that is newer than its source."""
    folder = Path(function.stats.cache_path)
    found = folder.glob(f"{source.stem}.{function.__name__}*.nbi")
    return any(path.stat().st_mtime >= source.stat().st_mtime for path in found)
