"""Compiled loops that form duplicate clusters.

It imports numba, so it is itself imported only where clusters are formed.

Rows and items are numbered from the best to keep to the worst, so "smaller" reads "better" throughout, and a
result that depends on these numbers alone does not depend on the order of the input.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from facecorpus.dedup.join_kernel import hamming

PHOTO, IMAGE, CROP = 0, 1, 2
"""Kinds of near links, from the strongest to the weakest."""
_MIXED = -2
_ITEM = 0xFFFFFFFF


@nb.njit(cache=True)
def _root(parent: Any, row: Any) -> Any:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


@nb.njit(cache=True)
def unite_equal(parent: Any, key: Any, keys: int) -> None:
    """Unite the rows with equal keys, in place.

    Args:
        parent: int32 (N,), a union-find forest; roots are the smallest members.
        key: int32 (N,), 0 to keys - 1, or -1 for a row that is united with none.
        keys: number of different keys.
    """
    first = np.full(keys, -1, np.int32)
    for row in range(key.shape[0]):
        if key[row] < 0:
            continue
        if first[key[row]] < 0:
            first[key[row]] = row
            continue
        a = _root(parent, first[key[row]])
        b = _root(parent, row)
        parent[max(a, b)] = min(a, b)


@nb.njit(cache=True)
def roots(parent: Any) -> Any:
    """Smallest member of each row's set, int32 (N,)."""
    found = np.empty(parent.shape[0], np.int32)
    for row in range(parent.shape[0]):
        found[row] = _root(parent, row)
    return found


@nb.njit(cache=True)
def exact_leaders(component: Any, crop_words: Any, crop_good: Any, same_face_radius: int) -> Any:
    """Split sets of byte- or pixel-equal rows by the face they show.

    A row joins the best earlier leader of its set whose crop shows the same face (or where one of the two
    crops has no usable hash), else it leads.

    Args:
        component: int32 (N,), from `roots`.
        crop_words: uint64 (N, 4).
        crop_good: bool (N,), whether the crop hash is usable.
        same_face_radius: bits.

    Returns:
        int32 (N,): the leader of each row.
    """
    n = component.shape[0]
    leader = np.full(n, -1, np.int32)
    following = np.full(n, -1, np.int32)
    last = np.full(n, -1, np.int32)
    for row in range(n):
        candidate = component[row] if component[row] != row else -1
        while candidate >= 0:
            unknown = not (crop_good[row] and crop_good[candidate])
            if unknown or hamming(crop_words, row, candidate) <= same_face_radius:
                leader[row] = candidate
                break
            candidate = following[candidate]
        if leader[row] < 0:
            leader[row] = row
            head = component[row]
            if head != row:
                following[last[head]] = row
            last[head] = row
    return leader


@nb.njit(cache=True)
def _same_face(kind: int, a: int, b: int, items: Any, crop: Any, radius: int) -> bool:
    """Whether a near link between two items may stand: other pictures, and crops that do not contradict
    it."""
    if items.picture[a] == items.picture[b]:
        return False
    if kind == CROP:
        return True
    if crop.code[a] >= 0 and crop.code[b] >= 0:
        return hamming(crop.words, crop.code[a], crop.code[b]) <= radius
    return kind == IMAGE and items.face[a] == items.face[b]


@nb.njit(cache=True)
def _fits(item: Any, lead: int, items: Any, cluster: Any) -> bool:
    """Whether the leader's cluster holds no other face of the item's picture, nor other identities."""
    if cluster.picture_in[items.picture[item]] == lead:
        return False
    for at in range(items.label_start[item], items.label_start[item + 1]):
        source = items.label[at, 0]
        if cluster.source_in[source] == lead and cluster.identity[source] != items.label[at, 1]:
            return False
    return True


@nb.njit(cache=True)
def _enter(item: Any, lead: int, items: Any, cluster: Any) -> None:
    """Note the item, its picture and its identities as present in the leader's cluster."""
    cluster.leader[item] = lead
    cluster.picture_in[items.picture[item]] = lead
    for at in range(items.label_start[item], items.label_start[item + 1]):
        source = items.label[at, 0]
        if cluster.source_in[source] != lead:
            cluster.source_in[source] = lead
            cluster.identity[source] = items.label[at, 1]
        elif cluster.identity[source] != items.label[at, 1]:
            cluster.identity[source] = _MIXED


