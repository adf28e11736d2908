"""MegaFace: distractors with JSON files beside them, and MF2 in its two crops."""

from __future__ import annotations

import json
from pathlib import Path

from laid_out import put, write_tar

from facecorpus.record import Record
from facecorpus.sources.base import Source, make_source

ACCOUNT = "9019583@N08"
DISTRACTORS = [f"FlickrFinal2/901/{ACCOUNT}/8032652775_0.jpg", f"FlickrFinal2/901/{ACCOUNT}/8032652775_1.jpg"]
SAID = {
    "bounding_box": {"x": -2, "y": 10.5, "width": 40, "height": 50},
    "landmarks": {str(k): {"x": 0, "y": 0} for k in range(5)},
}
PERSON = "12105541@N05_identity_3"


def megaface(root: Path, setting: str = "") -> Source:
    return make_source("megaface", "megaface", str(root), setting=setting)


def listed(source: Source) -> list[Record]:
    return list(source.inventory())


def check_distractors(source: Source) -> None:
    records = listed(source)
    assert [r.member for r in records] == DISTRACTORS
    assert [r.given_box_xyxy_px for r in records] == [(-2, 10.5, 38, 60.5), None]
    assert [r.photo_id for r in records] == ["8032652775"] * 2
    assert source.notes == ["the JSON files beside the pictures: 1 inputs have no row in it"]


def test_sidecars_give_boxes_and_are_no_inputs(tmp_path: Path) -> None:
    for name in DISTRACTORS:
        put(tmp_path / name)
    put(tmp_path / f"{DISTRACTORS[0]}.json", json.dumps(SAID).encode())
    check_distractors(megaface(tmp_path))


def test_an_archive_in_any_order(tmp_path: Path) -> None:
    """GNU tar writes in the order of the disk: a JSON file may lie far from its picture."""
    said = json.dumps(SAID).encode()
    write_tar(
        tmp_path / "MegaFace_dataset.tar.gz",
        {f"{DISTRACTORS[0]}.json": said, DISTRACTORS[0]: b"x", DISTRACTORS[1]: b"x"},
    )
    check_distractors(megaface(tmp_path))


def test_five_point_landmarks_are_never_taken(tmp_path: Path) -> None:
    """They are wrong throughout."""
    put(tmp_path / DISTRACTORS[0])
    put(tmp_path / f"{DISTRACTORS[0]}.json", json.dumps(SAID).encode())
    assert [r.given_points_px for r in listed(megaface(tmp_path))] == [None]


def test_an_account_is_no_person(tmp_path: Path) -> None:
    put(tmp_path / DISTRACTORS[0])
    put(tmp_path / "Megaface_Challenge_1M_disjoint_LOOSE" / PERSON / "4811548600_1.jpg")
    records = listed(megaface(tmp_path))
    assert [r.identity for r in records] == [None, PERSON]
    assert [r.photo_id for r in records] == ["8032652775", "4811548600"]


def test_of_mf2_one_crop_is_read_and_its_box_is_in_the_crop(tmp_path: Path) -> None:
    write_tar(tmp_path / "identities_tight_cropped.tar.gz", {f"tight/{PERSON}/4811548600_1.jpg": b"t"})
    write_tar(tmp_path / "identities_0.tar.gz", {f"MegafaceIdentities_VGG/{PERSON}/4811548600_1.jpg": b"l"})
    said = {
        "box": {"left": 110, "top": 220, "right": 150, "bottom": 280},
        "exp_bb": {"left": 100, "top": 200},
    }
    put(tmp_path / f"MegafaceIdentities_VGG_META/{PERSON}/4811548600_1.json", json.dumps(said).encode())
    source = megaface(tmp_path)
    [record] = listed(source)
    assert record.container == "identities_0.tar.gz"
    assert record.given_box_xyxy_px == (10, 20, 50, 80)
    assert source.notes == [
        "left aside, since they show the same faces: megaface/crops=tight:PATH would read them"
    ]
    assert f"MegafaceIdentities_VGG_META/{PERSON}/4811548600_1.json" in source.stamps()
    [record] = listed(megaface(tmp_path, "crops=tight"))
    assert (record.container, record.given_box_xyxy_px) == ("identities_tight_cropped.tar.gz", None)


def test_damaged_sidecars_are_counted(tmp_path: Path) -> None:
    for number, text in enumerate(("", "[]", "{", '{"bounding_box": {"x": 1}}', "[" * 10_000, '"box"')):
        name = f"FlickrFinal2/901/{ACCOUNT}/1000000{number}_0.jpg"
        put(tmp_path / name)
        put(tmp_path / f"{name}.json", text.encode())
    source = megaface(tmp_path)
    assert {r.given_box_xyxy_px for r in listed(source)} == {None}
    assert source.notes == ["6 JSON files beside pictures are damaged or tell nothing of a face"]


def test_the_folder_of_the_distractors_itself(tmp_path: Path) -> None:
    put(tmp_path / "901" / ACCOUNT / "8032652775_0.jpg")
    put(tmp_path / "901" / ACCOUNT / "8032652775_0.jpg.json", json.dumps(SAID).encode())
    [record] = listed(megaface(tmp_path))
    assert (record.identity, record.given_box_xyxy_px) == (None, (-2, 10.5, 38, 60.5))
