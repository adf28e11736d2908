"""Phase 5: check the claim again, from the bytes.

Everything that the done marks record is checked, and the marks themselves:

- `corpus.json` and every mark are, to the last byte, as they were written, and every mark is the one that the
  plan asks for: the digests run from the recipe and the inventory to the list of shards, so that a part made
  with another recipe or of other inputs is seen.
- Every file that a mark lists has its size and SHA-256.
- Every row says what the one before it in the pipeline said: scores what the inventory listed, the selection
  what was scored, a manifest, column by column, what was scored and placed. Every tar header, index and
  sidecar is the one that follows from them, and every JPEG decodes to the recipe's size.
- The ledger: every input of every source in exactly one terminal state, and exactly the kept ones in the
  shards. No other tar has a shard's name.

Not part of the claim, and not read: `report.html`, the seek indexes under `inventory/index`, `verified.json`
(which this phase writes anew), and files that facecorpus did not write. The staged crops are checked where
they are; to delete them is no fault, since the shards hold what was kept.

Faults are sentences; nothing that a damaged file does is raised.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facecorpus import ledger, schema, shards, storage, units
from facecorpus.errors import UserError
from facecorpus.images import ImageError, decode, read_header
from facecorpus.ledger import SourceLedger
from facecorpus.phases import corpus as corpora
from facecorpus.phases import inventory, materialise, score, select
from facecorpus.phases.corpus import Corpus
from facecorpus.record import State, from_table
from facecorpus.units import Unit

VERIFIED = "verified.json"
_SAMPLE = [name for name in select.PLACED.names if name in schema.SCORES.names and name != "crop_offset"]
"""What scores and placement both say of a sample."""

Numbers = NDArray[np.uint64]


@dataclass(slots=True)
class Found:
    """What the check of one unit found."""

    faults: list[str] = field(default_factory=list[str])
    keys: Numbers = field(default_factory=lambda: np.empty(0, np.uint64))
    """Keys of the candidates (score) or of the samples (materialise)."""
    rows: Numbers = field(default_factory=lambda: np.empty(0, np.uint64))
    """A digest of what is said of each of them."""


def plan(corpus: Corpus) -> tuple[list[Unit], list[str]]:
    """Every unit of every phase, in order, and what is wrong already with what they are planned from."""
    if not corpora.is_as_written(corpus.out):
        return [], [f"{corpora.CONFIG} is not as facecorpus wrote it"]
    found: list[Unit] = []
    try:
        inventory.counts(corpus)  # raises where a source has no mark
        for spec in corpus.sources:
            mark = units.read_mark(corpus.out, inventory.PHASE, spec.name) or {}
            # Its digest is of the source's files, which need not be here.
            size = sum(inventory.group_sizes(corpus, spec.name))
            found.append(Unit(inventory.PHASE, spec.name, mark.get("digest", ""), size))
        found += score.plan(corpus)
        found += select.plan(corpus)
        plans = materialise.plan(corpus)
        found += [*plans, materialise.list_unit(corpus, plans)]
        return found, _check_records(corpus, found) + _strangers(corpus, {unit.name for unit in plans})
    except (UserError, OSError) as error:
        return found, [str(error)]


def _check_records(corpus: Corpus, plans: Sequence[Unit]) -> list[str]:
    """That what is on record as facecorpus's own is what the marks list."""
    wrong: list[str] = []
    for phase in (inventory.PHASE, score.PHASE, select.PHASE, materialise.PHASE):
        names = [unit.name for unit in plans if unit.phase == phase]
        marks = (units.read_mark(corpus.out, phase, name) or {"outputs": []} for name in names)
        if units.claimed(corpus.out, phase) != {o["path"] for mark in marks for o in mark["outputs"]}:
            wrong.append(f"{units.DONE}/{phase}-files.json: it does not list the files that were written")
    return wrong


