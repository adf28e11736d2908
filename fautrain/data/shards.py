"""Which shards there are, and whether they are the ones the corpus was built with.

Shards are named by paths or any fsspec URL: a glob, a brace expression (`{000000..000011}`, `{a,b}`), a
folder, or a comma list of these. Where a corpus table (`shards.parquet`, beside the shards or one folder up)
is found, each shard must be in it and have its size and SHA-256, and a glob or a folder means all shards of
the table that match, so that a lost shard is noticed.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import itertools
import os
import posixpath
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec
import fsspec.core
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from tqdm import tqdm

from facecorpus import schema
from facecorpus.errors import UserError
from fautrain.data.parquet import read_columns
from fautrain.files import sha256

TABLE = "shards.parquet"
_FIELDS = pa.schema(
    [
        schema.SHARDS.field(name).with_nullable(name in ("first_key", "last_key"))
        for name in schema.SHARDS.names
    ]
)
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar. What the corpus table does not say is None."""

    url: str
    """A plain path where it is local, else an fsspec URL."""
    size_bytes: int
    samples: int | None = None
    sha256: str | None = None

    @property
    def local(self) -> bool:
        """Whether it can be read in place."""
        return "://" not in self.url

    @property
    def name(self) -> str:
        """File name, as messages and the corpus table have it."""
        return posixpath.basename(self.url)


