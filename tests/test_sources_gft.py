"""GFT: videos or pictures, what is not coded, and the parts that lists name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from laid_out import put
from recorded import numbered, numbers, write_video
from test_sources_disfa_pictures import listing, picture, shown

from facecorpus.errors import UserError
from facecorpus.sources.gft import AUS

HEADER = ",".join(["Frame", *(f"AU{unit}" for unit in AUS)])


def write_person(root: Path, who: str, rows: Sequence[Sequence[int]], *, video: bool = True) -> None:
    """Rows of codes of the frames 1, 2, ... as pictures or a video that shows them."""
    lines = [HEADER, *(",".join(map(str, (frame, *codes))) for frame, codes in enumerate(rows, 1))]
    put(root / f"AU/{who}.csv", "\n".join([*lines, ""]).encode())
    frames = range(1, len(rows) + 1)
    if video:
        write_video(root / f"videos/{who}.avi", [numbered(frame) for frame in frames])
    else:
        for frame in frames:
            put(root / f"frames/{who}/{frame}.png", picture(frame))


CODED = [[1] * len(AUS), [0] * len(AUS), [9, *[1] * (len(AUS) - 1)]]


@pytest.mark.parametrize("video", [True, False])
def test_labels_and_frames(video: bool, tmp_path: Path) -> None:
    write_person(tmp_path, "001A", CODED, video=video)
    write_person(tmp_path, "032c", CODED, video=video)
    records, notes, source = listing(tmp_path, adapter="gft")
    assert notes == []
    assert [(r.identity, r.video, r.frame) for r in records] == [
        (who, who[:3], frame) for who in ("001A", "032C") for frame in (1, 2, 3)
    ]
    assert shown(records, source) == [1, 2, 3, 1, 2, 3]
    assert records[2].labels == {f"AU{unit}": 9 if unit == 1 else 1 for unit in AUS}
    assert {r.split for r in records} == {None}


def test_frames_of_which_nothing_is_coded_are_no_inputs(tmp_path: Path) -> None:
    write_person(tmp_path, "001A", [*CODED, [-999] * len(AUS), [0] * len(AUS), [9] * len(AUS)])
    records, notes, _ = listing(tmp_path, adapter="gft")
    assert [r.frame for r in records] == [1, 2, 3, 5]
    assert notes == ["2 frames are not annotated, and are no inputs"]


def test_an_action_unit_that_is_coded_nowhere_is_noted(tmp_path: Path) -> None:
    write_person(tmp_path, "001A", [[1, *[0] * (len(AUS) - 2), -999]] * 2)
    records, notes, _ = listing(tmp_path, adapter="gft")
    assert notes == ["no labels of AU24: 001A"]
    assert all("AU24" not in (r.labels or {}) for r in records)


def test_the_published_parts(tmp_path: Path) -> None:
    for who in ("001A", "001B", "002A"):
        write_person(tmp_path, who, CODED[:1], video=False)
    (tmp_path / "train.txt").write_text("001a\n001B\n")
    (tmp_path / "test.txt").write_text("002A\n")
    records, _, source = listing(tmp_path, adapter="gft")
    assert [(r.identity, r.split) for r in records] == [
        ("001A", "train"),
        ("001B", "train"),
        ("002A", "test"),
    ]
    assert {"train.txt", "test.txt"} < source.stamps().keys(), "another list is another corpus"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,0,1\n", "line 1, comes before one that names the action units"),
        (f"{HEADER}\n1,0\n", "line 2, has 2 columns, but 11 are expected"),
        (f"{HEADER}\n1{',7' * 10}\n", "line 2, holds the level 7, which is none of -999, -1, 0, 1, 9"),
        ("Frame,AU1,AU01\n1,0,0\n", "line 1, names an action unit twice"),
    ],
)
def test_malformed_tables_are_named(text: str, words: str, tmp_path: Path) -> None:
    write_person(tmp_path, "001A", CODED)
    (tmp_path / "AU/001A.csv").write_text(text)
    with pytest.raises(UserError, match=f"001A.csv, {words}"):
        listing(tmp_path, adapter="gft")


def test_labels_that_count_from_0(tmp_path: Path) -> None:
    """Labels that count from 0 are those of the video's frames from 1 on."""
    write_person(tmp_path, "001A", CODED)
    table = tmp_path / "AU/001A.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], *(f"{k}{row[1:]}" for k, row in enumerate(rows[1:]))]))
    records, notes, source = listing(tmp_path, adapter="gft")
    assert notes == ["labels that count frames from 0, renumbered from 1: 001A"]
    assert numbers(source.reader(), records) == [1, 2, 3]
