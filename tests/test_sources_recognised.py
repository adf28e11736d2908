"""A plain path as a source: what lies there is recognised, and named."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_sources_recordio import packed, write_rec
from test_sources_webdataset import JPEG, img2dataset, write_tar

from facecorpus import pipeline
from facecorpus.errors import UserError
from facecorpus.sources.base import facts, parse_spec
from facecorpus.sources.survey import survey


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One of everything."""
    (tmp_path / "My Photos/2019").mkdir(parents=True)
    (tmp_path / "My Photos/2019/a.JPG").write_bytes(JPEG)
    (tmp_path / "My Photos/notes.txt").write_text("hello")
    write_tar(tmp_path / "crawl.tar", {"1.jpg": JPEG, "1.json": b"{}"})
    write_tar(tmp_path / "plain.tar.gz", {"1.jpg": JPEG}, "w:gz")
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("1.jpg", JPEG)
    img2dataset(tmp_path / "shards/split_0", 0, 2)
    (tmp_path / "zips").mkdir()
    with zipfile.ZipFile(tmp_path / "zips/a.zip", "w") as archive:
        archive.writestr("1.jpg", JPEG)
    (tmp_path / "faces_emore").mkdir()
    write_rec(tmp_path / "faces_emore/train.rec", [packed(0, 1, b"x")])
    (tmp_path / "faces_emore/lfw.bin").write_bytes(b"")
    (tmp_path / "hub/data").mkdir(parents=True)
    pq.write_table(pa.table({"image": pa.array([JPEG])}), tmp_path / "hub/data/train-00000-of-00001.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "adapter", "name", "inputs"),
    [
        ("My Photos", "folder", "my_photos", 2),
        ("./My Photos", "folder", "my_photos", 2),
        ("mine=./My Photos/2019", "folder", "mine", 1),
        ("crawl.tar", "webdataset", "crawl", 1),
        ("plain.tar.gz", "archive", "plain", 1),
        ("plain.zip", "archive", "plain", 1),
        ("shards", "webdataset", "shards", 2),
        ("shards/split_0/", "webdataset", "split_0", 2),
        ("shards/split_0/00000.tar", "webdataset", "00000", 2),
        ("zips", "webdataset", "zips", 1),
        ("faces_emore", "recordio", "faces_emore", 1),
        ("faces_emore/train.rec", "recordio", "train", 1),
        ("hub", "parquet", "hub", 1),
        ("hub/data/train-00000-of-00001.parquet", "parquet", "train_00000_of_00001", 1),
        ("ROOT/crawl.tar", "webdataset", "crawl", 1),
        ("c=file://ROOT/crawl.tar", "webdataset", "c", 1),
    ],
)
def test_what_lies_there_is_recognised(spec: str, adapter: str, name: str, inputs: int, root: Path) -> None:
    source = parse_spec(spec.replace("ROOT", str(root)), str(root))
    assert (source.adapter, source.name) == (adapter, name)
    assert len(list(source.inventory())) == inputs


def test_below_the_root_or_the_working_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "deep").mkdir()
    monkeypatch.chdir(root)
    assert parse_spec("./crawl.tar", "deep").location == "./crawl.tar"
    write_tar(root / "deep/crawl.tar", {"1.jpg": JPEG})
    assert parse_spec("./crawl.tar", "deep").location == "deep/./crawl.tar"
    monkeypatch.setenv("HOME", str(root))
    assert parse_spec("~/crawl.tar", ".").location == f"{root}/crawl.tar"
    monkeypatch.chdir(root / "shards")
    assert parse_spec(".", ".").name == "shards"


def test_names_are_made_unlike(root: Path) -> None:
    opened = pipeline.open_sources("shards/split_0/00000.tar,zips,./zips,plain.zip,plain.tar.gz", str(root))
    assert [source.name for source in opened] == ["00000", "zips", "zips_2", "plain", "plain_2"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("./nowhere", r"nothing lies at ROOT/\./nowhere \(ROOT/\. holds "),
        ("nowhere.tar", r"nothing lies at ROOT/nowhere\.tar \(ROOT holds "),
        ("nowhere", r"no adapter 'nowhere' .*; known: aff_wild2, affectnet"),
        ("texts", r"ROOT/texts holds no pictures, archives, RecordIO or Parquet files; check the path"),
        ("videos", r"ROOT/videos holds videos and no pictures; name the data set .* disfa:ROOT/videos"),
        ("packed", r"ROOT/packed holds photos\.rar, which is not read in place; unpack it"),
        ("texts/a.txt", r"a\.txt is neither a folder nor a tar"),
    ],
)
def test_what_is_not_read(spec: str, words: str, root: Path) -> None:
    for name in ("texts/a.txt", "videos/a.mp4", "videos/a.txt", "packed/photos.rar"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    with pytest.raises(UserError, match=words.replace("ROOT", str(root))):
        parse_spec(spec, str(root))


def test_an_adapter_is_taken_before_a_path(root: Path) -> None:
    (root / "celeba").mkdir()
    assert parse_spec("celeba", str(root)).adapter == "celeba"
    (root / "celeba/1.jpg").write_bytes(JPEG)
    assert parse_spec("./celeba", str(root)).adapter == "folder"


def test_a_tar_in_memory_is_read_by_its_bytes_not_its_name(root: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("1.jpg")
        info.size = len(JPEG)
        archive.addfile(info, io.BytesIO(JPEG))
    (root / "download").write_bytes(stream.getvalue())
    assert parse_spec("download", str(root)).adapter == "archive"


def test_a_survey_says_which_layouts_are_found(root: Path) -> None:
    (root / "casia_webface/0000045").mkdir(parents=True)
    (root / "casia_webface/0000045/001.jpg").write_bytes(JPEG)
    (root / "celeba").mkdir()
    (root / "disfa").mkdir()
    said = survey(str(root)).splitlines()
    lines = {line.split()[0]: line for line in said if line and not line.startswith(" ")}
    assert "494,414 images" in lines["casia_webface"] and "  found: ." in lines["casia_webface"]
    assert "  another layout: Img/img_align_celeba.zip is not there:" in lines["celeba"]
    assert "  another layout: " in lines["disfa"] and lines["bp4d"].endswith("  not there")
    assert f"1 of {len(facts())} are found below {root}: casia_webface" in said
    assert "    --sources ./crawl.tar  (crawl=webdataset:crawl.tar)" in said
    assert "    --sources ./My Photos  (my_photos=folder:My Photos)" in said
    known = facts()["celeba"]
    assert any(known.terms in line and known.availability in line and str(known.url) in line for line in said)
    with pytest.raises(UserError, match=r"crawl\.tar is no folder; give the one that holds the data sets"):
        survey(str(root / "crawl.tar"))
