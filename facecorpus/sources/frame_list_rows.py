"""Lists of annotated frames that others prepared: a path and the action units of each picture.

- FMAE-IAT: JSON lines `{"img_path": ..., "AUs": [...]}`; the units that are present, 999 in place of others.
- ME-GraphAU, AUNCE, MDHR: `BP4D_train_img_path_fold1.txt` with `BP4D_train_label_fold1.txt`, 0 or 1 a unit;
  MDHR calls those of DISFA `DISFA_train_path_fold1.txt`, and pictures `SN001/SN001_0.png`.
- JAA-Net: `BP4D_part1_path.txt` with `BP4D_part1_AUoccur.txt`, and 49 landmarks in `BP4D_part1_land.txt`.

Which units a column stands for is not in the files: the benchmark of the data set that they are called after
says so (`manifests/bp4d.toml`).
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facecorpus import manifests, storage
from facecorpus.errors import UserError
from facecorpus.sources.annotations import five_of_68
from facecorpus.sources.texts import read_text

LISTS = re.compile(r"(.+)\.jsonl?|(.+?)(?:_img)?_path((?:_\w+)?)\.txt", re.IGNORECASE)
"""Names of the files that say which pictures there are."""
_LARGEST = 1e6
_LONGEST = 500
_LEVELS = (-1, 0, 1, 9)
"""Absent and present, and what stands for unknown."""
_ABSENT = 999
"""Stands in FMAE-IAT's lists where a unit is not present."""
Floats = NDArray[np.float32]
_FLAGS = re.IGNORECASE | re.ASCII
_NUMBER = r"/(?:frame_|sn\d{3}_)?(\d{1,9})\.\w+"
_TASK = re.compile(rf"(?:.*/)?2?([fm])(\d{{2,3}})[_/](t\d){_NUMBER}", _FLAGS)
_CAMERA = re.compile(rf"(?:.*/)?(left|right)video(sn\d{{3}})(?:_comp)?{_NUMBER}", _FLAGS)
_PERSON = re.compile(rf"(?:.*/)?(sn\d{{3}}){_NUMBER}", _FLAGS)


class Frame(NamedTuple):
    """What a picture's path says."""

    subject: str
    video: str
    """Camera or task; "" where the path does not say."""
    number: int
    """As the picture is called; of `DISFA/SN001/0.png` from 0."""


def frame_of(path: str) -> Frame | None:
    """What a path says as FMAE-IAT, ME-GraphAU and JAA-Net write them; None of any other.

    >>> frame_of("BP4D/F001/T1/2440.jpg") == frame_of("2F01_T1/frame_2440.jpg")
    True
    >>> frame_of("RightVideoSN001/frame_1.jpg"), frame_of("SN001/0.png")
    (Frame(subject='SN001', video='right', number=1), Frame(subject='SN001', video='', number=0))
    """
    if found := _TASK.fullmatch(path):
        return Frame(f"{found[1].upper()}{int(found[2]):03d}", found[3].upper(), int(found[4]))
    if found := _CAMERA.fullmatch(path):
        return Frame(found[2].upper(), found[1].lower(), int(found[3]))
    found = _PERSON.fullmatch(path)
    return Frame(found[1].upper(), "", int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a benchmark says of the lists that are called after it."""

    name: str
    units: tuple[int, ...]
    """In the order of the lists' columns."""
    graded: bool
    """Whether it codes intensities, of which lists tell only whether they count."""
    folds: tuple[frozenset[str], ...]


@functools.cache
def _protocols() -> dict[str, Protocol]:
    """The benchmarks of action units by name, written as a file's name may begin: `bp4dplus`."""
    found: dict[str, Protocol] = {}
    for file in manifests.folder().iterdir():
        told: dict[str, Any] = tomllib.loads(file.read_text("utf-8")) if file.name.endswith(".toml") else {}
        if "aus" in told:
            name = file.name.removesuffix(".toml")
            folds = tuple(frozenset(fold) for fold in told.get("folds", ()))
            graded = max(set(told.get("codes", [1])) - set(told.get("missing", []))) > 1
            found[_plain(name)] = Protocol(name, tuple(told["aus"]), graded, folds)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "plus"))


def protocol_named(name: str) -> Protocol:
    """The benchmark of that name."""
    return _protocols()[_plain(name)]


