"""Units of work: planned up front, done once, and never mixed with what another recipe or input made.

A unit writes its outputs aside, renames them into place and then publishes a done mark that holds the unit's
digest and the size and SHA-256 of each output. A unit is complete when its mark carries the digest that the
plan asks for and its outputs are there; anything else (killed half-way, another recipe, a changed input, a
deleted file) is run again from the start. Coordination needs only the output store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facecorpus import storage

DONE = "done"


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of a phase: what it is called, what it depends on and how much there is to do."""

    phase: str
    name: str
    """Unique within the phase; may hold slashes."""
    digest: str
    """Digest of everything the outputs depend on."""
    size: int
    """Number of inputs or samples, for progress."""
    spec: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the phase's `run` needs to know, as plain data."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file a unit wrote."""

    path: str
    """Relative to the corpus."""
    bytes: int
    sha256: str


def digest(*parts: object) -> str:
    """BLAKE2b-128 of the JSON of `parts` (sorted keys), hexadecimal."""
    text = json.dumps(parts, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _mark(out: str, phase: str, name: str) -> str:
    return storage.join(out, DONE, phase, f"{name}.json")


def finish(out: str, unit: Unit, outputs: Sequence[Output], summary: Mapping[str, Any] | None = None) -> None:
    """Publish the unit's done mark; its outputs must be in place."""
    listed = [{"path": o.path, "bytes": o.bytes, "sha256": o.sha256} for o in outputs]
    mark = {"digest": unit.digest, "outputs": listed, "summary": dict(summary or {})}
    storage.publish_json(_mark(out, unit.phase, unit.name), mark)


def read_mark(out: str, phase: str, name: str) -> dict[str, Any] | None:
    """The done mark of a unit, or None when there is none that can be read."""
    url = _mark(out, phase, name)
    if not storage.exists(url):
        return None
    try:
        return storage.read_json(url)
    except ValueError:  # a mark is published whole, so this is damage from outside; the unit is run again
        return None


def is_done(out: str, unit: Unit) -> bool:
    """Whether the unit's mark carries its digest and every output is there with its size."""
    mark = read_mark(out, unit.phase, unit.name)
    if mark is None or mark.get("digest") != unit.digest:
        return False
    for output in mark["outputs"]:
        url = storage.join(out, output["path"])
        if not storage.exists(url) or storage.size(url) != output["bytes"]:
            return False
    return True


def names(out: str, phase: str) -> list[str]:
    """Names of the units of a phase that have a done mark, sorted."""
    folder = storage.join(out, DONE, phase)
    if not storage.exists(folder):
        return []
    found = (path for path, _, _ in storage.walk_files(folder))
    return sorted(path[: -len(".json")] for path in found if path.endswith(".json"))


def discard(out: str, phase: str, keep: set[str]) -> list[str]:
    """Remove marks and outputs of units of `phase` that the plan no longer holds; returns their names."""
    stale = [name for name in names(out, phase) if name not in keep]
    for name in stale:
        mark = read_mark(out, phase, name) or {"outputs": []}
        storage.remove(_mark(out, phase, name))  # the mark first: without it the outputs count for nothing
        for output in mark["outputs"]:
            url = storage.join(out, output["path"])
            if storage.exists(url):
                storage.remove(url)
    return stale


_listeners: list[Callable[[Any], None]] = []


def listen(listener: Callable[[Any], None]) -> None:
    """Have `listener` called with every note that units run in this process leave from now on."""
    _listeners[:] = [listener]


def note(value: Any) -> None:
    """Say what the running unit is at, as plain data: so an engine knows what a dead worker was at."""
    for listener in _listeners:
        listener(value)
