"""FFHQ: its three sets, the metadata, and other people's resizes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Source, make_source

FIVE = [(30, 40), (60, 40), (45, 55), (35, 70), (57, 70)]


def points(shift: float = 0) -> list[list[float]]:
    """68 points whose parts have FIVE as means."""
    found = [[0.0, 0.0] for _ in range(68)]
    for place, (x, y) in zip((36, 42), FIVE, strict=False):
        for k in range(6):
            found[place + k] = [x + shift + (1 if k % 2 else -1), y + shift]
    for place, (x, y) in zip((30, 48, 54), FIVE[2:], strict=True):
        found[place] = [x + shift, y + shift]
    return found


def five(scale: float = 1, shift: float = 0) -> tuple[float, ...]:
    return tuple((v + shift + 0.5) * scale - 0.5 for point in FIVE for v in point)


def entry(photo: str) -> dict[str, Any]:
    return {
        "category": "training",
        "metadata": {"photo_url": photo, "photo_title": "Ü \\u00e9 }{", "author": "someone"},
        "image": {"face_landmarks": points()},
        "in_the_wild": {"face_rect": [3, 4, 103, 204], "face_landmarks": points(100)},
    }


def metadata(root: Path, **more: Any) -> None:
    said = {str(n): entry(f"https://flickr/{n // 2}") for n in (0, 1, 59_999, 60_000)} | more
    (root / "ffhq-dataset-v2.json").write_text(json.dumps(said, indent=1))


def ffhq(root: Path, setting: str = "") -> Source:
    return make_source("ffhq", "ffhq", str(root), setting=setting)


def listed(source: Source) -> list[Record]:
    return list(source.inventory())


def write_sets(root: Path, *names: str) -> None:
    for name in names:
        for number in (0, 1, 59_999, 60_000):
            path = root / name / f"{number // 1000 * 1000:05d}" / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")


def test_aligned_pictures_know_photograph_split_and_landmarks(tmp_path: Path) -> None:
    write_sets(tmp_path, "images1024x1024")
    metadata(tmp_path)
    (tmp_path / "images1024x1024/LICENSE.txt").write_text("the licence is no input")
    source = ffhq(tmp_path)
    records = listed(source)
    assert [r.id for r in records] == [
        f"ffhq/images1024x1024/{folder}/{name}.png"
        for folder, name in (("00000", "00000"), ("00000", "00001"), ("59000", "59999"), ("60000", "60000"))
    ]
    assert [r.split for r in records] == ["train", "train", "train", "val"]
    assert [r.photo_id for r in records[:2]] == ["https://flickr/0"] * 2
    assert records[0].given_points_px == five()
    assert records[0].given_box_xyxy_px is None and records[0].identity is None
    assert "ffhq-dataset-v2.json" in source.stamps()


def test_one_of_the_three_sets_is_read(tmp_path: Path) -> None:
    """Thumbnails, aligned pictures and photographs show the same faces."""
    write_sets(tmp_path, "images1024x1024", "thumbnails128x128", "in-the-wild-images")
    metadata(tmp_path)
    source = ffhq(tmp_path)
    assert {r.member.partition("/")[0] for r in listed(source)} == {"images1024x1024"}
    [note] = source.notes
    assert note.startswith("left aside, since they show the same faces: ffhq/pictures=wild:PATH, ")
    assert note.endswith(", ffhq/pictures=thumbnails:PATH would read them")
    small = listed(ffhq(tmp_path, "pictures=thumbnails"))
    assert small[0].given_points_px == pytest.approx(five(1 / 8))
    wild = listed(ffhq(tmp_path, "pictures=wild"))
    assert wild[0].given_points_px == five(shift=100)
    assert wild[0].given_box_xyxy_px == (3, 4, 103, 204)
    with pytest.raises(UserError, match="what ffhq/pictures=1024 asks for is not there"):
        write_sets(tmp_path / "other", "thumbnails128x128")
        listed(ffhq(tmp_path / "other", "pictures=1024"))


def test_zips_as_on_google_drive(tmp_path: Path) -> None:
    (tmp_path / "zips").mkdir()
    with zipfile.ZipFile(tmp_path / "zips/images1024x1024.zip", "w") as archive:
        archive.writestr("images1024x1024/00000/00001.png", b"x")
    metadata(tmp_path)
    [record] = listed(ffhq(tmp_path))
    assert (record.container, record.photo_id) == ("zips/images1024x1024.zip", "https://flickr/0")
    assert record.given_points_px == five()


def test_resizes_by_others_keep_their_numbers(tmp_path: Path) -> None:
    """Kaggle's copies lose the folders of 1,000; their landmarks are at a scale that is not known."""
    for name in ("resized/00001.jpg", "resized/60000.jpg", "resized/about.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    metadata(tmp_path)
    records = listed(ffhq(tmp_path))
    assert [(r.split, r.photo_id) for r in records] == [
        ("train", "https://flickr/0"),
        ("val", "https://flickr/30000"),
        (None, None),
    ]
    assert {r.given_points_px for r in records} == {None}


def test_without_metadata_it_is_said(tmp_path: Path) -> None:
    write_sets(tmp_path, "images1024x1024")
    source = ffhq(tmp_path)
    assert [r.photo_id for r in listed(source)] == [None] * 4
    assert source.notes == [
        "without ffhq-dataset-v2.json the photographs' pages are not known, nor who opted out"
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], r"ffhq-dataset-v2\.json is not the JSON it should be"),
        (
            lambda text: text.replace("photo_url", "page"),
            r"entry 0, is not as FFHQ's \(KeyError\('photo",
        ),
        (lambda text: text.replace('"60000"', '"70000"'), r"entry 70000, has numbers that no picture has"),
        (lambda text: text.replace("45", "1e400"), r"entry 0, "),
        (lambda text: "<!DOCTYPE html><title>Quota exceeded", r"is an HTML page"),
        (lambda text: "[" * 100_000, r"is not the JSON it should be"),
        (lambda text: "", r"is not the JSON it should be \(it ends too early\)"),
    ],
)
def test_damaged_metadata_is_named(change: Any, words: str, tmp_path: Path) -> None:
    write_sets(tmp_path, "images1024x1024")
    metadata(tmp_path)
    place = tmp_path / "ffhq-dataset-v2.json"
    place.write_text(change(place.read_text()))
    with pytest.raises(UserError, match=words):
        listed(ffhq(tmp_path))


def test_hugging_face_copies(tmp_path: Path) -> None:
    """Paths keep the numbers; rows are none."""
    metadata(tmp_path)
    (tmp_path / "data").mkdir()
    for name, paths in (
        ("train-00000-of-00002", ["00001.png", "60000.png"]),
        ("train-00001-of-00002", [None]),
    ):
        table = pa.table({"image": [{"bytes": b"x", "path": path} for path in paths]})
        pq.write_table(table, tmp_path / f"data/{name}.parquet")
    assert [(r.id.rpartition("/")[2], r.split, r.photo_id) for r in listed(ffhq(tmp_path))] == [
        ("00001.png", "train", "https://flickr/0"),
        ("60000.png", "val", "https://flickr/30000"),
        ("0", None, None),
    ]
