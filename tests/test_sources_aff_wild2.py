"""Aff-Wild2: which line is which frame, -1, two people in a video, and videos that are split in two ways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from laid_out import put
from recorded import numbered, write_video
from test_sources_disfa_pictures import listing, picture, shown

from facecorpus.errors import UserError
from facecorpus.sources.aff_wild2 import AUS
from facecorpus.sources.base import InputError

NAMES = ",".join(f"AU{unit}" for unit in AUS)
CLASSES = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
ON, OFF, NOT = [1] * len(AUS), [0] * len(AUS), [-1] * len(AUS)


def write_aus(root: Path, video: str, rows: Sequence[Sequence[int]], part: str = "Train_Set") -> Path:
    path = root / f"Third ABAW Annotations/AU_Detection_Challenge/{part}/{video}.txt"
    put(path, "\n".join([NAMES, *(",".join(map(str, row)) for row in rows), ""]).encode())
    return path


def write_expressions(root: Path, video: str, classes: Sequence[int], part: str = "Train_Set") -> None:
    path = root / f"Third ABAW Annotations/EXPR_Classification_Challenge/{part}/{video}.txt"
    put(path, "\n".join([CLASSES, *map(str, classes), ""]).encode())


def write_crops(root: Path, video: str, frames: Sequence[int]) -> None:
    for frame in frames:
        put(root / f"cropped_aligned/{video}/{frame:05d}.jpg", picture(frame))


def found(root: Path, setting: str = "") -> list[tuple[str | None, int | None, str | None]]:
    return [(r.identity, r.frame, r.split) for r in listing(root, setting, "aff_wild2")[0]]


def test_the_first_line_behind_the_names_is_frame_1(tmp_path: Path) -> None:
    write_aus(tmp_path, "10-60-1280x720", [ON, OFF, ON, OFF])
    write_crops(tmp_path, "10-60-1280x720", [1, 2, 4])  # no face was found in frame 3
    records, notes, source = listing(tmp_path, adapter="aff_wild2")
    assert [(r.frame, (r.labels or {})["AU1"]) for r in records] == [(1, 1), (2, 0), (3, 1), (4, 0)]
    assert notes == ["annotated frames that are not there: 1 of 10-60-1280x720 10-60-1280x720"]
    assert shown([records[0], records[1], records[3]], source) == [1, 2, 4]
    assert records[2].member == "00003.jpg"
    with pytest.raises(InputError) as told:
        source.reader().read(records[2])
    assert told.value.reason.name == "missing_frame"
    assert records[0].labels == {f"AU{unit}": 1 for unit in AUS}


def test_frames_that_are_not_annotated(tmp_path: Path) -> None:
    """-1 throughout is no input; -1 among codes is kept as coded; a blank line is a frame all the same."""
    path = write_aus(tmp_path, "video1", [ON, NOT, [-1, *OFF[1:]], ON])
    write_crops(tmp_path, "video1", range(1, 6))
    records, notes, _ = listing(tmp_path, adapter="aff_wild2")
    assert [r.frame for r in records] == [1, 3, 4]
    assert (records[1].labels or {})["AU1"] == -1 and (records[1].labels or {})["AU2"] == 0
    assert notes == ["2 frames are not annotated, and are no inputs"]
    path.write_text(path.read_text().replace(f"{','.join(map(str, NOT))}\n", "\n"))
    assert [r.frame for r in listing(tmp_path, adapter="aff_wild2")[0]] == [1, 3, 4]


def test_the_split_trap(tmp_path: Path) -> None:
    """A video that trains action units and validates expressions."""
    write_aus(tmp_path, "video1", [ON, OFF])
    write_expressions(tmp_path, "video1", [4, -1, 6], "Validation_Set")
    write_expressions(tmp_path, "video2", [0], "Validation_Set")
    write_aus(tmp_path, "video3", [ON], "Validation_Set")
    for video in ("video1", "video2", "video3"):
        write_crops(tmp_path, video, [1, 2, 3])
    assert found(tmp_path) == [
        *(("video1", frame, "train") for frame in (1, 2, 3)),
        ("video2", 1, "val"),
        ("video3", 1, "val"),
    ]
    records = listing(tmp_path, "labels=expression", "aff_wild2")[0]
    assert [(r.identity, r.frame, r.split, r.labels) for r in records] == [
        ("video1", 1, "val", {"expression": 4}),
        ("video1", 3, "val", {"expression": 6}),
        ("video2", 1, "val", {"expression": 0}),
    ]
    assert found(tmp_path, "labels=au") == [
        ("video1", 1, "train"),
        ("video1", 2, "train"),
        ("video3", 1, "val"),
    ]


def test_two_people_in_one_video(tmp_path: Path) -> None:
    """Of a whole video it is not said which face is labelled; the crops of each are fine."""
    for who in ("talk_left", "talk_right", "alone"):
        write_aus(tmp_path, who, [ON, OFF])
    for video in ("talk", "alone"):
        write_video(tmp_path / f"batch1/{video}.avi", [numbered(1), numbered(2)])
    records, notes, source = listing(tmp_path, adapter="aff_wild2")
    assert [(r.identity, r.frame) for r in records] == [("alone", 1), ("alone", 2)]
    assert shown(records, source) == [1, 2]
    assert notes == [
        "labels without a recording: talk_left, talk_right",
        (
            "perhaps the reason for that: of two people in a video it is not said who is labelled (talk); "
            "give cropped_aligned"
        ),
    ]
    write_crops(tmp_path, "talk_left", [1, 2])
    write_crops(tmp_path, "talk_right", [1, 2])
    records, notes, _ = listing(tmp_path, adapter="aff_wild2")
    assert [(r.identity, r.video) for r in records[2:]] == [("talk_left", "talk")] * 2 + [
        ("talk_right", "talk")
    ] * 2
    assert notes == []


def test_the_first_challenge_named_its_folders_otherwise(tmp_path: Path) -> None:
    put(tmp_path / "annotations/AU_Set/Training_Set/v.txt", b"AU1,AU20\n1,0\n")
    write_crops(tmp_path, "v", [1])
    (record,) = listing(tmp_path, adapter="aff_wild2")[0]
    assert (record.labels, record.split) == ({"AU1": 1, "AU20": 0}, "train")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{NAMES}\n1,0\n", "line 2, has 2 columns, but 12 are expected"),
        (f"{NAMES}\n{','.join(['2'] * 12)}\n", "line 2, holds the level 2, which is none of"),
        ("1,0\n1,1\n", "line 1, comes before one that names the action units"),
        (f"{NAMES}\n1;x\n", "line 2, holds something else than whole numbers"),
    ],
)
def test_malformed_annotations_are_named(text: str, words: str, tmp_path: Path) -> None:
    write_aus(tmp_path, "v", [ON]).write_text(text)
    write_crops(tmp_path, "v", [1])
    with pytest.raises(UserError, match=rf"v\.txt, {words}"):
        listing(tmp_path, adapter="aff_wild2")


def test_two_challenges_years_side_by_side_are_refused(tmp_path: Path) -> None:
    write_aus(tmp_path, "v", [ON])
    put(tmp_path / "5th/AU_Detection_Challenge/Train_Set/v.txt", f"{NAMES}\n".encode())
    write_crops(tmp_path, "v", [1])
    with pytest.raises(UserError, match="are both occurrences of v; keep one of them below"):
        listing(tmp_path, adapter="aff_wild2")
