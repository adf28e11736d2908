"""Lists of frames that other code bases share, with the traps that they have."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from laid_out import put
from pictured import encoded, scene

from facecorpus import pipeline
from facecorpus.errors import UserError
from facecorpus.phases import corpus as corpora
from facecorpus.recipes import recipe
from facecorpus.record import Record
from facecorpus.sources.base import make_source
from fautrain.data import open_corpus, shard_cache
from fautrain.data.benchmark import benchmark
from fautrain.data.labels import read_labels

FOLD_3 = "F04 F06 F07 F12 F14 F15 F17 F19 F21 M03 M06 M09 M15"
BP4D = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
DISFA = (1, 2, 4, 6, 9, 12, 25, 26)


def frames(place: Path, setting: str = "") -> tuple[dict[str, Record], list[str]]:
    source = make_source("frame_list", "bp4d", str(place), setting=setting)
    found = list(source.inventory())
    assert len({record.id for record in found}) == len(found)
    return {record.id.removeprefix("bp4d/"): record for record in found}, source.notes


def fmae(path: Path, rows: dict[str, list[int]], units: tuple[int, ...] = BP4D) -> None:
    """As its scripts write it: the number of a unit that is present, else 999."""
    lines = [
        json.dumps({"img_path": name, "AUs": [unit if unit in present else 999 for unit in units]})
        for name, present in rows.items()
    ]
    put(path, ("\n".join(lines) + "\n").encode())


def table(path: Path, rows: list[list[int]]) -> None:
    put(path, "".join(" ".join(map(str, row)) + "\n" for row in rows).encode())


def graphau(folder: Path, name: str, rows: dict[str, list[int]], units: tuple[int, ...] = BP4D) -> None:
    """As ME-GraphAU writes it; `name` is train or test and _foldN."""
    part, fold = name.split("_")
    put(folder / f"BP4D_{part}_img_path_{fold}.txt", "\n".join(rows).encode() + b"\n")
    table(folder / f"BP4D_{part}_label_{fold}.txt", [[int(u in row) for u in units] for row in rows.values()])


def present(record: Record) -> list[str]:
    assert record.labels is not None and set(record.labels.values()) <= {0, 1}
    return [label for label, level in record.labels.items() if level]


def test_fmae_lists(tmp_path: Path) -> None:
    """999 is no unit; F01 of a video is the release's F001; a frame trains in one fold, tests in one."""
    rows = {"2F01_T1/frame_12.jpg": [1, 24], "2M07_T8/frame_3.jpg": []}
    fmae(tmp_path / "BP4D_all.json", rows)
    fmae(tmp_path / "BP4D_train1.json", {name: rows[name] for name in list(rows)[:1]})
    fmae(tmp_path / "BP4D_test2.json", {name: rows[name] for name in list(rows)[:1]})
    for name in rows:
        put(tmp_path / "faces" / name)
    found, _ = frames(tmp_path)
    assert {n: (r.identity, r.video, r.frame, present(r)) for n, r in found.items()} == {
        "2F01_T1/frame_12.jpg": ("F001", "T1", 12, ["AU1", "AU24"]),
        "2M07_T8/frame_3.jpg": ("M007", "T8", 3, []),
    }
    first = found["2F01_T1/frame_12.jpg"]
    assert (first.member, first.split) == ("faces/2F01_T1/frame_12.jpg", None)
    assert first.labels is not None and list(first.labels) == [f"AU{unit}" for unit in BP4D]


def test_lists_of_present_units_alone(tmp_path: Path) -> None:
    """FMAE's first lists of DISFA: both cameras, in the order in which a folder listed its files."""
    lines = [
        {"img_path": "LeftVideoSN001/frame_7.jpg", "AUs": [25, 4]},
        {"img_path": "RightVideoSN001/frame_7.jpg", "AUs": [25, 4]},
    ]
    put(tmp_path / "DISFA_all.json", "\n".join(map(json.dumps, lines)).encode())
    for line in lines:
        put(tmp_path / str(line["img_path"]))
    found, _ = frames(tmp_path)
    assert [(r.identity, r.video, r.frame) for r in found.values()] == [
        ("SN001", "left", 7),
        ("SN001", "right", 7),
    ]
    assert all(present(r) == ["AU4_occurrence", "AU25_occurrence"] for r in found.values())


