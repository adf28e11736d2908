"""BP4D and BP4D+ as pictures, zips and videos: which column is which action unit, 9, and what is missing."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import pytest
from recorded import numbered, numbers, write_levels, write_table, write_video

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import InputError, Source, make_source, parse_spec, stamp_of
from facecorpus.sources.bp4d import AUS, BP4D
from facecorpus.sources.codings import OCCURRENCE, UNKNOWN, read_table

FIRST, FRAMES = 40, 5
PLUS = {1: 1, 2: 2, 3: 4, 5: 6, 6: 7, 8: 10, 10: 12, 12: 14, 13: 15, 15: 17, 20: 23, 21: 24}


def level(unit: int, frame: int) -> int:
    return (unit * frame) % 3 % 2


def row(frame: int, changed: Mapping[int, int] | None = None) -> list[int]:
    """BP4D's: column N is AU N, 9 where it is not coded."""
    levels = {unit: level(unit, frame) for unit in AUS} | dict(changed or {})
    return [frame, *(levels.get(column, UNKNOWN) for column in range(1, 100))]


def write_occurrence(
    root: Path, who: str = "F001_T1", first: int = FIRST, **changed: Mapping[int, int]
) -> Path:
    rows = [row(frame, changed.get(f"f{frame}")) for frame in range(first, first + FRAMES)]
    return write_table(root / f"AUCoding/AU_OCC/{who}.csv", range(100), rows)


def picture(frame: int) -> bytes:
    return cv2.imencode(".jpg", numbered(frame)[..., ::-1])[1].tobytes()


def write_pictures(root: Path, names: Iterable[tuple[str, int]], folder: str = "Sequences/F001/T1") -> None:
    (root / folder).mkdir(parents=True)
    for name, frame in names:
        (root / folder / name).write_bytes(picture(frame))


def listing(root: Path, adapter: str = "bp4d") -> tuple[list[Record], list[str], Source]:
    source = make_source(adapter, adapter, str(root))
    return list(source.inventory()), source.notes, source


def shown(records: list[Record], source: Source) -> list[int]:
    reader = source.reader()
    try:
        return numbers(reader, records)
    finally:
        reader.close()


@pytest.mark.parametrize("digits", [1, 4])
@pytest.mark.parametrize("folder", ["Sequences/F001/T1", "F001/T1", "a/b/f001/t1"])
def test_pictures_with_and_without_padding(folder: str, digits: int, tmp_path: Path) -> None:
    write_occurrence(tmp_path)
    write_pictures(tmp_path, ((f"{n:0{digits}d}.jpg", n) for n in range(FIRST - 2, FIRST + FRAMES)), folder)
    records, notes, source = listing(tmp_path)
    assert notes == ["2 frames are not annotated, and are no inputs"]
    assert [r.frame for r in records] == list(range(FIRST, FIRST + FRAMES))
    assert shown(records, source) == [r.frame for r in records]
    assert records[0].id == f"bp4d/F001/T1/{FIRST:0{digits}d}.jpg"
    assert (records[0].identity, records[0].video) == ("F001", "T1")
    assert records[0].bytes > 0
    assert all(stamp_of(record, source.stamps()) for record in records)
    for record in records:
        assert record.labels == {f"AU{unit}": level(unit, record.frame or 0) for unit in AUS}


def test_zips_of_pictures(tmp_path: Path) -> None:
    for who, inner in (("F001", "F001/T1"), ("M002", "T1")):
        write_occurrence(tmp_path, f"{who}_T1")
        (tmp_path / "2D").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / f"2D/{who}.zip", "w") as archive:
            for frame in range(FIRST, FIRST + FRAMES - 1):
                archive.writestr(f"{inner}/{frame}.jpg", picture(frame))
            archive.writestr(f"{inner}/readme.txt", "no picture")
    records, notes, source = listing(tmp_path)
    assert notes == ["annotated frames that are not there: 1 of F001 T1, 1 of M002 T1"]
    assert [r.id for r in records[:1] + records[FRAMES : FRAMES + 1]] == [
        f"bp4d/F001/T1/{FIRST}.jpg",
        f"bp4d/M002/T1/{FIRST}.jpg",
    ]
    assert all(stamp_of(record, source.stamps()) for record in records)
    there = [r for r in records if r.frame != FIRST + FRAMES - 1]
    assert shown(there, source) == [r.frame for r in there]
    reader = source.reader()
    with pytest.raises(InputError) as told:
        reader.read(records[FRAMES - 1])
    reader.close()
    assert told.value.reason.name == "missing_frame"