@nb.njit(cache=True)
def _gather(
    kind: int, bits: int, at: int, lists: Any, lead: int, items: Any, crop: Any, same_face_radius: int,
    cluster: Any, found: Any, count: int,
) -> Any:  # fmt: skip
    """Add the free items of list `at` that show the leader's face to `found`, as sortable numbers.

    A number holds the kind in bits 56 up, the distance in bits 40 up, and the item. Returns `found` (moved
    when it was full) and how many it holds.
    """
    begin = lists.member_start[at]
    free = 0
    for i in range(begin, begin + lists.live[at]):
        item = lists.members[i]
        if cluster.leader[item] >= 0:
            continue
        # Taken items leave the list, so that a large one is not walked again and again.
        lists.members[begin + free] = item
        free += 1
        if not _same_face(kind, lead, item, items, crop, same_face_radius):
            continue
        if count == found.shape[0]:
            found = np.concatenate((found, np.empty_like(found)))
        found[count] = (np.int64(kind) << 56) | (np.int64(bits) << 40) | np.int64(item)
        count += 1
    lists.live[at] = free
    return found, count


@nb.njit(cache=True)
def _gather_near(
    kind: int, links: Any, hop: int, via: int, lead: int, items: Any, crop: Any, same_face_radius: int,
    cluster: Any, found: Any, count: int,
) -> Any:  # fmt: skip
    """`_gather` over the hash of item `via` and its near ones, as far as these lie near the leader's own
    hash."""
    code = links.code[via]
    if code < 0 or links.code[lead] < 0 or links.followed[code] == lead:
        return found, count
    links.followed[code] = lead
    for step in range(links.link_start[code] - 1, links.link_start[code + 1]):
        at = code if step < links.link_start[code] else links.link[step]
        if links.met[at] == lead:
            continue
        links.met[at] = lead
        bits = hamming(links.words, links.code[lead], at)
        if bits <= hop * links.radius:
            found, count = _gather(
                kind, bits, at, links, lead, items, crop, same_face_radius, cluster, found, count
            )
    return found, count


@nb.njit(cache=True)
def _growth(found: Any, count: int, lead: int, items: Any, cluster: Any, counted: Any) -> Any:
    """By how many items the first `count` of `found` would make the leader's cluster grow, at most."""
    growth = 0
    for k in range(count):
        item = found[k] & _ITEM
        if counted[item] != lead and _fits(item, lead, items, cluster):
            counted[item] = lead
            growth += 1
    return growth


@nb.njit(cache=True)
def near_leaders(
    items: Any, cluster: Any, photo: Any, image: Any, crop: Any, same_face_radius: int, max_cluster: int
) -> Any:
    """Form near-duplicate clusters around the best items.

    Items are visited from the best to the worst. One that is not yet taken leads a cluster and takes,
    strongest kind and nearest first, its free direct neighbours, then the free neighbours of those within
    twice the radius of itself, unless the cluster would grow past `max_cluster`.

    Args:
        items: `clusters.Items`.
        cluster: `clusters.Cluster`, filled in: leader[i] becomes the leader of item i.
        photo: `clusters.Photos`, used up.
        image, crop: `clusters.Links`, used up.
        same_face_radius, max_cluster: see `DedupRules`.

    Returns:
        kind int8 (M,), -1 for leaders; distance int16 (M,) to the leader, -1 for leaders and photo links.
    """
    m = items.picture.shape[0]
    kind_of = np.full(m, -1, np.int8)
    distance_of = np.full(m, -1, np.int16)
    counted = np.full(m, -1, np.int32)
    found = np.empty(1024, np.int64)
    taken = np.empty(m, np.int32)
    for lead in range(m):
        if cluster.leader[lead] >= 0:
            continue
        _enter(lead, lead, items, cluster)
        taken[0] = lead
        size = 1
        for hop in (1, 2):
            count = 0
            if hop == 1:
                for k in range(photo.item_start[lead], photo.item_start[lead + 1]):
                    found, count = _gather(
                        PHOTO, 0, photo.of_item[k], photo, lead, items, crop, same_face_radius,
                        cluster, found, count,
                    )  # fmt: skip
            for via in taken[hop - 1 : size]:
                found, count = _gather_near(
                    IMAGE, image, hop, via, lead, items, crop, same_face_radius, cluster, found, count
                )
                found, count = _gather_near(
                    CROP, crop, hop, via, lead, items, crop, same_face_radius, cluster, found, count
                )
            if hop == 2 and size + _growth(found, count, lead, items, cluster, counted) > max_cluster:
                break
            for number in np.sort(found[:count]):
                item = np.int32(number & _ITEM)
                if cluster.leader[item] >= 0 or not _fits(item, lead, items, cluster):
                    continue
                _enter(item, lead, items, cluster)
                kind_of[item] = number >> 56
                if kind_of[item] != PHOTO:
                    distance_of[item] = (number >> 40) & 0xFFFF
                taken[size] = item
                size += 1
    return kind_of, distance_of
