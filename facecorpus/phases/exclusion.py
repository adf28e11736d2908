"""What a corpus must not hold: the pictures of evaluation sets, by fingerprints, and persons, by name.

A fingerprint file is a table of hashes without pictures, names or order, which the owners of an evaluation
set can pass on. Its rows are led into the search for duplicates as the best of all copies: what is found to
be a duplicate of one is rejected. A list of persons is a text file, a line `SOURCE,IDENTITY` for each.

    facecorpus fingerprint EVALUATION_CORPUS --out lfw.parquet
    facecorpus build ... --exclude lfw.parquet --exclude persons.csv

The files are kept in the corpus, by their contents, so that it can be verified and built again without them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from facecorpus import schema, storage
from facecorpus.dedup.resolve import COLUMNS
from facecorpus.errors import UserError
from facecorpus.phases import score
from facecorpus.phases.corpus import Corpus
from facecorpus.reasons import declare
from facecorpus.record import State
from facecorpus.units import Done

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

EXCLUDED = declare(
    "excluded",
    State.REJECTED,
    "clear crop",
    "Shown in an evaluation set, or of a person, that --exclude names.",
    "it is meant to stay out; leave the file out of --exclude to keep them",
)
FOLDER = "excluded"
MARK = "\0"
"""Begins the ids and the source of fingerprints among candidates, which no file's name can hold."""
FINGERPRINTS = pa.schema(
    [
        ("face_index", pa.int16()),
        ("sha256", pa.binary(16)),
        ("pixel_hash", pa.binary(16)),
        ("image_hash", pa.binary(32)),
        ("image_hash_quality", pa.int16()),
        ("crop_hash", pa.binary(32)),
        ("crop_hash_quality", pa.int16()),
    ]
)
"""Hashes of a face and of the picture it is in; see `Record`. Of the SHA-256 the first 128 bits."""
CUT = b"facecorpus.cut"
"""Key in a fingerprint file's metadata: how the crops were cut that `crop_hash` is of, as JSON."""


def binary(table: pa.Table) -> pa.Table:
    """A table with its hexadecimal hashes as 128 bits each: 2^64 pictures would have to be tried for two
    that have the same."""
    for name in ("sha256", "pixel_hash"):
        values = [None if text is None else bytes.fromhex(text)[:16] for text in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.binary(16)))
    return table


def write(corpus: Corpus, to: str) -> int:
    """Write the fingerprints of all pictures that a corpus has looked at; returns how many faces they are of.

    Raises:
        UserError: it has not been scored, or no picture could be read.
    """
    done, found = Done(corpus.out), list[pa.Table]()
    for part in score.PHASE.plan(corpus, done):
        url = storage.join(corpus.out, score.rows_path(part.name))
        if not done.holds(part):
            raise UserError(f"{corpus.out} is not scored yet; run 'facecorpus build' or 'score' first")
        table = storage.read_table(url, FINGERPRINTS.names)
        found.append(binary(table.filter(table["image_hash"].is_valid())).cast(FINGERPRINTS))
    table = pa.concat_tables(found) if found else FINGERPRINTS.empty_table()
    if not len(table):
        raise UserError(f"{corpus.out} holds no picture that could be read, so there is nothing to write")
    table = table.sort_by([(name, "ascending") for name in ("sha256", "face_index", "crop_hash")])
    told = table.replace_schema_metadata({CUT: json.dumps(_cut(corpus)).encode()})
    storage.publish(to, lambda file: pq.write_table(told, file, compression="zstd"))
    return len(table)


def _cut(corpus: Corpus) -> list[Any]:
    recipe = corpus.recipe
    return [recipe.align, recipe.template, recipe.box_margin, recipe.box_square]


def named(patterns: Iterable[str]) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """The names under which a corpus keeps the files of `--exclude`, and what each holds.

    Raises:
        UserError: there is no such file, or it is neither kind.
    """
    kept: dict[str, bytes] = {}
    for pattern in patterns:
        here = Path(pattern)
        paths = sorted(map(str, here.parent.glob(here.name))) if storage.is_local(pattern) else [pattern]
        if not paths:
            raise UserError(f"--exclude {pattern}: there is no such file; mend the path")
        for path in paths:
            with storage.open_read(path) as file:
                data = file.read()
            pure = PurePosixPath(path)
            _check(path, data)
            kept[f"{pure.stem}-{hashlib.sha256(data).hexdigest()[:16]}{pure.suffix}"] = data
    return tuple(kept), kept


