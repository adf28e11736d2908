"""A source: an ordered inventory of the inputs of a data set at a place, and a reader of their bytes."""

from __future__ import annotations

import os
import re
import unicodedata
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.plugins import Registry
from facecorpus.record import Record
from facecorpus.sources.archives import (
    BAD_NAME,
    MISSING_FRAME,
    ORIGIN,
    Container,
    InputError,
    Member,
    index_beside,
    is_video_name,
    open_container,
    printable,
    seven_zip_parts,
)
from facecorpus.sources.drawn import Drawn, Layout
from facecorpus.sources.facts import Facts, facts

MOST_OPEN = 32
"""Containers that a reader keeps open; a crawl has thousands, and a process may open a thousand files."""


@dataclass(frozen=True, slots=True)
class Part:
    """A container of a source."""

    container: str
    """Relative to the source's location; "" when it is the location itself."""
    under: str = ""
    """Subfolder of a folder to which the listing is limited; it stays part of the members' paths."""


class Source(ABC):
    """A data set at a place. Holds no open file, so it can be pickled and sent to a worker."""

    adapter: ClassVar[str]
    """The name that `adapter` gave the class."""
    recipe: ClassVar[str] = "face9m"
    """Name of the corpus recipe that suits the data set."""
    ids_name_containers: ClassVar[bool] = False
    """Whether ids hold the container's path: shards often call their members alike."""
    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """What may be said of a copy of the data set that it does not say itself: setting -> value -> what it
    means."""

    def __init__(self, name: str, location: str, cache: str | None = None) -> None:
        """Name the data set and where it is; nothing is opened yet.

        Args:
            name: of the source in this build, first part of every id.
            location: folder or archive (a path or an fsspec URL).
            cache: folder that keeps the seek indexes of gzipped archives.
        """
        self.name = name
        self.location = location
        self.cache = cache
        self.setting: tuple[str, str] | None = None
        """The one of `settings` that was made, and its value."""
        self.notes: list[str] = []
        """After `inventory` has run: sentences for the user on what was met besides inputs, or is missing."""

    def configure(self, setting: str) -> None:
        """Make a setting, given as NAME=VALUE; "" makes none.

        Raises:
            UserError: the adapter has no such setting or value.
        """
        name, _, value = setting.partition("=")
        if value in self.settings.get(name, {}):
            self.setting = (name, value)
        elif setting:
            known = [f"{name}={value}" for name, values in self.settings.items() for value in values]
            raise UserError(
                f"the adapter {self.adapter} has no setting {setting!r}; "
                + (f"there is {' and '.join(known)}" if known else f"write {self.adapter}:PATH")
            )

    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """The containers, in the order of the inventory.

        Raises:
            UserError: the data set is not there in any layout that the adapter knows.
        """

    def annotation_files(self) -> Sequence[str]:
        """Files read besides the containers, relative to the location."""
        return ()

    def load_annotations(self) -> None:  # noqa: B027 - most sources have none
        """Read the annotation files; runs once, before the first `annotate`."""

    def members(self, container: Container) -> Iterator[Member]:
        """The inputs that a container holds; all its files, unless some only tell of others."""
        return container.members()

    def annotate(self, record: Record, member: Member) -> None:  # noqa: B027 - most sources know nothing
        """Fill identity, split, photo_id, given_box_xyxy_px and given_points_px as far as they are known."""

    def faces(self, record: Record) -> Sequence[Record]:
        """A record for each annotated face of an input, where there are several (see `several`)."""
        return [record]

    def why_nobody(self) -> str | None:
        """The likely reason where of no input at all it is known who is shown; None where it need not be."""
        return None

    def finish(self) -> None:  # noqa: B027
        """Runs after the last `annotate`: the place to note what annotations were left over."""

    @staticmethod
    def lay_out(drawn: Sequence[Drawn]) -> Layout:
        """A miniature of the data set as its owners lay it out, its traps included, of these inputs.

        An adapter that has it is drawn by `facecorpus synth`, and tested with all others, without more ado.
        """
        raise NotImplementedError

    def inventory(self, repeated: frozenset[int] = frozenset()) -> Iterator[Record]:
        """Every input exactly once, in an order that depends on the containers alone.

        Args:
            repeated: what `RepeatedIdsError` held, where an earlier pass ended with it.

        Raises:
            UserError: a container is missing, damaged, or empty.
            RepeatedIdsError: two inputs have the same id, which is known only at the end.
        """
        self.notes.clear()
        self.load_annotations()
        hashes = array("q")
        identified = 0
        seen: set[str] = set()
        for part in self.parts():
            found = 0
            with self.open(part.container, part.under) as container:
                for record in self._records(part, container):
                    if record.identity is not None:
                        # One person, whether the disk composes accents (NFC) or the Mac decomposes them.
                        record.identity = unicodedata.normalize("NFC", record.identity)
                    if hash(record.id) in repeated:
                        record.id = _unlike(record.id, seen)
                    hashes.append(hash(record.id))
                    identified += record.identity is not None
                    found += 1
                    yield record
                self.notes.extend(container.notes)
            if not found:
                place = storage.join(self.location, part.container, part.under)
                besides = f" ({'; '.join(self.notes)})" if self.notes else ""
                if not self.ids_name_containers:
                    raise UserError(f"{place} holds no files{besides}; {self.layout_hint()}")
                self.notes.append(f"{place} holds no files")
        if not hashes:
            raise UserError(f"{self.location} holds no files; {self.layout_hint()}")
        self.finish()
        if not identified and (reason := self.why_nobody()) is not None:
            self.notes.append(f"of none of its {len(hashes):,} inputs is it known who is shown: {reason}")
        twice = _twice(hashes)
        if twice:
            raise RepeatedIdsError(twice)

    def stamps(self) -> dict[str, str]:
        """A stamp of every container and annotation file, by path relative to the location; see `stamp_of`.

        A folder has one stamp for each file in it.
        """
        stamps: dict[str, str] = {}
        for part in self.parts():
            key = storage.join(part.container, part.under)
            place = storage.join(self.location, key)
            if storage.is_dir(place):
                for path, _, stamp in storage.walk_files(place):
                    stamps[printable(storage.join(key, path))] = stamp
            else:
                stamps[key] = storage.stamp(place)
                if (index := index_beside(place)) is not None:
                    stamps[f"{key}.idx"] = storage.stamp(index)
                for further in seven_zip_parts(place)[1:]:
                    stamps[key.rpartition(".")[0] + further[-4:]] = storage.stamp(further)
        for path in self.annotation_files():
            stamps[path] = storage.stamp(storage.join(self.location, path))
        return stamps | ({"/setting": "=".join(self.setting)} if self.setting else {})

    def reader(self) -> Reader:
        """A reader of the inputs' bytes."""
        return Reader(self)

    def open(self, container: str, under: str = "") -> Container:
        """Open one of the containers."""
        return open_container(storage.join(self.location, container), under=under, cache=self.cache)

    def first_of(self, *paths: str) -> str | None:
        """The first of some relative paths that exists below the location."""
        return next((p for p in paths if storage.exists(storage.join(self.location, p))), None)

    def origin(self) -> dict[str, Any] | None:
        """What `origin.json` says of where the pictures come from; None where the data set's folder has none.

        Raises:
            UserError: it is no JSON object.
        """
        folder = self.location
        if not storage.is_dir(folder):
            folder = folder.rpartition("/")[0] or "."
        url = storage.join(folder, ORIGIN)
        if not storage.exists(url):
            return None
        try:
            found = storage.read_json(url)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UserError(f'{url} is no JSON object; write it as in {{"synthetic": true}}, or remove it')
        return found

    def redistributable(self) -> bool:
        """Whether crops may be passed on where a picture has no licence of its own: by the owner's terms, or
        as `origin.json` says.

        Raises:
            UserError: what that says is neither true nor false.
        """
        known = facts().get(self.adapter)
        said = (self.origin() or {}).get(
            "redistributable", known is not None and known.redistribution == "yes"
        )
        if not isinstance(said, bool):
            raise UserError(f"{self.location}: redistributable in {ORIGIN} is {said!r}; write true or false")
        return said

    def layout_hint(self) -> str:
        """Half a sentence on the layout the adapter expects, for error messages."""
        layout = " | ".join(facts()[self.adapter].layout.split("\n"))
        return f"the adapter {self.adapter} expects: {layout}"

    def missing(self, what: str) -> UserError:
        """The error for a location that lacks `what`."""
        return UserError(f"{what} is not there: {lies_there(self.location)}; {self.layout_hint()}")

    def _records(self, part: Part, container: Container) -> Iterator[Record]:
        for member in self.members(container):
            record = self._record(part, member)
            self.annotate(record, member)
            yield from self.faces(record)

    def path_in_ids(self, container: str, member: str) -> str:
        """What the id of an input holds after the source's name."""
        named = self.ids_name_containers or container.lower().endswith(".parquet")
        return storage.join(container, member) if named else member

    def _record(self, part: Part, member: Member) -> Record:
        return Record(
            id=f"{self.name}/{_unlike_a_face(self.path_in_ids(part.container, member.path))}",
            source=self.name,
            container=part.container,
            member=member.path,
            offset=member.offset,
            bytes=member.bytes,
        )


