"""Frames that somebody cut and listed: the lists of FMAE-IAT, ME-GraphAU, AUNCE, MDHR or JAA-Net as a source.

What the lists name is an input, whether or not its picture is there; pictures in no list are none. A path in
a list and that of a picture are the same frame where both say the same person, video and number, so the
pictures may lie in other folders; paths that say nothing of the kind must end alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.archives import Container
from facecorpus.sources.base import Drawn, Layout, Member, Part, Source, adapter, is_archive_name, listed
from facecorpus.sources.frame_list_rows import (
    LISTS,
    FrameList,
    codes,
    fold_note,
    frame_of,
    protocol_named,
    read_list,
)
from facecorpus.sources.recordings import claims_picture

_SPLITS = ("train", "val", "test")


@adapter("frame_list")
class FrameLists(Source):
    """Lists at any depth, and the pictures that they name, in folders or archives."""

    recipe = "au-crops"
    ids_name_containers = True  # an archive may hold nothing that is listed
    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "camera": {
            side: f"DISFA's frames without a camera in their path are of the {side} one"
            for side in ("left", "right")
        }
    }

    def parts(self) -> Sequence[Part]:
        """The folder, where pictures lie in it, and the archives there."""
        if not storage.is_dir(self.location) or not any(map(LISTS.fullmatch, self._files())):
            raise self.missing("a list of frames")
        archives = [Part(path) for path in self._files() if is_archive_name(path)]
        return [Part("")] * (not archives or any(map(claims_picture, self._files()))) + archives

    def load_annotations(self) -> None:
        """Read all lists into one table."""
        paths = [path for path in self._files() if LISTS.fullmatch(path)]
        read = {path: read_list(self.location, path) for path in paths}
        lists = [found for found in read.values() if found is not None]
        if not lists:
            bare = [path for path in paths if path.lower().endswith(".txt")]
            what = f"a file of labels for {listed(bare)}" if bare else "a list of frames"
            raise self.missing(what)
        sets = sorted({found.protocol.name for found in lists})
        if len(sets) > 1:
            raise UserError(
                f"{self.location} holds lists of {' and '.join(sets)}; give each a source of its own"
            )
        self._merge(lists)
        self._unlisted, self._unread = 0, len(self.parts())
        bare = [path for path, found in read.items() if found is None and path.lower().endswith(".txt")]
        if bare:
            self.notes.append(f"left aside, as their labels are not beside them: {listed(bare)}")
        self.notes += fold_note(lists)

    def _merge(self, lists: Sequence[FrameList]) -> None:
        """One row for each frame; the lists must agree on it."""
        self._protocol = lists[0].protocol
        self._names = [name for found in lists for name in found.pictures]
        keys = np.array([_key(name).encode() for name in self._names])
        self._keys, first, row = np.unique(keys, return_index=True, return_inverse=True)
        self._first = first
        levels = np.concatenate([found.levels for found in lists])
        self._levels = levels[first]
        if (differ := np.flatnonzero((levels != self._levels[row]).any(axis=1))).size:
            raise UserError(
                f"{self.location}: two lists disagree about {self._names[int(differ[0])]} "
                f"({' or '.join(sorted(found.path for found in lists)[:4])}); keep those that belong together"
            )
        whose = np.concatenate([np.full(len(found.pictures), _split_bit(found)) for found in lists])
        self._splits = np.zeros(len(self._keys), np.int64)
        np.bitwise_or.at(self._splits, row, whose)
        self._points = np.full((len(self._keys), 10), np.nan, np.float32)
        start = 0
        for found in lists:
            if found.points_px is not None:
                self._points[row[start : start + len(found.pictures)]] = found.points_px
            start += len(found.pictures)
        self._used = np.zeros(len(self._keys), bool)
        numbers = [frame.number for name in self._names if (frame := frame_of(name)) and not frame.video]
        self._from_zero = 0 in numbers
        self._left = any("_img_path" in found.path for found in lists)

    def members(self, container: Container) -> Iterator[Member]:
        """The listed pictures; behind all of them the frames whose pictures are not there."""
        for member in container.members():
            if (row := self._row(member.path)) is None:
                self._unlisted += claims_picture(member.path)
                continue
            if self._used[row]:
                raise UserError(
                    f"{container.url} holds {member.path}, a second picture of {self._name(row)}; keep one"
                )
            self._used[row] = True
            yield member
        self._unread -= 1
        if not self._unread:
            yield from self._absent()

    def annotate(self, record: Record, member: Member) -> None:
        """All by the list, and the id too: it stays what it is when a missing picture comes."""
        row = self._row(member.path)
        assert row is not None
        if not self._used[row]:
            record.container = ""
        self._fill(record, row)

    def _absent(self) -> Iterator[Member]:
        """The listed frames that are not there."""
        absent = np.flatnonzero(~self._used).tolist()
        if len(absent) == len(self._used):
            raise UserError(
                f"{self.location}: none of the {len(absent):,} pictures in the lists is there (the first: "
                f"{self._name(absent[0])}); put the lists and the folder of pictures into one folder"
            )
        if absent:
            self.notes.append(f"{len(absent):,} of {len(self._used):,} listed frames are not there")
        return (Member(self._name(row), -1, 0) for row in absent)

    def finish(self) -> None:
        """Say what was left over."""
        if self._unlisted:
            self.notes.append(f"{self._unlisted:,} pictures are in no list, and are no inputs")

    def _files(self) -> Iterator[str]:
        return (path for path, _, _ in storage.walk_files(self.location))

    def _name(self, row: int) -> str:
        return self._names[int(self._first[row])].lstrip("./")

    def _row(self, path: str) -> int | None:
        """Where a picture is in the table, by its path or, of one that says no frame, by any end of it."""
        parts = path.split("/")
        ends = [path] if frame_of(path) else ["/".join(parts[k:]) for k in range(len(parts))]
        for end in ends:
            key = np.bytes_(_key(end).encode())
            place = int(np.searchsorted(self._keys, key))
            if place < len(self._keys) and self._keys[place] == key:
                return place
        return None

    def _fill(self, record: Record, row: int) -> None:
        name = self._name(row)
        frame = frame_of(name)
        record.id = f"{self.name}/{name}"
        record.labels = dict(codes(self._protocol, self._levels[row].tolist()))
        splits = [split for bit, split in enumerate(_SPLITS) if self._splits[row] == 1 << bit]
        record.split = splits[0] if splits else None
        if np.isfinite(self._points[row]).all():
            record.given_points_px = tuple(self._points[row].tolist())
        if frame is None:
            record.identity = PurePosixPath(name).parent.name or None
            digits = re.search(r"(\d{1,9})\D*\Z", PurePosixPath(name).stem)
            record.frame = int(digits[1]) if digits else row
            return
        record.identity, record.video = frame.subject, frame.video or self._camera()
        record.frame = frame.number + (self._from_zero and not frame.video)

    def _camera(self) -> str | None:
        if self.setting is not None:
            return self.setting[1]
        return "left" if self._left else None

    @staticmethod
    def lay_out(drawn: Sequence[Drawn]) -> Layout:
        """FMAE-IAT's list of all and ME-GraphAU's of a fold, of the same pictures; one is in no list."""
        units = protocol_named("bp4d").units
        names = [f"F{1 + d.person:03d}/T1/{d.number}.jpg" for d in drawn]
        fmae = [f"2F{1 + d.person:02d}_T1/frame_{d.number}.jpg" for d in drawn]
        present = [[int(d.levels.get(unit, 0) >= 2) for unit in units] for d in drawn]
        told = [[u if there else 999 for u, there in zip(units, row, strict=True)] for row in present]
        lines = {
            "BP4D_all.json": [json.dumps({"img_path": n, "AUs": t}) for n, t in zip(fmae, told, strict=True)],
            "list/BP4D_test_img_path_fold1.txt": names,
            "list/BP4D_test_label_fold1.txt": [" ".join(map(str, row)) for row in present],
        }
        files = {name: "\n".join([*text, ""]).encode() for name, text in lines.items()}
        files |= {f"img/{name}": d.data for name, d in zip(names, drawn, strict=True)}
        files["img/F099/T1/1.jpg"] = b"in no list"
        people = [f"F{1 + d.person:03d}" for d in drawn]
        return Layout(list(zip(fmae, people, strict=True)), files)


def _key(path: str) -> str:
    """What the paths of a frame have in common in lists and on disk."""
    frame = frame_of(path)
    return "|".join(map(str, frame)) if frame else path.lstrip("./").rpartition(".")[0]


def _split_bit(found: FrameList) -> int:
    return 1 << _SPLITS.index(found.split) if found.split else 0