def _strangers(corpus: Corpus, names: set[str]) -> list[str]:
    """Tars that have a shard's name and are none: whoever takes all shards would take them too."""
    folder = storage.join(corpus.out, materialise.FOLDER)
    if not storage.exists(folder):
        return []
    ours = re.compile(re.escape(corpus.recipe.name) + r"-\d{6}\.tar")
    tars = (path for path, _, _ in storage.walk_files(folder) if ours.fullmatch(path))
    return [f"{materialise.FOLDER}/{path}: no shard of this corpus" for path in tars if path not in names]


def check(corpus: Corpus, unit: Unit) -> Found:
    """Check one unit: its mark, the files it wrote, and what they say."""
    try:
        faults = _check_files(corpus, unit)
        if faults:
            return Found(faults)
        return _CONTENTS[unit.phase](corpus, unit)
    except Exception as error:  # of bytes that have the right hash: whatever they do is the fault
        return Found([f"{unit.phase} {unit.name}: cannot be checked ({type(error).__name__}: {error})"])


def _check_files(corpus: Corpus, unit: Unit) -> list[str]:
    path = f"{units.DONE}/{unit.phase}/{unit.name}.json"
    mark = units.read_mark(corpus.out, unit.phase, unit.name)
    if mark is None:
        return [f"{path}: missing, or not as facecorpus wrote it"]
    if mark["digest"] != unit.digest:
        return [f"{path}: this part was made with another recipe or of other inputs"]
    return [fault for output in mark["outputs"] if (fault := _check_file(corpus, **output)) is not None]


def _check_file(corpus: Corpus, path: str, bytes: int, sha256: str) -> str | None:
    url = storage.join(corpus.out, path)
    if not storage.exists(url):
        return None if path.startswith(f"{score.STAGED}/") else f"{path}: missing"
    try:
        found = storage.sha256(url)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror or error})"
    if found != (bytes, sha256):
        return f"{path}: its bytes are not those that were written"
    return None


def _check_inventory(corpus: Corpus, unit: Unit) -> Found:
    url = storage.join(corpus.out, inventory.path(unit.name))
    with storage.open_read(url) as file:
        described = pq.ParquetFile(file).metadata
        sizes = [described.row_group(n).num_rows for n in range(described.num_row_groups)]
    if sizes != inventory.group_sizes(corpus, unit.name):
        return Found([f"{inventory.path(unit.name)}: its parts are not those that its mark counts"])
    return Found()


def _check_scores(corpus: Corpus, unit: Unit) -> Found:
    path = score.rows_path(unit.name)
    rows = storage.read_table(storage.join(corpus.out, path))
    listed = inventory.read_group(corpus, unit.spec["source"], unit.spec["group"])
    faces = rows["face_index"].to_numpy()
    first = rows.filter(pa.array(faces == 0))
    names = [name for name in schema.INVENTORY.names if name != "id"]
    said = _digests(first, names)
    of = np.cumsum(faces == 0) - 1
    parents = first["id"].to_pylist()
    ids = [parents[i] + (f"#{face}" if face else "") for i, face in zip(of, faces, strict=True)]
    if (
        parents != listed["id"].to_pylist()
        or not np.array_equal(said, _digests(listed, names))
        or not np.array_equal(said[of], _digests(rows, names))
        or ids != rows["id"].to_pylist()
    ):
        return Found([f"{path}: its rows are not those that the inventory lists"])
    chosen = _in_state(rows, State.CANDIDATE)
    keys = _keys(shards.sample_key(i) for i in chosen["id"].to_pylist())
    return Found([], keys, _digests(chosen, _SAMPLE))


def _check_selection(corpus: Corpus, unit: Unit) -> Found:
    """That the selection says of every row what was scored, and no more than it may."""
    selection = read_selection(corpus)
    same = ["id", "source", "face_index", "detail"]
    parts: list[str] = unit.spec["parts"]
    tables = [
        storage.read_table(storage.join(corpus.out, score.rows_path(part)), [*same, "state", "reason"])
        for part in parts
    ]
    names = [part for part, table in zip(parts, tables, strict=True) for _ in range(len(table))]
    rows = [row for table in tables for row in range(len(table))]
    scored = pa.concat_tables(tables)
    before, after = scored["state"].to_pylist(), selection["state"].to_pylist()
    may = {State.CANDIDATE: (State.KEPT, State.DUPLICATE)}
    if (
        len(scored) != len(selection)
        or any(scored[name].to_pylist() != selection[name].to_pylist() for name in (*same, "reason"))
        or names != selection["unit"].to_pylist()
        or rows != selection["row"].to_pylist()
        or any(now not in may.get(then, (then,)) for then, now in zip(before, after, strict=True))
    ):
        return Found([f"{select.SELECTION}: it does not say what was scored"])
    return Found()


