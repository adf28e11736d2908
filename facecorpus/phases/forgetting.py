"""Takes what must be forgotten out of a built corpus, without its sources and without looking at a picture.

The request is put on record first (`forgotten.py`). Then the inventories are written without what tells of
those inputs, and the parts that held them without their rows and staged crops: byte for byte what a build
with this record would have made. What follows is a build's own work: select, and those shards that held them,
and no others. Whatever a kill leaves, the same command, or a build, goes on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute

from facecorpus import schema, shards, storage, units
from facecorpus.errors import UserError
from facecorpus.phases import corpus as corpora
from facecorpus.phases import forgotten, inventory, materialise, score, select
from facecorpus.phases.corpus import INDEXES, Corpus
from facecorpus.phases.files import publish_hashed, publish_parquet, publish_row_groups, table_digest
from facecorpus.phases.forgotten import Person
from facecorpus.phases.inventory import Part
from facecorpus.phases.judging import ended
from facecorpus.phases.phase import AGAIN, Made, work
from facecorpus.record import Record, from_table, to_table
from facecorpus.units import Done, Unit

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

REPORT = "report.html"


def forget(out: str, words: Iterable[str]) -> tuple[Corpus, int]:
    """Put a request on record and take it out of inventories, scores and staged crops.

    Args:
        out: the corpus.
        words: ids of inputs, or SOURCE,IDENTITY. Copies that the corpus knows of are forgotten with them.

    Returns:
        The corpus, for the phases from `select` on; and how many inputs were found.

    Raises:
        UserError: it is no corpus, or something in it is not called so and never was.
    """
    corpus = corpora.as_recorded(corpora.load(out))
    inputs, persons, others = _meant(corpus, {*words})
    known = forgotten.requests(out)
    for word in sorted(others):
        if not known.has(word):
            raise UserError(
                f"nothing in {out} is called {word!r}; 'facecorpus inspect' shows ids as they are written, "
                "and a person is SOURCE,IDENTITY"
            )
    forgotten.add(out, inputs, persons)
    done = Done(corpus.out)
    for spec in corpus.sources:
        work(_hide_listed, corpus, _listing(corpus, spec.name, done))
    done.forget(inventory.NAME)
    for part in score.PHASE.plan(corpus, done):
        if not done.holds(part):
            work(_hide_scored, corpus, part)
    for place in (INDEXES, REPORT):
        _remove(storage.join(corpus.out, place))
    return corpus, len(inputs)


def lines(path: Path) -> list[str]:
    """The words of a list, one on each line."""
    return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]


def _remove(url: str) -> None:
    """Windows of an archive's contents, and small pictures: both are made again when they are needed."""
    if storage.is_dir(url):
        for path, _, _ in storage.walk_files(url):
            storage.remove(storage.join(url, path))
    else:
        storage.remove(url)


def _meant(corpus: Corpus, words: set[str]) -> tuple[set[str], set[Person], set[str]]:
    """Ids of the inputs that words mean, and of those that show the same pictures; the persons among the
    words; and the words that mean nothing here."""
    people = {(word.partition(",")[0], word.partition(",")[2]): word for word in words if "," in word}
    found, meant, persons = set[str](), set[str](), set[Person]()
    for spec in corpus.sources:
        url = storage.join(corpus.out, inventory.path(spec.name))
        for table in storage.read_row_groups(url, ["id", "source", "identity"]):
            for i, *person in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
                if i in words:
                    found.add(i)
                    meant.add(i)
                if (who := tuple(person)) in people:
                    found.add(i)
                    meant.add(people[who])
                    persons.add(who)
    return found | _copies(corpus, found), persons, words - meant


def _copies(corpus: Corpus, ids: set[str]) -> set[str]:
    """The inputs in the clusters of some: they show the same pictures, and one of them would be kept next."""
    url, named = storage.join(corpus.out, select.SELECTION), pa.array(sorted(ids), pa.string())
    if not storage.exists(url):
        return set()
    table = storage.read_table(url, ["id", "face_index", "cluster"])
    faces = pc.replace_substring_regex(table["id"], "#[0-9]+$", "")
    of = pc.if_else(pc.greater(table["face_index"], 0), faces, table["id"])
    hit = pc.or_(pc.is_in(of, value_set=named), pc.is_in(table["id"], value_set=named))
    clusters = table["cluster"].filter(hit).drop_null().combine_chunks()
    near = pc.and_(table["cluster"].is_valid(), pc.is_in(table["cluster"], value_set=clusters))
    return {*of.filter(pc.or_(hit, near)).to_pylist()}


def _listing(corpus: Corpus, source: str, done: Done) -> Unit:
    """The unit that lists a source with what is on record, from what its mark keeps; see `inventory.plan`."""
    mark = done.marks(inventory.NAME).get(source)
    if mark is None:
        raise UserError(f"{source} has not been listed whole in {corpus.out}; run 'facecorpus build' first")
    code = inventory.code(mark["summary"]["files"], forgotten.requests(corpus.out))
    return Unit(inventory.NAME, source, code, 1, {"mark": mark})


