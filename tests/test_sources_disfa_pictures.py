"""DISFA as pictures that others extracted: which frame each shows, from which camera; and DISFA+."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import pytest
from laid_out import put
from recorded import numbered, numbers
from test_sources_disfa import FRAMES, level, write_labels, write_side

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import InputError, Source, make_source, stamp_of
from facecorpus.sources.disfa import AUS


def picture(frame: int) -> bytes:
    return cv2.imencode(".png", numbered(frame)[..., ::-1])[1].tobytes()


def write_pictures(
    root: Path, folder: str, shown: Iterable[int], first: int, subjects: str = "SN001"
) -> None:
    """Pictures that show the frames `shown`, called by their place from `first` on, of each subject."""
    for subject in subjects.split():
        write_labels(root, subject)
        for number, frame in enumerate(shown, first):
            put(root / folder.format(subject) / f"{number}.png", picture(frame))


def listing(root: Path, setting: str = "", adapter: str = "disfa") -> tuple[list[Record], list[str], Source]:
    source = make_source(adapter, adapter, str(root), setting=setting)
    return list(source.inventory()), source.notes, source


def shown(records: list[Record], source: Source) -> list[int]:
    reader = source.reader()
    try:
        return numbers(reader, records)
    finally:
        reader.close()


@pytest.mark.parametrize("first", [0, 1])
def test_the_numbering_trap(first: int, tmp_path: Path) -> None:
    """Whether picture 0 or picture 1 is the first frame, frame N gets the labels of frame N."""
    write_pictures(tmp_path, "img/{}", range(1, FRAMES + 1), first, "SN001 SN002")
    records, notes, source = listing(tmp_path)
    assert [(r.identity, r.video, r.frame) for r in records] == [
        (subject, "left", frame) for subject in ("SN001", "SN002") for frame in range(1, FRAMES + 1)
    ]
    assert shown(records, source) == [r.frame for r in records]
    for record in records:
        assert record.labels == {f"AU{unit}": level(unit, record.frame or 0) for unit in AUS}
    assert records[2].id == f"disfa/SN001/left/{2 + first}.png"
    assert all(stamp_of(record, source.stamps()) for record in records)
    assert {note.split(":")[0] for note in notes} == {
        *(["pictures that count from 0, taken for the frames from 1 on"] if not first else []),
        "pictures of no named camera, taken for the left one",
    }


def test_all_pictures_together_tell_the_numbering(tmp_path: Path) -> None:
    """Where faces were not found the first and last pictures lack; others of the same copy have them."""
    write_pictures(tmp_path, "img/{}", range(1, FRAMES + 1), 0, "SN001")
    write_pictures(tmp_path, "img/{}", range(2, FRAMES), 1, "SN002")
    records, notes, source = listing(tmp_path)
    there = [r for r in records if r.bytes]
    assert shown(there, source) == [r.frame for r in there]
    assert "annotated frames that are not there: 2 of SN002 left" in notes
    (missing,) = (r for r in records if (r.identity, r.frame) == ("SN002", FRAMES))
    assert missing.member == f"{FRAMES - 1}.png"
    with pytest.raises(InputError) as told:
        source.reader().read(missing)
    assert told.value.reason.name == "missing_frame"


@pytest.mark.parametrize(("first", "last"), [(0, FRAMES), (1, FRAMES - 1)])
def test_a_numbering_that_is_not_sure_is_asked_for(first: int, last: int, tmp_path: Path) -> None:
    """A picture more than there are frames, or no picture at either end."""
    write_pictures(tmp_path, "img/{}", range(first + 1, last + 2), first)
    with pytest.raises(
        UserError,
        match=rf"called {first} to {last} and the last annotated frame is {FRAMES} \(.*/SN001_au1\.txt\), so "
        r"whether .* from 0 or from 1 is not sure.*=frame_1:PATH if .*disfa/picture_0=frame_0:PATH if",
    ):
        listing(tmp_path)
    for setting, shift in (("frame_1", 1), ("frame_0", 0)):
        records, _, source = listing(tmp_path, f"picture_0={setting}")
        there = [r for r in records if r.bytes]
        assert shown(there, source) == [(r.frame or 0) + 1 - shift for r in there]


@pytest.mark.parametrize(
    ("folder", "name", "camera"),
    [
        ("RightVideoSN001", "frame_{}.jpg", "right"),
        ("x/LeftVideoSN001_comp", "{}.png", "left"),
        ("Images/Left/SN001", "{:04d}.png", "left"),
        ("Video_RightCamera/SN001", "frame{}.png", "right"),
        ("lefthand_disk/right/sn001", "{}.png", "right"),
    ],
)
def test_folders_name_the_camera(folder: str, name: str, camera: str, tmp_path: Path) -> None:
    write_labels(tmp_path, "SN001")
    for frame in range(1, FRAMES + 1):
        put(tmp_path / folder / name.format(frame), picture(frame))
    records, notes, source = listing(tmp_path)
    assert notes == []
    assert {(r.identity, r.video) for r in records} == {("SN001", camera)}
    assert shown(records, source) == [r.frame for r in records] == list(range(1, FRAMES + 1))


def test_a_missing_picture_is_called_as_the_others_are(tmp_path: Path) -> None:
    write_labels(tmp_path, "SN001")
    for frame in (1, 2, 4, 5, 6, 7, FRAMES):
        put(tmp_path / f"RightVideoSN001/frame_{frame}.jpg", picture(frame))
    records, _, _ = listing(tmp_path)
    assert records[2].id == "disfa/SN001/right/frame_3.jpg" and records[2].bytes == 0


def test_pictures_go_before_the_video_they_were_made_of(tmp_path: Path) -> None:
    write_pictures(tmp_path, "right/{}", range(1, FRAMES + 1), 0)
    write_side(tmp_path, "Right", "SN001")
    records, notes, _ = listing(tmp_path)
    assert {r.container for r in records} == {"right/SN001"}
    assert "videos left aside, since their frames are there as pictures: SN001 right" in notes


def write_trial(root: Path, trial: str, levels: Iterable[int], above: str = "{}/SN001") -> None:
    """DISFA+: pictures from 000 on, and two lines above the labels."""
    images, labels = above.format("Images"), above.format("Labels")
    rows = list(enumerate(levels))
    for number, _ in rows:
        put(root / images / trial / f"{number:03d}.jpg", picture(number + 1))
    for unit in AUS:
        text = "Image intensity\n----\n" + "".join(f"{k:03d}.jpg     {(n + unit) % 6}\n" for k, n in rows)
        put(root / labels / trial / f"AU{unit}.txt", text.encode())


@pytest.mark.parametrize("above", ["{}/SN001", "{}/sn001/sn001"])
def test_disfa_plus(above: str, tmp_path: Path) -> None:
    write_trial(tmp_path, "A1_AU1_TrailNo_1", [0, 3, 5], above)
    write_trial(tmp_path, "Z_SupriseText_TrailNo_2", [1, 2], above)
    records, notes, source = listing(tmp_path, adapter="disfa_plus")
    assert notes == []
    assert [(r.identity, r.video, r.frame) for r in records] == [
        *(("SN001", "A1_AU1_TrailNo_1", n) for n in range(3)),
        *(("SN001", "Z_SupriseText_TrailNo_2", n) for n in range(2)),
    ]
    assert records[1].labels == {f"AU{unit}": (3 + unit) % 6 for unit in AUS}
    assert shown(records, source) == [1, 2, 3, 1, 2]
    assert records[0].id == "disfa_plus/SN001/A1_AU1_TrailNo_1/000.jpg"


def test_disfa_plus_is_not_taken_for_disfa(tmp_path: Path) -> None:
    write_trial(tmp_path, "A1_AU1_TrailNo_1", [0, 3])
    with pytest.raises(UserError, match=r"trials of DISFA\+, another data set; give them as disfa_plus:"):
        listing(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("000.jpg 0\n001.jpg 6\n", "line 2, holds the level 6"),
        ("000.jpg 0\n000.jpg 0\n", "line 2, is a second one about frame 0"),
        ("000.jpg 0\nnothing\n", "line 2, is not 'picture level'"),
        ("000.jpg x\n", "line 1, holds something else than whole numbers"),
    ],
)
def test_malformed_labels_of_disfa_plus(text: str, words: str, tmp_path: Path) -> None:
    write_trial(tmp_path, "A1_AU1_TrailNo_1", [0, 1])
    (tmp_path / "Labels/SN001/A1_AU1_TrailNo_1/AU4.txt").write_text(text)
    with pytest.raises(UserError, match=f"AU4.txt, {words}"):
        listing(tmp_path, adapter="disfa_plus")