def _check_shard(corpus: Corpus, unit: Unit) -> Found:
    path = f"{materialise.FOLDER}/{unit.name}"
    with storage.open_read(storage.join(corpus.out, path)) as file:
        data = file.read()
    with storage.open_read(storage.join(corpus.out, f"{path}.idx")) as file:
        index = shards.read_index(file.read())
    said = storage.read_table(storage.join(corpus.out, f"{path.removesuffix('.tar')}.parquet"))
    table = materialise.read_placed(corpus, unit)
    keys, records = table["key"].to_pylist(), from_table(table)
    members = iter(shards.parse_members(data))
    placed: list[shards.Placed] = []
    faults: list[str] = []
    for key, record in zip(keys, records, strict=True):
        further = materialise.sidecar(corpus, record)
        here: dict[str, int] = {}
        for extension in sorted([schema.JPG, *further]):
            name, start, size = next(members, ("", 0, 0))
            payload = data[start : start + size]
            here[extension] = start
            if extension == schema.JPG:
                as_said = shards.sha256(payload) == record.crop_sha256
                faults += _check_image(corpus, f"{path}: sample {key}", payload)
            else:
                as_said = payload == further[extension]
            if name != f"{key}.{extension}" or not as_said:
                return Found([f"{path}: sample {key} is not the one that was placed there"])
        placed.append(shards.Placed(min(here.values()) - shards.BLOCK, here))
    if next(members, None) is not None:
        faults.append(f"{path}: it holds more samples than were placed there")
    if index != [*(place.sample_offset for place in placed), len(data) - 2 * shards.BLOCK]:
        faults.append(f"{path}.idx: the index does not match the tar")
    wanted = materialise.manifest(table, placed)
    names = schema.MANIFEST.names
    if said.schema != wanted.schema or not np.array_equal(_digests(said, names), _digests(wanted, names)):
        faults.append(f"{path.removesuffix('.tar')}.parquet: the manifest does not say what the shard holds")
    return Found(faults, _keys(keys), _digests(table, _SAMPLE))


def _check_image(corpus: Corpus, what: str, payload: bytes) -> list[str]:
    side = corpus.recipe.size_px
    try:
        header = read_header(payload, "crop.jpg")
        rgb = decode(payload, header).rgb
    except ImageError as error:
        return [f"{what} does not decode: {error}"]
    if rgb.shape != (side, side, 3) or rgb.dtype != np.uint8:
        return [f"{what} is {rgb.shape[1]} x {rgb.shape[0]} px, not {side} x {side}"]
    return []


def _check_list(corpus: Corpus, unit: Unit) -> Found:
    wanted = materialise.list_shards(corpus, materialise.plan(corpus))
    said = storage.read_table(storage.join(corpus.out, materialise.SHARDS))
    same = said.schema.equals(wanted.schema, check_metadata=True) and said.equals(wanted)
    return Found([] if same else [f"{materialise.SHARDS}: it does not list the shards that were written"])


_CONTENTS = {
    inventory.PHASE: _check_inventory,
    score.PHASE: _check_scores,
    select.PHASE: _check_selection,
    materialise.PHASE: _check_shard,
    materialise.LIST: _check_list,
}


def _in_state(table: pa.Table, state: State) -> pa.Table:
    return table.filter(pa.array([word == state for word in table["state"].to_pylist()], pa.bool_()))


def _keys(keys: Any) -> Numbers:
    return np.array([int(key, 16) for key in keys], np.uint64)