def default_cache() -> Path:
    """`fautrain` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fautrain"


def split_list(text: str) -> list[str]:
    """The items of a comma list; commas within braces separate nothing."""
    items, depth = [""], 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return [i.strip() for i in items if i.strip()]


def absolute(text: str) -> str:
    """The same shards, with paths that hold from any folder; URLs stay as they are.

    >>> absolute("s3://b/x-{0..1}.tar,/data/shards")
    's3://b/x-{0..1}.tar,/data/shards'
    """
    return ",".join(item if "://" in item else str(Path.cwd() / item) for item in split_list(text))


def expand_braces(text: str) -> list[str]:
    """Every string that a brace expression stands for, in order: `{a,b}` and `{08..11}`, whose numbers keep
    the width of the first. Not nested.

    >>> expand_braces("s3://b/x-{08..10}.{tar,zip}")[:3]
    ['s3://b/x-08.tar', 's3://b/x-08.zip', 's3://b/x-09.tar']
    """
    head, opened, rest = text.partition("{")
    if not opened:
        return [text]
    inner, closed, tail = rest.partition("}")
    if not closed or "{" in inner:
        raise UserError(
            f"data.shards: the braces of {text!r} do not match; write name-{{000000..000011}}.tar"
        )
    numbers = _RANGE.fullmatch(inner)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        middle = [str(n).zfill(len(numbers[1])) for n in range(first, last + 1)]
        if not middle:
            raise UserError(
                f"data.shards: the range {{{inner}}} of {text!r} is empty; write the smaller first"
            )
    else:
        middle = inner.split(",")
    return [head + m + t for m in middle for t in expand_braces(tail)]


def filesystem(url: str) -> tuple[Any, str]:
    """(fsspec file system, path in it) of a URL.

    Raises:
        UserError: an unknown protocol, or one whose package is not installed.
    """
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"data.shards: {url!r} cannot be opened: {error}") from error


@contextlib.contextmanager
def reaching(what: str) -> Generator[None]:
    """Turn what a disk or a store raises into one sentence.

    Raises:
        UserError: `what` cannot be read.
    """
    try:
        yield
    except (FileNotFoundError, UserError):
        raise
    except OSError as error:
        said = error.strerror or str(error) or type(error).__name__
        raise UserError(f"{what} cannot be read ({said}); make it readable, or mend data.shards") from error
    except Exception as error:  # each store has its own kinds
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(f"{what} cannot be read ({said}); mend data.shards or the access to it") from error


def _url(fs: Any, path: str) -> str:
    return path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path))


@lru_cache(maxsize=64)
def _corpus_table(fs: Any, folder: str) -> dict[str, Shard]:
    """Name -> what the corpus table says of it; empty where there is none."""
    for place in (folder, posixpath.dirname(folder)):
        path = posixpath.join(place, TABLE)
        with reaching(path):
            if not fs.exists(path):
                continue
        table = read_columns(fs, path, _FIELDS)
        if table is not None:
            return {
                row["shard"]: Shard(
                    _url(fs, posixpath.join(folder, row["shard"])),
                    row["bytes"],
                    row["samples"],
                    row["sha256"],
                )
                for row in table.to_pylist()
            }
    return {}


def _paths(fs: Any, path: str, item: str) -> list[str]:
    """The paths in `fs` that one item of the list names, existing or not."""
    if not any(c in path for c in "*?["):
        with reaching(path):
            if not fs.isdir(path):
                return [path]
        folder = posixpath.join(path, "shards")
        path = posixpath.join(folder if fs.isdir(folder) else path, "*.tar")
    folder, pattern = posixpath.split(path)
    with reaching(path):
        found = {str(p) for p in fs.glob(path)}
    if not any(c in folder for c in "*?["):
        listed = _corpus_table(fs, folder)
        found |= {posixpath.join(folder, name) for name in listed if fnmatch.fnmatchcase(name, pattern)}
    if not found:
        raise UserError(
            f"data.shards: no shard matches {item!r}; give a glob, a brace range or a corpus folder"
        )
    return sorted(found)


def list_shards(text: str) -> tuple[Shard, ...]:
    """The shards that `text` names, sorted by URL, so that all ways to name a set give the same samples.

    Raises:
        UserError: nothing is named, a shard is missing or named twice, its size is not the corpus table's, or
            the table of its folder does not know it.
    """
    _corpus_table.cache_clear()
    shards: list[Shard] = []
    for item in split_list(text):
        for expanded in expand_braces(item):
            fs, root = filesystem(expanded)
            shards += [_shard(fs, path) for path in _paths(fs, root, expanded)]
    if not shards:
        raise UserError("data.shards is empty: give a glob, a brace range or a folder of WebDataset shards")
    shards.sort(key=lambda s: s.url)
    for one, other in itertools.pairwise(shards):
        if one.url == other.url:
            raise UserError(f"data.shards names {one.url} twice; name each shard once")
    return tuple(shards)


def _shard(fs: Any, path: str) -> Shard:
    table = _corpus_table(fs, posixpath.dirname(path))
    known, url = table.get(posixpath.basename(path)), _url(fs, path)
    try:
        with reaching(url):
            size = int(fs.info(path)["size"])
    except FileNotFoundError as error:
        remedy = f"is in {TABLE} but does not exist; rebuild the corpus" if known else "does not exist"
        raise UserError(f"the shard {url} {remedy}; or mend data.shards") from error
    if table and known is None:
        raise UserError(f"{url} is not in the {TABLE} of its corpus; remove it or rebuild the corpus")
    if known and known.size_bytes != size:
        raise UserError(
            f"{url} has {size} bytes but {TABLE} says {known.size_bytes}; rebuild or copy it again"
        )
    return replace(known, url=url) if known else Shard(url, size)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with reaching(str(path)):
        return sha256(Path(path))


def verify_hashes(shards: Sequence[Shard], cache: Path, rank: int = 0, world: int = 1) -> None:
    """Compare the SHA-256 of every local shard with the corpus table.

    About 1.5 GB/s on one core: 140 s for 207 GB, once. A shard found good is remembered in `cache` by path,
    size and time of change, so a restart reads nothing; ranks start at different shards and skip what another
    has done, so those of one machine divide the work between them without talking.

    Raises:
        UserError: a hash differs.
    """
    known = [s for s in shards if s.local and s.sha256]
    start = len(known) * rank // world
    due = [(s, m) for s, m in ((s, _mark(s, cache)) for s in known[start:] + known[:start]) if not m.exists()]
    for shard, mark in tqdm(due, "checking shards", unit="shard", disable=None, delay=2, leave=False):
        if mark.exists():
            continue
        if file_sha256(shard.url) != shard.sha256:
            raise UserError(f"the SHA-256 of {shard.url} is not the one in {TABLE}; rebuild or copy it again")
        # A cache that cannot be written only costs the same work again at the next start.
        with contextlib.suppress(OSError):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()


def _mark(shard: Shard, cache: Path) -> Path:
    stat = Path(shard.url).stat()
    text = f"{Path(shard.url).resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{shard.sha256}"
    return cache / "verified" / hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
