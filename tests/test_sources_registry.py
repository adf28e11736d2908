"""Every adapter is found by its module, described, and named on the command line as documented."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import pytest

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import SOURCES, Facts, Source, describe, facts, make_source, parse_spec

KNOWN = {
    "affectnet", "archive", "bp4d", "bp4d_plus", "casia_webface", "celeba", "disfa", "edface_celeb_1m",
    "ffhq", "folder", "imdb_wiki", "laion_face", "megaface", "umdfaces", "vggface2",
}  # fmt: skip


def test_adapters() -> None:
    known = {"archive", "bp4d", "bp4d_plus", "casia_webface", "celeba", "disfa", "folder", "vggface2"}
    assert known <= set(SOURCES)


@pytest.mark.parametrize("adapter", list(SOURCES))
def test_every_adapter(adapter: str) -> None:
    """The class is called by its module, is described, and travels to a worker."""
    found = SOURCES.get(adapter)
    assert issubclass(found, Source)
    assert found.adapter == adapter
    assert found.__module__ == f"facecorpus.sources.{adapter}"
    assert adapter in facts()
    copy = pickle.loads(pickle.dumps(make_source(adapter, "mine", "/data/x", "/cache")))
    assert (type(copy), copy.name, copy.location, copy.cache) == (found, "mine", "/data/x", "/cache")


def test_facts() -> None:
    assert facts().keys() >= KNOWN
    for known in facts().values():
        assert known.title
        assert known.layout
        assert known.terms
        assert known.availability
        assert known.citation or known.availability == "your own"
        assert describe(known.name).startswith(known.title)
        assert f" {known.name} " in describe()
    assert facts()["celeba"].images == 202_599


def test_describe_tells_what_an_adapter_reads() -> None:
    marked = {line.split()[1] for line in describe().splitlines() if line.startswith("* ")}
    assert marked == set(SOURCES)
    assert "--sources celeba" in describe("celeba")
    assert "bp4d_plus/picture_0=frame_1:PATH if pictures count from 0" in describe("bp4d_plus")
    assert "settings" not in describe("gft")
    with pytest.raises(UserError, match="no data set 'celebb' is known; did you mean 'celeba'"):
        describe("celebb")


@pytest.mark.parametrize(
    ("spec", "adapter", "name", "location"),
    [
        ("folder", "folder", "folder", "ROOT/folder"),
        (" folder ", "folder", "folder", "ROOT/folder"),
        ("mine=folder:x/y", "folder", "mine", "ROOT/x/y"),
        ("folder:x/y", "folder", "folder", "ROOT/x/y"),
        ("photos=archive:photos.tar", "archive", "photos", "ROOT/photos.tar"),
        ("a=folder:ROOT/x", "folder", "a", "ROOT/x"),
        ("a=folder:file://ROOT/x", "folder", "a", "file://ROOT/x"),
        ("casia_webface_rec=casia_webface:x", "casia_webface", "casia_webface_rec", "ROOT/x"),
    ],
)
def test_specs(spec: str, adapter: str, name: str, location: str, tmp_path: Path) -> None:
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "photos.tar").write_bytes(b"")
    source = parse_spec(spec.replace("ROOT", str(tmp_path)), str(tmp_path))
    assert (source.adapter, source.name) == (adapter, name)
    assert source.location == location.replace("ROOT", str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("celebs", r"no adapter 'celebs' \(folder and archive read any images\); did you mean 'celeba'\?"),
        (
            "xyzzy",
            r"no adapter 'xyzzy' .*; known: .*archive, bp4d, .*, webdataset \(a module named by FACE_PLUGINS",
        ),
        ("My-Set=folder", r"source name 'My-Set' in 'My-Set=folder' may hold only a-z, 0-9 and _"),
        ("=folder", "source name '' in '=folder' may hold only"),
        ("a=b=folder", r"has not the form \[NAME=\]ADAPTER\[:PATH\]"),
        ("folder:", r"has not the form \[NAME=\]ADAPTER\[:PATH\]"),
        (
            "celeba:nowhere",
            r"looks for ROOT/nowhere, which does not exist \(ROOT holds there/, x\.tar\); the adapter celeba",
        ),
        ("folder:deep/nowhere", r"ROOT/deep/nowhere, which does not exist \(ROOT/deep does not exist\)"),
    ],
)
def test_bad_specs(spec: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(UserError, match=words.replace("ROOT", str(tmp_path))):
        parse_spec(spec, str(tmp_path))


def test_a_data_set_that_is_only_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = Facts(name="sketches", title="Sketches", layout="any", terms="none", availability="nowhere")
    monkeypatch.setitem(facts(), "sketches", known)
    assert "no adapter; sketches=folder:PATH or sketches=archive:PATH" in describe("sketches")
    with pytest.raises(UserError, match="Sketches is known but has no adapter; folder and archive read any"):
        parse_spec("sketches", str(tmp_path))


def test_what_a_data_set_says_of_its_origin(tmp_path: Path) -> None:
    """It lies beside the pictures or the archive, and is no input."""
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.tar").write_bytes(bytes(10240))
    folder = make_source("folder", "f", str(tmp_path))
    assert folder.origin() is None
    (tmp_path / "origin.json").write_text('{"synthetic": true, "by": "someone"}')
    for source in (folder, make_source("archive", "a", str(tmp_path / "a.tar"))):
        assert source.origin() == {"synthetic": True, "by": "someone"}
    assert [record.member for record in folder.inventory()] == ["a.jpg", "a.tar"]
    for damaged in ("[1]", "{", "[" * 100_000):
        (tmp_path / "origin.json").write_text(damaged)
        with pytest.raises(UserError, match=r"/origin\.json is no JSON object; write it as in"):
            folder.origin()


def test_missing_root() -> None:
    with pytest.raises(UserError, match="the root folder /no/such does not exist or is no folder"):
        parse_spec("celeba", "/no/such")
    with pytest.raises(
        UserError, match="source 'celeba' is relative to a root folder, but none is given; add --root"
    ):
        parse_spec("celeba")


def test_archive_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder; use folder:.*, or name an archive in it"):
        list(make_source("archive", "a", str(tmp_path)).inventory())


def members(path: Path) -> dict[str, bytes]:
    """The regular files of a tar, by another way than the one under test."""
    with tarfile.open(path) as archive:
        files = {info.name.removeprefix("./"): archive.extractfile(info) for info in archive if info.isreg()}
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.mark.real
@pytest.mark.parametrize("name", ["formats.tar", "lfw160.tar", "nonfaces.tar"])
def test_real_archives(name: str, real_data: Path) -> None:
    source = make_source("archive", "real", str(real_data / name))
    records: list[Record] = list(source.inventory())
    reader = source.reader()
    assert {r.member: reader.read(r) for r in records} == members(real_data / name)
    reader.close()
