"""The data sets' layouts on disk: names, containers and annotation files, as their owners publish them.

Every writer is byte-deterministic: entries in a fixed order, no times, no owners.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facecorpus.synth import face9m, general, mae_face
from facecorpus.synth.annotations import celeba_annotations, vggface2_annotations
from facecorpus.synth.entry import Entry, Writer, put, split_records, write_tar_gz
from facecorpus.synth.plan import ALL, Item

MODULES = {name: module for module in (face9m, mae_face, general) for name in module.WRITERS}
"""What draws the layout of a data set besides those of the recipe `sample`."""


def names(source: str, items: Sequence[Item], seed: int) -> list[tuple[str, str | None]]:
    """Member path and identity label of each item of one data set, in the items' order."""
    rng = np.random.default_rng([seed, ALL.index(source), 0x4A3E])
    count: dict[str, int] = {}
    labels = _identity_labels(source, rng, 1 + max((item.person for item in items), default=0))
    pictures = [k for k, item in enumerate(items) if item.damage not in ("thumbs", "text")]
    shuffled = {k: int(n) + 1 for k, n in zip(pictures, rng.permutation(len(pictures)), strict=True)}
    out: list[tuple[str, str | None]] = []
    for k, item in enumerate(items):
        label = labels[item.person]
        folder = _folder(source, item.person, label)
        if source in MODULES:
            count[str(item.person)] = number = count.get(str(item.person), 0) + 1
            out.append((MODULES[source].member(item, number, k), label))
            continue
        clutter = {"thumbs": "Thumbs.db", "text": "readme.txt"}.get(item.damage or "")
        if clutter is not None:
            name = f"{folder}{clutter}"
            count[name] = count.get(name, 0) + 1
            out.append((name if count[name] == 1 else f"{folder}{count[name]}_{clutter}", label))
            continue
        count[folder] = number = count.get(folder, 0) + 1
        name = {
            "celeba": f"{shuffled[k]:06d}.jpg",
            "vggface2": f"{3 * number + item.person % 3:04d}_{1 + k % 2:02d}.jpg",
            "casia_webface": f"{number:03d}.jpg",
            "casia_webface_rec": f"{k + 1}",
            "folder": _free_name(k, item.coding[0]),
        }[source]
        out.append((folder + name, label))
    return out


def _identity_labels(source: str, rng: np.random.Generator, people: int) -> list[str | None]:
    if source == "celeba":
        return [str(int(n) + 1) for n in rng.permutation(10177)[:people]]
    if source == "vggface2":
        return [f"n{k * 3 + 2 - (k % 5 == 0):06d}" for k in range(people)]
    if source == "casia_webface":
        return [f"{int(n):07d}" for n in np.sort(rng.choice(np.arange(45, 3_000_000), people, replace=False))]
    if source in MODULES:
        return [MODULES[source].label(source, k, k) for k in range(people)]
    return [str(k) if source == "casia_webface_rec" else None for k in range(people)]


def _folder(source: str, person: int, label: str | None) -> str:
    if source == "celeba":
        return "img_align_celeba/"
    if source == "vggface2":
        return f"{'test' if person % 5 == 0 else 'train'}/{label}/"
    if source == "casia_webface":
        return f"{label}/"
    return ("", "holiday/", "scans/old album/")[person % 3] if source == "folder" else ""


def _free_name(number: int, kind: str) -> str:
    style = number % 4
    if style == 0:
        return f"IMG_{number:04d}.{kind.upper()}"
    return f"{('', 'portrait', 'photo of ', 'p-')[style]}{number:03d}.{kind}"


def _write_files(folder: Path, entries: Sequence[Entry]) -> None:
    for entry in entries:
        put(folder / entry.member, entry.data)


def _write_celeba(folder: Path, entries: Sequence[Entry]) -> None:
    entries = sorted(entries, key=lambda e: e.member)
    path = folder / "Img" / "img_align_celeba.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("img_align_celeba/"), b"")
        for entry in entries:
            info = zipfile.ZipInfo(entry.member)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.data)
    pictures = [e for e in entries if e.member.endswith(".jpg")]
    for name, text in celeba_annotations(
        [e.member.rpartition("/")[2] for e in pictures],
        [e.identity or "" for e in pictures],
        [e.who for e in pictures],
        [e.item.size_px for e in pictures],
        [e.points_px for e in pictures],
        [e.box_xyxy_px for e in pictures],
    ).items():
        put(folder / name, text.encode())


def _write_vggface2(folder: Path, entries: Sequence[Entry]) -> None:
    for split in ("train", "test"):
        chosen = sorted((e for e in entries if e.member.startswith(split)), key=lambda e: e.member)
        write_tar_gz(folder / f"vggface2_{split}.tar.gz", [(e.member, e.data) for e in chosen])
    pictures = sorted((e for e in entries if e.member.endswith(".jpg")), key=lambda e: e.member)
    for name, text in vggface2_annotations(
        [e.member for e in pictures],
        {e.identity or "": e.who for e in pictures},
        [e.item.size_px for e in pictures],
        [e.points_px for e in pictures],
        [e.box_xyxy_px for e in pictures],
    ).items():
        put(folder / name, text.encode())


def _write_recordio(folder: Path, entries: Sequence[Entry]) -> None:
    """InsightFace's layout: record 0, the images ordered by identity, then one range record per identity."""
    entries = sorted(entries, key=lambda e: int(e.member))
    labels = sorted({int(e.identity or 0) for e in entries})
    first_range = len(entries) + 1
    payloads = [
        struct.pack("<IfQQ", 2, 0.0, 0, 0) + struct.pack("<2f", first_range, first_range + len(labels))
    ]
    payloads += [struct.pack("<IfQQ", 0, float(e.identity or 0), int(e.member), 0) + e.data for e in entries]
    for k, label in enumerate(labels):
        keys = [int(e.member) for e in entries if int(e.identity or 0) == label]
        head = struct.pack("<IfQQ", 2, float(label), first_range + k, 0)
        payloads.append(head + struct.pack("<2f", min(keys), max(keys) + 1))
    records, index = bytearray(), []
    for key, payload in enumerate(payloads):
        index.append(f"{key}\t{len(records)}\n")
        records += split_records(payload)
    put(folder / "train.rec", bytes(records))
    put(folder / "train.idx", "".join(index).encode())
    put(folder / "property", f"{len(labels)},112,112\n".encode())


_WRITERS: Mapping[str, Writer] = {
    "celeba": _write_celeba,
    "vggface2": _write_vggface2,
    "casia_webface": _write_files,
    "casia_webface_rec": _write_recordio,
    "folder": _write_files,
}


def write_source(source: str, folder: Path, entries: Sequence[Entry]) -> None:
    """Write one data set into an empty `folder`."""
    writers = MODULES[source].WRITERS if source in MODULES else _WRITERS
    writers[source](folder, entries)
