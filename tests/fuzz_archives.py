"""The containers of inputs: tar, tar.gz, zip and RecordIO."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

from fuzzing import Target, sentence

from facecorpus.errors import UserError
from facecorpus.sources.archives import open_container

PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 3
MEMBERS = {"a.jpg": PICTURE, "b/c.jpg": PICTURE[:500], "d" * 120 + "/é.jpg": PICTURE[:100], "empty.jpg": b""}


def _tar(folder: Path) -> Path:
    for name, form in (("gnu.tar", tarfile.GNU_FORMAT), ("pax.tar", tarfile.PAX_FORMAT)):
        with tarfile.open(folder / name, "w", format=form) as archive:
            for member, data in MEMBERS.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("hard.jpg")
            link.type, link.linkname = tarfile.LNKTYPE, "a.jpg"
            archive.addfile(link)
    return folder / "gnu.tar"


def _pax(folder: Path) -> Path:
    _tar(folder)
    return folder / "pax.tar"


def checksummed(data: bytes) -> bytes:
    """A tar whose header blocks have the checksums of what they hold now."""
    blocks = bytearray(data)
    for start in range(0, len(blocks) - 511, 512):
        block = blocks[start : start + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            blocks[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(blocks)


def _gz(folder: Path) -> Path:
    path = folder / "x.tar.gz"
    path.write_bytes(_tar(folder).read_bytes())
    return path


def _gzipped(data: bytes) -> bytes:
    return gzip.compress(checksummed(data), 1, mtime=0)


def _zip(folder: Path) -> Path:
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    path = folder / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for (member, data), method in zip(MEMBERS.items(), methods, strict=True):
            archive.writestr(member, data, method)
        archive.writestr("lzma.jpg", PICTURE, zipfile.ZIP_LZMA)
        archive.writestr("bzip2.jpg", PICTURE, zipfile.ZIP_BZIP2)
    return path


def recordio(folder: Path) -> Path:
    """A `.rec` as InsightFace writes it, with its `.idx`."""
    index, parts, position = list[str](), list[bytes](), 0
    records = [struct.pack("<IfQQff", 2, 0.0, 0, 0, 4.0, 5.0)]
    records += [struct.pack("<IfQQff", 2, 0.0, n, 0, float(n), 0.0) + PICTURE[: 300 + n] for n in range(3)]
    records += [struct.pack("<IfQQ", 0, 1.0, 4, 0) + PICTURE[:77]]
    for key, payload in enumerate(records):
        index.append(f"{key}\t{position}\n")
        head = struct.pack("<II", 0xCED7230A, len(payload))
        parts.append(head + payload + bytes(-len(payload) % 4))
        position += len(parts[-1])
    (folder / "train.idx").write_text("".join(index))
    (folder / "train.rec").write_bytes(b"".join(parts))
    return folder / "train.rec"


def _index(folder: Path) -> Path:
    return recordio(folder).with_suffix(".idx")


def read(path: Path) -> int:
    """List a container and read every member, as `inventory` and `score` do; returns how many were read."""
    whole = 0
    try:
        with open_container(str(path)) as container:
            listed = list(container.members())
        # Another process reads than lists, and the listing may have been of other bytes.
        with open_container(str(path)) as container:
            for member in listed:
                try:
                    whole += len(container.read(member)) >= 0
                except OSError as error:
                    assert str(error)
    except UserError as error:
        sentence(error, path)
    return whole


def _read_index(path: Path) -> int:
    return read(path.with_suffix(".rec"))


TARGETS = (
    Target("tar", _tar, read, checksummed),
    Target("tar-pax", _pax, read, checksummed),
    Target("tar.gz", _gz, read, _gzipped),
    Target("zip", _zip, read),
    Target("recordio", recordio, read),
    Target("recordio-index", _index, _read_index),
)
