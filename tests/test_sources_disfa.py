"""DISFA as released, flat, incomplete and damaged: which frames are inputs, their labels, and the notes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from recorded import numbered, numbers, write_levels, write_video

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import InputError, Source, make_source, stamp_of
from facecorpus.sources.disfa import AUS

FRAMES = 8


def level(unit: int, frame: int) -> int:
    return (unit + frame) % 6


def write_labels(root: Path, subject: str, frames: int = FRAMES, first: int = 1, folder: str = "") -> None:
    above = root / (folder or f"ActionUnit_Labels/{subject}")
    for unit in AUS:
        levels = (level(unit, frame) for frame in range(1, frames + 1))
        write_levels(above / f"{subject}_au{unit}.txt", levels, first)


def write_side(root: Path, side: str, subject: str, frames: int = FRAMES, folder: str | None = None) -> Path:
    above = {"Right": "Video_RightCamera", "Left": "Videos_LeftCamera"}[side] if folder is None else folder
    pictures = (numbered(frame + 100 * (side == "Left")) for frame in range(1, frames + 1))
    return write_video(root / above / f"{side}Video{subject}_comp.avi", pictures)


def disfa(root: Path, name: str = "disfa") -> Source:
    return make_source("disfa", name, str(root))


def listing(root: Path) -> tuple[list[Record], list[str]]:
    source = disfa(root)
    return list(source.inventory()), source.notes


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, both cameras, in the release's folders. Read only."""
    root = tmp_path_factory.mktemp("released")
    for subject in ("SN002", "SN001"):
        write_labels(root, subject)
        for side in ("Right", "Left"):
            write_side(root, side, subject)
    return root


def test_the_release(released: Path) -> None:
    records, notes = listing(released)
    assert notes == []
    assert len({record.id for record in records}) == len(records) == 2 * 2 * FRAMES
    assert [(r.identity, r.video, r.frame) for r in records] == [
        (subject, side, frame)
        for subject in ("SN001", "SN002")
        for side in ("left", "right")
        for frame in range(1, FRAMES + 1)
    ]
    record = records[FRAMES + 2]
    assert record.id == "disfa/RightVideoSN001_comp.avi/00003"
    assert record.container == "Video_RightCamera/RightVideoSN001_comp.avi"
    assert record.bytes == 0
    for record in records:
        assert record.frame is not None
        assert record.labels == {f"AU{unit}": level(unit, record.frame) for unit in AUS}


def test_frames_are_read_in_any_order_with_one_video_open(released: Path) -> None:
    records, _ = listing(released)
    random.Random(0).shuffle(records)
    reader = disfa(released).reader()
    wanted = [(r.frame or 0) + 100 * (r.video == "left") for r in records]
    assert numbers(reader, records) == wanted
    held = list(Path("/proc/self/fd").iterdir())
    assert sum(link.exists() and link.readlink().is_relative_to(released) for link in held) == 1
    reader.close()


def test_flat_and_oddly_named_files_are_found(tmp_path: Path) -> None:
    write_labels(tmp_path, "SN001", folder=".")
    write_side(tmp_path, "Right", "SN001", folder="").rename(tmp_path / "RIGHTvideoSN001_COMP.AVI")
    (tmp_path / "readme.txt").write_text("not a label")
    records, notes = listing(tmp_path)
    assert notes == []
    assert [r.video for r in records] == ["right"] * FRAMES
    assert numbers(disfa(tmp_path).reader(), records) == list(range(1, FRAMES + 1))
    assert "readme.txt" not in disfa(tmp_path).stamps()


def test_stamps_cover_videos_and_labels(released: Path, tmp_path: Path) -> None:
    records, _ = listing(released)
    stamps = disfa(released).stamps()
    assert len(stamps) == 4 + 2 * len(AUS)
    assert all(stamp_of(record, stamps) for record in records)


