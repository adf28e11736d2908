"""AffectNet: the lists of 2017 and the arrays of 2021, folders and archives, and what is no face."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Source, make_source

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)
POINTS = np.arange(136) / 2 + 10
FIVE = tuple(
    POINTS.reshape(68, 2)[list(rows)].mean(0) for rows in (range(36, 42), range(42, 48), [30], [48], [54])
)
LANDMARKS = ";".join(f"{v:.1f}" for v in POINTS)
ROWS = [
    f"1/aa.jpg,10,20,100,120,{LANDMARKS},3,-0.25,0.5",
    f"1/bb.JPG,0,0,50,60,{LANDMARKS},0,0,0",
    "2/cc.png,NULL,NULL,NULL,NULL,NULL,10,-2,-2",
    "2/dd.bmp,-1,-1,-1,-1,NULL,9,-2,-2",
    f"12/ee.tif,5,5,40,40,{LANDMARKS},8,-2,-2",
]
NAMES = [row.partition(",")[0] for row in ROWS]


def affectnet(place: Path, setting: str = "") -> Source:
    return make_source("affectnet", "a", str(place), setting=setting)


def write_2017(root: Path, *, header: bool = True) -> None:
    for name in NAMES:
        place = root / "Manually_Annotated_Images" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(name.encode())
    (root / "Manually_Annotated_file_lists").mkdir()
    for name, rows in (("training", ROWS[:-1]), ("validation", ROWS[-1:])):
        text = "\n".join([*([HEADER] if header else []), *rows]) + "\n"
        (root / f"Manually_Annotated_file_lists/{name}.csv").write_text(text)


def by_name(source: Source) -> dict[str, Record]:
    return {Path(record.member).name: record for record in source.inventory()}


@pytest.mark.parametrize("header", [True, False])
def test_2017_with_and_without_a_header(header: bool, tmp_path: Path) -> None:
    write_2017(tmp_path, header=header)
    source = affectnet(tmp_path)
    found = by_name(source)
    assert [r.id for r in found.values()] == sorted(f"a/Manually_Annotated_Images/{name}" for name in NAMES)
    first = found["aa.jpg"]
    assert (first.split, first.labels) == ("train", {"expression": 3})
    assert first.given_values == {"valence": -0.25, "arousal": 0.5}
    assert first.given_box_xyxy_px == (10, 20, 110, 140)
    assert first.given_points_px == pytest.approx(np.concatenate(FIVE))
    assert found["bb.JPG"].given_values == {"valence": 0, "arousal": 0}
    assert (found["ee.tif"].split, found["ee.tif"].labels) == ("val", {"expression": 8})
    assert source.stamps().keys() >= {
        f"Manually_Annotated_file_lists/{n}.csv" for n in ("training", "validation")
    }


def test_non_face_is_left_out_and_uncertain_kept(tmp_path: Path) -> None:
    write_2017(tmp_path)
    source = affectnet(tmp_path)
    found = by_name(source)
    non_face, uncertain = found["cc.png"], found["dd.bmp"]
    assert non_face.left_out == "AffectNet calls it Non-Face (expression 10)"
    assert (non_face.labels, non_face.given_box_xyxy_px) == (None, None)
    assert (uncertain.left_out, uncertain.labels) == (None, {"expression": 9})
    assert (uncertain.given_values, uncertain.given_box_xyxy_px, uncertain.given_points_px) == (
        None,
        None,
        None,
    )
    assert source.notes == ["1 pictures are Non-Face (expression 10): left out"]


def test_the_validation_set_can_be_left_out(tmp_path: Path) -> None:
    write_2017(tmp_path)
    found = by_name(affectnet(tmp_path, "validation=left_out"))
    assert {name for name, r in found.items() if r.left_out and "validation" in r.left_out} == {"ee.tif"}


def test_paths_listed_twice_and_pictures_without_a_row(tmp_path: Path) -> None:
    write_2017(tmp_path)
    place = tmp_path / "Manually_Annotated_file_lists/training.csv"
    place.write_text(f"{HEADER}\n{ROWS[0]}\n{ROWS[0].replace(',3,', ',5,')}\n7/gone.jpg,1,1,1,1,NULL,1,0,0\n")
    source = affectnet(tmp_path)
    found = by_name(source)
    assert found["aa.jpg"].labels == {"expression": 3}
    assert found["bb.JPG"].labels is None and found["bb.JPG"].split is None
    (note,) = source.notes
    assert note.endswith("1 of its 4 names are not among the inputs and 3 inputs have no row in it")


def test_the_automatic_part_alone_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "Automatically_Annotated_Images.zip", "w") as archive:
        archive.writestr("Automatically_Annotated_Images/1/aa.jpg", b"x")
    (tmp_path / "automatically_annotated.csv").write_text(f"{HEADER}\n{ROWS[0]}\n")
    (record,) = affectnet(tmp_path).inventory()
    assert (record.split, record.labels) == ("automatic", {"expression": 3})


def npy(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def write_2021(number: int, split: str, expression: str) -> dict[str, bytes]:
    return {
        f"{split}/annotations/{number}_exp.npy": npy(np.array(expression)),
        f"{split}/annotations/{number}_val.npy": npy(np.array("-0.5")),
        f"{split}/annotations/{number}_aro.npy": npy(np.array("0.125")),
        f"{split}/annotations/{number}_lnd.npy": npy(POINTS),
        f"{split}/images/{number}.jpg": b"jpeg %d" % number,
    }


@pytest.mark.parametrize("packed", [True, False])
def test_2021_arrays(packed: bool, tmp_path: Path) -> None:
    """The crops of 2021, in whatever order an archive holds arrays and pictures."""
    for split in ("train_set", "val_set"):
        files = write_2021(3, split, "7") | write_2021(1500, split, "0")
        if packed:
            with tarfile.open(tmp_path / f"{split}.tar.gz", "w:gz") as archive:
                for name, data in reversed(files.items()):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
        else:
            for name, data in files.items():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(data)
    source = affectnet(tmp_path)
    records = sorted(source.inventory(), key=lambda r: r.id)
    assert [r.id for r in records] == [
        f"a/{split}/images/{n}.jpg" for split in ("train_set", "val_set") for n in (1500, 3)
    ]
    assert [(r.split, r.labels) for r in records[:2]] == [
        ("train", {"expression": 0}),
        ("train", {"expression": 7}),
    ]
    assert {r.split for r in records[2:]} == {"val"}
    assert records[0].given_values == {"valence": -0.5, "arousal": 0.125}
    assert records[0].given_points_px == pytest.approx(np.concatenate(FIVE))
    assert source.notes == []
    reader = source.reader()
    assert [reader.read(r) for r in records] == [b"jpeg 1500", b"jpeg 3"] * 2
    reader.close()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was executed')",)


def test_pickled_arrays_are_never_executed(tmp_path: Path) -> None:
    files = write_2021(3, "train_set", "1")
    files["train_set/annotations/3_exp.npy"] = npy(np.array([Bomb()], dtype=object), allow_pickle=True)
    files["train_set/annotations/3_val.npy"] = b"\x93NUMPY\x01\x00cut"
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    source = affectnet(tmp_path)
    (record,) = source.inventory()
    assert (record.labels, record.given_values) == (None, {"arousal": 0.125})
    assert source.notes == ["2 files of annotations are no plain arrays: not read"]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Manually_Annotated_Images or train_set is not there"):
        list(affectnet(tmp_path).inventory())
    write_2017(tmp_path)
    (tmp_path / "Manually_Annotated_file_lists/training.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(UserError, match=r"training\.csv is no list of AffectNet's"):
        list(affectnet(tmp_path).inventory())
