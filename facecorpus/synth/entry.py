"""One input of a drawn data set, and the files that it is written into."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facecorpus.synth.identity import Identity
from facecorpus.synth.plan import Item

Points = tuple[float, ...]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Entry:
    """One input, ready to be written."""

    item: Item
    member: str
    """Path inside the container."""
    identity: str | None
    who: Identity
    data: bytes
    points_px: tuple[float, ...] | None
    """Landmarks in the stored picture (10 numbers), where there is one person."""
    box_xyxy_px: tuple[float, float, float, float] | None
    faces: tuple[tuple[Points, Box], ...] = ()
    """Landmarks and box of everyone in the picture, left to right."""
    labels: tuple[str | None, ...] = ()
    """The identity label of each of them."""


Writer = Callable[[Path, Sequence[Entry]], None]
"""Writes one data set into an empty folder."""


def put(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_shard(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write the members as img2dataset's tars hold them: no folders, PAX."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_tar_gz(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """Write the members, in their order, with the folders above each."""
    seen: set[str] = set()
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, data in members:
            parents = [name[: k + 1] for k, letter in enumerate(name) if letter == "/"]
            for parent in parents:
                if parent not in seen:
                    seen.add(parent)
                    info = tarfile.TarInfo(parent.rstrip("/"))
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(info)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


MAGIC = 0xCED7230A
"""First word of every RecordIO record (dmlc-core, `recordio.h`)."""


def split_records(payload: bytes) -> bytes:
    """One payload as records: split where it holds the magic word on a 4-byte boundary, as dmlc-core does."""
    word = struct.pack("<I", MAGIC)
    cuts = [k for k in range(0, len(payload) - 3, 4) if payload[k : k + 4] == word]
    parts = [payload[a:b] for a, b in zip([0, *(c + 4 for c in cuts)], [*cuts, len(payload)], strict=True)]
    out = b""
    for k, part in enumerate(parts):
        flag = 0 if len(parts) == 1 else 1 if k == 0 else 3 if k == len(parts) - 1 else 2
        out += struct.pack("<II", MAGIC, flag << 29 | len(part)) + part + bytes(-len(part) % 4)
    return out