def protocol_of(path: str) -> Protocol | None:
    """The benchmark that a list is called after; None where it is none that is known."""
    plain = _plain(PurePosixPath(path).name)
    return max(
        (known for name, known in _protocols().items() if plain.startswith(name)),
        key=lambda known: len(known.name),
        default=None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class FrameList:
    """One list: n pictures, A action units."""

    path: str
    protocol: Protocol
    pictures: list[str]
    """(n): paths, as written."""
    levels: NDArray[np.int16]
    """(n, A), as written."""
    points_px: Floats | None = None
    """(n, 10), as `Record.given_points_px`."""

    @property
    def split(self) -> str | None:
        """ "train", "test" or "val", by its name."""
        found = re.search(r"_(train|test|val)", self.path, _FLAGS)
        return found[1].lower() if found else None


def read_list(location: str, path: str) -> FrameList | None:
    """A list and what lies beside it; None for a text file of paths without labels, or JSON that is no list.

    Raises:
        UserError: it is damaged, does not fit its labels, or is called after no benchmark.
    """
    url, name = storage.join(location, path), LISTS.fullmatch(path)
    if name is None or name[2] is None:
        return _read_lines(url, path)
    names = (f"{name[2]}_{what}{name[3]}.txt" for what in ("label", "AUoccur", "land"))
    label, occurrence, land = (
        each if storage.exists(each) else None for each in (storage.join(location, n) for n in names)
    )
    if (labels := label or occurrence) is None:
        return None
    pictures = _checked(url, [line.strip() for line in read_text(url).splitlines() if line.strip()])
    levels = _read_numbers(labels, url, len(pictures))
    if not np.isin(levels, _LEVELS).all():
        raise UserError(f"{labels} holds other levels than {_LEVELS}; get or make it again")
    protocol = _protocol(url, path, levels.shape[1])
    points = _five_of_49(land, _read_numbers(land, url, len(pictures))) if land else None
    return FrameList(path, protocol, pictures, levels.astype(np.int16), points)


def _checked(url: str, pictures: list[str]) -> list[str]:
    if any(len(path) > _LONGEST for path in pictures):
        raise UserError(f"{url} has a path of over {_LONGEST} characters; get the file again")
    return pictures


def _protocol(url: str, path: str, columns: int) -> Protocol:
    protocol = protocol_of(path)
    if protocol is None or columns not in (0, len(protocol.units)):
        known = ", ".join(f"{p.name} ({len(p.units)})" for p in _protocols().values())
        what = f"{columns} action units" if columns else "action units"
        raise UserError(
            f"{url} has {what}, and its name does not say which; rename it and what belongs to it, to "
            f"begin with the name of a benchmark of so many: {known}"
        )
    return protocol


def _read_numbers(url: str, of: str, rows: int) -> NDArray[np.float64]:
    """The numbers of a text file, a row for each picture of the list `of`."""
    lines = [line.split() for line in read_text(url).splitlines() if line.strip()]
    if len(lines) != rows:
        raise UserError(
            f"{url} has {len(lines):,} rows for the {rows:,} pictures of {of}; get or make both again"
        )
    odd = next((number for number, line in enumerate(lines, 1) if len(line) != len(lines[0])), None)
    try:
        if odd is not None:
            raise ValueError(f"row {odd} has another length than the first")
        found = np.array(lines, dtype=np.float64)
        if not (np.abs(found) <= _LARGEST).all():  # also refuses NaN
            raise ValueError("one is no number, or far too large")
    except ValueError as error:
        raise UserError(f"{url} is not a table of numbers ({error}); get or make it again") from error
    return found


def _five_of_49(url: str, points: NDArray[np.float64]) -> Floats:
    """Ten numbers of 98: the 49 points are the 68 without the jaw and the inner corners of the mouth."""
    if points.shape[1] != 98:
        raise UserError(
            f"{url} has rows of {points.shape[1]} numbers, not of 49 points; get or make it again"
        )
    whole = np.zeros((len(points), 68, 2))
    whole[:, 17:66] = points.reshape(-1, 49, 2)
    return np.array([five_of_68(row) for row in whole], np.float32)


def _read_lines(url: str, path: str) -> FrameList | None:
    pictures: list[str] = []
    present: list[frozenset[int]] = []
    for number, line in enumerate(filter(str.strip, read_text(url).splitlines()), 1):
        try:
            told = json.loads(line)
            pictures.append(str(told["img_path"]))
            present.append(frozenset(int(unit) for unit in told["AUs"]) - {_ABSENT})
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
            if number == 1:
                return None
            raise UserError(
                f"{url}, line {number}, is not {{'img_path', 'AUs'}}; get or make it again"
            ) from error
    if not _checked(url, pictures):
        return None
    protocol = _protocol(url, path, 0)
    if strange := sorted(frozenset().union(*present) - {*protocol.units}):
        raise UserError(
            f"{url} names AU{str(strange[0])[:20]}, which the benchmark {protocol.name} has not; rename it"
        )
    levels = np.array([[unit in units for unit in protocol.units] for units in present], np.int16)
    return FrameList(path, protocol, pictures, levels.reshape(len(pictures), -1))


def fold_note(lists: Sequence[FrameList]) -> list[str]:
    """Which fold of the benchmark each list of test pictures is: their numbers often differ."""
    said: list[str] = []
    for each in lists:
        if each.split != "test" or not each.protocol.folds:
            continue
        frames = filter(None, map(frame_of, each.pictures))
        tested = frozenset(frame.subject for frame in frames)
        fold = next((n for n, fold in enumerate(each.protocol.folds, 1) if fold == tested), None)
        same = (
            f"fold {fold} of the benchmark {each.protocol.name}"
            if fold
            else f"no fold of {each.protocol.name}"
        )
        said.append(f"{PurePosixPath(each.path).name} tests the people of {same}")
    return said


def codes(protocol: Protocol, levels: Sequence[int]) -> Mapping[str, int]:
    """The labels of a frame, by the names that corpora have."""
    ending = "_occurrence" if protocol.graded else ""
    return {f"AU{unit}{ending}": level for unit, level in zip(protocol.units, levels, strict=True)}
