"""CASME II: phases and action units from sheets that openpyxl and csv write, raw and cropped frames."""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from laid_out import put
from test_sources_disfa_pictures import listing, picture, shown

from facecorpus.errors import UserError
from facecorpus.sources.base import InputError

HEADER = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units",
          "Estimated Emotion"]  # fmt: skip
ROWS: list[list[Any]] = [
    ["01", "EP02_01f", None, 46, 59, 86, None, 12, "happiness"],
    [1, "EP19_05f", None, 5, "/", 9, None, "4+L10", "others"],
    [2, "EP06_01f", None, 10, 12.0, 12, None, "R1+ 2+L12", "surprise"],
]


def sheet(rows: Sequence[Sequence[Any]], header: Sequence[str | None] = HEADER) -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (header, *rows):
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def table(rows: Sequence[Sequence[Any]]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([HEADER, *rows])
    return file.getvalue().encode()


def write_frames(root: Path, name: str, clip: str, first: int, last: int) -> None:
    for frame in range(first, last + 1):
        put(root / name.format(clip, frame), picture(frame))


RAW = "CASME2_RAW_selected/{}/img{}.jpg"
CROPPED = "Cropped/{}/reg_img{}.jpg"


def write_set(root: Path, name: str = RAW) -> None:
    write_frames(root, name, "sub01/EP02_01f", 46, 86)
    write_frames(root, name, "sub01/EP19_05f", 5, 9)
    write_frames(root, name, "sub02/EP06_01f", 10, 12)


@pytest.mark.parametrize("kind", ["xlsx", "csv"])
@pytest.mark.parametrize("name", [RAW, CROPPED])
def test_phases_and_action_units(kind: str, name: str, tmp_path: Path) -> None:
    """The column of action units is a number where there is one alone; an apex may be no number."""
    write_set(tmp_path, name)
    data = sheet(ROWS) if kind == "xlsx" else table(ROWS)
    put(tmp_path / f"CASME2-coding-20190701.{kind}", data)
    if kind == "csv":  # 12.0 stands in a cell of text
        put(tmp_path / "CASME2-coding-20190701.csv", data.replace(b"12.0", b"12"))
    records, notes, source = listing(tmp_path, adapter="casme2")
    none = {f"AU{unit}": 0 for unit in (1, 2, 4, 10, 12)}
    assert [(r.identity, r.video, r.frame, r.labels) for r in records] == [
        ("sub01", "EP02_01f", 46, {"phase": 1}),
        ("sub01", "EP02_01f", 59, {"phase": 2, **none, "AU12": 1}),
        ("sub01", "EP02_01f", 86, {"phase": 3}),
        ("sub01", "EP19_05f", 5, {"phase": 1}),
        ("sub01", "EP19_05f", 9, {"phase": 3}),
        ("sub02", "EP06_01f", 10, {"phase": 1}),
        ("sub02", "EP06_01f", 12, {"phase": 2, **none, "AU1": 1, "AU2": 1, "AU12": 1}),
    ]
    assert shown(records, source) == [r.frame for r in records]
    assert notes == [
        "42 frames are not annotated, and are no inputs",
        "clips without an apex, and so without action units: sub01 EP19_05f",
    ]
    prefix = "reg_" if name == CROPPED else ""
    assert records[1].id == f"casme2/sub01/EP02_01f/{prefix}img59.jpg"


def test_raw_goes_before_cropped_unless_a_setting_says(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_set(tmp_path, CROPPED)
    put(tmp_path / "CASME2-coding.csv", table(ROWS[:1]))
    for setting, name in (("", "img"), ("images=cropped", "reg_img")):
        records, notes, _ = listing(tmp_path, setting, "casme2")
        assert [r.member for r in records] == [f"{name}{n}.jpg" for n in (46, 59, 86)]
        other = "cropped" if not setting else "raw"
        assert (
            f"frames left aside, since others show the same; these would be read by: "
            f"casme2/images={other}:PATH"
        ) in notes
    (tmp_path / "x").mkdir()
    (tmp_path / "CASME2_RAW_selected").rename(tmp_path / "x/raw")
    for path in (tmp_path / "x/raw").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(UserError, match=r"what casme2/images=raw asks for is not there"):
        listing(tmp_path, "images=raw", "casme2")


def test_a_frame_of_the_sheet_that_is_not_there(tmp_path: Path) -> None:
    write_frames(tmp_path, CROPPED, "sub01/EP02_01f", 46, 58)
    put(tmp_path / "CASME2-coding.csv", table(ROWS[:1]))
    records, notes, source = listing(tmp_path, adapter="casme2")
    assert notes[1] == "annotated frames that are not there: 2 of sub01 EP02_01f"
    assert [r.member for r in records] == ["reg_img46.jpg", "reg_img59.jpg", "reg_img86.jpg"]
    with pytest.raises(InputError, match="reg_img59"):
        source.reader().read(records[1])


def test_rows_that_cannot_be_labelled_are_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    rows = [ROWS[0], [2, "EP06_01f", None, 10, 11, 12, None, "15?", "others"]]
    put(tmp_path / "CASME2-coding.csv", table(rows))
    records, notes, _ = listing(tmp_path, adapter="casme2")
    assert [r.labels for r in records if r.identity == "sub02"] == [{"phase": n} for n in (1, 2, 3)]
    assert (
        "rows whose action units are not numbers, which are not labelled with any: sub02 EP06_01f (15?)"
    ) in notes


def test_several_releases_of_the_sheet_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    for year in (20140508, 20190701):
        put(tmp_path / f"CASME2-coding-{year}.csv", table(ROWS))
    with pytest.raises(UserError, match=r"20140508\.csv and .*20190701\.csv are both the coding sheet"):
        listing(tmp_path, adapter="casme2")


def _bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/worksheets/sheet1.xml", bytes(1 << 28))
    return file.getvalue()


def _cut(cut: int) -> bytes:
    return sheet(ROWS)[:cut]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: b"<!DOCTYPE html><html>", "is no whole Excel workbook"),
        (lambda: _cut(2000), "is no whole Excel workbook"),
        (_bomb, r"is no whole Excel workbook \(it unpacks to 268,435,456 bytes\)"),
        (lambda: sheet([]), None),
        (lambda: sheet(ROWS, ["Subject", "Clip"]), "has no column filename, actionunits, onsetframe, offset"),
    ],
)
def test_what_is_no_coding_sheet_is_one_sentence(data: Any, words: str | None, tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    write_set(tmp_path)
    put(tmp_path / "CASME2-coding.xlsx", data())
    with pytest.raises(UserError, match=words or "holds recordings .* but no file of labels of CASME II"):
        listing(tmp_path, adapter="casme2")


def test_without_openpyxl_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path)
    put(tmp_path / "CASME2-coding.xlsx", b"PK")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(
        UserError, match=r"needs openpyxl to be read; run: pip install 'facecorpus\[sources\]'"
    ):
        listing(tmp_path, adapter="casme2")