def _digests(table: pa.Table, names: Sequence[str]) -> Numbers:
    """A 64-bit digest of some columns of each row."""
    columns = [table[name].to_pylist() for name in names]
    rows = (repr(values).encode() for values in zip(*columns, strict=True))
    return np.array(
        [int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "big") for row in rows], np.uint64
    )


def conclude(
    corpus: Corpus, found: Sequence[tuple[Unit, Found]]
) -> tuple[list[str], dict[str, SourceLedger]]:
    """What only the whole shows, given that every unit is sound: that the ledger closes and that the shards
    hold exactly the kept rows, as they were scored; returns (faults, ledgers)."""
    faults: list[str] = []
    selection = read_selection(corpus)
    ledgers = ledger.close(inventory.counts(corpus), selection)
    for entry in ledgers.values():
        if not entry.closes:
            states = ", ".join(f"{entry.states[s]} {s}" for s in ledger.TERMINAL)
            faults.append(f"source {entry.source}: {entry.inputs} inputs, but {states}")
    ids, words = selection["id"].to_pylist(), selection["state"].to_pylist()
    for i, count in Counter(ids).items():
        if count > 1:
            faults.append(f"{i} is listed {count} times in the selection")
    states = dict(zip(ids, words, strict=True))
    for kept in sorted(set(selection["duplicate_of"].drop_null().to_pylist())):
        if states.get(kept) != State.KEPT:
            faults.append(f"{kept} is named as the kept copy of a duplicate, but is {states.get(kept)}")
    kept = _in_state(selection, State.KEPT)
    if kept["key"].to_pylist() != [shards.sample_key(i) for i in kept["id"].to_pylist()]:
        faults.append(f"{select.SELECTION}: a kept row has not the key that follows from its id")
        return faults, ledgers
    parts = {unit.spec["number"]: f for unit, f in found if unit.phase == materialise.PHASE}
    shard = {key: number for number, f in parts.items() for key in f.keys.tolist()}
    wanted = dict(zip(_keys(kept["key"].to_pylist()).tolist(), kept["shard"].to_pylist(), strict=True))
    shipped = _joined(list(parts.values()))
    if len(shipped.keys) != len(shard) or shard != wanted:
        faults.append(f"{_differing(shard, wanted)} samples are not in the shard that the selection names")
    scored = _joined([f for unit, f in found if unit.phase == score.PHASE])
    known = dict(zip(scored.keys.tolist(), scored.rows.tolist(), strict=True))
    pairs = zip(shipped.keys.tolist(), shipped.rows.tolist(), strict=True)
    if changed := sum(known.get(key) != row for key, row in pairs):
        faults.append(f"{changed} samples in the shards are not described as they were scored")
    return faults, ledgers


def _joined(found: Sequence[Found]) -> Found:
    if not found:
        return Found()
    return Found([], np.concatenate([f.keys for f in found]), np.concatenate([f.rows for f in found]))


def _differing(a: dict[int, int], b: dict[int, int]) -> int:
    return sum(a.get(key) != b.get(key) for key in a.keys() | b.keys()) or 1


def read_selection(corpus: Corpus) -> pa.Table:
    """The selection table.

    Raises:
        UserError: nothing has been selected yet.
    """
    url = storage.join(corpus.out, select.SELECTION)
    if not storage.exists(url):
        raise UserError(f"{corpus.out} has no {select.SELECTION}; run 'facecorpus select' or 'build' first")
    return storage.read_table(url)


def publish(corpus: Corpus, ledgers: dict[str, SourceLedger]) -> str | None:
    """Record what was verified in `verified.json`: the shards' hashes and the ledger.

    Returns:
        why it could not be written (storage that may only be read), or None.
    """
    rows = storage.read_table(storage.join(corpus.out, materialise.SHARDS)).to_pylist()
    made = {
        "shards": {row["shard"]: row["sha256"] for row in rows},
        "samples": sum(row["samples"] for row in rows),
        "ledger": {name: {"inputs": entry.inputs, **entry.states} for name, entry in ledgers.items()},
    }
    try:
        storage.publish_json(storage.join(corpus.out, VERIFIED), made)
    except (UserError, OSError) as error:
        return str(error)
    return None