def test_labels_that_count_from_0_are_renumbered(tmp_path: Path) -> None:
    write_side(tmp_path, "Right", "SN001")
    write_labels(tmp_path, "SN001", first=0)
    late = write_levels(tmp_path / "ActionUnit_Labels/SN001/SN001_au2.txt", [5, 4], first=3)
    records, notes = listing(tmp_path)
    assert notes == [
        "labels that count frames from 0, renumbered from 1: SN001",
        "labels that end before others, as in a file cut short: AU2 of SN001 ends at frame 5, others at 8",
    ]
    assert [r.frame for r in records] == list(range(1, FRAMES + 1))
    assert [(r.labels or {})["AU1"] for r in records] == [level(1, frame) for frame in range(1, FRAMES + 1)]
    assert {r.frame: r.labels["AU2"] for r in records if r.labels and "AU2" in r.labels} == {4: 5, 5: 4}
    write_levels(
        late, [1] * FRAMES, first=1
    )  # among files that count from 0, this one tells that it does not
    assert {r.frame: (r.labels or {})["AU2"] for r in listing(tmp_path)[0]} == dict.fromkeys(range(1, 9), 1)


def test_a_missing_label_file_costs_its_label_alone(released: Path, tmp_path: Path) -> None:
    for subject in ("SN001", "SN002"):
        write_labels(tmp_path, subject)
        write_side(tmp_path, "Right", subject)
    (tmp_path / "ActionUnit_Labels/SN001/SN001_au4.txt").unlink()
    write_levels(tmp_path / "ActionUnit_Labels/SN001/SN001_au9.txt", [0, 1, 2])
    records, notes = listing(tmp_path)
    assert notes == [
        "labels that end before others, as in a file cut short: AU9 of SN001 ends at frame 3, others at 8",
        "no labels of AU4: SN001",
    ]
    mine = [r.labels or {} for r in records if r.identity == "SN001"]
    assert len(mine) == FRAMES
    assert all(labels.keys() >= {"AU1", "AU26"} and "AU4" not in labels for labels in mine)
    assert ["AU9" in labels for labels in mine] == [True] * 3 + [False] * (FRAMES - 3)
    assert all(len(r.labels or {}) == len(AUS) for r in records if r.identity == "SN002")


def test_recordings_without_labels_and_labels_without_recordings(tmp_path: Path) -> None:
    for subject in ("SN001", "SN002"):
        write_side(tmp_path, "Right", subject)
        write_side(tmp_path, "Left", subject)
    write_labels(tmp_path, "SN001")
    write_labels(tmp_path, "SN009")
    records, notes = listing(tmp_path)
    assert {r.identity for r in records} == {"SN001"}
    assert notes == [
        "labels without a recording: SN009",
        "recordings without labels, which are left out: SN002 left, SN002 right",
    ]


def test_videos_shorter_and_longer_than_their_labels(tmp_path: Path) -> None:
    for subject, frames in (("SN001", FRAMES - 2), ("SN002", FRAMES + 3)):
        write_side(tmp_path, "Right", subject, frames)
        write_labels(tmp_path, subject)
    records, notes = listing(tmp_path)
    assert [r.frame for r in records] == 2 * list(range(1, FRAMES + 1))
    assert notes == [
        "3 frames are not annotated, and are no inputs",
        "annotated frames that are not there: 2 of SN001 right",
    ]
    reader = disfa(tmp_path).reader()
    assert numbers(reader, records[: FRAMES - 2]) == list(range(1, FRAMES - 1))
    for record in records[FRAMES - 2 : FRAMES]:
        with pytest.raises(InputError, match=r"RightVideoSN001_comp\.avi.*the video has 6 frames") as told:
            reader.read(record)
        assert told.value.reason.name == "missing_frame"
    assert numbers(reader, records[FRAMES:]) == list(range(1, FRAMES + 1))


