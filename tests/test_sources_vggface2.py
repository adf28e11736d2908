"""VGGFace2 as published (two tar.gz) and unpacked."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Source, make_source, stamp_of

TRAIN = ["n000002/0001_01.jpg", "n000002/0001_02.jpg", "n000002/0002_01.jpg", "n000003/0001_01.jpg"]
TEST = ["n000001/0001_01.jpg", "n000001/0100_01.jpg"]
MEMBERS = {"train": TRAIN, "test": TEST}


def jpeg(name: str) -> bytes:
    value = sum(name.encode()) % 256
    return cv2.imencode(".jpg", np.full((40, 30, 3), value, np.uint8))[1].tobytes()


def write_archive(place: Path, split: str, mode: Literal["w", "w:gz"] = "w:gz") -> None:
    with tarfile.open(place, mode) as archive:
        for name in MEMBERS[split]:
            info = tarfile.TarInfo(f"{split}/{name}")
            info.size = len(jpeg(name))
            archive.addfile(info, io.BytesIO(jpeg(name)))


def write_folder(root: Path, split: str) -> None:
    for name in MEMBERS[split]:
        (root / split / name).parent.mkdir(parents=True, exist_ok=True)
        (root / split / name).write_bytes(jpeg(name))


def write_annotations(root: Path, split: str) -> None:
    (root / "bb_landmark").mkdir(parents=True, exist_ok=True)
    boxes = [f'"{name[:-4]}",{n},-3,79,109' for n, name in enumerate(MEMBERS[split])]
    points = [f'"{name[:-4]}",{n}.5,-2.25,3,4,5,6,7,8,9,10' for n, name in enumerate(MEMBERS[split])]
    header = "NAME_ID," + ",".join(f"P{n}{axis}" for n in range(1, 6) for axis in "XY")
    place = root / "bb_landmark"
    (place / f"loose_bb_{split}.csv").write_text("\n".join(["NAME_ID,X,Y,W,H", *boxes]) + "\n")
    (place / f"loose_landmark_{split}.csv").write_text("\n".join([header, *points]) + "\n")


def vggface2(root: Path, cache: Path | None = None) -> Source:
    return make_source("vggface2", "vgg", str(root), str(cache) if cache else None)


def check(source: Source) -> list[Record]:
    records = list(source.inventory())
    paths = [f"train/{name}" for name in TRAIN] + [f"test/{name}" for name in TEST]
    assert [r.id for r in records] == [f"vgg/{path}" for path in paths]
    assert [r.split for r in records] == ["train"] * 4 + ["test"] * 2
    assert [r.identity for r in records] == ["n000002"] * 3 + ["n000003"] + ["n000001"] * 2
    photos = ["n000002/0001", "n000002/0001", "n000002/0002", "n000003/0001", "n000001/0001", "n000001/0100"]
    assert [r.photo_id for r in records] == photos
    assert records[1].given_box_xyxy_px == (1, -3, 80, 106)
    assert records[1].given_points_px == (1.5, -2.25, 3, 4, 5, 6, 7, 8, 9, 10)
    assert records[4].given_points_px == (0.5, -2.25, 3, 4, 5, 6, 7, 8, 9, 10)
    stamps = source.stamps()
    assert all(stamp_of(record, stamps) for record in records)
    assert "bb_landmark/loose_bb_train.csv" in stamps
    reader = source.reader()
    for record in reversed(records):
        assert reader.read(record) == jpeg("/".join(record.member.split("/")[1:]))
    reader.close()
    assert source.notes == []
    return records


@pytest.mark.parametrize("layout", ["tar.gz", "tar", "data", "folder", "nested"])
def test_layouts(layout: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for split in MEMBERS:
        write_annotations(tmp_path, split)
        if layout == "folder":
            write_folder(tmp_path, split)
        elif layout == "nested":
            write_folder(tmp_path / f"vggface2_{split}", split)
        elif layout == "data":
            (tmp_path / "data").mkdir(exist_ok=True)
            write_archive(tmp_path / f"data/vggface2_{split}.tar.gz", split)
        else:
            write_archive(tmp_path / f"vggface2_{split}.{layout}", split, "w" if layout == "tar" else "w:gz")
    check(vggface2(tmp_path))
    check(vggface2(tmp_path, tmp_path_factory.mktemp("cache")))


def test_one_split_without_annotations(tmp_path: Path) -> None:
    write_archive(tmp_path / "vggface2_test.tar.gz", "test")
    write_annotations(tmp_path, "train")
    source = vggface2(tmp_path)
    records = list(source.inventory())
    assert [r.split for r in records] == ["test"] * 2
    assert {(r.given_box_xyxy_px, r.given_points_px) for r in records} == {(None, None)}
    assert source.notes == [
        "bb_landmark/loose_bb_test.csv (in VGGFace2's bb_landmark.tar.gz) is not there",
        "bb_landmark/loose_landmark_test.csv (in VGGFace2's bb_landmark.tar.gz) is not there",
    ]


def test_a_folder_called_val_holds_people_of_the_test_set(tmp_path: Path) -> None:
    write_folder(tmp_path, "train")
    write_folder(tmp_path, "test")
    (tmp_path / "test").rename(tmp_path / "val")
    for split in MEMBERS:
        write_annotations(tmp_path, split)
    source = vggface2(tmp_path)
    records = list(source.inventory())
    assert [r.split for r in records] == ["train"] * 4 + ["val"] * 2
    assert [r.identity for r in records[4:]] == ["n000001"] * 2
    assert records[4].given_points_px == (0.5, -2.25, 3, 4, 5, 6, 7, 8, 9, 10)
    assert source.notes == []


def test_what_is_left_aside_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path, "train")
    write_annotations(tmp_path, "train")
    for name in ("train_cropped", "more"):
        (tmp_path / name).mkdir()
    source = vggface2(tmp_path)
    list(source.inventory())
    assert source.notes == ["left aside, since only train, test, val are read: more, train_cropped"]


def test_that_nobody_is_known_is_said(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/0001_01.jpg").write_bytes(jpeg("x"))
    write_annotations(tmp_path, "train")
    source = vggface2(tmp_path)
    assert [r.identity for r in source.inventory()] == [None]
    assert source.notes[-1] == (
        "of none of its 1 inputs is it known who is shown: no path is of the form n000002/0001_01.jpg"
    )


def test_other_files_are_inputs_of_nobody(tmp_path: Path) -> None:
    write_folder(tmp_path, "train")
    (tmp_path / "train/n000002/Thumbs.db").write_bytes(b"x")
    records = {r.member: r for r in vggface2(tmp_path).inventory()}
    assert records["train/n000002/Thumbs.db"].identity is None
    assert records["train/n000002/Thumbs.db"].split == "train"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'NAME_ID,X,Y,W,H\n"n000002/0001_01",a,b,c,d\n', "is not a CSV file of a name and numbers"),
        (b"NAME_ID,X\n1,2\n1,2,3\n", "is not a CSV file of a name and numbers"),
        (b"", "is not a CSV file of a name and numbers"),
        (b"NAME_ID,X,Y,W\na,1,2,3\n", "has rows of 3 numbers.*where a name and 4 numbers are expected"),
        (b"NAME_ID,X,Y,W,H\na,1,2,,4\n", "has a value that is missing or beyond all pictures"),
        (b"NAME_ID,X,Y,W,H\na,1,2,inf,4\n", "has a value that is missing or beyond all pictures"),
        (b"NAME_ID,X,Y,W,H\na,1,2,3,1e30\n", "has a value that is missing or beyond all pictures"),
        (b"NAME_ID,X,Y,W,H\n" + b"a" * 999 + b",1,2,3,4\n", "has a name of over 255 bytes"),
        (b"NAME_ID,X,Y,W,H\n\xff,1,2,3,4\n\xff,1,2,3,4\n", "has two rows for"),
        (b"<!DOCTYPE html><html>quota", "is an HTML page.*; download it again in a browser"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer.*; run 'git lfs pull'"),
        (b"\x93NUMPY\x01\0" + bytes(99), "is a NumPy array, and no text file; get the file again"),
        (b"\x01\0\x07\0" * 99, "is no text file, as its first bytes show"),
    ],
)
def test_damaged_annotations_are_named(data: bytes, words: str, tmp_path: Path) -> None:
    write_archive(tmp_path / "vggface2_train.tar.gz", "train")
    write_annotations(tmp_path, "train")
    (tmp_path / "bb_landmark/loose_bb_train.csv").write_bytes(data)
    with pytest.raises(UserError, match=rf"loose_bb_train\.csv {words}"):
        list(vggface2(tmp_path).inventory())


def test_missing_images(tmp_path: Path) -> None:
    write_annotations(tmp_path, "train")
    with pytest.raises(UserError, match=r"vggface2_train\.tar\.gz is not there: .* holds bb_landmark/;"):
        list(vggface2(tmp_path).inventory())


@pytest.mark.parametrize("zipped", [False, True])
def test_people_in_no_split(zipped: bool, tmp_path: Path) -> None:
    """Kaggle's copies of 112 x 112, and subsets, have people's folders at the top."""
    place = tmp_path / "vgg.tar"
    if zipped:
        with tarfile.open(place, "w") as archive:
            info = tarfile.TarInfo("n000002/0001_01.jpg")
            archive.addfile(info)
    else:
        place = tmp_path
        (tmp_path / "n000002").mkdir()
        (tmp_path / "n000002/0001_01.jpg").write_bytes(b"")
    [record] = vggface2(place).inventory()
    assert (record.id, record.identity, record.split) == ("vgg/n000002/0001_01.jpg", "n000002", None)


def test_insightface_copy(tmp_path: Path) -> None:
    payload = struct.pack("<IfQQ", 0, 8630.0, 1, 0) + b"\xff\xd8\xff"
    (tmp_path / "faces_vgg_112x112").mkdir()
    (tmp_path / "faces_vgg_112x112/train.rec").write_bytes(
        struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)
    )
    assert [r.identity for r in vggface2(tmp_path).inventory()] == ["8630"]