def _check(path: str, data: bytes) -> None:
    if path.endswith(".parquet"):
        with storage.whole_parquet(path):
            names = pq.read_schema(io.BytesIO(data)).names
        if names != FINGERPRINTS.names:
            raise UserError(
                f"--exclude {path} holds no fingerprints; make some with 'facecorpus fingerprint'"
            )
    else:
        _persons(path, data)


def _persons(path: str, data: bytes) -> list[tuple[str, str]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode())) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"--exclude {path} is neither a fingerprint file nor a list of persons ({error}); give one"
        ) from error
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise UserError(f"--exclude {path}: line {number} is not SOURCE,IDENTITY; mend it")
    return [(source.strip(), identity.strip()) for source, identity in rows]


def keep(corpus: Corpus, held: dict[str, bytes]) -> None:
    """Put the files into the corpus."""
    for name, data in held.items():
        url = storage.join(corpus.out, FOLDER, name)
        if not storage.exists(url):
            storage.publish(url, lambda file, data=data: file.write(data))


def _open(corpus: Corpus, name: str) -> bytes:
    url = storage.join(corpus.out, FOLDER, name)
    if not storage.exists(url):
        raise UserError(f"{url} is missing; give it to --exclude again")
    with storage.open_read(url) as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest()[:16] != PurePosixPath(name).stem[-16:]:
        raise UserError(f"{url} has changed; remove it and give it to --exclude again")
    return data


def persons(corpus: Corpus) -> dict[tuple[str, str], str]:
    """{(source, identity): name of the list} of all that are excluded."""
    lists = [name for name in corpus.recipe.exclude if not name.endswith(".parquet")]
    return {person: _told(name) for name in lists for person in _persons(name, _open(corpus, name))}


def listed(people: dict[tuple[str, str], str], table: pa.Table) -> pa.Array:
    """The list that names each row's person, or null."""
    if not people:
        return pa.nulls(len(table), pa.string())
    rows = zip(table["source"].to_pylist(), table["identity"].to_pylist(), strict=True)
    return pa.array([people.get(row) for row in rows], pa.string())


def fingerprints(corpus: Corpus) -> pa.Table:
    """The fingerprints as candidates: `COLUMNS`, with ids that begin with `MARK`."""
    found = [_candidates(corpus, name) for name in corpus.recipe.exclude if name.endswith(".parquet")]
    return pa.concat_tables(found) if found else pa.table({"id": pa.array([], pa.large_string())})


def _candidates(corpus: Corpus, name: str) -> pa.Table:
    table = pq.read_table(io.BytesIO(_open(corpus, name)))
    cut = json.loads((table.schema.metadata or {}).get(CUT, b"null"))
    columns: dict[str, Any] = {each: table[each] for each in FINGERPRINTS.names}
    if cut != _cut(corpus):  # of crops that were cut in another way, the pictures are compared alone
        columns["crop_hash_quality"] = pa.array(np.full(len(table), -1, np.int16))
    ids = [f"{MARK}{_told(name)}{MARK}{row}" for row in range(len(table))]
    columns |= {"id": pa.array(ids, pa.large_string()), "source": pa.repeat(MARK, len(table))}
    made = (columns.get(each, pa.nulls(len(table), schema.SCORES.field(each).type)) for each in COLUMNS)
    return pa.table(list(made), names=list(COLUMNS))


def _told(name: str) -> str:
    """The name that a file was given by."""
    pure = PurePosixPath(name)
    return pure.stem[:-17] + pure.suffix


def details(verdicts: pa.Table, listed: pa.Array) -> pa.Array:
    """Why each candidate is excluded, in words; null for the others.

    Args:
        verdicts: of the search for duplicates.
        listed: the list that names each one's person, or null.
    """
    shown = pc.fill_null(pc.starts_with(verdicts["duplicate_of"], MARK), False).combine_chunks()
    hits = verdicts.filter(shown).select(["duplicate_of", "duplicate_kind"]).to_pylist()
    words = [f"shown in {hit['duplicate_of'].split(MARK)[1]} (equal {hit['duplicate_kind']})" for hit in hits]
    place = np.cumsum(shown.to_numpy(zero_copy_only=False)) - 1
    told = pa.array(words, pa.string()).take(pa.array(place, mask=~shown.to_numpy(zero_copy_only=False)))
    return pc.coalesce(pc.binary_join_element_wise("the person is named in", listed, " "), told)
