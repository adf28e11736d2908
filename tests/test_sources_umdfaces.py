"""UMDFaces: three batches, each with a table of faces."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from laid_out import put, write_tar

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Source, make_source

HEAD = [
    *("SUBJECT_ID", "FILE", "FACE_ID", "ENTRY", "FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT"),
    *("YAW", "PITCH", "ROLL"),
    *(name for k in range(1, 22) for name in (f"P{k}X", f"P{k}Y", f"VIS{k}")),
    *("PR_MALE", "PR_FEMALE"),
]


def line(subject: int, file: str, box: Sequence[float], visible: float = 1) -> str:
    points = [text for k in range(1, 22) for text in (f"{k}.5", f"{k + 100}", str(visible if k == 15 else 1))]
    return ",".join([str(subject), file, "0", "1", *map(str, box), "0", "0", "0", *points, ".5", ".5"])


def table(*lines: str) -> bytes:
    return "\n".join([",".join(HEAD), *lines, ""]).encode()


def umdfaces(root: Path) -> Source:
    return make_source("umdfaces", "umd", str(root))


def listed(source: Source) -> list[Record]:
    return list(source.inventory())


def test_the_table_has_76_columns() -> None:
    assert len(HEAD) == 76 and HEAD.index("FACE_X") == 4 and HEAD.index("P1X") == 11


def test_subject_numbers_begin_anew_in_each_batch(tmp_path: Path) -> None:
    for batch, name in ((1, "anna"), (2, "bert")):
        put(tmp_path / f"umdfaces_batch{batch}/{name}/{name}_0001.jpg")
        put(
            tmp_path / f"umdfaces_batch{batch}/umdfaces_batch{batch}_ultraface.csv",
            table(line(1, f"{name}/{name}_0001.jpg", (10, -4, 30, 40))),
        )
    source = umdfaces(tmp_path)
    records = listed(source)
    assert [r.identity for r in records] == ["batch1/1", "batch2/1"]
    assert [r.id for r in records] == [
        "umd/umdfaces_batch1/anna/anna_0001.jpg",
        "umd/umdfaces_batch2/bert/bert_0001.jpg",
    ]
    assert records[0].given_box_xyxy_px == (10, -4, 40, 36)
    assert records[0].given_points_px == (8.5, 108, 11.5, 111, 15.5, 115, 18.5, 118, 20.5, 120)
    assert records[0].photo_id == "umdfaces_batch1/anna/anna_0001.jpg"
    assert source.notes == []


def test_each_face_of_a_photograph_is_an_input(tmp_path: Path) -> None:
    """Several rows share a FILE: each is told by its box, and none has another's identity."""
    rows = table(
        line(7, "anna/a.jpg", (0, 0, 20, 20)),
        line(9, "anna/a.jpg", (50, 0, 20, 20)),
        line(7, "anna/b.jpg", (1, 1, 9, 9)),
    )
    put(tmp_path / "umdfaces_batch1/umdfaces_batch1_ultraface.csv", rows)
    for name in ("a.jpg", "b.jpg"):
        put(tmp_path / "umdfaces_batch1/anna" / name, name.encode())
    source = umdfaces(tmp_path)
    records = listed(source)
    assert [(r.id.rpartition("/")[2], r.identity, r.given_box_xyxy_px) for r in records] == [
        ("a.jpg#f1", "batch1/7", (0, 0, 20, 20)),
        ("a.jpg#f2", "batch1/9", (50, 0, 70, 20)),
        ("b.jpg", "batch1/7", (1, 1, 10, 10)),
    ]
    reader = source.reader()
    assert [reader.read(r) for r in records] == [b"a.jpg", b"a.jpg", b"b.jpg"]


def test_points_that_are_not_visible_are_guesses(tmp_path: Path) -> None:
    put(tmp_path / "umdfaces_batch3/anna/a.jpg")
    rows = table(line(7, "anna/a.jpg", (0, 0, 20, 20), visible=0))
    put(tmp_path / "umdfaces_batch3/umdfaces_batch3_ultraface.csv", rows)
    [record] = listed(umdfaces(tmp_path))
    assert record.given_points_px is None and record.given_box_xyxy_px == (0, 0, 20, 20)


@pytest.mark.parametrize("beside", [True, False])
def test_a_batch_in_an_archive(beside: bool, tmp_path: Path) -> None:
    rows = table(line(7, "anna/a.jpg", (0, 0, 20, 20)))
    inside = {} if beside else {"umdfaces_batch1/umdfaces_batch1_ultraface.csv": rows}
    write_tar(tmp_path / "umdfaces_batch1.tar.gz", {"umdfaces_batch1/anna/a.jpg": b"x"} | inside)
    if beside:
        put(tmp_path / "umdfaces_batch1_ultraface.csv", rows)
    source = umdfaces(tmp_path)
    assert [(r.container, r.identity) for r in listed(source)] == [("umdfaces_batch1.tar.gz", "batch1/7")]
    assert ("umdfaces_batch1_ultraface.csv" in source.stamps()) == beside


def test_without_a_table_the_folder_says_who(tmp_path: Path) -> None:
    put(tmp_path / "umdfaces_batch2/anna/a.jpg")
    source = umdfaces(tmp_path)
    assert [r.identity for r in listed(source)] == ["anna"]
    assert source.notes == [
        "without umdfaces_batch2_ultraface.csv faces are not told apart in umdfaces_batch2"
    ]


def test_insightface_copy(tmp_path: Path) -> None:
    payload = struct.pack("<IfQQ", 0, 8276.0, 1, 0) + b"\xff\xd8\xff"
    data = struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)
    put(tmp_path / "faces_umd/train.rec", data)
    assert [r.identity for r in listed(umdfaces(tmp_path))] == ["8276"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"SUBJECT_ID,FILE\n1,a\n", "has no column FACE_X"),
        (table("a,b,c"), "is not the table it should be"),
        (table(line(1, "a/a.jpg", ("x", 1, 2, 3))), "is not the table it should be"),  # type: ignore[arg-type]
        (table(line(1, "a/a.jpg", ("nan", 1, 2, 3))), "missing or beyond all pictures"),  # type: ignore[arg-type]
        (b"<html>", "is an HTML page"),
        (b"\0\1\2\3", "is no text file"),
    ],
)
def test_damaged_tables_are_named(data: bytes, words: str, tmp_path: Path) -> None:
    put(tmp_path / "umdfaces_batch1/a/a.jpg")
    put(tmp_path / "umdfaces_batch1/umdfaces_batch1_ultraface.csv", data)
    with pytest.raises(UserError, match=f"ultraface.csv .*{words}"):
        listed(umdfaces(tmp_path))


def test_missing_batches(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"umdfaces_batch1\.tar\.gz, or the folder .*, is not there"):
        listed(umdfaces(tmp_path))
