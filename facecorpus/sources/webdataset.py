"""WebDataset shards: tars of samples (what img2dataset writes, too), or plain archives, as one source.

Members whose paths are equal up to the first dot of the file name, and that follow each other, are a sample:
`000000012.jpg`, `000000012.json`, `000000012.txt`. The pictures of a sample are the inputs; what lies beside
them only tells of them and is no input. Of that only JSON and class numbers are read: pickles never.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.archives import Container
from facecorpus.sources.base import InputError, Member, Part, Source, adapter, is_archive_name, listed
from facecorpus.sources.recognised import BESIDE
from facecorpus.sources.recordings import claims_picture

_LARGEST = 1 << 20
_CREATIVE_COMMONS = re.compile(
    r"creativecommons\.org/(licenses/by[a-z-]*|publicdomain)/|\bcc0\b", re.IGNORECASE
)
_CLASS = re.compile(r"[\w.\- ]{1,64}")


@adapter("webdataset")
class WebDataset(Source):
    """Every archive below a folder as a shard, or one archive alone."""

    ids_name_containers = True

    def parts(self) -> Sequence[Part]:
        """The archives, by their paths."""
        if not storage.is_dir(self.location):
            return [Part("")]
        names = [path for path, _, _ in storage.walk_files(self.location) if is_archive_name(path)]
        if not (shards := [name for name in names if not name.lower().endswith(".rec")]):
            raise self.missing("a shard (.tar, .tar.gz or .zip)")
        return [Part(name) for name in shards]

    def load_annotations(self) -> None:
        """Start counting."""
        self._unread = 0
        self._facts: Mapping[str, Any] | None = None
        self._differ: list[str] = []
        self._beside: dict[str, Member] = {}

    def members(self, container: Container) -> Iterator[Member]:
        """The pictures of each sample, and whatever else tells of no picture."""
        pictures = 0
        for _, group in itertools.groupby(container.members(), lambda member: sample_key(member.path)):
            sample = list(group)
            self._container, self._facts, self._beside = container, None, {}
            if len(sample) > 1 and any(claims_picture(member.path) for member in sample):
                ends = {_ending(member.path): member for member in sample}
                self._beside = {ending: ends[ending] for ending in BESIDE & ends.keys()}
            for member in sample:
                if _ending(member.path) not in self._beside:
                    pictures += 1
                    yield member
        self._compare(container.url, pictures)

    def annotate(self, record: Record, member: Member) -> None:
        """The person where an identity or class number is given; the photograph by its link; the licence."""
        found = self.facts()
        person = found.get("identity", self._text("cls"))
        if isinstance(person, str | int) and _CLASS.fullmatch(str(person).strip()):
            record.identity = str(person).strip()
        if isinstance(link := found.get("url"), str) and link:
            record.photo_id = link
        record.redistributable = may_be_passed_on(found.get("LICENSE", found.get("license")))

    def finish(self) -> None:
        """Say what could not be read, and which shards are not whole."""
        if self._unread:
            self.notes.append(f"{self._unread:,} members of samples are not the JSON or text they should be")
        if self._differ:
            self.notes.append(
                f"shards that hold fewer or more pictures than their _stats.json says: {listed(self._differ)}"
            )

    def facts(self) -> Mapping[str, Any]:
        """The JSON object of the sample at hand; empty where there is none."""
        if self._facts is None:
            self._facts = {}
            if text := self._text("json"):
                try:
                    found = json.loads(text)
                except (ValueError, RecursionError):
                    found = None
                if isinstance(found, dict):
                    self._facts = found
                else:
                    self._unread += 1
        return self._facts

    def _text(self, extension: str) -> str | None:
        """What the member of the sample at hand holds; None where there is none or it cannot be read."""
        member = self._beside.get(extension)
        if member is None:
            return None
        try:
            if member.bytes <= _LARGEST:
                return self._container.read(member).decode()
        except (InputError, UnicodeDecodeError):
            pass
        self._unread += 1
        return None

    def _compare(self, url: str, pictures: int) -> None:
        """Look whether a shard holds what img2dataset says beside it."""
        beside = re.sub(r"\.(tar|tar\.gz|tgz|zip)$", "_stats.json", url)
        try:
            said = storage.read_json(beside)["successes"] if storage.exists(beside) else pictures
        except (ValueError, LookupError, TypeError):
            said = None
        if said != pictures:
            self._differ.append(f"{url.rpartition('/')[2]} ({pictures:,} of {said})")


def may_be_passed_on(licence: object) -> bool | None:
    """Whether a picture's licence lets a crop of it be passed on; None where it is none of Creative Commons.

    >>> [may_be_passed_on(f"https://creativecommons.org/licenses/{kind}/2.0/") for kind in ("by-nc", "by-nd")]
    [True, False]
    >>> may_be_passed_on("?")
    """
    found = _CREATIVE_COMMONS.search(str(licence))
    return None if found is None else "-nd" not in found[0].lower()


def sample_key(path: str) -> str:
    """What the members of a sample have in common.

    >>> sample_key("a.b/00012.seg.png")
    'a.b/00012'
    """
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def _ending(path: str) -> str:
    return path.rpartition(".")[2].lower()
