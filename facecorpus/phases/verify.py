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

Every unit of the other phases is a unit here. Its mark says that it was sound, and is good for as long as the
files have their sizes and times: so a build checks what was written or touched since, and the command
`facecorpus verify` everything. These marks are of this machine, and no part of the claim.

Faults are sentences; nothing that a damaged file does is raised.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus import schema, shards, storage, units
from facecorpus.errors import UserError
from facecorpus.images import ImageError, decode, read_header
from facecorpus.ledger import SourceLedger
from facecorpus.phases import agreement, inventory, materialise, score, select
from facecorpus.phases import corpus as corpora
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.phase import AGAIN, Made, Phase
from facecorpus.phases.row_digests import row_digests
from facecorpus.progress import say
from facecorpus.record import from_table
from facecorpus.units import Done, Unit

NAME = "verify"
VERIFIED = "verified.json"
CHECKED = (inventory.PHASE, score.PHASE, select.PHASE, materialise.PHASE)
_FAULTS, _LEDGER = "faults", "ledger"
_LISTED = [name for name in schema.INVENTORY.names if name != "id"]

Mark = Mapping[str, Any]


def plan(corpus: Corpus, done: Done) -> list[Unit]:
    """A unit for each unit of the other phases, and one for what is wrong already with what these are planned
    from.

    Raises:
        UserError: no shard was ever written.
    """
    if not units.has_record(corpus.out, materialise.NAME) and not storage.exists(
        storage.join(corpus.out, materialise.SHARDS)
    ):
        raise UserError(f"{corpus.out} has no shards yet; run 'facecorpus materialise' or 'build' first")
    found: list[Unit] = []
    try:
        for unit in _to_check(corpora.as_recorded(corpus), done):
            mark = done.marks(unit.phase).get(unit.name)
            paths = [output["path"] for output in mark["outputs"]] if mark else []
            stamps = [
                storage.stamp(url) for path in paths if storage.exists(url := storage.join(corpus.out, path))
            ]
            # To be checked when its mark or any of its files is another one, or was written since.
            code = units.digest(unit.digest, mark, stamps)
            spec = {"unit": dataclasses.asdict(unit), "mark": mark}
            found.append(Unit(NAME, f"{unit.phase}/{unit.name}", code, unit.size, spec))
    except (UserError, OSError) as error:
        found.append(Unit(NAME, "plan", "", 0, {_FAULTS: [str(error)]}))
    return found


def _to_check(corpus: Corpus, done: Done) -> Iterator[Unit]:
    for spec in corpus.sources:
        # Its digest is of the source's files, which need not be here.
        mark = done.marks(inventory.NAME).get(spec.name, {"digest": ""})
        rows = inventory.counts(corpus, done)[spec.name]
        yield Unit(inventory.NAME, spec.name, mark["digest"], rows)
    yield from score.plan(corpus, done)
    yield from select.plan(corpus, done)
    shipped = materialise.plan(corpus, done)
    yield from shipped
    yield materialise.list_unit(corpus, shipped, done)


def run(corpus: Corpus, unit: Unit) -> Made:
    """Check one unit: its mark, the files it wrote, and what they say. Its faults are in the mark."""
    found = {_FAULTS: unit.spec[_FAULTS]} if _FAULTS in unit.spec else _checked(corpus, unit)
    return [], {AGAIN: len(found[_FAULTS]), **found}


def _checked(corpus: Corpus, check: Unit) -> dict[str, Any]:
    unit, mark = Unit(**check.spec["unit"]), check.spec["mark"]
    try:
        faults = _check_files(corpus, unit, mark)
        if faults:
            return {_FAULTS: faults}
        if unit.phase == select.NAME:
            return _check_selection(corpus, unit, mark)
        return {_FAULTS: _CONTENTS[unit.phase](corpus, unit, mark)}
    except Exception as error:  # of bytes that have the right hash: whatever they do is the fault
        words = f"cannot be checked ({type(error).__name__}: {error})"
        return {_FAULTS: [f"{unit.phase} {unit.name}: {words}"]}


def _check_files(corpus: Corpus, unit: Unit, mark: Mark | None) -> list[str]:
    path = f"{units.DONE}/{unit.phase}/{unit.name}.json"
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


def _check_inventory(corpus: Corpus, unit: Unit, mark: Mark) -> list[str]:
    url = storage.join(corpus.out, inventory.path(unit.name))
    with storage.open_read(url) as file:
        described = pq.ParquetFile(file).metadata
        sizes = [described.row_group(n).num_rows for n in range(described.num_row_groups)]
    said = [inventory.Part(*part).rows for part in mark["summary"]["parts"]]
    if sizes != said or sum(sizes) != unit.size:
        return [f"{inventory.path(unit.name)}: its parts are not those that its mark counts"]
    return []


def _check_scores(corpus: Corpus, unit: Unit, mark: Mark) -> list[str]:
    path = score.rows_path(unit.name)
    rows = storage.read_table(storage.join(corpus.out, path))
    listed = inventory.read_part(corpus, unit.spec["source"], unit.spec["group"])
    faces = rows["face_index"].to_numpy()
    of = np.cumsum(faces == 0) - 1
    wanted = listed.take(pa.array(of))
    inputs = zip(wanted["id"].to_pylist(), faces, strict=True)
    if (
        of[-1] + 1 != len(listed)
        or [i + (f"#{face}" if face else "") for i, face in inputs] != rows["id"].to_pylist()
        or not np.array_equal(row_digests(wanted, _LISTED), row_digests(rows, _LISTED))
    ):
        return [f"{path}: its rows are not those that the inventory lists"]
    return []