def test_a_damaged_video_costs_its_own_frames_alone(tmp_path: Path) -> None:
    for subject in ("SN001", "SN002", "SN003"):
        write_side(tmp_path, "Right", subject)
        write_labels(tmp_path, subject)
    (tmp_path / "Video_RightCamera/RightVideoSN001_comp.avi").write_bytes(b"")
    (tmp_path / "Video_RightCamera/RightVideoSN002_comp.avi").write_bytes(b"not a video" * 99)
    records, notes = listing(tmp_path)
    assert len(records) == 3 * FRAMES
    why = ("the video cannot be opened: it is damaged", "the video is an empty file")
    assert notes == [
        f"all {FRAMES} annotated frames fail, because {what}; copy it again: "
        f"Video_RightCamera/RightVideo{subject}_comp.avi"
        for what, subject in zip(why, ("SN002", "SN001"), strict=True)
    ]
    reader = disfa(tmp_path).reader()
    for record in records[: 2 * FRAMES]:
        with pytest.raises(InputError, match=f"RightVideo{record.identity}_comp") as told:
            reader.read(record)
        assert told.value.reason.name == "corrupt"
    assert numbers(reader, records[2 * FRAMES :]) == list(range(1, FRAMES + 1))


def test_a_video_that_has_gone_out_of_reach_is_tried_again(tmp_path: Path) -> None:
    path = write_side(tmp_path, "Right", "SN001")
    write_labels(tmp_path, "SN001")
    records, _ = listing(tmp_path)
    path.unlink()
    with pytest.raises(OSError, match="RightVideoSN001") as told:
        disfa(tmp_path).reader().read(records[0])
    assert not isinstance(told.value, InputError)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,0\n2,x\n", "line 2, holds something else than whole numbers; get the file again"),
        ("1,0\n2\n", "line 2, is not 'frame,level'"),
        ("1,0\n2,1,1\n", "line 2, is not 'frame,level'"),
        ("1,0\n\n2,7\n", "line 3, holds the level 7, which is none of 0, 1, 2, 3, 4, 5"),
        ("1,0\n2,9\n", "line 2, holds the level 9"),
        ("1,0\n1,0\n", "line 2, is a second one about frame 1"),
        ("-1,0\n", "line 1, is about a frame -1"),
        ("1,0.5\n", "line 1, holds something else"),
    ],
)
def test_malformed_labels_are_named_by_file_and_line(text: str, words: str, tmp_path: Path) -> None:
    write_side(tmp_path, "Right", "SN001")
    write_labels(tmp_path, "SN001")
    (tmp_path / "ActionUnit_Labels/SN001/SN001_au4.txt").write_text(text)
    with pytest.raises(UserError, match=f"SN001_au4.txt, {words}"):
        listing(tmp_path)


@pytest.mark.parametrize(
    "text", ["1,2\r\n2,3\r\n", "\ufeff1,2\n2,3", "frame,level\n1,2\n2,3\n", "1 2\n2\t3\n\n"]
)
def test_ways_of_writing_labels(text: str, tmp_path: Path) -> None:
    write_side(tmp_path, "Right", "SN001")
    (tmp_path / "SN001_au4.txt").write_text(text, newline="")
    assert [r.labels for r in listing(tmp_path)[0]] == [{"AU4": 2}, {"AU4": 3}]


def test_two_files_of_one_recording_are_refused(released: Path, tmp_path: Path) -> None:
    write_labels(tmp_path, "SN001")
    write_side(tmp_path, "Right", "SN001")
    write_side(tmp_path, "Right", "SN001", folder="copy")
    with pytest.raises(UserError, match=r"are both the recording SN001 right; keep one of them below"):
        listing(tmp_path)


