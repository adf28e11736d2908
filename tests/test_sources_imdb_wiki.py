"""IMDB-WIKI, against .mat files that SciPy writes: scores, boxes, one photograph under several people."""

from __future__ import annotations

import builtins
import io
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laid_out import write_tar
from scipy.io import savemat

from facecorpus.errors import UserError
from facecorpus.sources.base import Source, make_source

INF, NAN = float("inf"), float("nan")
# path, box, face score, second score, gender, year taken, born
IMDB = [
    ("08/nm0000008_rm2517339648_1924-4-3_1990.jpg", (1.0, 11.0, 101.0, 121.0), 3.5, NAN, 1, 1990, 1924),
    ("09/nm0000009_rm2517339648_1930-1-1_1990.jpg", (11.0, 21.0, 31.5, 41.0), 2.0, 1.5, 0, 1990, 1930),
    ("08/nm0000008_rm1_1924-4-3_2001.jpg", (1.0, 1.0, 300.0, 400.0), -INF, NAN, NAN, 2001, 1924),
]
WIKI = [("17/10000217_1981-05-05_2009.jpg", (2.0, 2.0, 90.0, 90.0), 4.0, NAN, 1, 2009, 1981)]


def mat(name: str, rows: list[tuple[Any, ...]], *, packed: bool = False) -> bytes:
    """As the authors publish it: a struct of 1 x N arrays, paths and boxes in cells."""

    def cells(values: list[Any]) -> np.ndarray:
        out = np.empty((1, len(values)), dtype=object)
        out[0, :] = values
        return out

    born = [float(date(row[6], 4, 3).toordinal() + 366) for row in rows]
    boxes = np.empty((1, len(rows)), dtype=object)
    for k, row in enumerate(rows):
        boxes[0, k] = np.array([row[1]])
    struct = {
        "dob": np.array([born]),
        "photo_taken": np.array([[row[5] for row in rows]], dtype=np.uint16),
        "full_path": cells([row[0] for row in rows]),
        "gender": np.array([[row[4] for row in rows]], dtype=float),
        "name": cells(["Somebody"] * len(rows)),
        "face_location": boxes,
        "face_score": np.array([[row[2] for row in rows]]),
        "second_face_score": np.array([[row[3] for row in rows]]),
    }
    file = io.BytesIO()
    savemat(file, {name: struct}, format="5", do_compression=packed)
    return file.getvalue()


def pictures(above: str, rows: list[tuple[Any, ...]]) -> dict[str, bytes]:
    return {f"{above}/{row[0]}": row[0].encode() for row in rows}


def imdb_wiki(place: Path, setting: str = "") -> Source:
    return make_source("imdb_wiki", "i", str(place), setting=setting)


def write_all(root: Path) -> None:
    write_tar(root / "imdb_8.tar", pictures("imdb", [IMDB[0], IMDB[2]]))
    write_tar(root / "imdb_9.tar", pictures("imdb", IMDB[1:2]))
    write_tar(root / "imdb_meta.tar", {"imdb/imdb.mat": mat("imdb", IMDB)})
    write_tar(root / "wiki_crop.tar", {"wiki_crop/wiki.mat": mat("wiki", WIKI)} | pictures("wiki_crop", WIKI))


def test_photographs_of_imdb_and_crops_of_wikipedia(tmp_path: Path) -> None:
    write_all(tmp_path)
    source = imdb_wiki(tmp_path)
    first, none, second, wiki = source.inventory()
    assert [first.id, wiki.id] == [f"i/imdb/{IMDB[0][0]}", f"i/wiki_crop/{WIKI[0][0]}"]
    assert (first.identity, first.photo_id) == ("nm0000008", "rm2517339648")
    assert first.given_box_xyxy_px == (0, 10, 100, 120)  # MATLAB counts from 1
    assert first.given_values == {"face_score": 3.5, "gender": 1, "photo_taken": 1990, "age": 66}
    assert second.given_values is not None and second.given_values["second_face_score"] == 1.5
    assert (wiki.identity, wiki.photo_id) == ("10000217", None)
    (note,) = source.notes
    assert note.startswith(
        "by the authors' scores, 1 pictures show no face and 1 a second one; imdb_wiki/faces"
    )
    assert none.member.endswith(IMDB[2][0])
    assert source.stamps().keys() == {"imdb_8.tar", "imdb_9.tar", "imdb_meta.tar", "wiki_crop.tar"}
    reader = source.reader()
    assert reader.read(wiki) == WIKI[0][0].encode()
    reader.close()


