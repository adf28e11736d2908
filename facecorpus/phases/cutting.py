"""Where units and shards begin: at hashes of ids, never at a count from the start. So one input more or less
changes the unit and the shard that it belongs to, and no other."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facecorpus.record import Record

LONGEST = 4
"""A unit has at most this many times the number of inputs that is asked for."""
_KEY = b"facecorpus unit"

Group = tuple[str, str]
"""A person: source and identity. Both are empty where shards are not kept apart by persons."""
Ranks = NDArray[np.uint64]


def cut(source: str, records: Iterable[Record], size: int) -> Iterator[tuple[str, list[Record]]]:
    """The inputs of a source in units of about `size`, each by a name that stays while its first id does.

    A unit begins at an id with a chance of 1 in `size`, and where none has come for too long at the one that
    came nearest to it. What lies before the first such id is named by the source.
    """
    name, held = source, list[tuple[int, Record]]()
    for record in records:
        rank = _rank(record.id)
        begins = rank * size < 1 << 64
        if begins or len(held) == LONGEST * size:
            at = len(held) if begins else min(range(1, len(held)), key=lambda n: held[n][0])
            if held:
                yield f"{_rank(name):016x}", [each for _, each in held[:at]]
            name, held = held[at][1].id if at < len(held) else record.id, held[at:]
        held.append((rank, record))
    if held:
        yield f"{_rank(name):016x}", [each for _, each in held]


def _rank(record_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(record_id.encode(), digest_size=8, key=_KEY).digest(), "big")


class Range(NamedTuple):
    """What a shard holds: samples of one group, from a rank up to where the group's next range starts."""

    number: int
    """Of the shard."""
    group: Group
    start: int
    """By `shards.shuffle_ranks`."""


def place(
    groups: Sequence[Group], of: NDArray[np.int64], ranks: Ranks, before: Sequence[Range], size: int
) -> tuple[list[Range], NDArray[np.int32]]:
    """The ranges of the shards, and the shard's number of each sample.

    The ranges that there were stay, so that a sample goes where its rank belongs. A group that had none is
    cut every `size` samples; a range with more than twice as many is halved, its upper half becoming a new
    shard. New ones are numbered after all others, and an empty one keeps its number.

    Args:
        groups: of the samples, each once.
        of: index of each sample's group.
        ranks: of each sample; their order within a group is the order of the shards.
        before: the ranges so far; none where there are no shards yet.
        size: samples in a full shard.
    """
    held: dict[Group, list[Range]] = defaultdict(list)
    for each in sorted(before, key=lambda each: each.start):
        held[each.group].append(each)
    order = np.lexsort((ranks, of))
    bounds = np.searchsorted(of[order], np.arange(len(groups) + 1))
    number = max((each.number for each in before), default=-1) + 1
    shard = np.empty(len(ranks), np.int32)
    for index, group in sorted(enumerate(groups), key=lambda each: each[1]):
        members = order[bounds[index] : bounds[index + 1]]
        here = ranks[members]
        for start in _new_starts(here, [each.start for each in held[group]], size):
            held[group].append(Range(number, group, start))
            number += 1
        held[group].sort(key=lambda each: each.start)
        starts = np.array([each.start for each in held[group]], np.uint64)
        numbers = np.array([each.number for each in held[group]], np.int32)
        shard[members] = numbers[np.searchsorted(starts, here, "right") - 1]
    return sorted(each for ranges in held.values() for each in ranges), shard


def _new_starts(ranks: Ranks, starts: Sequence[int], size: int) -> list[int]:
    """Where new ranges start among rising `ranks`, given where there are some already."""
    if not starts:
        return sorted({0, *ranks[size::size].tolist()})
    bounds = [*np.searchsorted(ranks, np.array(starts, np.uint64)).tolist(), len(ranks)]
    return sorted(start for low, high in pairwise(bounds) for start in _halves(ranks, low, high, size))


def _halves(ranks: Ranks, low: int, high: int, size: int) -> Iterator[int]:
    """Where `ranks[low:high]` is cut until no piece has more than twice `size`."""
    if high - low > 2 * size:
        middle = int(np.searchsorted(ranks, ranks[(low + high) // 2]))
        if middle > low:  # else all of them from `low` on are the same
            yield int(ranks[middle])
            yield from _halves(ranks, low, middle, size)
            yield from _halves(ranks, middle, high, size)
