"""Units of work: planned up front, done once, and never mixed with what another recipe or input made.

A unit writes its outputs aside, renames them into place and then publishes a done mark that holds the unit's
digest, the size and SHA-256 of each output and a digest of the mark itself. A unit is complete when its mark
carries the digest that the plan asks for and its outputs are there; anything else (killed half-way, another
recipe, a changed input, a deleted file) is run again from the start. Coordination needs only the output
store.

What a phase writes is on record before it is written (`claim`), so that a file of somebody else's is neither
overwritten nor removed: only what is on record ever is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facecorpus import storage
from facecorpus.errors import UserError

DONE = "done"
SEAL = "seal"
"""Key of a JSON file's digest of itself."""


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


def mark_of(
    unit: Unit, outputs: Sequence[Output], summary: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the done mark of a unit holds."""
    listed = [{"path": o.path, "bytes": o.bytes, "sha256": o.sha256} for o in outputs]
    return sealed({"digest": unit.digest, "outputs": listed, "summary": dict(summary or {})})


def publish_mark(out: str, unit: Unit, mark: Mapping[str, Any]) -> None:
    """Publish the unit's done mark, whose outputs must be in place."""
    storage.publish_json(_mark(out, unit.phase, unit.name), mark)


def sealed(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The object with a digest of itself, by which `unsealed` knows it again."""
    return {**obj, SEAL: digest(obj)}


def unsealed(data: bytes) -> dict[str, Any] | None:
    """The object of `sealed` whose bytes, to the last one, `storage.publish_json` wrote; None for others."""
    try:
        obj = json.loads(data)
        rest = {name: value for name, value in obj.items() if name != SEAL}
        return obj if storage.json_bytes(sealed(rest)) == data else None
    except (ValueError, AttributeError, RecursionError):
        return None


def read_mark(out: str, phase: str, name: str) -> dict[str, Any] | None:
    """The done mark of a unit, or None when there is none that is as it was written."""
    url = _mark(out, phase, name)
    return _read_mark(url) if storage.exists(url) else None


def _read_mark(url: str) -> dict[str, Any] | None:
    with storage.open_read(url) as file:
        data = file.read()
    # A mark is published whole, so another one is damage from outside; the unit is run again.
    mark = unsealed(data)
    return mark if _is_mark(mark) else None


def _is_mark(data: Any) -> bool:
    """Whether this is what `finish` writes, and not some JSON file that lies among the marks."""
    return (
        isinstance(data, dict)
        and data.keys() == {"digest", "outputs", "summary", SEAL}
        and isinstance(data["digest"], str)
        and isinstance(data["summary"], dict)
        and isinstance(data["outputs"], list)
        and all(
            isinstance(o, dict)
            and o.keys() == {"path", "bytes", "sha256"}
            and _is_below(o["path"])
            and isinstance(o["bytes"], int)
            for o in data["outputs"]
        )
    )


def _is_below(path: object) -> bool:
    """Whether this is a path that stays within the corpus."""
    return isinstance(path, str) and not path.startswith("/") and ".." not in path.split("/")


class Done:
    """The done marks of a corpus. Those of a phase are listed and read once."""

    def __init__(self, out: str) -> None:
        self.out = out
        self._marks: dict[str, dict[str, dict[str, Any]]] = {}

    def marks(self, phase: str) -> dict[str, dict[str, Any]]:
        """The marks of a phase by the units' names; who finishes a unit puts its mark in."""
        if phase not in self._marks:
            folder = storage.join(self.out, DONE, phase)
            paths = [path for path, _, _ in storage.walk_files(folder)] if storage.exists(folder) else []
            found = {path: _read_mark(storage.join(folder, path)) for path in paths if path.endswith(".json")}
            self._marks[phase] = {path[: -len(".json")]: mark for path, mark in found.items() if mark}
        return self._marks[phase]

    def forget(self, phase: str) -> None:
        """Have the marks of a phase read again when they are asked for."""
        self._marks.pop(phase, None)

    def of(self, unit: Unit) -> dict[str, Any] | None:
        """The unit's mark, where that carries its digest."""
        mark = self.marks(unit.phase).get(unit.name)
        return mark if mark is not None and mark["digest"] == unit.digest else None

    def holds(self, unit: Unit) -> bool:
        """Whether the unit's mark carries its digest and every output is there with its size."""
        mark = self.of(unit)
        return mark is not None and all(
            storage.exists(url) and storage.size(url) == output["bytes"]
            for output in mark["outputs"]
            for url in (storage.join(self.out, output["path"]),)
        )


_listeners: list[Callable[[Any], None]] = []


def listen(listener: Callable[[Any], None]) -> None:
    """Have `listener` called with every note that units run in this process leave from now on."""
    _listeners[:] = [listener]


def note(value: Any) -> None:
    """Say what the running unit is at, as plain data: so an engine knows what a dead worker was at."""
    for listener in _listeners:
        listener(value)


def _record(out: str, phase: str) -> str:
    return storage.join(out, DONE, f"{phase}-files.json")


def has_record(out: str, phase: str) -> bool:
    """Whether a phase has ever begun to write in this corpus."""
    return storage.exists(_record(out, phase))


def claimed(out: str, phase: str) -> set[str]:
    """Paths, relative to the corpus, of the files that a phase has begun to write, whole or not.

    Raises:
        UserError: the record is damaged.
    """
    url = _record(out, phase)
    if not storage.exists(url):
        return set()
    with storage.open_read(url) as file:
        data = file.read()
    paths = (unsealed(data) or {}).get("paths")
    if not isinstance(paths, list) or not all(map(_is_below, paths)):
        raise UserError(
            f"{url}, the record of what facecorpus wrote there, is damaged; put it back from a copy, or give "
            "another --out"
        )
    return set(paths)


def claim(done: Done, phase: str, wanted: Mapping[str, Iterable[str]]) -> list[str]:
    """Put on record what the units of a phase write, and remove the marks and files of all other units.

    Args:
        done: the marks of the corpus.
        phase: name of the phase.
        wanted: the paths that each unit of the plan writes, by its name.

    Returns:
        The names of the units whose marks were removed. A file that is not, or no longer, what the records
        say is left alone.

    Raises:
        UserError: where a unit would write lies a file that is not on record.
    """
    out, marks, known = done.out, done.marks(phase), claimed(done.out, phase)
    gone = {name: marks[name] for name in sorted(marks.keys() - wanted.keys())}
    outputs = {output["path"]: output for mark in marks.values() for output in mark["outputs"]}
    paths = {path for each in wanted.values() for path in each}
    for path in sorted(paths - known - outputs.keys()):
        if storage.exists(url := storage.join(out, path)):
            raise UserError(
                f"{url} is in the way, and facecorpus did not write it; move it elsewhere and run the same "
                "command again"
            )
    for name in gone:  # the marks first: without them the outputs count for nothing
        storage.remove(_mark(out, phase, name))
        del marks[name]
    for path in sorted((known | outputs.keys()) - paths):
        url = storage.join(out, path)
        if storage.exists(url) and (path not in outputs or _holds(url, outputs[path])):
            storage.remove(url)
    if known != paths:
        storage.publish_json(_record(out, phase), sealed({"paths": sorted(paths)}))
    return list(gone)


def _holds(url: str, output: Mapping[str, Any]) -> bool:
    """Whether a file is still the one that a mark records."""
    return storage.size(url) == output["bytes"] and storage.sha256(url)[1] == output["sha256"]
