"""Remote shards: fetched whole into a local folder, verified, and evicted when the folder is full.

Whole shards, because a window of the order uses all of each shard within a short time, and one long read is
what object stores are good at. All processes of a machine share the folder through file locks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

from facecorpus.errors import UserError
from fautrain.data.shards import TABLE, Shard, file_sha256, filesystem, reaching

ATTEMPTS = 3
"""Tries to fetch a shard, 1 and 2 seconds apart, before the run stops."""
_COPY = re.compile(r"[0-9a-f]{16}-.+\.tar")
"""What a copy is called; see `ShardCache.place`."""


@final
class ShardCache:
    """The folder `folder`/shards. Holds at most `limit_bytes`, or the one shard last fetched if that is
    larger; the least recently opened goes first. Two windows of shards should fit, or shards are fetched
    again."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder / "shards", limit_bytes

    def place(self, shard: Shard) -> Path:
        """Where the copy of a shard is or will be: a changed shard has another place."""
        identity = shard.sha256
        if identity is None:
            fs, path = filesystem(shard.url)
            try:
                identity = str(fs.ukey(path))
            except (NotImplementedError, FileNotFoundError):
                identity = ""
        text = f"{shard.url}|{shard.size_bytes}|{identity}"
        return self.folder / f"{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}-{shard.name}"

    @contextmanager
    def _locked(self, place: Path, wait: bool) -> Generator[bool]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with place.with_suffix(".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def path(self, shard: Shard, wait: bool = True) -> Path:
        """A local copy of the shard, fetched now unless it is there. Without `wait`, returns at once where
        another process is fetching it.

        Raises:
            UserError: it cannot be fetched, or what came is not what the corpus table says.
        """
        place = self.place(shard)
        if not place.exists():
            with self._locked(place, wait) as mine:
                if mine and not place.exists():
                    self._evict(shard.size_bytes)
                    self._fetch(shard, place)
        try:
            os.utime(place)
        except FileNotFoundError:
            return self.path(shard) if wait else place
        return place

    def open(self, shard: Shard) -> int:
        """File descriptor of the shard itself or of its copy."""
        while True:
            try:
                with reaching(shard.url):
                    return os.open(shard.url if shard.local else self.path(shard), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                # A copy may be evicted between the two calls; a shard in place may only have been removed.
                if shard.local:
                    raise UserError(f"the shard {shard.url} has gone; put it back and resume") from error

    def _fetch(self, shard: Shard, place: Path) -> None:
        part = place.with_suffix(".part")
        problem = ""
        for attempt in range(ATTEMPTS):
            time.sleep(attempt)
            fs, remote = filesystem(shard.url)
            try:
                fs.get_file(remote, str(part))
            except Exception as error:  # each store has its own kinds
                problem = f"{type(error).__name__}: {error}"
                continue
            if part.stat().st_size != shard.size_bytes:
                problem = f"{part.stat().st_size} bytes came instead of {shard.size_bytes}"
            elif shard.sha256 and file_sha256(part) != shard.sha256:
                problem = f"its SHA-256 is not the one in {TABLE}"
            else:
                part.replace(place)
                return
        part.unlink(missing_ok=True)
        raise UserError(f"the shard {shard.url} cannot be used: {problem} (tried {ATTEMPTS} times)")

    def _evict(self, coming: int) -> None:
        held: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*.tar"):
            if not _COPY.fullmatch(path.name) or not path.with_suffix(".lock").exists():
                continue  # somebody else's
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            held.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in held) + coming
        for _, size, path in sorted(held):
            if total <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)  # whoever has it open reads on
            total -= size

    def fetch_ahead(self, shards: Sequence[Shard]) -> None:
        """Start to fetch remote shards in the background. Errors wait for whoever opens the shard."""

        def work() -> None:
            for shard in shards:
                try:
                    self.path(shard, wait=False)
                except (UserError, OSError):
                    return

        if any(not s.local for s in shards):
            threading.Thread(target=work, daemon=True, name="fetch-ahead").start()
