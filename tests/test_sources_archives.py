"""Folders, tar, tar.gz and zip: each lists every file exactly once and gives its bytes back in any order."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import re
import struct
import tarfile
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import (
    InputError,
    Part,
    RepeatedIdsError,
    Source,
    is_archive_name,
    make_source,
    stamp_of,
)

Tree = dict[str, bytes]


def write_folder(place: Path, tree: Tree) -> Path:
    place.mkdir()
    for path, data in tree.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(data)
    return place


def write_tar(place: Path, tree: Tree, dialect: int = tarfile.PAX_FORMAT, prefix: str = "") -> Path:
    with tarfile.open(place, "w", format=dialect) as archive:
        for path, data in tree.items():
            info = tarfile.TarInfo(prefix + path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return place


def write_tgz(place: Path, tree: Tree) -> Path:
    plain = write_tar(place.with_suffix(".plain"), tree)
    place.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    return place


def write_zip(place: Path, tree: Tree, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(place, "w", method) as archive:
        for path, data in tree.items():
            archive.writestr(path, data)
    return place


KINDS: dict[str, Callable[[Path, Tree], Path]] = {
    "folder": write_folder,
    "tar-pax": write_tar,
    "tar-gnu": lambda place, tree: write_tar(place, tree, tarfile.GNU_FORMAT),
    "tar-dot": lambda place, tree: write_tar(place, tree, tarfile.GNU_FORMAT, "./"),
    "tgz": write_tgz,
    "zip": write_zip,
    "zip-stored": lambda place, tree: write_zip(place, tree, zipfile.ZIP_STORED),
}


def source(place: Path | str, cache: str | None = None) -> Source:
    return make_source("folder" if storage.is_dir(str(place)) else "archive", "s", str(place), cache)


def listed(place: Path | str) -> list[Record]:
    return list(source(place).inventory())


def check(place: Path | str, tree: Tree, cache: str | None = None) -> None:
    """The inventory is the tree, and reading gives its bytes in any order, also in another process's copy."""
    opened = source(place, cache)
    records = list(opened.inventory())
    assert sorted((r.member, r.bytes) for r in records) == sorted((p, len(d)) for p, d in tree.items())
    # An id ends as that of a further face does in no case.
    assert all(r.id in (f"s/{r.member}", f"s/{r.member}#") for r in records)
    assert not any(re.search(r"#[0-9]+\Z", r.id) for r in records)
    assert {(r.source, r.container) for r in records} <= {("s", "")}
    assert list(opened.inventory()) == records
    stamps = opened.stamps()
    assert all(stamp_of(record, stamps) for record in records)
    reader = pickle.loads(pickle.dumps(opened)).reader()
    shuffled = records + records
    random.Random(0).shuffle(shuffled)
    for record in [*records, *shuffled, *reversed(records)]:
        assert reader.read(record) == tree[record.member]
    reader.close()