def test_fold_1_of_me_graphau_tests_fold_3(tmp_path: Path) -> None:
    """The numbering trap: a note says which fold of the benchmark a list of test pictures is."""
    fold_3 = [f"{who[0]}0{who[1:]}" for who in re.findall("[FM]..", FOLD_3)]
    graphau(tmp_path / "list", "test_fold1", {f"{who}/T1/9.jpg": [6] for who in fold_3})
    graphau(tmp_path / "list", "test_fold2", {"F001/T1/9.jpg": [6]})
    graphau(tmp_path / "list", "train_fold1", {"F001/T1/9.jpg": [6]})
    for who in (*fold_3, "F001"):
        put(tmp_path / f"img/{who}/T1/9.jpg")
    found, notes = frames(tmp_path)
    assert notes == [
        "BP4D_test_img_path_fold1.txt tests the people of fold 3 of the benchmark bp4d",
        "BP4D_test_img_path_fold2.txt tests the people of no fold of bp4d",
    ]
    assert {r.split for n, r in found.items() if n.startswith("F001")} == {
        None
    }  # test of one fold, train of another
    assert {r.split for n, r in found.items() if n.startswith("F004")} == {"test"}


def test_disfa_counts_from_0_and_is_of_the_left_camera(tmp_path: Path) -> None:
    """SN001/0.png is the first frame of the left video; a 1 in the list is no intensity of 1."""
    put(tmp_path / "list/DISFA_train_img_path_fold1.txt", b"SN001/0.png\r\nSN001/10.png\r\n")
    table(tmp_path / "list/DISFA_train_label_fold1.txt", [[0] * 8, [1] + [0] * 7])
    put(tmp_path / "list/DISFA_train_AU_relation_fold1.txt", b"0 1 2 3\n")
    put(tmp_path / "list/DISFA_weight_fold1.txt", b"1.2\t0.8\n")
    for number in (0, 10):
        put(tmp_path / f"img/SN001/{number}.png")
    found, _ = frames(tmp_path)
    assert [(r.video, r.frame, present(r)) for r in found.values()] == [
        ("left", 1, []),
        ("left", 11, ["AU1_occurrence"]),
    ]
    found, _ = frames(tmp_path, "camera=right")
    assert {r.video for r in found.values()} == {"right"}


def test_jaa_net_lists_bring_landmarks(tmp_path: Path) -> None:
    """Of 49 points, an eye is the mean of six, the nose the 14th, the mouth's corners the 32nd and 38th."""
    put(tmp_path / "BP4D_part1_path.txt", b"BP4D/F001/T1/2440.jpg\r\n")
    put(tmp_path / "BP4D_combine_2_3_path.txt", b"BP4D/F003/T1/1.jpg\r\n")
    table(tmp_path / "BP4D_part1_AUoccur.txt", [[1, 0] * 6])
    points = np.arange(98, dtype=float).reshape(49, 2)
    points[19:25], points[25:31], points[13], points[31], points[37] = (
        (60, 90),
        (140, 91),
        (100, 120),
        (70, 150),
        (130, 151),
    )
    put(tmp_path / "BP4D_part1_land.txt", " ".join(f"{v:f}" for v in points.ravel()).encode())
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("F001/T1/2440.png", b"x")
        archive.writestr("F001/T1/2441.png", b"x")
    found, notes = frames(tmp_path)
    [record] = found.values()
    assert record.given_points_px == (60, 90, 140, 91, 100, 120, 70, 150, 130, 151)
    assert (record.container, record.member, present(record)[:2]) == (
        "faces.zip",
        "F001/T1/2440.png",
        ["AU1", "AU4"],
    )
    assert "left aside, as their labels are not beside them: BP4D_combine_2_3_path.txt" in notes
    assert "1 pictures are in no list, and are no inputs" in notes


def test_listed_frames_that_are_not_there_stay_in_the_ledger(tmp_path: Path) -> None:
    """Under the id that they have when they come."""
    fmae(tmp_path / "BP4D_all.json", {f"2F01_T1/frame_{n}.jpg": [] for n in (1, 2)})
    put(tmp_path / "a/2F01_T1/frame_1.jpg")
    before, notes = frames(tmp_path)
    assert notes == ["1 of 2 listed frames are not there"]
    assert (before["2F01_T1/frame_2.jpg"].bytes, before["2F01_T1/frame_2.jpg"].frame) == (0, 2)
    put(tmp_path / "a/2F01_T1/frame_2.jpg")
    after, notes = frames(tmp_path)
    assert (after.keys(), notes) == (before.keys(), [])


def test_crops_go_from_a_list_to_a_benchmark(tmp_path: Path) -> None:
    """A lab's crops and ME-GraphAU's lists, read as the benchmark of the data set reads its labels."""
    rows = {f"F001/T1/{n}.jpg": [12] * (n % 2) for n in range(3)}
    graphau(tmp_path / "raw/list", "train_fold1", rows)
    for name in rows:
        put(tmp_path / "raw/img" / name, encoded("JPEG", scene()))
    opened = pipeline.open_sources("bp4d=frame_list:raw", str(tmp_path))
    chosen = recipe(pipeline.choose_recipe(None, opened))
    made = pipeline.prepare(chosen, opened, str(tmp_path), str(tmp_path / "out"), weights=None, device="cpu")
    corpora.settle(made, rebuild=False)
    assert (chosen.name, pipeline.build(made).samples) == ("au-crops", 3)
    corpus = open_corpus(str(tmp_path / "out"), shard_cache(str(tmp_path / "cache")))
    found = read_labels(corpus, benchmark("bp4d"))
    order = np.argsort(found.frame)
    assert found.outputs == tuple(f"AU{unit}" for unit in BP4D)
    assert found.targets[order][:, BP4D.index(12)].tolist() == [0, 1, 0] and found.targets.sum() == 1


