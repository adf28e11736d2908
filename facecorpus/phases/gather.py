"""Between select and materialise, where there is much to write: the staged crops are put together by shard.

A shard's samples come from nearly everywhere, so a shard that is written from the staged files opens nearly
all of them, for a few crops each. Where most shards are to be written anyway, each staged file is read once,
from end to end, and the kept crops of about `GROUP_BYTES` of them go into one file, shard after shard, of
which each shard then reads one run. Those files take as much room as the shards, in their folder below the
corpus, and are removed when the last shard is written. The shards are the same either way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from facecorpus import storage, units
from facecorpus.phases import score, select
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.files import publish_hashed
from facecorpus.phases.phase import Made
from facecorpus.record import State
from facecorpus.units import Done, Unit

NAME = "gather"
GROUP_BYTES = 512 << 20
"""Staged bytes that are put in order at once; what a worker holds."""
MANY, SHARE = 64, 8
"""Staged files, and the part of the shards (1 in so many), from which on gathering costs less."""
_HEAD = struct.Struct("<QI")
"""Before each crop: the sample's key as a number, and the size of the crop."""


class Run(NamedTuple):
    """Where some of a shard's crops are."""

    unit: str
    start: int
    bytes: int


def path(unit: str) -> str:
    """Where a unit's crops are, relative to the corpus."""
    return f"{NAME}ed/{unit}.crops"


def plan(corpus: Corpus, done: Done, shards: int, missing: int) -> list[Unit]:
    """A unit for each group of staged files; none where that does not pay.

    Args:
        corpus: selected.
        done: its marks.
        shards: how many there are.
        missing: how many of them are to be written.
    """
    staged = score.PHASE.plan(corpus, done)
    if len(staged) < MANY or missing * SHARE < shards:
        return []
    (selected,) = select.PHASE.plan(corpus, done)
    found, first = list[Unit](), 0
    for group in _groups(done, staged):
        rows = sum(_rows(done, unit) for unit in group)
        code = units.digest(selected.digest, [unit.digest for unit in group])
        spec = {"parts": [unit.name for unit in group], "first": first, "rows": rows}
        found.append(Unit(NAME, f"{len(found):06d}", code, rows, {**spec, "selected": selected.digest}))
        first += rows
    return found


def _groups(done: Done, staged: Sequence[Unit]) -> Iterator[list[Unit]]:
    held, size = list[Unit](), 0
    for unit in staged:
        held.append(unit)
        size += max(output["bytes"] for output in done.marks(score.NAME)[unit.name]["outputs"])
        if size >= GROUP_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _rows(done: Done, unit: Unit) -> int:
    told = done.marks(score.NAME)[unit.name]["summary"]
    return sum(told.get(state, 0) for state in State)


def run(corpus: Corpus, unit: Unit) -> Made:
    """Put the kept crops of a group together by shard; the mark tells each shard's run."""
    url, rows = storage.join(corpus.out, select.SELECTION), (unit.spec["first"], unit.spec["rows"])
    told = storage.read_rows(url, ["key", "shard"], *rows)
    shard = told["shard"].fill_null(-1).to_numpy()
    crops = _staged(corpus, unit.spec["parts"])
    held = {row: crop for row, crop in enumerate(crops) if crop is not None and shard[row] >= 0}
    keys = told["key"].to_pylist()
    runs: list[tuple[int, int, int]] = []

    def write(file: BinaryIO) -> None:
        runs.clear()
        at = 0
        for number in np.unique(shard[shard >= 0]).tolist():
            start = at
            for row in np.flatnonzero(shard == number).tolist():
                at += file.write(_HEAD.pack(int(keys[row], 16), len(held[row]))) + file.write(held[row])
            runs.append((number, start, at - start))

    output = publish_hashed(corpus.out, path(unit.name), write)
    return [output], {"selected": unit.spec["selected"], "runs": runs}


def _staged(corpus: Corpus, parts: Sequence[str]) -> Iterator[bytes | None]:
    """The crop of each row, None for one without; each file is read once, from end to end."""
    for part in parts:
        sizes = select.read_scored(corpus, part, ["crop_bytes"])["crop_bytes"].to_pylist()
        with storage.open_read(storage.join(corpus.out, score.crops_path(part))) as file:
            for size in sizes:
                yield None if size is None else file.read(size)


def runs_of(done: Done, selected: Unit) -> dict[int, list[Run]]:
    """The runs of each shard, of what has been gathered for a selection."""
    found: dict[int, list[Run]] = {}
    for name, mark in sorted(done.marks(NAME).items()):
        if mark["summary"]["selected"] == selected.digest:
            for number, start, size in mark["summary"]["runs"]:
                found.setdefault(number, []).append(Run(name, start, size))
    return found


def read(corpus: Corpus, runs: Sequence[Run]) -> dict[str, bytes]:
    """The crops in some runs, by the samples' keys."""
    found: dict[str, bytes] = {}
    for unit, start, size in map(Run._make, runs):
        with storage.open_read(storage.join(corpus.out, path(unit))) as file:
            file.seek(start)
            data = file.read(size)
        at = 0
        while at < len(data):
            code, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            found[f"{code:016x}"] = data[at : at + length]
            at += length
    return found