def _check_selection(corpus: Corpus, unit: Unit, mark: Mark) -> dict[str, Any]:
    faults, ledgers = agreement.check(corpus, unit.spec["parts"], mark["summary"])
    return {_FAULTS: faults, _LEDGER: [entry.plain() for entry in ledgers]}


def _check_shard(corpus: Corpus, unit: Unit, mark: Mark) -> list[str]:
    path = f"{materialise.FOLDER}/{unit.name}"
    with storage.open_read(storage.join(corpus.out, path)) as file:
        data = file.read()
    with storage.open_read(storage.join(corpus.out, f"{path}.idx")) as file:
        index = shards.read_index(file.read())
    said = storage.read_table(storage.join(corpus.out, f"{path.removesuffix('.tar')}.parquet"))
    table = select.read_placed(corpus, unit.spec["group"])
    members = iter(shards.parse_members(data))
    placed: list[shards.Placed] = []
    faults: list[str] = []
    for key, record in zip(table["key"].to_pylist(), from_table(table), strict=True):
        further = materialise.sidecar(corpus, record)
        here: dict[str, int] = {}
        for extension in sorted([schema.JPG, *further]):
            name, start, size = next(members, ("", 0, 0))
            payload = data[start : start + size]
            here[extension] = start
            if extension == schema.JPG:
                as_said = hashlib.sha256(payload).hexdigest() == record.crop_sha256
                faults += _check_image(corpus, f"{path}: sample {key}", payload)
            else:
                as_said = payload == further[extension]
            if name != f"{key}.{extension}" or not as_said:
                return [f"{path}: sample {key} is not the one that was placed there"]
        placed.append(shards.Placed(min(here.values()) - shards.BLOCK, here))
    if next(members, None) is not None:
        faults.append(f"{path}: it holds more samples than were placed there")
    if index != [*(place.sample_offset for place in placed), len(data) - 2 * shards.BLOCK]:
        faults.append(f"{path}.idx: the index does not match the tar")
    wanted = materialise.manifest(table, placed)
    names = schema.MANIFEST.names
    if said.schema != wanted.schema or not np.array_equal(
        row_digests(said, names), row_digests(wanted, names)
    ):
        faults.append(f"{path.removesuffix('.tar')}.parquet: the manifest does not say what the shard holds")
    return faults


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


def _check_list(corpus: Corpus, unit: Unit, mark: Mark) -> list[str]:
    wanted = materialise.list_shards(corpus, unit)
    said = storage.read_table(storage.join(corpus.out, materialise.SHARDS))
    same = said.schema.equals(wanted.schema, check_metadata=True) and said.equals(wanted)
    return [] if same else [f"{materialise.SHARDS}: it does not list the shards that were written"]


_CONTENTS = {
    inventory.NAME: _check_inventory,
    score.NAME: _check_scores,
    materialise.NAME: _check_shard,
    materialise.LIST: _check_list,
}


def finish(corpus: Corpus, plan: Sequence[Unit], done: Done) -> None:
    """Record what was verified, in `verified.json`: the shards' hashes and the ledger.

    Raises:
        UserError: something is not as claimed; the message counts the faults and names the first ones.
    """
    marks = [done.marks(NAME)[unit.name]["summary"] for unit in plan]
    faults = sorted(fault for mark in marks for fault in mark[_FAULTS]) + _check_rest(corpus, plan, done)
    if faults:
        listed = "\n  ".join(faults[:10]) + (f"\n  and {len(faults) - 10} more" if len(faults) > 10 else "")
        raise UserError(
            f"{corpus.out} is not what it claims to be, {len(faults)} faults; delete the files named and "
            f"build again:\n  {listed}"
        )
    shipped = materialise.shipped(done)
    made = {
        "shards": {shard["shard"]: shard["sha256"] for shard in shipped},
        "samples": sum(shard["samples"] for shard in shipped),
        "ledger": {name: {"inputs": each.inputs, **each.states} for name, each in ledgers(done).items()},
    }
    try:
        if not storage.holds_json(url := storage.join(corpus.out, VERIFIED), made):
            storage.publish_json(url, made)
        units.claim(done, NAME, {unit.name: [] for unit in plan})
    except (UserError, OSError) as error:
        say(f"note: all is verified, but {VERIFIED} could not be written: {error}")


def _check_rest(corpus: Corpus, plan: Sequence[Unit], done: Done) -> list[str]:
    """What is no unit's: that what is on record as facecorpus's own is what the marks list, and that no tar
    has a shard's name and is none: whoever takes all shards would take it too."""
    wrong: list[str] = []
    checked = {unit.name for unit in plan}
    for phase in (each.name for each in CHECKED):
        marks = [mark for name, mark in done.marks(phase).items() if f"{phase}/{name}" in checked]
        if units.claimed(corpus.out, phase) != {o["path"] for mark in marks for o in mark["outputs"]}:
            wrong.append(f"{units.DONE}/{phase}-files.json: it does not list the files that were written")
    folder = storage.join(corpus.out, materialise.FOLDER)
    ours = re.compile(re.escape(corpus.recipe.name) + r"-\d{6}\.tar")
    for path, _, _ in storage.walk_files(folder) if storage.exists(folder) else ():
        if ours.fullmatch(path) and f"{materialise.NAME}/{path}" not in checked:
            wrong.append(f"{materialise.FOLDER}/{path}: no shard of this corpus")
    return wrong


def ledgers(done: Done) -> dict[str, SourceLedger]:
    """The ledger of a verified corpus, by source."""
    told = done.marks(NAME)[f"{select.NAME}/all"]["summary"][_LEDGER]
    return {entry["source"]: SourceLedger.from_plain(entry) for entry in told}


PHASE = Phase(NAME, "rows", plan, run, finish=finish)
