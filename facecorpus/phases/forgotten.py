"""The record of what must be forgotten: which inputs and persons, so that no later build brings them back.

    OUT/forgotten.json    a key of this corpus, and for each request keyed hashes of ids and of persons

It only grows. A hash tells whoever has an id whether that is on record, and nobody else anything. An input on
record stays in the ledger, without its name: the inventory lists `SOURCE/forgotten/HASH` in its place.
"""

from __future__ import annotations

import datetime
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from facecorpus import storage, units
from facecorpus.errors import UserError
from facecorpus.reasons import declare
from facecorpus.record import Record, State

FILE = "forgotten.json"
FOLDER = "forgotten"
FORGOTTEN = declare(
    "forgotten",
    State.REJECTED,
    "readable",
    "Somebody asked that it be forgotten ('facecorpus forget').",
    "nothing: it is on the record of requests, and no build brings it back",
)

Person = tuple[str, str]
"""Source and identity."""


@dataclass(frozen=True)
class Requests:
    """What is on record."""

    key: str
    """Of the hashes, hexadecimal."""
    entries: tuple[dict[str, Any], ...] = ()
    """{"on": date, "inputs": [hash, ...], "persons": [hash, ...]} of each request."""

    def hash(self, *words: str) -> str:
        """HMAC-SHA-256 of an id, or of a person, 128 bits of it in hexadecimal."""
        return hmac.digest(bytes.fromhex(self.key), "\n".join(words).encode(), "sha256").hex()[:32]

    @property
    def digest(self) -> str | None:
        """Of all that is on record; None where nothing is."""
        return units.digest(self.entries) if self.entries else None

    def hashes(self, of: str) -> frozenset[str]:
        """All hashes of `inputs` or `persons`."""
        return frozenset(each for entry in self.entries for each in entry[of])

    def has(self, word: str) -> bool:
        """Whether an id, or SOURCE,IDENTITY, is on record."""
        person = self.hash(*word.split(",", 1)) in self.hashes("persons")
        return person or self.hash(word) in self.hashes("inputs")

    def hide(self, records: Iterable[Record]) -> list[Record]:
        """The records, those on record without all that tells of them."""
        inputs, persons = self.hashes("inputs"), self.hashes("persons")
        return [self._hidden(record, inputs, persons) for record in records]

    def _hidden(self, record: Record, inputs: frozenset[str], persons: frozenset[str]) -> Record:
        if not self.entries or record.left_out == FORGOTTEN.name:
            return record
        code = self.hash(record.id)
        person = record.identity and persons and self.hash(record.source, record.identity) in persons
        if code not in inputs and not person:
            return record
        member = f"{FOLDER}/{code}"
        return Record(
            id=f"{record.source}/{member}",
            source=record.source,
            container=record.container,
            member=member,
            left_out=FORGOTTEN.name,
            redistributable=False,
        )


def requests(out: str) -> Requests:
    """What is on record in a corpus.

    Raises:
        UserError: the record is damaged.
    """
    url = storage.join(out, FILE)
    if not storage.exists(url):
        return Requests(secrets.token_hex(32))
    with storage.open_read(url) as file:
        found = units.unsealed(file.read())
    if found is None:
        raise UserError(
            f"{url}, the record of what must be forgotten, is damaged; put it back from a copy: without it a "
            "build would bring back what somebody asked to be forgotten"
        )
    return Requests(found["key"], tuple(found["entries"]))


def add(out: str, inputs: Iterable[str], persons: Iterable[Person]) -> Requests:
    """Put a request on record; what is there already is not added again."""
    known = requests(out)
    told = {
        "inputs": {known.hash(each) for each in inputs} - known.hashes("inputs"),
        "persons": {known.hash(*each) for each in persons} - known.hashes("persons"),
    }
    if not any(told.values()):
        return known
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    entry = {"on": today, **{kind: sorted(hashes) for kind, hashes in told.items()}}
    made = Requests(known.key, (*known.entries, entry))
    storage.publish_json(
        storage.join(out, FILE), units.sealed({"key": made.key, "entries": list(made.entries)})
    )
    return made
