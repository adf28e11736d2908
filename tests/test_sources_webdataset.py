"""WebDataset shards, against tarfile and zipfile and the layout that img2dataset writes."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import webdataset
from laid_out import write_tar

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Source, make_source

JPEG = b"\xff\xd8\xff not a whole one"


def img2dataset(folder: Path, shard: int, count: int, *, failed: int = 0) -> None:
    """A shard as img2dataset 1.47 leaves it: jpg, json, txt of each success, and two files beside."""
    members: dict[str, bytes] = {}
    for number in range(count):
        key = f"{shard:05d}{number:04d}"
        about = {"key": key, "url": f"http://x/{key}.jpg", "status": "success", "width": 9, "caption": "a"}
        members[f"{key}.jpg"] = JPEG + key.encode()
        members[f"{key}.json"] = json.dumps(about, indent=4).encode()
        members[f"{key}.txt"] = b"a"
    write_tar(folder / f"{shard:05d}.tar", members)
    (folder / f"{shard:05d}.parquet").write_bytes(b"PAR1")
    stats = {"count": count + failed, "successes": count, "failed_to_download": failed}
    (folder / f"{shard:05d}_stats.json").write_text(json.dumps(stats))


def shards(place: Path) -> Source:
    return make_source("webdataset", "w", str(place))


def read_all(source: Source) -> tuple[list[Record], list[bytes]]:
    records = list(source.inventory())
    reader = source.reader()
    data = [reader.read(record) for record in records]
    reader.close()
    return records, data


def test_img2dataset_shards_in_split_folders(tmp_path: Path) -> None:
    """LAION-Face's split_N folders call their shards and members alike; only pictures are inputs."""
    for split in (0, 1):
        img2dataset(tmp_path / f"split_{split}", 0, 2)
    source = shards(tmp_path)
    records, data = read_all(source)
    assert [r.id for r in records] == [
        f"w/split_{split}/00000.tar/00000000{number}.jpg" for split in (0, 1) for number in (0, 1)
    ]
    assert [r.photo_id for r in records] == ["http://x/000000000.jpg", "http://x/000000001.jpg"] * 2
    assert data == [JPEG + b"000000000", JPEG + b"000000001"] * 2
    assert {r.identity for r in records} == {None} and source.notes == []
    assert source.stamps().keys() == {"split_0/00000.tar", "split_1/00000.tar"}


def test_a_shard_that_lost_pictures_is_named(tmp_path: Path) -> None:
    img2dataset(tmp_path, 0, 2, failed=3)
    img2dataset(tmp_path, 1, 0, failed=3)  # nothing was there any more: an empty tar
    (tmp_path / "00000_stats.json").write_text('{"successes": 5}')
    source = shards(tmp_path)
    assert len(list(source.inventory())) == 2
    assert source.notes == [
        f"{tmp_path}/00001.tar holds no files",
        "shards that hold fewer or more pictures than their _stats.json says: 00000.tar (2 of 5)",
    ]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_classes_are_people(mode: str, tmp_path: Path) -> None:
    members = {"a/1.jpg": JPEG, "a/1.cls": b"12\n", "a/2.png": b"x", "a/2.cls": b"13"}
    write_tar(tmp_path / "train-000000.tar", members, mode)
    records, _ = read_all(shards(tmp_path))
    assert [(r.member, r.identity) for r in records] == [("a/1.jpg", "12"), ("a/2.png", "13")]


def test_several_pictures_and_odd_members(tmp_path: Path) -> None:
    """Every picture of a sample is an input, and so is whatever tells of no picture: the ledger has it."""
    members = {
        "readme.txt": b"hello",
        "7.left.jpg": JPEG,
        "7.right.jpg": JPEG,
        "7.JSON": b'{"identity": 7}',
        "8.json": b"{}",
        "9.jpg.json": b'{"identity": "nine"}',
        "9.jpg": JPEG,
    }
    write_tar(tmp_path / "x.tar", members)
    records, _ = read_all(shards(tmp_path / "x.tar"))
    assert [(r.id, r.identity) for r in records] == [
        ("w/readme.txt", None),
        ("w/7.left.jpg", "7"),
        ("w/7.right.jpg", "7"),
        ("w/8.json", None),
        ("w/9.jpg", "nine"),
    ]


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was executed')",)


def test_pickles_are_never_executed(tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb())
    write_tar(tmp_path / "x.tar", {"1.jpg": JPEG, "1.pyd": bomb, "1.json": bomb, "1.cls": bomb})
    source = shards(tmp_path)
    (record,) = source.inventory()
    assert (record.identity, record.photo_id) == (None, None)
    assert source.notes == ["2 members of samples are not the JSON or text they should be"]


@pytest.mark.parametrize(
    "text", [b"[1]", b'{"url": 3}', b"[" * 100_000, b"\xff", b'{"identity": "../../x/"}', b""]
)
def test_json_that_says_nothing(text: bytes, tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"1.jpg": JPEG, "1.json": text})
    (record,) = shards(tmp_path).inventory()
    assert (record.identity, record.photo_id) == (None, None)


def test_what_the_webdataset_package_writes(tmp_path: Path) -> None:
    """Its writer makes PAX headers (a float for a time) and orders a sample's members by name."""
    (tmp_path / "shards").mkdir()
    with webdataset.ShardWriter(str(tmp_path / "shards/x-%06d.tar"), maxcount=2, verbose=0) as writer:
        for number in range(5):
            sample = {"jpg": JPEG + bytes([number]), "json": {"url": f"u{number}"}, "cls": number % 2}
            writer.write({"__key__": f"a/{number:04d}", **sample})
    records, data = read_all(shards(tmp_path / "shards"))
    assert [(r.container, r.member) for r in records] == [
        (f"x-{number // 2:06d}.tar", f"a/{number:04d}.jpg") for number in range(5)
    ]
    assert [(r.identity, r.photo_id) for r in records] == [(str(n % 2), f"u{n}") for n in range(5)]
    assert data == [JPEG + bytes([number]) for number in range(5)]


def test_zips_as_shards(tmp_path: Path) -> None:
    for name in ("b", "a"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("1.jpg", JPEG + name.encode())
            archive.writestr("1.txt", "x")
    records, data = read_all(shards(tmp_path))
    assert [r.id for r in records] == ["w/a.zip/1.jpg", "w/b.zip/1.jpg"]
    assert data == [JPEG + b"a", JPEG + b"b"]


def test_one_shard_cut_short_is_named(tmp_path: Path) -> None:
    img2dataset(tmp_path, 0, 3)
    img2dataset(tmp_path, 1, 3)
    cut = tmp_path / "00001.tar"
    cut.write_bytes(cut.read_bytes()[: 3 * 512 + 100])
    with pytest.raises(UserError, match=r"00001\.tar ends within a header|00001\.tar is not a whole tar"):
        list(shards(tmp_path).inventory())


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(JPEG)
    with pytest.raises(
        UserError, match=r"a shard \(\.tar, \.tar\.gz or \.zip\) is not there: .* holds x\.jpg"
    ):
        list(shards(tmp_path).inventory())
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    with pytest.raises(UserError, match="holds no files"):
        list(shards(tmp_path).inventory())
