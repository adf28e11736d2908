"""The layouts of MAE-Face's sources and RAF-DB, with the traps that the real ones have."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facecorpus.errors import UserError
from facecorpus.synth.entry import Entry, Writer, put
from facecorpus.synth.plan import Item

_EXTENSIONS = (".jpg", ".JPG", ".jpeg", ".jpg")
_RAFDB = range(1, 8)
_BORN, _TAKEN = 1950, 1990
_SERIAL_1950 = 712_224
"""MATLAB's serial number of 1950-01-01."""


def label(source: str, person: int, batch_of: int) -> str | None:
    """The identity that the layout gives a person; only IMDB-WIKI does."""
    del batch_of
    if source != "imdb_wiki":
        return None
    return f"{10_000_000 + 17 * person}" if _is_wiki(person) else f"nm{8 + 107 * person:07d}"


def member(item: Item, number: int, place: int) -> str:
    """What the id of an input holds after the source's name.

    Args:
        item: the input.
        number: of the picture among the person's, from 1.
        place: of the picture in the data set, from 0.
    """
    if item.source == "affectnet":
        name = hashlib.blake2b(str(place).encode(), digest_size=28).hexdigest()
        return f"Manually_Annotated_Images/{1 + place % 3}/{name}{_EXTENSIONS[place % 4]}"
    if item.source == "rafdb":
        return f"original/{_split(place)}_{place + 1:05d}.jpg"
    who = label("imdb_wiki", item.person, item.person) or ""
    if _is_wiki(item.person):
        return f"wiki_crop/{who[-2:]}/{who}_{_born(item.person)}-05-05_{_TAKEN - number}.jpg"
    photo = item.shot.number if item.shot is not None else 10_000 + place
    return f"imdb/{who[-2:]}/{who}_rm{2_517_000_000 + photo}_{_born(item.person)}-4-3_{_TAKEN + number}.jpg"


def _split(place: int) -> str:
    return "test" if place % 5 == 4 else "train"


def _is_wiki(person: int) -> bool:
    return person % 4 == 1


def _born(person: int) -> int:
    return _BORN + person % 40


def _write_affectnet(folder: Path, entries: Sequence[Entry]) -> None:
    """Non-Faces with NULL for a box, uncertain faces with -1, a list without header, a path listed twice."""
    head = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
    head += "expression,valence,arousal"
    rows = {"training": [head], "validation": []}
    for place, entry in enumerate(entries):
        put(folder / entry.member, entry.data)
        name = entry.member.partition("/")[2]
        row = f"{name},{_affectnet_row(entry, place)}"
        rows["validation" if place % 5 == 4 else "training"].append(row)
    rows["training"].append(rows["training"][1])
    for name, lines in rows.items():
        text = "\n".join([*lines, ""])
        put(folder / f"Manually_Annotated_file_lists/{name}.csv", text.encode())


def _affectnet_row(entry: Entry, place: int) -> str:
    """Box, 68 landmarks of which the five are means, expression, valence and arousal."""
    if entry.item.role == "scene":
        return "NULL,NULL,NULL,NULL,NULL,10,-2,-2"
    if not entry.faces or place % 7 == 6:
        return f"-1,-1,-1,-1,NULL,{8 + place % 2},-2,-2"
    points, (x0, y0, x1, y1) = entry.faces[0]
    five = np.reshape(points, (5, 2))
    which = [2] * 36 + [0] * 6 + [1] * 6 + [3] * 6 + [4] * 14
    which[30] = 2
    which[48] = 3
    sixty_eight = ";".join(f"{v:.2f}" for v in five[which].ravel())
    box = f"{x0:.0f},{y0:.0f},{x1 - x0:.0f},{y1 - y0:.0f}"
    return f"{box},{sixty_eight},{place % 8},{(place % 9 - 4) / 4},{(place % 5 - 2) / 2}"