_names = st.text(st.characters(codec="utf-8", exclude_characters="/\0\\"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200 and not is_archive_name(name)
)
_paths = st.lists(_names, min_size=1, max_size=4).map("/".join) | st.just("d" * 90 + "/" + "e" * 150 + ".jpg")


def _no_file_is_a_folder(tree: Tree) -> bool:
    return not any(other.startswith(path + "/") for path in tree for other in tree)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(
    tree=st.dictionaries(_paths, st.binary(max_size=1500), min_size=1, max_size=12).filter(
        _no_file_is_a_folder
    )
)
def test_inventory_is_the_tree(kind: str, tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(KINDS[kind](Path(folder) / "x", tree), tree)


@pytest.fixture
def tree() -> Tree:
    rng = random.Random(7)
    return {f"p{n % 5}/{n:04d}.jpg": rng.randbytes(rng.randrange(3000)) for n in range(200)}


def _put(url: str, data: bytes) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(data)

    storage.publish(url, write)


@pytest.mark.parametrize("kind", KINDS)
def test_in_an_object_store(kind: str, tree: Tree, tmp_path: Path) -> None:
    place = KINDS[kind](tmp_path / "x", tree)
    base = f"memory://{uuid.uuid4().hex}"
    for path, _, _ in storage.walk_files(str(place)) if place.is_dir() else [("", 0, "")]:
        _put(storage.join(base, path or "x"), (place / path).read_bytes())
    check(base if place.is_dir() else storage.join(base, "x"), tree, f"{base}-cache")


def test_order_is_that_of_the_container(tree: Tree, tmp_path: Path) -> None:
    backwards = dict(reversed(tree.items()))
    assert [r.member for r in listed(write_tar(tmp_path / "x.tar", backwards))] == list(backwards)
    assert [r.member for r in listed(write_zip(tmp_path / "x.zip", backwards))] == list(backwards)
    assert [r.member for r in listed(write_folder(tmp_path / "x", backwards))] == sorted(tree)


def test_nothing_is_dropped_for_its_name(tmp_path: Path) -> None:
    tree = {
        ".hidden": b"1",
        "__MACOSX/._a.jpg": b"2",
        "a/.DS_Store": b"3",
        "a/Thumbs.db": b"4",
        "a/empty.jpg": b"",
    }
    for kind, write in KINDS.items():
        check(write(tmp_path / kind, tree), tree)


# -- tar


def test_tar_offsets_are_those_of_the_payload(tree: Tree, tmp_path: Path) -> None:
    place = write_tar(tmp_path / "x.tar", tree)
    data = place.read_bytes()
    for record in listed(place):
        assert data[record.offset : record.offset + record.bytes] == tree[record.member]


def test_tar_written_by_gnu_tar_and_zip64(tmp_path: Path) -> None:
    """Dialects that tarfile writes only on demand: a v7 header without magic, and a zip with Zip64 fields."""
    place = write_tar(tmp_path / "x.tar", {"a.jpg": b"data"}, tarfile.USTAR_FORMAT)
    data = bytearray(place.read_bytes())
    data[257:500] = bytes(243)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    place.write_bytes(data)
    check(place, {"a.jpg": b"data"})
    with (
        zipfile.ZipFile(tmp_path / "x.zip", "w") as archive,
        archive.open("a.jpg", "w", force_zip64=True) as member,
    ):
        member.write(b"data")
    check(tmp_path / "x.zip", {"a.jpg": b"data"})


def test_links_are_noted_and_not_listed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
        for kind in (tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"other{kind.decode()}")
            info.type, info.linkname = kind, "a.jpg"
            archive.addfile(info)
    opened = source(tmp_path / "x.tar")
    assert [record.member for record in opened.inventory()] == ["a.jpg"]
    assert opened.notes == [f"{tmp_path}/x.tar: 1 link is no input"]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.jpg", b"")
        archive.mkdir("folder")
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "a.jpg")
    opened = source(tmp_path / "x.zip")
    assert [record.member for record in opened.inventory()] == ["a.jpg"]
    assert opened.notes == [f"{tmp_path}/x.zip: 1 link is no input"]


def test_an_archive_of_links_alone_is_called_that(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in "ab":
            info = tarfile.TarInfo(f"{name}.jpg")
            info.type, info.linkname = tarfile.SYMTYPE, f"/data/{name}.jpg"
            archive.addfile(info)
    with pytest.raises(UserError, match=r"x\.tar holds no files \(.*x\.tar: 2 links are no inputs\)"):
        listed(tmp_path / "x.tar")


def test_hard_links_are_inputs_in_a_folder_and_in_a_tar(tmp_path: Path) -> None:
    """GNU tar writes the second name of a file as a link to the first, whichever is met first."""
    folder = write_folder(tmp_path / "x", {"a.jpg": b"data", "b.jpg": b"other"})
    (folder / "z.jpg").hardlink_to(folder / "a.jpg")
    tree = {"a.jpg": b"data", "b.jpg": b"other", "z.jpg": b"data"}
    check(folder, tree)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(folder, ".")
        assert archive.getmember("./z.jpg").islnk() or archive.getmember("./a.jpg").islnk()
    check(tmp_path / "x.tar", tree)
    (tmp_path / "x.tgz").write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))
    check(tmp_path / "x.tgz", tree, str(tmp_path / "cache"))