@pytest.mark.parametrize("text", ["", "\n \n", "frame,level\n", "\0\0\0"])
def test_an_empty_label_file_is_named(text: str, tmp_path: Path) -> None:
    write_side(tmp_path, "Right", "SN001")
    write_labels(tmp_path, "SN001")
    (tmp_path / "ActionUnit_Labels/SN001/SN001_au26.txt").write_text(text)
    records, notes = listing(tmp_path)
    assert notes == ["no labels of AU26: SN001 (SN001_au26.txt is empty; copy it again)"]
    assert all((r.labels or {}).keys() == {f"AU{unit}" for unit in AUS} - {"AU26"} for r in records)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("1,٣\n".encode(), "line 1, holds something else than whole numbers"),
        (b"1,\xb2\n", "line 1, holds something else than whole numbers"),
        (b"1,0\n" + b"2" * 5000 + b",0\n", "line 2, holds more than 9 characters in place of a number"),
        (b"2147483648,0\n", "line 1, holds more than 9 characters"),
        (b"<!DOCTYPE html><html>quota exceeded", "is an HTML page .*; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer.*; run 'git lfs pull'"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "is a PNG picture, and no text file; get the file again"),
        (b"\x01\0\x07\0" * 99, "is no text file, as its first bytes show; get the file again"),
    ],
)
def test_what_is_no_label_file_is_one_sentence(data: bytes, words: str, tmp_path: Path) -> None:
    write_side(tmp_path, "Right", "SN001")
    write_labels(tmp_path, "SN001")
    (tmp_path / "ActionUnit_Labels/SN001/SN001_au4.txt").write_bytes(data)
    with pytest.raises(UserError, match=f"SN001_au4.txt,? {words}"):
        listing(tmp_path)


def test_labels_in_utf_16_are_read(tmp_path: Path) -> None:
    write_side(tmp_path, "Right", "SN001")
    (tmp_path / "SN001_au4.txt").write_text("1,2\n2,3\n", encoding="utf-16")
    assert [r.labels for r in listing(tmp_path)[0]] == [{"AU4": 2}, {"AU4": 3}]


def test_a_video_that_holds_fewer_frames_than_it_says(tmp_path: Path) -> None:
    path = write_side(tmp_path, "Right", "SN001", FRAMES - 1)
    write_labels(tmp_path, "SN001")
    data = path.read_bytes()
    count = (FRAMES - 1).to_bytes(4, "little")
    for name, place in ((b"avih", 24), (b"strh", 40)):
        at = data.index(name) + place
        assert data[at : at + 4] == count
        data = data[:at] + FRAMES.to_bytes(4, "little") + data[at + 4 :]
    path.write_bytes(data)
    assert listing(tmp_path)[1] == [
        "annotated frames that are not there: 1 of SN001 right",
        (
            "videos that hold fewer frames than they say: look whether labels and pictures agree: "
            f"SN001 right ({FRAMES - 1} of {FRAMES})"
        ),
    ]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], r"holds neither recordings nor labels of DISFA: .* holds nothing; the adapter disfa expects"),
        (
            ["Images/SN001/A1_AU1_TrailNo_1/000.jpg", "Labels/SN001/A1_AU1_TrailNo_1/AU1.txt"],
            r"these are the trials of DISFA\+, another data set; give them as disfa_plus:/.*; the adapter",
        ),
        (
            ["ActionUnit_Labels/SN001/SN001_au1.txt", "Images/Left/SN001/first.png"],
            (
                r"holds labels \(ActionUnit_Labels/SN001/SN001_au1\.txt\) but no recording of DISFA: no "
                r"picture or video there is called as .* \(there is Images/Left/SN001/first\.png\);"
            ),
        ),
        (
            ["ActionUnit_Labels/SN001/SN001_au1.txt", "Video_RightCamera.zip"],
            r"but no recording of DISFA: the archive Video_RightCamera\.zip is not read in place; unpack it;",
        ),
        (
            ["ActionUnit_Labels/SN001/SN001_au1.txt", "videos/subject1.avi"],
            r"no picture or video there is called as the adapter expects \(there is videos/subject1\.avi\);",
        ),
        (
            ["RightVideoSN001_comp.avi"],
            r"holds recordings \(SN001 right in RightVideoSN001_comp\.avi\) but no file of labels of DISFA:",
        ),
    ],
)
def test_a_refusal_begins_with_the_cause(files: list[str], words: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1,0\n")
    with pytest.raises(UserError, match=words):
        listing(tmp_path)


def test_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "DISFA.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"a folder of recordings is not there: .*DISFA\.zip is a file"):
        listing(tmp_path / "DISFA.zip")
