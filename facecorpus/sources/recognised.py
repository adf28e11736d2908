"""A plain path as a source: which adapter reads what lies there, and what the source is called."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.signature import HEAD_BYTES
from facecorpus.sources.archives import is_archive_name, is_video_name, open_container
from facecorpus.sources.archives.parquet import PARQUET_BYTES
from facecorpus.sources.archives.recordio import MAGIC_BYTES
from facecorpus.sources.recordings import claims_picture

BESIDE = frozenset(
    (
        *("json", "txt", "text", "caption", "cls", "cls2", "id", "index", "csv", "xml", "yaml", "yml"),
        *("npy", "npz", "pth", "pt", "pyd", "pkl", "pickle", "msgpack", "ten", "cbor"),
    )
)
"""How the names of an archive's members end that tell of the picture beside them."""
_LOOKED_AT = 1000
"""Members of an archive that are looked at."""
_ADAPTERS = {"record": "recordio", "shard": "webdataset", "table": "parquet"}


def looks_like_path(spec: str) -> bool:
    """Whether what is no adapter is written like a path: with a folder, an extension, or as a URL.

    >>> looks_like_path("crawl.tar"), looks_like_path("s3://bucket/x"), looks_like_path("photos")
    (True, True, False)
    """
    return "://" in spec or re.search(r"[/.~]", spec.partition(":")[0]) is not None


def name_of(path: str, taken: Collection[str] = ()) -> str:
    """A source's name made from a path, of a-z, 0-9 and _; with a number after it where it is taken.

    >>> name_of("s3://bucket/My Photos-2.tar.gz/")
    'my_photos_2'
    >>> name_of("a/photos", ["photos", "photos_2"])
    'photos_3'
    """
    last = storage.absolute(path).rstrip("/").rpartition("/")[2]
    stem = re.sub(r"\.(tar\.gz|tgz|tar|zip|rec|parquet)$", "", last, flags=re.IGNORECASE)
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "source"
    numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    return next(each for each in numbered if each not in taken)


def adapter_for(location: str) -> str:
    """The general adapter that reads what lies at a place: by its content, not by its name.

    Raises:
        UserError: nothing there is read by one of them, or videos alone are there.
    """
    if not storage.is_dir(location):
        return _of_file(location)
    found: dict[str, str] = {}
    for path, _, _ in storage.walk_files(location):
        if (kind := _kind(path)) == "picture":
            return "folder"
        found.setdefault(kind, path)
    for kind, adapter in _ADAPTERS.items():
        if kind in found:
            return adapter
    if "packed" in found:
        raise UserError(f"{location} holds {found['packed']}, which is not read in place; unpack it")
    if "video" in found:
        raise UserError(
            f"{location} holds videos and no pictures; name the data set that they are of, as in "
            f"disfa:{location} ('facecorpus sources' lists them)"
        )
    raise UserError(f"{location} holds no pictures, archives, RecordIO or Parquet files; check the path")


def _kind(path: str) -> str:
    name = path.rpartition("/")[2].lower()
    if name.startswith("."):
        return "other"
    if claims_picture(name):
        return "picture"
    if is_archive_name(name):
        return "record" if name.endswith(".rec") else "shard"
    if name.endswith(".parquet"):
        return "table"
    if name.endswith((".rar", ".tar.bz2", ".tar.xz", ".tar.zst", ".z01")):
        return "packed"
    return "video" if is_video_name(name) else "other"


def _of_file(location: str) -> str:
    with storage.open_read(location) as stream:
        head = stream.read(HEAD_BYTES)
    if head.startswith(PARQUET_BYTES):
        return "parquet"
    if head.startswith(MAGIC_BYTES):
        return "recordio"
    with open_container(location) as container:
        members = [member.path for member in itertools.islice(container.members(), _LOOKED_AT)]
    told = any(path.rpartition(".")[2].lower() in BESIDE for path in members)
    return "webdataset" if told else "archive"