def _write_rafdb(folder: Path, entries: Sequence[Entry]) -> None:
    """Photographs and aligned faces, both of the same, and the list whose name its authors misspelt."""
    lines: list[str] = []
    path = folder / "basic/Image"
    path.mkdir(parents=True)
    with (
        zipfile.ZipFile(path / "original.zip", "w") as photographs,
        zipfile.ZipFile(path / "aligned.zip", "w") as aligned,
    ):
        for place, entry in enumerate(entries):
            stem = Path(entry.member).stem
            photographs.writestr(zipfile.ZipInfo(entry.member), entry.data)
            if (small := _thumbnail(entry.data)) is not None:
                aligned.writestr(zipfile.ZipInfo(f"aligned/{stem}_aligned.jpg"), small)
            lines.append(f"{stem}.jpg {_RAFDB[place % len(_RAFDB)]}\n")
    put(folder / "basic/EmoLabel/list_patition_label.txt", "".join(lines).encode())


def _thumbnail(data: bytes) -> bytes | None:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        return None
    return cv2.imencode(".jpg", cv2.resize(image, (100, 100), interpolation=cv2.INTER_AREA))[1].tobytes()


def _write_imdb_wiki(folder: Path, entries: Sequence[Entry]) -> None:
    """IMDb's photographs in numbered tars and its .mat in a tar of its own; Wikipedia's crops with theirs."""
    tars: dict[str, dict[str, bytes]] = {}
    about: dict[str, list[Entry]] = {"imdb": [], "wiki": []}
    for entry in sorted(entries, key=lambda e: e.member):
        above, digits, _ = entry.member.split("/")
        name = "wiki_crop" if above == "wiki_crop" else f"imdb_{digits[0]}"
        tars.setdefault(name, {})[entry.member] = entry.data
        about[above.partition("_")[0]].append(entry)
    tars["imdb_meta"] = {"imdb/imdb.mat": _mat("imdb", about["imdb"])}
    tars.setdefault("wiki_crop", {})["wiki_crop/wiki.mat"] = _mat("wiki", about["wiki"])
    for name, members in tars.items():
        _write_tar(folder / f"{name}.tar", members)


def _write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _mat(name: str, entries: Sequence[Entry]) -> bytes:
    """The struct of 1 x N arrays: scores of -inf and the whole picture as the box where there is no face."""
    try:
        from scipy.io import savemat  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise UserError("drawing imdb_wiki needs SciPy; run: pip install 'facecorpus[sources]'") from error
    scores = [
        (4.0 + 0.1 * k if e.faces else -np.inf, 1.5 if len(e.faces) > 1 else np.nan)
        for k, e in enumerate(entries)
    ]
    people = [e.item.person for e in entries]
    table: dict[str, Any] = {
        "dob": np.array([[_SERIAL_1950 + 365.2425 * (_born(p) - _BORN) // 1 + 92 for p in people]]),
        "photo_taken": np.array([[_TAKEN] * len(entries)], dtype=np.uint16),
        "full_path": _cells([e.member.partition("/")[2] for e in entries]),
        "gender": np.array([[float(p % 2) if p % 5 else np.nan for p in people]]),
        "name": _cells(["Nobody"] * len(entries)),
        "face_location": _cells([np.array([_location(e)]) for e in entries]),
        "face_score": np.array([[first for first, _ in scores]]),
        "second_face_score": np.array([[second for _, second in scores]]),
    }
    file = io.BytesIO()
    savemat(file, {name: table}, format="5")
    data = file.getvalue()
    return b"MATLAB 5.0 MAT-file".ljust(116) + data[116:]  # without the time


def _cells(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    out = np.empty((1, len(values)), dtype=object)
    for k, value in enumerate(values):
        out[0, k] = value
    return out


def _location(entry: Entry) -> list[float]:
    """The box of the first face, counted from 1; the whole picture without one."""
    width, height = entry.item.size_px
    return (
        [value + 1.0 for value in entry.faces[0][1]]
        if entry.faces
        else [1.0, 1.0, float(width), float(height)]
    )


WRITERS: Mapping[str, Writer] = {
    "affectnet": _write_affectnet,
    "imdb_wiki": _write_imdb_wiki,
    "rafdb": _write_rafdb,
}
