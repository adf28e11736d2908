"""Phase 5: check the claim again, from the bytes.

Every shard is read from disk: its SHA-256, each tar header, the index, every JPEG's hash, that it decodes and
is square of the recipe's size, and that the manifest says the same. Then the ledger: every input of every
source in exactly one terminal state, and exactly the kept ones in the shards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from facecorpus import ledger, schema, shards, storage
from facecorpus.errors import UserError
from facecorpus.images import ImageError, decode, read_header
from facecorpus.ledger import SourceLedger
from facecorpus.phases import inventory, materialise, select
from facecorpus.phases.corpus import Corpus
from facecorpus.record import State

VERIFIED = "verified.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """A row of `shards.parquet`."""

    shard: str
    samples: int
    bytes: int
    sha256: str
    first_key: str
    last_key: str


def plan(corpus: Corpus) -> list[Shard]:
    """The shards that `shards.parquet` lists.

    Raises:
        UserError: it is missing.
    """
    url = storage.join(corpus.out, materialise.SHARDS)
    if not storage.exists(url):
        raise UserError(
            f"{corpus.out} has no {materialise.SHARDS}; run 'facecorpus materialise' or 'build' first"
        )
    return [Shard(**row) for row in storage.read_table(url).to_pylist()]


def check_shard(corpus: Corpus, shard: Shard) -> tuple[list[str], list[str]]:
    """Check one shard from its bytes; returns (faults, keys)."""
    folder = storage.join(corpus.out, materialise.FOLDER)
    try:
        with storage.open_read(storage.join(folder, shard.shard)) as file:
            data = file.read()
        with storage.open_read(storage.join(folder, shard.shard + ".idx")) as file:
            index = shards.read_index(file.read())
        manifest = storage.read_table(storage.join(folder, shard.shard.removesuffix(".tar") + ".parquet"))
    except (OSError, ValueError, UserError) as error:
        return [f"{shard.shard}: cannot be read: {error}"], []
    if shards.sha256(data) != shard.sha256:
        return [f"{shard.shard}: its bytes are not those that {materialise.SHARDS} records"], []
    try:
        members = list(shards.parse_members(data))
    except ValueError as error:
        return [f"{shard.shard}: {error}"], []
    faults: list[str] = []
    jpgs = {
        name.partition(".")[0]: (start, size)
        for name, start, size in members
        if name.endswith(f".{schema.JPG}")
    }
    rows = manifest.select(["key", "sample_offset", "jpg_offset", "jpg_bytes", "jpg_sha256"]).to_pylist()
    if list(jpgs) != [row["key"] for row in rows] or len(rows) != shard.samples:
        return [f"{shard.shard}: the samples in the tar are not those of its manifest"], list(jpgs)
    if index != [*(row["sample_offset"] for row in rows), len(data) - 2 * shards.BLOCK]:
        faults.append(f"{shard.shard}: the index does not match the tar")
    for row in rows:
        start, size = jpgs[row["key"]]
        payload = data[start : start + size]
        if (start, size) != (row["jpg_offset"], row["jpg_bytes"]) or shards.sha256(payload) != row[
            "jpg_sha256"
        ]:
            faults.append(f"{shard.shard}: sample {row['key']} is not the one its manifest describes")
            continue
        faults.extend(_check_image(corpus, f"{shard.shard}: sample {row['key']}", payload))
    return faults, list(jpgs)


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


def check_ledger(corpus: Corpus, keys: list[str]) -> tuple[list[str], dict[str, SourceLedger]]:
    """Check that the ledger closes and that the shards hold exactly the kept rows; returns (faults,
    ledgers)."""
    faults: list[str] = []
    selection = read_selection(corpus)
    ledgers = ledger.close(inventory.counts(corpus), selection)
    for entry in ledgers.values():
        if not entry.closes:
            states = ", ".join(f"{entry.states[s]} {s}" for s in ledger.TERMINAL)
            faults.append(f"source {entry.source}: {entry.inputs} inputs, but {states}")
    listed: set[str] = set()
    for spec in corpus.sources:
        with storage.open_read(storage.join(corpus.out, inventory.path(spec.name))) as file:
            listed.update(pq.ParquetFile(file).read(["id"], use_threads=False)["id"].to_pylist())
    ids, faces = selection["id"].to_pylist(), selection["face_index"].to_pylist()
    decided = {ledger.input_id(i) if face > 0 else i for i, face in zip(ids, faces, strict=True)}
    if len(set(ids)) != len(ids):
        faults.append("an id is listed more than once in the selection")
    if decided != listed:
        faults.append(
            f"{len(decided ^ listed)} inputs are in the inventory or in the selection, but not in both"
        )
    states = dict(zip(ids, selection["state"].to_pylist(), strict=True))
    for kept in set(selection["duplicate_of"].drop_null().to_pylist()):
        if states.get(kept) != State.KEPT:
            faults.append(f"{kept} is named as the kept copy of a duplicate, but is {states.get(kept)}")
    wanted = {
        key
        for key, state in zip(selection["key"].to_pylist(), states.values(), strict=True)
        if state == State.KEPT
    }
    if len(set(keys)) != len(keys):
        faults.append("a sample key occurs more than once in the shards")
    if wanted != set(keys):
        faults.append(f"{len(wanted ^ set(keys))} samples are in the shards or kept, but not both")
    return faults, ledgers


def read_selection(corpus: Corpus) -> Any:
    """The selection table.

    Raises:
        UserError: nothing has been selected yet.
    """
    url = storage.join(corpus.out, select.SELECTION)
    if not storage.exists(url):
        raise UserError(f"{corpus.out} has no {select.SELECTION}; run 'facecorpus select' or 'build' first")
    return storage.read_table(url)


def publish(corpus: Corpus, checked: list[Shard], ledgers: dict[str, SourceLedger]) -> None:
    """Record what was verified in `verified.json`: the shards' hashes and the ledger."""
    storage.publish_json(
        storage.join(corpus.out, VERIFIED),
        {
            "shards": {shard.shard: shard.sha256 for shard in checked},
            "samples": sum(shard.samples for shard in checked),
            "ledger": {name: {"inputs": entry.inputs, **entry.states} for name, entry in ledgers.items()},
        },
    )