@pytest.mark.parametrize("name", ["F001_T5.avi", "videos/2F01_09.avi", "2F01_T5.avi", "f001_t5.mp4"])
def test_videos_in_every_naming(name: str, tmp_path: Path) -> None:
    write_occurrence(tmp_path, "F001_T5", first=4)
    frames = (numbered(n) for n in range(1, 12))
    write_video(tmp_path / name, frames, "mp4v" if name.endswith("mp4") else "MJPG")
    write_video(tmp_path / "2F01_02.avi", [numbered(1)])  # of a task that is not one of the eight
    records, notes, source = listing(tmp_path)
    assert [(r.identity, r.video, r.frame) for r in records] == [("F001", "T5", n) for n in range(4, 9)]
    assert records[0].id == f"bp4d/{Path(name).name}/00004"
    assert shown(records, source) == [r.frame for r in records]
    assert notes == ["6 frames are not annotated, and are no inputs"]


def test_frames_of_a_video_that_are_counted_from_0(tmp_path: Path) -> None:
    write_occurrence(tmp_path, first=0)
    write_levels(tmp_path / "AU_INT/AU06/F001_T1_AU06.csv", [4, 5], first=2)
    write_video(tmp_path / "F001_T1.avi", (numbered(n) for n in range(1, FRAMES + 1)))
    records, notes, source = listing(tmp_path)
    assert notes == [
        "labels that count frames from 0, renumbered from 1: F001 T1",
        (
            "labels that end before others, as in a file cut short: "
            "AU6_intensity of F001 T1 ends at frame 4, others at 5"
        ),
    ]
    assert shown(records, source) == [r.frame for r in records] == list(range(1, FRAMES + 1))
    assert (records[0].labels or {})["AU1"] == level(1, 0)
    intensities = [(r.labels or {}).get("AU6_intensity") for r in records]
    assert intensities == [None, None, 4, 5, None]


def test_pictures_called_0_are_frame_0(tmp_path: Path) -> None:
    write_occurrence(tmp_path, first=0)
    write_pictures(tmp_path, ((f"{n:03d}.jpg", n) for n in range(FRAMES)))
    records, notes, source = listing(tmp_path)
    assert notes == []
    assert shown(records, source) == [r.frame for r in records] == list(range(FRAMES))


@pytest.mark.parametrize("setting", [None, "picture_0=frame_1", "picture_0=frame_0"])
def test_pictures_from_0_and_labels_from_1_are_not_guessed(setting: str | None, tmp_path: Path) -> None:
    """Four pictures 0 to 4, labels of the frames 2 to 6."""
    write_occurrence(tmp_path, first=2)
    write_pictures(tmp_path, ((f"{n:04d}.jpg", n + 1) for n in range(5)))
    source = make_source("bp4d_plus", "b", str(tmp_path), setting=setting or "")
    assert (source.stamps().get("/setting") or None) == setting
    if setting is None:
        with pytest.raises(
            UserError,
            match=r"pictures of F001 T1 are called 0 to 4 and its labels are of frames 2 to 6: if pictures "
            r"begin with 0 and labels with 1, .*bp4d_plus/picture_0=frame_1:PATH if .*=frame_0:PATH if",
        ):
            list(source.inventory())
        return
    records = list(source.inventory())
    assert [r.frame for r in records] == [2, 3, 4, 5, 6]
    late = setting.endswith("0")
    there = records[: 3 if late else 4]
    assert shown(there, source) == [(r.frame or 0) + late for r in there]
    assert [Path(r.member).name for r in records] == [f"{n + late:04d}.jpg" for n in range(1, 6)]
    assert f"annotated frames that are not there: {2 if late else 1} of F001 T1" in source.notes