def test_a_score_of_minus_infinity_has_no_box(tmp_path: Path) -> None:
    write_all(tmp_path)
    none = next(r for r in imdb_wiki(tmp_path).inventory() if "_rm1_" in r.member)
    assert none.given_values is not None and none.given_values["face_score"] == -math.inf
    assert "gender" not in none.given_values and "second_face_score" not in none.given_values
    assert (none.given_box_xyxy_px, none.left_out) == (None, None)


def test_a_damaged_mat_does_not_end_the_process(tmp_path: Path) -> None:
    """SciPy reads an element of type 0 as from a null pointer."""
    write_tar(tmp_path / "imdb_crop.tar", pictures("imdb_crop", IMDB))
    data = bytearray(mat("imdb", IMDB))
    at = data.index((9).to_bytes(4, "little") + (24).to_bytes(4, "little"))  # three doubles
    data[at] = 0
    (tmp_path / "imdb.mat").write_bytes(data)
    with pytest.raises(
        UserError, match=r"imdb\.mat is not a whole imdb\.mat \(an element at byte \d+ is of type 0\)"
    ):
        list(imdb_wiki(tmp_path).inventory())


def test_a_compressed_mat(tmp_path: Path) -> None:
    write_tar(tmp_path / "imdb_crop.tar", pictures("imdb_crop", IMDB))
    (tmp_path / "imdb.mat").write_bytes(mat("imdb", IMDB, packed=True))
    scores = [(r.given_values or {})["face_score"] for r in imdb_wiki(tmp_path).inventory()]
    assert scores == [3.5, 2.0, -INF]


def test_one_photograph_under_several_people(tmp_path: Path) -> None:
    write_all(tmp_path)
    shared = [r for r in imdb_wiki(tmp_path).inventory() if r.photo_id == "rm2517339648"]
    assert {r.identity for r in shared} == {"nm0000008", "nm0000009"}


def test_boxes_are_those_of_the_photographs_not_of_the_crops(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "imdb_crop.tar", pictures("imdb_crop", IMDB) | {"imdb_crop/imdb.mat": mat("imdb", IMDB)}
    )
    for place in (tmp_path, tmp_path / "imdb_crop.tar"):
        found = list(imdb_wiki(place).inventory())
        assert {r.given_box_xyxy_px for r in found} == {None}
        assert [(r.given_values or {})["face_score"] for r in found] == [3.5, 2.0, -INF]


@pytest.mark.parametrize(("value", "left"), [("found", ["_rm1_"]), ("one", ["_rm1_", "nm0000009"])])
def test_pictures_without_one_face_can_be_left_out(value: str, left: list[str], tmp_path: Path) -> None:
    write_all(tmp_path)
    found = [r.member for r in imdb_wiki(tmp_path, f"faces={value}").inventory() if r.left_out]
    assert len(found) == len(left) and all(any(word in name for name in found) for word in left)


def test_unpacked_crops_without_a_mat(tmp_path: Path) -> None:
    for name, data in pictures("imdb_crop", IMDB).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    for place in (tmp_path, tmp_path / "imdb_crop"):
        source = imdb_wiki(place)
        assert [r.identity for r in source.inventory()] == ["nm0000008", "nm0000008", "nm0000009"]
        assert source.notes == ["without imdb.mat the authors' face scores and boxes are not known"]
    (tmp_path / "imdb_crop/imdb.mat").write_bytes(mat("imdb", IMDB))
    source = imdb_wiki(tmp_path)
    assert len(list(source.inventory())) == 3
    assert "imdb_crop/imdb.mat" in source.stamps()


@pytest.mark.parametrize(
    "data", [b"", b"MATLAB 5.0 MAT-file" + bytes(200), mat("other", IMDB), mat("imdb", IMDB)[:300]]
)
def test_a_damaged_mat_is_named(data: bytes, tmp_path: Path) -> None:
    write_tar(tmp_path / "imdb_crop.tar", pictures("imdb_crop", IMDB))
    (tmp_path / "imdb.mat").write_bytes(data)
    with pytest.raises(UserError, match=r"imdb\.mat is not (the|a whole) imdb\.mat .*; get it again"):
        list(imdb_wiki(tmp_path).inventory())


def test_without_scipy_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(tmp_path)
    true_import = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return true_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs SciPy to be read; run: pip install 'facecorpus\[sources\]'"):
        list(imdb_wiki(tmp_path).inventory())


def test_nothing_of_it_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"imdb_crop\.tar is not there"):
        list(imdb_wiki(tmp_path).inventory())