SOURCES: Registry[type[Source]] = Registry(
    "no adapter {!r} (folder and archive read any images)", "facecorpus.sources"
)
"""The adapters by name."""

_Adapter = TypeVar("_Adapter", bound=type[Source])


def adapter(name: str, **known: Any) -> Callable[[_Adapter], _Adapter]:
    """Class decorator: a `Source` becomes the adapter `name`.

    Args:
        name: what `--sources` calls it, and its section of `manifests/sources.toml`.
        known: the fields of that section (`facts.Facts`), for an adapter that comes without one.

    Raises:
        UserError: the name is taken.
    """

    def register(source: _Adapter) -> _Adapter:
        SOURCES.register(name)(source)
        source.adapter = name
        if known:
            facts()[name] = Facts(name=name, **known)
        return source

    return register


class RepeatedIdsError(Exception):
    """Some ids of an inventory repeat: it is listed again with `hashes`, and gives them ids of their own."""

    def __init__(self, hashes: frozenset[int]) -> None:
        super().__init__(hashes)
        self.hashes = hashes


def _twice(hashes: array[int]) -> frozenset[int]:
    """The hashes that occur more than once: 8 bytes an input, where a set of ids would take a hundred."""
    values = np.sort(np.frombuffer(hashes, dtype=np.int64)) if len(hashes) else np.empty(0, np.int64)
    return frozenset(values[1:][values[1:] == values[:-1]].tolist())


