"""EDFace-Celeb-1M: aligned faces of high resolution, each with degraded copies of low resolution.

Only folders of high resolution are read (HR; HQ or GT where there is none). X2, X4, X4_BD, X4_DN, X8, the
restoration sets and the "Real" pictures of low resolution are made of, or worse than, these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.archives import Container
from facecorpus.sources.base import Member, Part, Source, adapter, is_archive_name, listed
from facecorpus.sources.layouts import nested_folders

_FLAGS = re.IGNORECASE
_HIGH = re.compile(r"(?:.*[_-])?(?:HR|HR_?(?:128|512))(?:[_-](?:train|test|val|align(?:ed)?))?", _FLAGS)
_RESTORED = re.compile(r"(?:.*[_-])?(?:HQ|GT)(?:[_-](?:train|test|val))?", _FLAGS)
_LOW = re.compile(r"(?:.*[_-])?(?:LR|LQ|X[248](?:_BD|_DN)?|blur|jpeg|noise|full|real)(?:[_-].*)?", _FLAGS)
_SPLIT = re.compile(r"(?:^|[/_.-])(train|test|val)(?=$|[/_.-])", _FLAGS)
_ENDING = re.compile(r"\.(?:tar\.gz|tgz|tar|zip|7z|7z\.001)$", _FLAGS)


@adapter("edface_celeb_1m")
class EDFaceCeleb1M(Source):
    """Every folder HR at any of three depths, or archives of them; or such a folder itself."""

    def parts(self) -> Sequence[Part]:
        """The folders of high resolution, and archives whose names are not those of low resolution."""
        if not storage.is_dir(self.location):
            return [Part("")]
        for pattern in (_HIGH, _RESTORED):
            if folders := nested_folders(self, pattern):
                return [Part("", folder) for folder in folders]
        names = storage.list_dir(self.location)
        if archives := [name for name in names if is_archive_name(name) and not _is_low(name)]:
            return [Part(name) for name in archives]
        if any(name.endswith("/") for name in names):
            raise self.missing("a folder HR")
        return [Part("")]

    def load_annotations(self) -> None:
        """Start counting."""
        self._low: dict[str, int] = {}

    def members(self, container: Container) -> Iterator[Member]:
        """All but what lies in an archive's folders of low resolution."""
        for member in container.members():
            folders = PurePosixPath(member.path).parts[:-1]
            low = next((name for name in folders if _is_low(name)), None)
            if low is None or any(_HIGH.fullmatch(name) for name in folders):
                yield member
            else:
                self._low[low] = self._low.get(low, 0) + 1

    def annotate(self, record: Record, member: Member) -> None:
        """The split, by the folders' names."""
        if split := _SPLIT.search(f"{record.container}/{member.path}".rpartition("/")[0]):
            record.split = split[1].lower()

    def finish(self) -> None:
        """Say what was left aside."""
        names = storage.list_dir(self.location) if storage.is_dir(self.location) else []
        aside = [name for name in names if _is_low(name.rstrip("/"))]
        aside += [f"{count:,} in {name}" for name, count in sorted(self._low.items())]
        if aside:
            self.notes.append(
                f"left aside, as degraded copies of the pictures that are read: {listed(aside)}"
            )


def _is_low(name: str) -> bool:
    stem = _ENDING.sub("", name)
    return _LOW.fullmatch(stem) is not None and _HIGH.fullmatch(stem) is None
