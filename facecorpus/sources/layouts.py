"""Where a data set lies below a source's location: in which archive or folder, in which redistribution."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from facecorpus import storage
from facecorpus.sources.archives import ARCHIVE_ENDINGS, is_archive_name
from facecorpus.sources.source import Part, Source

_FEW = 64
_NESTED = 3


def part_named(source: Source, name: str, *above: str) -> Part | None:
    """The archive or folder called `name` in one of the folders `above`, of which "" is the location itself.

    Members of both have the same paths. An archive goes before what may have been unpacked from it in part.
    """
    for folder in above or ("",):
        if archive := source.first_of(*(storage.join(folder, name + ending) for ending in ARCHIVE_ENDINGS)):
            if not storage.is_dir(storage.join(source.location, archive)):
                return Part(archive)
            if inner := source.first_of(storage.join(archive, archive.rpartition("/")[2] + ".001")):
                return Part(inner)  # Google Drive gives the parts of NAME.7z in a folder of that name
        if storage.is_dir(storage.join(source.location, folder, name)):
            return Part(folder, name)
    return None


def record_part(source: Source) -> Part | None:
    """InsightFace's RecordIO: `train.rec` at the location, or in one of the folders there."""
    if not storage.is_dir(source.location):
        return None
    folders = [name for name in storage.list_dir(source.location) if name.endswith("/")]
    inside = folders if len(folders) <= _FEW else []
    found = source.first_of("train.rec", *(f"{name}train.rec" for name in inside))
    return Part(found) if found else None


def tables(source: Source) -> list[Part]:
    """The Parquet files at the location or in its folder `data`: Hugging Face's copies."""
    if not storage.is_dir(source.location):
        return []
    names = [
        storage.join(above, name)
        for above in ("", "data")
        if storage.is_dir(storage.join(source.location, above))
        for name in storage.list_dir(storage.join(source.location, above))
    ]
    return [Part(name) for name in names if name.lower().endswith(".parquet")]


def whole(source: Source) -> list[Part]:
    """All at the location: RecordIO or Parquet, else an archive that lies alone, else the folder or file."""
    if records := record_part(source):
        return [records]
    if found := tables(source):
        return found
    if not storage.is_dir(source.location) or not (names := storage.list_dir(source.location)):
        return [Part("")]
    archives = [name for name in names if is_archive_name(name)]
    if not archives or any(name.endswith("/") and not name.startswith("__") for name in names):
        return [Part("")]
    if len(archives) > 1:
        raise source.missing("one archive alone")
    return [Part(archives[0])]


def chosen(source: Source, setting: str, found: Mapping[str, Part], about: str) -> Part:
    """The one of several redistributions that the setting names, else the first; notes what is left aside.

    Args:
        source: whose setting is looked up.
        setting: its name.
        found: what is there, by the setting's values, the preferred first.
        about: what these are, for the note: "the same pictures".

    Raises:
        UserError: the one that the setting names is not there.
    """
    name = next(iter(found))
    if source.setting is not None and source.setting[0] == setting:
        name = source.setting[1]
    if name not in found:
        raise source.missing(f"what {source.adapter}/{setting}={name} asks for")
    others = [f"{source.adapter}/{setting}={other}:PATH" for other in found if other != name]
    said = f"left aside, since they show {about}: {', '.join(others)} would read them"
    if others and said not in source.notes:
        source.notes.append(said)
    return found[name]


def nested_folders(source: Source, pattern: re.Pattern[str]) -> Sequence[str]:
    """Folders below the location whose own names match, sorted, the outermost alone, at most three deep."""
    found: list[str] = []
    level = [""]
    for _ in range(_NESTED + 1):
        below: list[str] = []
        for folder in level:
            for name in storage.list_dir(storage.join(source.location, folder)):
                if not name.endswith("/"):
                    continue
                path = storage.join(folder, name.rstrip("/"))
                (found if pattern.fullmatch(name.rstrip("/")) else below).append(path)
        level = below if len(below) <= _FEW else []
    return sorted(found)