def _unlike_a_face(path: str) -> str:
    """The path, with a `#` after one that ends as a face's id does (`g.jpg#1`, `g.jpg#f1`) or in a `#`."""
    return f"{path}#" if re.search(r"#f?[0-9]*\Z", path) else path


def _unlike(wanted: str, seen: set[str]) -> str:
    """`wanted`, or where it was met before `wanted//N`, which is no path of a member's."""
    number, unlike = 1, wanted
    while unlike in seen:
        number += 1
        unlike = f"{wanted}//{number}"
    seen.add(unlike)
    return unlike


class Reader:
    """Bytes of inputs, in any order; fastest in the order of the inventory. Keeps its containers open."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._open: dict[str, Container] = {}
        self._process = os.getpid()

    def read(self, record: Record) -> bytes:
        """The encoded image of a record that the source's inventory listed.

        Raises:
            InputError: it is not there, or damaged, and will be at the next try; its place is named within
                the source: the words are stored, and a corpus is the same wherever its sources lie.
            OSError: it cannot be read, or no longer has the size that was listed; the place is named so too.
            UserError: the whole container is gone or damaged.
        """
        member = Member(record.member, record.offset, record.bytes)
        path = self._source.path_in_ids(record.container, record.member)
        if record.id.startswith(f"{record.source}/{path}//"):
            raise InputError(
                BAD_NAME,
                f"{_place(self._source.location, record)} has the name of another input before it; "
                "repack or rename so that every input has a path of its own",
            )
        try:
            container = self._container(record.container)
            data = container.read(member)
        except InputError as error:
            raise InputError(error.reason, f"{self._place(record)}: {error}") from error
        except OSError as error:
            place = self._place(record)
            if isinstance(error, FileNotFoundError) and _was_missing(record):
                raise InputError(MISSING_FRAME, f"{place} is not there") from error
            raise OSError(f"{place}: {error.strerror or error}") from error
        if len(data) != record.bytes and not container.streamed:
            place = self._place(record)
            raise OSError(f"{place} has {len(data)} bytes, but {record.bytes} when it was listed")
        return data

    def _place(self, record: Record) -> str:
        return _place(self._source.location.rstrip("/").rpartition("/")[2], record)

    def close(self) -> None:
        """Close all containers."""
        for container in self._open.values():
            container.close()
        self._open.clear()

    def _container(self, name: str) -> Container:
        if self._process != os.getpid():  # forked: two processes must not share one file position
            self._open.clear()
            self._process = os.getpid()
        if name not in self._open:
            opened = self._source.open(name)
            if opened.streamed:
                # A decoder takes tens of megabytes, and a data set may have hundreds of videos.
                for other in [key for key, held in self._open.items() if held.streamed]:
                    self._open.pop(other).close()
            elif len(self._open) >= MOST_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[name] = opened
        return self._open[name]


def _place(location: str, record: Record) -> str:
    container = storage.join(location, record.container)
    after = f"#{record.offset}" if record.offset >= 0 else ""
    return f"{container}{':' if container else ''}{record.member}{after}"


def _was_missing(record: Record) -> bool:
    """Whether the picture of a frame was missing when it was listed, and has not just gone out of reach."""
    return record.frame is not None and record.bytes == 0 and not is_video_name(record.container)


def stamp_of(record: Record, stamps: Mapping[str, str]) -> str | None:
    """The stamp of the file that holds a record, out of its source's `stamps`."""
    return stamps.get(record.container) or stamps.get(storage.join(record.container, record.member))


def lies_there(location: str) -> str:
    """What a place holds, in a few words."""
    if not storage.is_dir(location):
        return f"{location} is a file" if storage.exists(location) else f"{location} does not exist"
    names = storage.list_dir(location)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{location} holds {', '.join(names[:8]) or 'nothing'}{more}"