def fails_alone(place: Path, bad: str, words: str, others: Tree) -> None:
    """`bad` is an input that fails, with the reason in words; the others are read."""
    opened = source(place)
    records = list(opened.inventory())
    assert sorted(r.member for r in records) == sorted([bad, *others])
    reader = opened.reader()
    for record in records:
        if record.member == bad:
            with pytest.raises(InputError, match=words):
                reader.read(record)
        else:
            assert reader.read(record) == others[record.member]
    reader.close()


@pytest.mark.parametrize("name", ["../a.jpg", "b/../../a.jpg", "/etc/a.jpg"])
def test_a_name_that_leads_outside_costs_its_member(name: str, tmp_path: Path) -> None:
    tree = {name: b"bad", "c.jpg": b"good"}
    for place in (write_tar(tmp_path / "x.tar", tree), write_zip(tmp_path / "x.zip", tree)):
        fails_alone(place, name, "leads outside; repack", {"c.jpg": b"good"})


def test_a_sparse_member_fails_alone(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("holes.jpg")
        info.size = 512 + 10
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9000"}
        archive.addfile(info, io.BytesIO(b"1\n0\n10\n".ljust(512, b"\0") + b"0123456789"))
        info = tarfile.TarInfo("c.jpg")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"good"))
    fails_alone(tmp_path / "x.tar", "holes.jpg", "sparse", {"c.jpg": b"good"})


