"""EDFace-Celeb-1M: only what is of high resolution is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from laid_out import put

from facecorpus.errors import UserError
from facecorpus.sources.base import Source, make_source


def edface(root: Path) -> Source:
    return make_source("edface_celeb_1m", "edface", str(root))


def members(source: Source) -> list[str]:
    return [record.member for record in source.inventory()]


def test_degraded_copies_are_no_inputs(tmp_path: Path) -> None:
    """X2, X4, ..., blur, noise: the same pictures made worse."""
    for name in ("HR", "LR", "X2", "X4", "X4_BD", "X4_DN", "X8", "blur", "full_x4", "Real"):
        put(tmp_path / "align/train" / name / "1.png")
    put(tmp_path / "align/test/HR/2.png")
    source = edface(tmp_path)
    records = list(source.inventory())
    assert [r.member for r in records] == ["align/test/HR/2.png", "align/train/HR/1.png"]
    assert [r.split for r in records] == ["test", "train"]
    assert {r.identity for r in records} == {None}


def test_what_was_left_aside_is_said(tmp_path: Path) -> None:
    for name in ("HR", "LR_X2", "X8"):
        put(tmp_path / name / "1.png")
    source = edface(tmp_path)
    assert members(source) == ["HR/1.png"]
    assert source.notes == [
        "left aside, as degraded copies of the pictures that are read: LR_X2/, X8/",
    ]


def test_an_archive_of_both(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "align.zip", "w") as archive:
        for name in ("align/HR/1.png", "align/X4/1.png", "align/X4/2.png"):
            archive.writestr(name, b"x")
    with zipfile.ZipFile(tmp_path / "LR_X8.zip", "w") as archive:
        archive.writestr("LR_X8/1.png", b"x")
    source = edface(tmp_path)
    assert members(source) == ["align/HR/1.png"]
    assert source.notes == [
        "left aside, as degraded copies of the pictures that are read: LR_X8.zip, 2 in X4",
    ]


def test_pairs_below_each_factor(tmp_path: Path) -> None:
    for name in ("X2/HR", "X2/LR"):
        put(tmp_path / name / "1.png")
    assert members(edface(tmp_path)) == ["X2/HR/1.png"]


def test_the_restoration_sets_without_hr(tmp_path: Path) -> None:
    for name in ("BFR128/HQ", "BFR128/LQ_noise"):
        put(tmp_path / name / "1.png")
    assert members(edface(tmp_path)) == ["BFR128/HQ/1.png"]


def test_a_folder_of_pictures_itself(tmp_path: Path) -> None:
    put(tmp_path / "1.png")
    assert members(edface(tmp_path)) == ["1.png"]


def test_nothing_of_high_resolution(tmp_path: Path) -> None:
    put(tmp_path / "X4/1.png")
    with pytest.raises(UserError, match="a folder HR is not there"):
        members(edface(tmp_path))
