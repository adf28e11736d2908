"""7z archives, whole and in parts, written by py7zr."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from facecorpus.errors import UserError
from facecorpus.sources.archives import InputError, open_container
from facecorpus.sources.base import make_source

FILES = {f"img_celeba/{n:06d}.jpg": random.Random(n).randbytes(2000 + 37 * n) for n in range(1, 41)}
FILES["img_celeba/empty.jpg"] = b""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    py7zr = pytest.importorskip("py7zr")
    place = tmp_path / "img_celeba.7z"
    with py7zr.SevenZipFile(place, "w") as written:
        for name, data in FILES.items():
            written.writestr(data, name)
    return place


def split(archive: Path, folder: Path, size: int = 30_000) -> Path:
    """The archive in parts, as its owners give it."""
    data = archive.read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(data), size), 1):
        (folder / f"{archive.name}.{number:03d}").write_bytes(data[start : start + size])
    return folder / f"{archive.name}.001"


@pytest.mark.parametrize("in_parts", [False, True])
def test_members_in_any_order(in_parts: bool, archive: Path, tmp_path: Path) -> None:
    place = split(archive, tmp_path / "parts") if in_parts else archive
    with open_container(str(place)) as opened:
        members = list(opened.members())
        assert [(m.path, m.bytes) for m in members] == [(name, len(data)) for name, data in FILES.items()]
        shuffled = random.Random(0).sample(members, 12)
        for member in [*members, *shuffled, *members[3::5]]:
            assert opened.read(member) == FILES[member.path]


def test_celeba_in_the_wild_in_parts(archive: Path, tmp_path: Path) -> None:
    """Google Drive gives the parts in a folder called like the archive."""
    root = tmp_path / "celeba"
    split(archive, root / "Img/img_celeba.7z")
    (root / "Anno").mkdir()
    (root / "Anno/list_bbox_celeba.txt").write_text("1\nimage_id x_1\n000001.jpg 5 6 70 80\n")
    source = make_source("celeba", "celeba", str(root))
    records = list(source.inventory())
    assert {r.container for r in records} == {"Img/img_celeba.7z/img_celeba.7z.001"}
    assert records[0].given_box_xyxy_px == (5, 6, 75, 86)
    reader = source.reader()
    assert reader.read(records[7]) == FILES[records[7].member]
    reader.close()
    assert {"Img/img_celeba.7z/img_celeba.7z.001", "Img/img_celeba.7z/img_celeba.7z.002"} <= set(
        source.stamps()
    )


def test_a_missing_part_is_said(archive: Path, tmp_path: Path) -> None:
    first = split(archive, tmp_path / "parts")
    (tmp_path / "parts/img_celeba.7z.002").unlink()
    with pytest.raises(UserError, match=r"7z\.001 is not a whole 7z archive.*see that all its parts are"):
        list(open_container(str(first)).members())


def test_damage_costs_what_lies_behind_it(archive: Path) -> None:
    data = archive.read_bytes()
    archive.write_bytes(data[:40_000] + bytes(8) + data[40_008:])
    with open_container(str(archive)) as opened:
        members = list(opened.members())
        assert opened.read(members[0]) == FILES[members[0].path]
        with pytest.raises(InputError, match="damaged"):
            opened.read(members[-2])
        assert opened.read(members[1]) == FILES[members[1].path]


def test_without_the_library_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py7zr", None)
    (tmp_path / "x.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(40))
    with pytest.raises(UserError, match=r"library py7zr: pip install 'facecorpus\[sources\]', or unpack"):
        open_container(str(tmp_path / "x.7z"))