def test_the_same_member_twice_costs_the_second(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in (("a.jpg", b"1"), ("b.jpg", b"22"), ("./a.jpg", b"333")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(tmp_path / "x.zip", "w") as archive,
    ):
        for name, data in (("a.jpg", b"1"), ("b.jpg", b"22"), ("a.jpg", b"333")):
            archive.writestr(name, data)
    for place in (tmp_path / "x.tar", tmp_path / "x.zip"):
        opened = source(place)
        with pytest.raises(RepeatedIdsError) as found:
            list(opened.inventory())
        records = list(opened.inventory(found.value.hashes))
        assert [r.id for r in records] == ["s/a.jpg", "s/b.jpg", "s/a.jpg//2"]
        reader = opened.reader()
        assert [reader.read(r) for r in records[:2]] == [b"1", b"22"]
        with pytest.raises(InputError, match="has the name of another input"):
            reader.read(records[2])
        reader.close()


def test_names_of_old_windows_tools_are_paths(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("n1\\a.jpg", "n1\\b.jpg", "n2\\"):
            info = zipfile.ZipInfo("name")
            info.filename, info.create_system = name, 0
            archive.writestr(info, name.encode())
    check(tmp_path / "x.zip", {"n1/a.jpg": b"n1\\a.jpg", "n1/b.jpg": b"n1\\b.jpg"})


def test_a_name_with_a_false_utf8_flag_is_read(tmp_path: Path) -> None:
    place = write_zip(tmp_path / "x.zip", {"caf\u00e9.jpg": b"data", "b.jpg": b"other"})
    place.write_bytes(place.read_bytes().replace("caf\u00e9".encode(), b"caf\xe9\xff"))
    check(place, {b"caf\xe9\xff.jpg".decode("cp437"): b"data", "b.jpg": b"other"})


def test_split_zips_are_called_that(tmp_path: Path) -> None:
    data = bytearray(write_zip(tmp_path / "faces.zip", {"a.jpg": b"data"}).read_bytes())
    end = data.rindex(b"PK\x05\x06")
    struct.pack_into("<H", data, end + 4, 2)
    (tmp_path / "faces.zip").write_bytes(data[20:])  # the last part begins anywhere
    (tmp_path / "faces.z01").write_bytes(b"PK\x07\x08" + data[:20])
    with pytest.raises(UserError, match=r"faces\.zip is the last part of a zip split into 3 files \(faces"):
        listed(tmp_path / "faces.zip")
    with pytest.raises(UserError, match=r"first part of a zip .* zip -s 0 .*/faces\.zip --out"):
        listed(tmp_path / "faces.z01")


def test_archives_that_are_not_opened_are_named_with_what_to_type(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "laion", {"0.json": b"{}"})
    for name in ("0.tar", "1.tar"):
        write_tar(folder / name, {"a.jpg": b"data"})
    message = (
        rf"laion holds 2 archives, which folder does not open: name them, "
        rf"--sources s0=archive:{folder}/0\.tar,s1=archive:{folder}/1\.tar"
    )
    with pytest.raises(UserError, match=message):
        listed(folder)
    (folder / "a.jpg").write_bytes(b"data")
    opened = source(folder)
    assert len(list(opened.inventory())) == 4
    assert len(opened.notes) == 1
    assert opened.notes[0].startswith(f"{folder} holds 2 archives")
    with pytest.raises(UserError, match=r"x\.zip holds train\.rec: archives in an archive are not read;"):
        listed(write_zip(tmp_path / "x.zip", {"train.rec": b"data", "train.idx": b""}))


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_reader_closes_archives_that_it_has_not_used_for_long(tmp_path: Path) -> None:
    class Many(Source):
        adapter = "archive"

        def parts(self) -> list[Part]:
            return [Part(f"{n}.tar") for n in range(50)]

    for n in range(50):
        write_tar(tmp_path / f"{n}.tar", {f"{n}.jpg": b"%d" % n})
    opened = Many("s", str(tmp_path))
    reader = opened.reader()
    before = _open_files()
    records = list(opened.inventory())
    for record in [*records, *reversed(records)]:
        assert reader.read(record) == record.member.removesuffix(".jpg").encode()
        assert _open_files() <= before + 33
    reader.close()
    assert _open_files() <= before


# -- damage


@pytest.mark.parametrize("kind", ["tar-pax", "tar-gnu", "tgz"])
def test_a_cut_tar_is_never_taken_for_whole(kind: str, tree: Tree, tmp_path: Path) -> None:
    """Cut anywhere before the end mark is complete: in a header, in a payload, between two members."""
    whole = KINDS[kind](tmp_path / "x", tree).read_bytes()
    content = gzip.decompress(whole) if kind == "tgz" else whole
    end_mark = len(content.rstrip(b"\0")) // 512 * 512 + 512
    lengths = range(0, len(whole), len(whole) // 60) if kind == "tgz" else range(0, end_mark, 512 * 7 + 256)
    for length in [*lengths, len(whole) - 4 if kind == "tgz" else end_mark + 100]:
        (tmp_path / "cut").write_bytes(whole[:length])
        opened = source(tmp_path / "cut")
        try:
            list(opened.inventory())
        except UserError as error:
            assert "copy it again" in str(error)
        else:
            assert [note for note in opened.notes if "has no end mark" in note]


def test_a_tar_without_an_end_mark_is_read_and_said_so(tmp_path: Path) -> None:
    """As a writer leaves it that was not closed; a cut between two members cannot be told from it."""
    place = write_tar(tmp_path / "x.tar", {"a.jpg": b"x" * 512, "b.jpg": b"y" * 512})
    place.write_bytes(place.read_bytes()[: 2 * 1024])
    opened = source(place)
    assert [r.member for r in opened.inventory()] == ["a.jpg", "b.jpg"]
    (note,) = opened.notes
    assert note.startswith(
        f"{place} has no end mark: what was written was read, but it may have been cut short"
    )
    assert "at byte 2048" in note


def test_a_gzip_file_that_is_cut_between_two_members_is_refused(tmp_path: Path) -> None:
    """What can be inflated of it is a tar without an end mark, which alone would be read."""
    members = io.BytesIO()
    with tarfile.open(fileobj=members, mode="w") as archive:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = 512
            archive.addfile(info, io.BytesIO(bytes([number]) * 512))
        at = archive.offset
    squeezer = zlib.compressobj(wbits=31)
    whole = squeezer.compress(members.getvalue()[:at]) + squeezer.flush(zlib.Z_FULL_FLUSH)
    (place := tmp_path / "a.tar.gz").write_bytes(whole)
    with pytest.raises(UserError, match="is not a whole gzip file, probably half copied"):
        listed(place)
    place.write_bytes(whole + squeezer.flush())
    assert len(listed(place)) == 3


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize(
    ("field", "words"),
    [(b"\xff" * 10 + b"\xf0\0", "leads backwards|says a size of -"), (b"\x80" + b"\0" * 2 + b"\x7f" * 9, "")],
    ids=["negative", "huge"],
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_size_that_cannot_be_ends_in_a_sentence(
    kind: bytes, field: bytes, words: str, gzipped: bool, tmp_path: Path
) -> None:
    """A negative size led tarfile back to the same header for ever, a huge one took the memory."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in "abc":
            archive.addfile(tarfile.TarInfo(f"{name}.jpg"))
    data = bytearray((tmp_path / "x.tar").read_bytes())
    data[512 + 124 : 512 + 136] = field
    data[512 + 156 : 512 + 157] = kind
    data[512 + 148 : 512 + 156] = b" " * 8
    data[512 + 148 : 512 + 156] = b"%06o\0 " % sum(data[512:1024])
    (tmp_path / "x.tar").write_bytes(gzip.compress(data) if gzipped else data)
    with pytest.raises(UserError, match=rf"x\.tar .*({words}).*copy it again"):
        listed(tmp_path / "x.tar")


def test_a_damaged_lzma_member_fails_alone(tmp_path: Path) -> None:
    tree = {"a.jpg": bytes(range(256)) * 4, "b.jpg": b"other"}
    place = write_zip(tmp_path / "x.zip", tree, zipfile.ZIP_LZMA)
    data = bytearray(place.read_bytes())
    data[35 + 4 : 35 + 14] = b"\xff" * 10  # the LZMA properties and the first bytes behind the local header
    place.write_bytes(data)
    fails_alone(place, "a.jpg", "damaged member", {"b.jpg": b"other"})


def test_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    place = write_tar(tmp_path / "x.tar", {"a.jpg": b"x" * 512, "b.jpg": b"y" * 512})
    data = bytearray(place.read_bytes())
    data[1024 + 3] ^= 1  # the name in the second header, so that its checksum is wrong
    place.write_bytes(data)
    with pytest.raises(UserError, match=r"x\.tar is damaged at byte 1024"):
        listed(place)


def test_joined_tars_are_refused(tmp_path: Path) -> None:
    one, two = (write_tar(tmp_path / n, {f"{n}.jpg": b"data"}).read_bytes() for n in "ab")
    (tmp_path / "x.tar").write_bytes(one + two)
    with pytest.raises(
        UserError, match=r"x\.tar goes on after its end mark at byte .*several archives in one"
    ):
        listed(tmp_path / "x.tar")


def test_gzip_damage_is_found(tree: Tree, tmp_path: Path) -> None:
    place = write_tgz(tmp_path / "x.tgz", tree)
    data = bytearray(place.read_bytes())
    data[-8] ^= 1  # the checksum
    place.write_bytes(data)
    with pytest.raises(UserError, match=r"x\.tgz .*copy it again"):
        listed(place)


@pytest.mark.parametrize("kind", ["zip", "zip-stored"])
def test_a_cut_zip_is_never_taken_for_whole(kind: str, tree: Tree, tmp_path: Path) -> None:
    whole = KINDS[kind](tmp_path / "x", tree).read_bytes()
    for length in [*range(100, len(whole), len(whole) // 20), len(whole) - 1]:
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        with pytest.raises(
            UserError, match="is not a whole zip archive: its directory, at the end, is missing"
        ):
            listed(tmp_path / "cut.zip")


def test_encrypted_and_exotic_zips_are_refused(tmp_path: Path) -> None:
    data = write_zip(tmp_path / "x.zip", {"a.jpg": b"data"}, zipfile.ZIP_STORED).read_bytes()
    directory = data.index(b"PK\x01\x02")
    for offset, value, words in ((8, 1, r"is encrypted \(member 'a\.jpg'\)"), (10, 98, "by method 98")):
        changed = bytearray(data)
        struct.pack_into("<H", changed, directory + offset, value)
        (tmp_path / "x.zip").write_bytes(changed)
        with pytest.raises(UserError, match=words):
            listed(tmp_path / "x.zip")


def test_damaged_zip_member_fails_alone(tmp_path: Path) -> None:
    place = write_zip(tmp_path / "x.zip", {"a.jpg": b"a" * 50, "b.jpg": b"b" * 50}, zipfile.ZIP_STORED)
    place.write_bytes(place.read_bytes().replace(b"a" * 50, b"a" * 49 + b"x"))
    records = listed(place)
    reader = source(place).reader()
    with pytest.raises(OSError, match=r"^x\.zip:a\.jpg: damaged member .*CRC-32"):
        reader.read(records[0])
    assert reader.read(records[1]) == b"b" * 50
    reader.close()


@pytest.mark.parametrize("kind", KINDS)
def test_empty_containers_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no files"):
        listed(KINDS[kind](tmp_path / "x", {}))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is an empty file, probably an interrupted copy"),
        (b"BZh91AY", "is bzip2-compressed data, which is not read from the middle; decompress it: bzip2 -dk"),
        (b"\xfd7zXZ\0", "is xz"),
        (b"7z\xbc\xaf\x27\x1c", "is (a 7z archive, which is read through|not a whole 7z archive)"),
        (b"Rar!\x1a\x07\x00", "is a RAR archive"),
        (b"\xff\xd8\xff\xe0" * 200, "is neither a folder nor a tar.* those of a JPEG picture"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is neither .* a Git LFS pointer.*; run 'git",
        ),
        (
            b"<!DOCTYPE html><title>Google Drive</title>",
            "is neither .* an HTML page.*; download it",
        ),
        (gzip.compress(b"\xff\xd8\xff" * 200, mtime=0), r"does not begin with a tar header .*: it is no tar"),
    ],
)
def test_other_files_are_refused(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError, match=f"{tmp_path}/x {words}"):
        listed(tmp_path / "x")


# -- reading


def test_changed_inputs_are_told_by_name(tmp_path: Path) -> None:
    opened = source(write_folder(tmp_path / "x", {"a.jpg": b"12345", "b.jpg": b"1"}))
    records = list(opened.inventory())
    before = opened.stamps()
    (tmp_path / "x/a.jpg").write_bytes(b"123")
    (tmp_path / "x/b.jpg").unlink()
    reader = opened.reader()
    with pytest.raises(OSError, match=r"^x:a\.jpg has 3 bytes, but 5 when it was listed"):
        reader.read(records[0])
    with pytest.raises(OSError, match=r"^x:b\.jpg: .*No such file"):
        reader.read(records[1])
    assert opened.stamps().keys() == {"a.jpg"}
    assert opened.stamps()["a.jpg"] != before["a.jpg"]


def test_a_name_that_is_not_utf8_can_be_listed_and_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "x", {os.fsdecode(b"caf\xe9/\xff.jpg"): b"data"})
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(folder, ".")
    for place in (folder, tmp_path / "x.tar"):
        check(place, {r"caf\xe9/\xff.jpg": b"data"})


def test_the_index_of_a_gzip_is_kept_and_used(tree: Tree, tmp_path: Path) -> None:
    place = write_tgz(tmp_path / "x.tgz", tree)
    cache = tmp_path / "cache"
    check(place, tree, str(cache))
    (index,) = cache.iterdir()
    assert index.name.startswith("x.tgz-")
    assert index.stat().st_size > 0
    records = listed(place)
    index.write_bytes(b"not an index")
    with pytest.raises(UserError, match=rf"the index {index} is damaged .*; remove it"):
        source(place, str(cache)).reader().read(records[-1])


def test_a_changed_gzip_gets_another_index(tree: Tree, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    check(write_tgz(tmp_path / "x.tgz", tree), tree, str(cache))
    more = {**tree, "new.jpg": b"new"}
    check(write_tgz(tmp_path / "x.tgz", more), more, str(cache))
    assert len(list(cache.iterdir())) == 2


def test_seek_points_lie_within_a_large_gzip(tmp_path: Path) -> None:
    """More than one seek point: random access does not start from the front."""
    rng = random.Random(1)
    big = {f"{n:03d}.jpg": rng.randbytes(100_000) for n in range(130)}
    place = write_tgz(tmp_path / "x.tgz", big)
    check(place, big, str(tmp_path / "cache"))
    (index,) = (tmp_path / "cache").iterdir()
    assert index.stat().st_size > 3 * (32 << 10)