def test_a_setting_travels_with_the_source(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    source = parse_spec("b=bp4d/picture_0=frame_1:x", str(tmp_path))
    assert (source.name, source.setting) == ("b", ("picture_0", "frame_1"))
    assert source.location == str(tmp_path / "x")
    for spec, words in (
        ("bp4d/picture_0=2:x", "has no setting 'picture_0=2'; there is picture_0=frame_1 and"),
        ("folder/a=b:x", "the adapter folder has no setting 'a=b'; write folder:PATH"),
    ):
        with pytest.raises(UserError, match=words):
            parse_spec(spec, str(tmp_path))


@pytest.mark.parametrize("ending", ["png", "PNG", "bmp", "jpeg"])
def test_pictures_of_other_formats(ending: str, tmp_path: Path) -> None:
    write_occurrence(tmp_path)
    folder = tmp_path / "Sequences/F001/T1"
    folder.mkdir(parents=True)
    for frame in range(FIRST, FIRST + FRAMES):
        data = cv2.imencode(f".{ending.lower()}", numbered(frame)[..., ::-1])[1].tobytes()
        (folder / f"{frame}.{ending}").write_bytes(data)
    records, notes, source = listing(tmp_path)
    assert notes == []
    assert shown(records, source) == [r.frame for r in records] == list(range(FIRST, FIRST + FRAMES))


def test_pictures_that_are_called_otherwise_are_the_reason(tmp_path: Path) -> None:
    write_occurrence(tmp_path)
    write_occurrence(tmp_path, "F002_T1")
    write_pictures(tmp_path, ((f"{n}.jpg", n) for n in range(FIRST, FIRST + FRAMES)))
    write_pictures(tmp_path, [("frame40.jpg", 40)], "F002/T1")
    assert listing(tmp_path)[1] == [
        "labels without a recording: F002 T1",
        (
            "perhaps the reason for that: no picture or video there is called as the adapter expects "
            "(there is F002/T1/frame40.jpg)"
        ),
    ]


def test_an_empty_table_is_named(tmp_path: Path) -> None:
    for person in ("F001", "F002"):
        write_occurrence(tmp_path, f"{person}_T1")
        names = ((f"{n}.jpg", n) for n in range(FIRST, FIRST + FRAMES))
        write_pictures(tmp_path, names, f"{person}/T1")
    (tmp_path / "AUCoding/AU_OCC/F002_T1.csv").write_text(",".join(map(str, range(100))))
    assert listing(tmp_path)[1] == [
        "recordings without labels, which are left out: F002 T1 (F002_T1.csv is empty; copy it again)"
    ]


def test_nine_is_kept_where_a_unit_is_coded_in_other_frames(tmp_path: Path) -> None:
    write_occurrence(tmp_path, f41={1: 9, 5: 1}, f42={12: 9})
    write_pictures(tmp_path, ((f"{n}.jpg", n) for n in range(FIRST, FIRST + FRAMES)))
    records, _, _ = listing(tmp_path)
    assert [(r.labels or {})["AU1"] for r in records][1] == 9
    assert [(r.labels or {})["AU12"] for r in records][2] == 9
    assert [(r.labels or {})["AU5"] for r in records] == [9, 1, 9, 9, 9]
    assert all("AU3" not in (r.labels or {}) and "AU99" not in (r.labels or {}) for r in records)


def test_intensities_go_beside_the_occurrences(tmp_path: Path) -> None:
    write_occurrence(tmp_path)
    write_occurrence(tmp_path, "F001_T2")
    for task in ("T1", "T2"):
        names = ((f"{n}.jpg", n) for n in range(FIRST, FIRST + FRAMES))
        write_pictures(tmp_path, names, f"Sequences/F001/{task}")
    write_levels(tmp_path / "AUCoding/AU_INT/AU06/F001_T1_AU06.csv", [0, 5, 9, 3], first=FIRST)
    write_levels(tmp_path / "AUCoding/AU_INT/AU12/F001_T1_AU12.csv", [1] * FRAMES, first=FIRST)
    write_levels(tmp_path / "AUCoding/AU_INT/AU06/F001_T2_AU06.csv", [2] * FRAMES, first=FIRST)
    records, notes, _ = listing(tmp_path)
    assert notes == [
        (
            "labels that end before others, as in a file cut short: "
            f"AU6_intensity of F001 T1 ends at frame {FIRST + 3}, others at {FIRST + 4}"
        ),
        "no labels of AU12_intensity: F001 T2",
    ]
    assert [(r.labels or {}).get("AU6_intensity") for r in records] == [0, 5, 9, 3, None] + [2] * FRAMES
    assert [(r.labels or {})["AU6"] for r in records[:FRAMES]] == [level(6, FIRST + n) for n in range(FRAMES)]


def test_a_picture_that_is_missing_is_an_input_that_fails(tmp_path: Path) -> None:
    write_occurrence(tmp_path)
    write_pictures(tmp_path, ((f"{n:04d}.jpg", n) for n in range(FIRST, FIRST + FRAMES) if n != 42))
    records, notes, source = listing(tmp_path)
    assert notes == ["annotated frames that are not there: 1 of F001 T1"]
    assert [r.id for r in records][2] == "bp4d/F001/T1/0042.jpg"
    with pytest.raises(InputError, match=r"F001/T1/0042\.jpg is not there") as told:
        source.reader().read(records[2])
    assert told.value.reason.name == "missing_frame"
    (tmp_path / "Sequences/F001/T1/0043.jpg").unlink()
    with pytest.raises(OSError, match=r"0043\.jpg") as gone:  # it was there when it was listed
        source.reader().read(records[3])
    assert not isinstance(gone.value, InputError)


def test_pictures_are_preferred_to_the_video(tmp_path: Path) -> None:
    write_occurrence(tmp_path)
    write_pictures(tmp_path, ((f"{n}.jpg", n) for n in range(FIRST, FIRST + FRAMES)))
    write_video(tmp_path / "F001_T1.avi", [numbered(1)])
    records, notes, _ = listing(tmp_path)
    assert notes == ["videos left aside, since their frames are there as pictures: F001 T1"]
    assert all(r.id.endswith(".jpg") for r in records)


def test_the_same_frame_twice_is_refused(tmp_path: Path) -> None:
    write_occurrence(tmp_path)
    write_pictures(tmp_path, [("40.jpg", 40), ("0040.jpg", 40)])
    with pytest.raises(UserError, match=r"0040\.jpg and .*40\.jpg are both the recording F001 T1, frame 40"):
        listing(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        None,
        range(22),
        [0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24],
    ],
    ids=["none", "counts the columns", "names the units"],
)
def test_columns_of_bp4d_plus(header: Iterable[int] | None, tmp_path: Path) -> None:
    rows = []
    for frame in range(1, FRAMES + 1):
        values = [frame] + [UNKNOWN] * 21
        for column, unit in PLUS.items():
            values[column] = level(unit, frame)
        rows.append(values)
    write_table(tmp_path / "AU_OCC/F001_T1.csv", None if header is None else list(header), rows)
    write_video(tmp_path / "F001_T1.mp4", (numbered(n) for n in range(1, FRAMES + 2)), "mp4v")
    write_video(tmp_path / "F001_T2.mp4", [numbered(1)], "mp4v")
    records, notes, source = listing(tmp_path, "bp4d_plus")
    assert records[0].id == "bp4d_plus/F001_T1.mp4/00001"
    assert shown(records, source) == list(range(1, FRAMES + 1))
    for record in records:
        assert record.labels == {f"AU{unit}": level(unit, record.frame or 0) for unit in AUS}
    assert notes == [
        "1 frames are not annotated, and are no inputs",
        "recordings without labels, which are left out: F001 T2",
    ]


