"""CASIA-WebFace as folders, as one archive, and as InsightFace's RecordIO."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from facecorpus.errors import UserError
from facecorpus.sources.base import Source, make_source

TREE = {
    f"{person}/{number:03d}.jpg": cv2.imencode(".jpg", np.full((25, 25, 3), 40 * number, np.uint8))[
        1
    ].tobytes()
    for person in ("0000045", "0000099")
    for number in (1, 2, 3)
}


def casia(root: Path) -> Source:
    return make_source("casia_webface", "casia_webface", str(root))


def write_folder(root: Path) -> None:
    for path, data in TREE.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def check(root: Path, prefix: str = "") -> None:
    source = casia(root)
    records = list(source.inventory())
    assert [r.id for r in records] == [f"casia_webface/{prefix}{path}" for path in TREE]
    assert [r.identity for r in records] == ["0000045"] * 3 + ["0000099"] * 3
    reader = source.reader()
    assert [reader.read(r) for r in records] == list(TREE.values())
    reader.close()
    assert source.notes == [
        "6 images of 2 people: neither the original nor InsightFace's copy",
    ]


def test_folders(tmp_path: Path) -> None:
    write_folder(tmp_path)
    check(tmp_path)


def test_nested_folders_beside_an_archive(tmp_path: Path) -> None:
    """What was unpacked is read, not the archive a second time."""
    write_folder(tmp_path / "CASIA-WebFace")
    check(tmp_path, "CASIA-WebFace/")
    (tmp_path / "CASIA-WebFace.zip").write_bytes(b"PK")
    records = list(casia(tmp_path).inventory())
    assert [r.member for r in records] == ["CASIA-WebFace.zip", *(f"CASIA-WebFace/{path}" for path in TREE)]
    assert {r.container for r in records} == {""}


@pytest.mark.parametrize("inside", [True, False])
def test_one_archive(inside: bool, tmp_path: Path) -> None:
    place = tmp_path / "CASIA-WebFace.zip"
    with zipfile.ZipFile(place, "w") as archive:
        for path, data in TREE.items():
            archive.writestr(f"CASIA-WebFace/{path}", data)
    (tmp_path / "readme.txt").write_text("beside the archive")
    check(tmp_path if inside else place, "CASIA-WebFace/")


def test_several_archives_are_refused(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"one archive alone is not there: .* holds a\.zip, b\.zip;"):
        list(casia(tmp_path).inventory())


def test_recordio(tmp_path: Path) -> None:
    """Record 0, the images, one index record per person; labels as f32 in the header."""
    images = list(TREE.values())
    payloads = [struct.pack("<IfQQ2f", 2, 0, 0, 0, 7, 9)]
    payloads += [struct.pack("<IfQQ", 0, n // 3, n + 1, 0) + image for n, image in enumerate(images)]
    payloads += [struct.pack("<IfQQ2f", 2, 0, key, 0, start, start + 3) for key, start in ((7, 1), (8, 4))]
    data = index = b""
    for key, payload in enumerate(payloads):
        index += b"%d\t%d\n" % (key, len(data))
        data += struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)
    (tmp_path / "train.rec").write_bytes(data)
    (tmp_path / "train.idx").write_bytes(index)
    (tmp_path / "property").write_text("2,112,112")
    source = casia(tmp_path)
    records = list(source.inventory())
    assert [(r.id, r.container) for r in records] == [
        (f"casia_webface/{n}", "train.rec") for n in range(1, 7)
    ]
    assert [r.identity for r in records] == ["0"] * 3 + ["1"] * 3
    reader = source.reader()
    assert [reader.read(r) for r in records] == images
    reader.close()
    assert source.stamps().keys() == {"train.rec", "train.rec.idx", "property"}
    assert source.notes[0].endswith("holds 3 index records without an image, which are not inputs")


def test_a_recordio_one_level_down_is_read(tmp_path: Path) -> None:
    """Kaggle's copies keep InsightFace's folder."""
    payload = struct.pack("<IfQQ", 0, 7.0, 1, 0) + TREE["0000045/001.jpg"]
    place = tmp_path / "faces_webface_112x112"
    place.mkdir()
    (place / "train.rec").write_bytes(
        struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)
    )
    (place / "property").write_text("1,112,112")
    source = casia(tmp_path)
    assert [(r.container, r.identity) for r in source.inventory()] == [
        ("faces_webface_112x112/train.rec", "7")
    ]
    assert "faces_webface_112x112/property" in source.stamps()


def test_a_recordio_in_a_zip_is_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "webface.zip", "w") as archive:
        archive.writestr("faces_webface_112x112/train.idx", b"")
        archive.writestr("faces_webface_112x112/train.rec", b"")
    with pytest.raises(UserError, match=r"webface\.zip holds faces_webface_112x112/train\.rec.*; unpack it"):
        list(casia(tmp_path).inventory())


def test_that_nobody_is_known_is_said(tmp_path: Path) -> None:
    (tmp_path / "001.jpg").write_bytes(TREE["0000045/001.jpg"])
    source = casia(tmp_path)
    assert [r.identity for r in source.inventory()] == [None]
    assert source.notes[-1] == (
        "of none of its 1 inputs is it known who is shown: no picture lies in a person's folder"
    )


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"holds no files; the adapter casia_webface expects: 0000045/001\.jpg"
    ):
        list(casia(tmp_path).inventory())
