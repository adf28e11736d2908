"""CelebA in the layouts that circulate: the authors' zip, unpacked, and Kaggle's."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Source, make_source, stamp_of

NAMES = [f"{number:06d}.jpg" for number in range(1, 5)]
POINTS = ["69 109 106 113 77 142 73 152 108 154", "69  110 107  112   81  135   70  151  108  153"] * 2
PARTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
HEADER = " ".join(f"{part}_{axis}" for part in PARTS for axis in "xy")


def jpeg(value: int) -> bytes:
    return cv2.imencode(".jpg", np.full((218, 178, 3), value, np.uint8))[1].tobytes()


IMAGES = {name: jpeg(20 * number) for number, name in enumerate(NAMES)}


def write_annotations(root: Path) -> None:
    (root / "Anno").mkdir(parents=True)
    (root / "Eval").mkdir()
    points = "\n".join(f"{n} {p} " for n, p in zip(NAMES, POINTS, strict=True))
    (root / "Anno/list_landmarks_align_celeba.txt").write_text(f"{len(NAMES)}\n{HEADER}\n{points}\n")
    (root / "Anno/identity_CelebA.txt").write_text(
        "".join(f"{n} {i % 2 + 2880}\n" for i, n in enumerate(NAMES))
    )
    (root / "Anno/list_bbox_celeba.txt").write_text(
        "1\nimage_id x_1 y_1 width height\n000001.jpg 95 71 226 313\n"
    )
    (root / "Eval/list_eval_partition.txt").write_text("".join(f"{n} {i % 3}\n" for i, n in enumerate(NAMES)))


def write_zip(place: Path, names: list[str] = NAMES) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(place, "w") as archive:
        archive.mkdir("img_align_celeba")
        for name in names:
            archive.writestr(f"img_align_celeba/{name}", IMAGES[name])


def write_images(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, data in IMAGES.items():
        (folder / name).write_bytes(data)


def celeba(root: Path) -> Source:
    return make_source("celeba", "celeba", str(root))


def check(root: Path) -> list[Record]:
    source = celeba(root)
    records = list(source.inventory())
    assert [r.id for r in records] == [f"celeba/img_align_celeba/{name}" for name in NAMES]
    stamps = source.stamps()
    assert all(stamp_of(record, stamps) for record in records)
    reader = source.reader()
    assert [reader.read(r) for r in records] == list(IMAGES.values())
    reader.close()
    return records


@pytest.mark.parametrize("layout", ["Img/zip", "zip", "Img/folder", "folder", "nested"])
def test_layouts(layout: str, tmp_path: Path) -> None:
    write_annotations(tmp_path)
    if layout.endswith("zip"):
        write_zip(tmp_path / layout.removesuffix("zip") / "img_align_celeba.zip")
    else:
        above = {"Img/folder": "Img", "folder": "", "nested": "img_align_celeba"}[layout]
        write_images(tmp_path / above / "img_align_celeba")
    records = check(tmp_path)
    assert [r.identity for r in records] == ["2880", "2881", "2880", "2881"]
    assert [r.split for r in records] == ["train", "val", "test", "train"]
    assert records[0].given_points_px == (69, 109, 106, 113, 77, 142, 73, 152, 108, 154)
    assert records[1].given_points_px == (69, 110, 107, 112, 81, 135, 70, 151, 108, 153)
    assert {r.given_box_xyxy_px for r in records} == {None}  # the boxes are those of the images in the wild
    assert {"Anno/identity_CelebA.txt", "Eval/list_eval_partition.txt"} < celeba(tmp_path).stamps().keys()


def test_kaggle_csv_without_identities(tmp_path: Path) -> None:
    write_images(tmp_path / "img_align_celeba/img_align_celeba")
    rows = [f"{n},{p}" for n, p in zip(NAMES, POINTS, strict=True)]
    text = "\n".join(",".join(row.split()) for row in ["image_id " + HEADER, *rows])
    (tmp_path / "list_landmarks_align_celeba.csv").write_text(text)
    (tmp_path / "list_eval_partition.csv").write_text(
        "image_id,partition\n" + "".join(f"{n},2\n" for n in NAMES)
    )
    records = check(tmp_path)
    assert {(r.identity, r.split) for r in records} == {(None, "test")}
    assert records[0].given_points_px == (69, 109, 106, 113, 77, 142, 73, 152, 108, 154)
    source = celeba(tmp_path)
    list(source.inventory())
    assert source.notes == ["without identity_CelebA.txt (from CelebA's page) who is shown is not known"]


def test_the_zip_alone(tmp_path: Path) -> None:
    write_zip(tmp_path / "img_align_celeba.zip")
    check(tmp_path / "img_align_celeba.zip")
    source = celeba(tmp_path / "img_align_celeba.zip")
    list(source.inventory())
    assert len(source.notes) == 3


def test_annotations_of_absent_images_are_counted(tmp_path: Path) -> None:
    write_annotations(tmp_path)
    write_zip(tmp_path / "Img/img_align_celeba.zip", NAMES[1:])
    (tmp_path / "Eval/list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n")
    source = celeba(tmp_path)
    assert len(list(source.inventory())) == 3
    assert source.notes == [
        f"{tmp_path}/Anno/identity_CelebA.txt: 1 of its 4 names are not among the inputs",
        f"{tmp_path}/Anno/list_landmarks_align_celeba.txt: 1 of its 4 names are not among the inputs",
        (
            f"{tmp_path}/Eval/list_eval_partition.txt: 1 of its 2 names are not among the inputs "
            "and 2 inputs have no row in it"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("000001.jpg 1 2 3\n", "line 1: 10 values are expected after the name"),
        ("000001.jpg 1 2 3 4 5 6 7 8 9 ten\n", "has a value of the wrong type .*ten"),
        ("000001.jpg 1 2 3 4 5 6 7 8 9 \u0661\n", "line 1, has a value of the wrong type"),
        (f"000001.jpg {'9' * 5000} 2 3 4 5 6 7 8 9 10\n", "line 1, has a value of the wrong type"),
        ("000001.jpg 1 2 3 4 5 6 7 8 9 nan\n", "line 1, has a value of the wrong type"),
        (f"{'x' * 300}.jpg 1 2 3 4 5 6 7 8 9 10\n", "has a name of over 255 bytes"),
        ("é.jpg 1 2 3 4 5 6 7 8 9 10\n" * 2, "has two rows for é"),
        ("<html><body>Google Drive - Quota exceeded", "is an HTML page.*; download it again in a browser"),
        ("PK\x03\x04", "is a ZIP archive, and no text file; get the file again"),
        ("nothing here\n", "has no line that starts with the name of an image"),
        ("000001.jpg 1 2 3 4 5 6 7 8 9 10\n" * 2, "has two rows for 000001"),
    ],
)
def test_damaged_annotations_are_named(text: str, words: str, tmp_path: Path) -> None:
    write_annotations(tmp_path)
    write_zip(tmp_path / "Img/img_align_celeba.zip")
    (tmp_path / "Anno/list_landmarks_align_celeba.txt").write_text(text, "utf-8")
    with pytest.raises(UserError, match=rf"list_landmarks_align_celeba\.txt.* ?{words}"):
        list(celeba(tmp_path).inventory())


def test_names_that_are_not_ascii_are_told_apart(tmp_path: Path) -> None:
    write_images(tmp_path / "img_align_celeba")
    for name in ("é.jpg", "è.jpg"):
        (tmp_path / "img_align_celeba" / name).write_bytes(jpeg(9))
    (tmp_path / "identity_CelebA.txt").write_text("é.jpg 7\nè.jpg 8\n", "utf-8")
    records = {r.member: r.identity for r in celeba(tmp_path).inventory()}
    assert records["img_align_celeba/é.jpg"] == "7" and records["img_align_celeba/è.jpg"] == "8"


def test_that_nobody_is_known_is_said(tmp_path: Path) -> None:
    write_images(tmp_path / "img_align_celeba")
    (tmp_path / "identity_CelebA.txt").write_text("a/000001.jpg 7\n")
    source = celeba(tmp_path)
    assert {r.identity for r in source.inventory()} == {None}
    assert source.notes[-1] == (
        "of none of its 4 inputs is it known who is shown: identity_CelebA names no picture that is there"
    )


def test_missing_images(tmp_path: Path) -> None:
    write_annotations(tmp_path)
    message = (
        r"Img/img_align_celeba\.zip is not there: .* holds Anno/, Eval/; the adapter celeba expects: Img/"
    )
    with pytest.raises(UserError, match=message):
        list(celeba(tmp_path).inventory())


def write_wild(root: Path) -> None:
    (root / "Img/img_celeba").mkdir(parents=True)
    (root / "Img/img_celeba/000001.jpg").write_bytes(b"x")
    (root / "Anno").mkdir(exist_ok=True)
    head = "1\nlefteye_x lefteye_y\n"
    (root / "Anno/list_landmarks_celeba.txt").write_text(f"{head}000001.jpg 1 2 3 4 5 6 7 8 9 10\n")
    (root / "Anno/list_bbox_celeba.txt").write_text(
        "1\nimage_id x_1 y_1 width height\n000001.jpg 95 71 226 313\n"
    )


def test_photographs_in_the_wild_have_their_own_boxes_and_landmarks(tmp_path: Path) -> None:
    """`list_bbox_celeba` and `list_landmarks_celeba` are of these pictures, and of these alone."""
    write_wild(tmp_path)
    (tmp_path / "Anno/list_landmarks_align_celeba.txt").write_text("000001.jpg 9 9 9 9 9 9 9 9 9 9\n")
    [record] = make_source("celeba", "celeba", str(tmp_path)).inventory()
    assert record.given_box_xyxy_px == (95, 71, 321, 384)
    assert record.given_points_px == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert record.id == "celeba/img_celeba/000001.jpg"


@pytest.mark.parametrize("name", ["img_align_celeba", "img_align_celeba_png"])
def test_aligned_pictures_go_before_those_in_the_wild(name: str, tmp_path: Path) -> None:
    write_wild(tmp_path)
    (tmp_path / "Img" / name).mkdir()
    (tmp_path / "Img" / name / "000001.png").write_bytes(b"x")
    source = make_source("celeba", "celeba", str(tmp_path))
    [record] = source.inventory()
    assert record.id == f"celeba/{name}/000001.png"
    assert record.given_box_xyxy_px is None
    left = "left aside, since they show the same faces: celeba/pictures=wild:PATH would read them"
    assert left in source.notes
    wild = make_source("celeba", "celeba", str(tmp_path), setting="pictures=wild")
    assert [r.id for r in wild.inventory()] == ["celeba/img_celeba/000001.jpg"]


def test_hugging_face_copy_says_who_is_shown(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, people in (("train-00000-of-00001", [2880, 8692]), ("valid-00000-of-00001", [7])):
        table = pa.table({"image": [{"bytes": b"x", "path": None} for _ in people], "celeb_id": people})
        pq.write_table(table, tmp_path / f"data/{name}.parquet")
    source = make_source("celeba", "celeba", str(tmp_path))
    assert [(r.id, r.identity, r.split) for r in source.inventory()] == [
        ("celeba/data/train-00000-of-00001.parquet/0", "2880", "train"),
        ("celeba/data/train-00000-of-00001.parquet/1", "8692", "train"),
        ("celeba/data/valid-00000-of-00001.parquet/0", "7", "val"),
    ]
    assert source.notes == []