def _hide_listed(corpus: Corpus, unit: Unit) -> Made:
    """The inventory of a source without what is on record."""
    record, summary, found = forgotten.requests(corpus.out), unit.spec["mark"]["summary"], list[Part]()
    url = storage.join(corpus.out, inventory.path(unit.name))

    def groups() -> Iterator[pa.Table]:
        parts = map(Part._make, summary["parts"])
        for part, table in zip(parts, storage.read_row_groups(url), strict=True):
            hidden = to_table(record.hide(from_table(table)), schema.INVENTORY)
            listed = table_digest(hidden)
            code = part.digest if listed == part.listed else units.digest(listed, part.stamps)
            found.append(Part(part.name, part.rows, code, listed, part.stamps))
            yield hidden

    output = publish_row_groups(corpus.out, inventory.path(unit.name), schema.INVENTORY, groups())
    return [output], {**summary, "parts": found}


def _hide_scored(corpus: Corpus, unit: Unit) -> Made:
    """The rows and crops of a part without those that its inventory hides."""
    listed = list(from_table(inventory.read_part(corpus, unit.spec["source"], unit.spec["group"])))
    rows = list(_hidden_rows(listed, list(from_table(select.read_scored(corpus, unit.name)))))
    with storage.open_read(storage.join(corpus.out, score.crops_path(unit.name))) as file:
        crops = [crop for crop in _placed(rows, file.read(), unit.name) if crop]
    output = publish_hashed(corpus.out, score.crops_path(unit.name), lambda file: _write(file, crops))
    table = publish_parquet(corpus.out, score.rows_path(unit.name), to_table(rows, schema.SCORES))
    return [output, table], {
        AGAIN: sum(r.reason in score.TRIED_AGAIN for r in rows),
        **Counter(r.state for r in rows),
    }


def _write(file: BinaryIO, crops: Iterable[bytes]) -> None:
    for crop in crops:
        file.write(crop)


def _hidden_rows(listed: list[Record], rows: list[Record]) -> Iterator[Record]:
    """The rows of the inputs that are listed; for a hidden one a row that says that it is."""
    inputs, at = iter(listed), 0
    while at < len(rows):
        record, end = next(inputs), at + 1
        while end < len(rows) and rows[end].face_index > 0:
            end += 1
        if record.left_out == forgotten.FORGOTTEN.name:
            yield ended(record, forgotten.FORGOTTEN, "")
        else:
            yield from rows[at:end]
        at = end


def _placed(rows: list[Record], staged: bytes, part: str) -> Iterator[bytes]:
    """The crops of the rows, whose offsets are set to where they come to lie. A kill may have left them there
    already."""
    offset = 0
    for row in rows:
        if row.crop_bytes is None or row.crop_offset is None:
            continue
        for start in (row.crop_offset, offset):
            crop = staged[start : start + row.crop_bytes]
            if hashlib.sha256(crop).hexdigest() == row.crop_sha256:
                break
        else:
            raise UserError(
                f"the staged crops of {part} are not those that were scored; run 'facecorpus build'"
            )
        row.crop_offset = offset
        offset += len(crop)
        yield crop


def traces(corpus: Corpus, listed: Iterable[str]) -> Iterator[str]:
    """Sentences on what is left of inputs and persons anywhere below the corpus' folder, from the bytes of
    every file."""
    names = sorted({*listed})
    people = {(word.partition(",")[0], word.partition(",")[2]) for word in names if "," in word}
    values = pa.array([*names, *map(shards.sample_key, names)], pa.string())
    words = [value.encode() for value in values.to_pylist()]
    for path, _, _ in storage.walk_files(corpus.out):
        url = storage.join(corpus.out, path)
        if path.endswith(".parquet"):
            yield from _in_table(url, path, values, people)
            continue
        with storage.open_read(url) as file:
            data = file.read()
        yield from (f"{path} holds {word.decode()}" for word in words if word in data)
    yield from _unowned(corpus)


def check_absent(corpus: Corpus, ids: Iterable[str]) -> None:
    """Raises a UserError where anything is left of inputs; see `traces`."""
    found = list(traces(corpus, ids))
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UserError(
            f"{corpus.out} still tells of what must be absent ({'; '.join(found[:3])}{more}); run "
            "'facecorpus forget' with the same list"
        )


def _in_table(url: str, path: str, values: pa.Array, people: set[Person]) -> Iterator[str]:
    for table in storage.read_row_groups(url):
        if people and {"source", "identity"} <= {*table.column_names}:
            who = zip(table["source"].to_pylist(), table["identity"].to_pylist(), strict=True)
            yield from (f"{path} tells of {','.join(person)}" for person in people & {*who})
        for name in table.column_names:
            column = table[name]
            if pa.types.is_string(column.type):
                inputs = pc.replace_substring_regex(column, "#[0-9]+$", "")
                for found in (column, inputs):
                    hits = found.filter(pc.fill_null(pc.is_in(found, value_set=values), False))
                    yield from (
                        f"{path} holds {hit} in its column {name}" for hit in hits.unique().to_pylist()
                    )


def _unowned(corpus: Corpus) -> Iterator[str]:
    """Staged bytes that belong to no row."""
    done = Done(corpus.out)
    for part in score.PHASE.plan(corpus, done):
        url = storage.join(corpus.out, score.crops_path(part.name))
        sizes = select.read_scored(corpus, part.name, ["crop_bytes"])["crop_bytes"]
        if storage.exists(url) and storage.size(url) != (pc.sum(sizes).as_py() or 0):
            yield f"{score.crops_path(part.name)} holds bytes of no row"


PHASES = (select.PHASE, materialise.GATHER, materialise.PHASE)
