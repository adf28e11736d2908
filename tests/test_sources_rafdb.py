"""RAF-DB: photographs and aligned faces, its own codes of expressions, and Kaggle's folders."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from facecorpus.sources.base import Source, make_source

LABELS = {"train_00001": 5, "train_00002": 7, "test_0001": 1}


def rafdb(place: Path, setting: str = "") -> Source:
    return make_source("rafdb", "r", str(place), setting=setting)


def write_list(root: Path, name: str = "list_patition_label") -> None:
    (root / "EmoLabel").mkdir(parents=True, exist_ok=True)
    text = "".join(f"{stem}.jpg {label}\n" for stem, label in LABELS.items())
    (root / f"EmoLabel/{name}.txt").write_text(text)


def write_images(root: Path, which: str, *, packed: bool) -> None:
    end = "_aligned" if which == "aligned" else ""
    (root / "Image").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / f"Image/{which}.zip", "w") as archive:
        for stem in LABELS:
            archive.writestr(f"{which}/{stem}{end}.jpg", stem)
        if not packed:
            archive.extractall(root / "Image")
    if not packed:
        (root / f"Image/{which}.zip").unlink()


def expected(which: str, end: str) -> list[tuple[str, str, dict[str, int]]]:
    return [
        (f"r/{which}/{stem}{end}.jpg", stem.partition("_")[0], {"expression": label})
        for stem, label in LABELS.items()
    ]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["list_patition_label", "list_partition_label"])
@pytest.mark.parametrize("above", ["", "basic"])
def test_photographs_go_before_aligned_faces(packed: bool, name: str, above: str, tmp_path: Path) -> None:
    write_list(tmp_path / above, name)
    for which in ("original", "aligned"):
        write_images(tmp_path / above, which, packed=packed)
    source = rafdb(tmp_path)
    found = sorted(source.inventory(), key=lambda r: r.split or "", reverse=True)
    assert [(r.id, r.split, r.labels) for r in found] == expected("original", "")
    assert "left aside, since they show the same faces: rafdb/images=aligned:PATH" in source.notes[0]
    found = sorted(rafdb(tmp_path, "images=aligned").inventory(), key=lambda r: r.split or "", reverse=True)
    assert [(r.id, r.split, r.labels) for r in found] == expected("aligned", "_aligned")


def test_kaggle_folders_are_labels(tmp_path: Path) -> None:
    for split, label, stem in (("train", 5, "train_00001"), ("test", 1, "test_0001")):
        place = tmp_path / f"DATASET/{split}/{label}/{stem}_aligned.jpg"
        place.parent.mkdir(parents=True)
        place.write_bytes(b"x")
    found = list(rafdb(tmp_path).inventory())
    assert [(r.split, r.labels) for r in found] == [("test", {"expression": 1}), ("train", {"expression": 5})]


def test_labels_that_are_missing_or_wrong_are_counted(tmp_path: Path) -> None:
    write_images(tmp_path, "aligned", packed=True)
    write_list(tmp_path)
    (tmp_path / "EmoLabel/list_patition_label.txt").write_text("train_00001.jpg 9\ntrain_00002.jpg 7\n")
    source = rafdb(tmp_path)
    assert [r.labels for r in source.inventory()] == [None, {"expression": 7}, None]
    assert source.notes[0] == "2 pictures have no label (list_patition_label.txt)"
    assert source.notes[1].endswith("1 inputs have no row in it")