def test_lists_of_disfa_have_a_benchmark_of_their_own(tmp_path: Path) -> None:
    """Its people, folds and figures are DISFA's; a 1 is no intensity of 1, which would not count."""
    known, base = benchmark("disfa_lists"), benchmark("disfa")
    assert (known.folds, known.published, known.source) == (base.folds, base.published, "disfa")
    assert known.target.decode(np.array([0, 1])).tolist() == [0, 1]
    assert base.target.decode(np.array([0, 1])).tolist() == [0, 0]
    assert known.target.labels[0] == "AU1_occurrence"
    own = tmp_path / "own.toml"
    own.write_text('like = "disfaa"\nkind = "occurrence"\n')
    with pytest.raises(
        UserError, match=r"own\.toml: like=disfaa: there is no such benchmark; did you mean 'disfa'"
    ):
        benchmark(own)


def test_paths_that_say_no_frame_are_matched_by_their_ends(tmp_path: Path) -> None:
    fmae(tmp_path / "BP4D_own.json", {"./ann/one.png": [1], "bob/one.png": []})
    for name in ("cut/ann/one.jpg", "cut/bob/one.jpg", "cut/eve/one.jpg"):
        put(tmp_path / name)
    found, notes = frames(tmp_path)
    assert {n: (r.identity, r.member) for n, r in found.items()} == {
        "ann/one.png": ("ann", "cut/ann/one.jpg"),
        "bob/one.png": ("bob", "cut/bob/one.jpg"),
    }
    assert notes == ["1 pictures are in no list, and are no inputs"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "BP4D_test_label_fold1.txt",
            "0 " * 12 + "\n",
            "has 1 rows for the 2 pictures of .*img_path_fold1.txt; get",
        ),
        (
            "BP4D_test_label_fold1.txt",
            "0 0\n0 0\n",
            "has 2 action units, and its name does not say which; rename",
        ),
        ("BP4D_test_label_fold1.txt", "0 0\n0\n", r"is not a table of numbers \(row 2 has another length"),
        ("BP4D_test_label_fold1.txt", "0 nan\n0 1\n", r"is not a table of numbers \(one is no number"),
        (
            "mine_all.json",
            '{"img_path": "a/b.jpg", "AUs": [1]}',
            "has action units, and its name does not say which",
        ),
        (
            "BP4D_all.json",
            '{"img_path": "a/b.jpg", "AUs": [26]}',
            "names AU26, which the benchmark bp4d has not",
        ),
        ("BP4D_all.json", '{"img_path": "a/b.jpg", "AUs": [1]}\n{}', "line 2, is not {'img_path', 'AUs'}"),
        (
            "DISFA_all.json",
            '{"img_path": "a/b.jpg", "AUs": [1]}',
            "holds lists of bp4d and disfa; give each a source",
        ),
        (
            "BP4D_all.json",
            '{"img_path": "F001/T1/1.jpg", "AUs": [1]}',
            "two lists disagree about F001/T1/1.jpg",
        ),
    ],
)
def test_what_is_wrong_is_named(name: str, text: str, words: str, tmp_path: Path) -> None:
    graphau(tmp_path, "test_fold1", {"F001/T1/1.jpg": [], "F001/T1/2.jpg": []})
    put(tmp_path / name, text.encode())
    with pytest.raises(UserError, match=words):
        frames(tmp_path)


def test_lists_as_released_have_no_labels(tmp_path: Path) -> None:
    """The labels are licensed: repositories share lists of paths without them, or with five rows of them."""
    put(tmp_path / "BP4D_part1_path.txt", b"BP4D/F001/T1/2440.jpg\n")
    with pytest.raises(UserError, match=r"a file of labels for BP4D_part1_path\.txt is not there"):
        frames(tmp_path)
    put(tmp_path / "BP4D_part1_AUoccur.txt", b"0 0 0 0 0 0 0 0 0 0 0 1\n")
    put(tmp_path / "x/F001/T1/2440.jpg")
    put(tmp_path / "y/F001/T1/2440.jpg")
    with pytest.raises(
        UserError, match=r"y/F001/T1/2440\.jpg, a second picture of BP4D/F001/T1/2440\.jpg; keep one"
    ):
        frames(tmp_path)