def test_a_header_that_names_units_goes_before_the_positions(tmp_path: Path) -> None:
    rows = [[1, 0, 1, 9], [2, 1, 1, 9]]
    path = write_table(tmp_path / "x.csv", None, rows)
    path.write_text("frame,AU01,AU12,AU07\n" + path.read_text())
    assert read_table(str(path), {1: 1}, OCCURRENCE | {UNKNOWN}) == {1: {1: 0, 2: 1}, 12: {1: 1, 2: 1}}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("41,0,1", "line 3, has 3 columns, but 100 are expected"),
        (",".join(map(str, row(41, {6: 2}))), "line 3, holds the level 2, which is none of 0, 1, 9"),
        (",".join(map(str, row(40))), "line 3, is a second one about frame 40"),
        ("41,\u0664" + ",0" * 98, "line 3, holds something else than whole numbers"),
        ("41,a" + ",0" * 98, "line 3, holds something else than whole numbers"),
    ],
)
def test_malformed_tables_are_named_by_file_and_line(line: str, words: str, tmp_path: Path) -> None:
    path = write_occurrence(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]))
    write_pictures(tmp_path, [("40.jpg", 40)])
    with pytest.raises(UserError, match=f"F001_T1.csv, {words}; get the file again"):
        listing(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (",".join(map(str, row(40, {6: 2}))), "line 1, holds the level 2, which is none of 0, 1, 9"),
        ("frame,AU01,AU12,AU1", "line 1, names an action unit twice"),
    ],
)
def test_a_damaged_first_line_is_no_header(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"{line}\n1,0,1,1\n")
    with pytest.raises(UserError, match=words):
        read_table(str(path), BP4D.columns, OCCURRENCE | {UNKNOWN})


def test_a_table_in_which_nothing_was_coded_labels_nothing(tmp_path: Path) -> None:
    write_occurrence(tmp_path)
    write_table(tmp_path / "AU_OCC/F001_T2.csv", range(100), [[n] + [9] * 99 for n in range(40, 45)])
    for task in ("T1", "T2"):
        write_pictures(tmp_path, ((f"{n}.jpg", n) for n in range(40, 45)), f"F001/{task}")
    records, notes, _ = listing(tmp_path)
    assert {r.video for r in records} == {"T1"}
    assert notes == ["recordings without labels, which are left out: F001 T2"]
