"""RecordIO, against a writer of its own that follows the format's description (dmlc-core recordio.h)."""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Source, make_source

MAGIC = struct.pack("<I", 0xCED7230A)


def framed(payload: bytes) -> bytes:
    """A payload as one record, split wherever the magic word stands on a 4-byte boundary."""
    cuts = [i for i in range(0, len(payload) // 4 * 4, 4) if payload[i : i + 4] == MAGIC]
    edges = [0, *(cut + 4 for cut in cuts)]
    ends = [*cuts, len(payload)]
    out = b""
    for number, (start, end) in enumerate(zip(edges, ends, strict=True)):
        kind = 0 if not cuts else 1 if number == 0 else 3 if number == len(cuts) else 2
        out += (
            MAGIC
            + struct.pack("<I", kind << 29 | end - start)
            + payload[start:end]
            + bytes(-(end - start) % 4)
        )
    return out


def packed(number: int, label: float | Sequence[float], image: bytes) -> bytes:
    """What mx.recordio.pack makes: one label in the header, or several after it."""
    if isinstance(label, int | float):
        return struct.pack("<IfQQ", 0, label, number, 0) + image
    return struct.pack(f"<IfQQ{len(label)}f", len(label), 0, number, 0, *label) + image


def write_rec(place: Path, payloads: Sequence[bytes], keys: Sequence[int] | None = None) -> Path:
    index = ""
    data = b""
    for key, payload in zip(keys if keys is not None else range(len(payloads)), payloads, strict=True):
        index += f"{key}\t{len(data)}\n"
        data += framed(payload)
    place.write_bytes(data)
    if keys is not None:
        place.with_suffix(".idx").write_text(index)
    return place


def insightface(people: dict[int, list[bytes]]) -> list[bytes]:
    """Record 0 with (first identity record, last + 1), the images, a record per identity with its range."""
    images = [(label, image) for label, found in people.items() for image in found]
    first = len(images) + 1
    records = [packed(0, [first, first + len(people)], b"")]
    records += [packed(number, label, image) for number, (label, image) in enumerate(images, 1)]
    start = 1
    for number, found in enumerate(people.values(), first):
        records.append(packed(number, [start, start + len(found)], b""))
        start += len(found)
    return records


def archive(place: Path) -> Source:
    return make_source("archive", "s", str(place))


def read_all(place: Path) -> tuple[list[Record], list[bytes]]:
    opened = archive(place)
    records = list(opened.inventory())
    reader = opened.reader()
    order = list(range(len(records)))
    random.Random(0).shuffle(order)
    data = {i: reader.read(records[i]) for i in order}
    reader.close()
    return records, [data[i] for i in range(len(records))]


_images = st.lists(st.binary(max_size=30) | st.sampled_from([MAGIC]), max_size=5).map(b"".join)


@settings(deadline=None)
@given(images=st.lists(_images, min_size=1, max_size=8), indexed=st.booleans(), labels=st.integers(0, 3))
def test_round_trip(images: list[bytes], indexed: bool, labels: int) -> None:
    """Any bytes, magic words on and off the boundary among them, come back as they were."""
    keys = [7 * n + 3 for n in range(len(images))]
    label = [5.0, 1.5, 2.5][:labels] if labels else 5
    with tempfile.TemporaryDirectory() as folder:
        payloads = [packed(n, label, image) for n, image in enumerate(images)]
        place = write_rec(Path(folder) / "x.rec", payloads, keys if indexed else None)
        expected = [
            (key if indexed else n, image) for n, (key, image) in enumerate(zip(keys, images, strict=True))
        ]
        if labels:  # then a record without an image is an index record, not an empty input
            expected = [(key, image) for key, image in expected if image]
        if not expected:
            with pytest.raises(UserError, match="holds no files"):
                read_all(place)
            return
        records, data = read_all(place)
        assert [(int(r.member), r.bytes) for r in records] == [(key, len(image)) for key, image in expected]
        assert data == [image for _, image in expected]
        assert {r.identity for r in records} == {"5"}


def test_the_test_writer_splits_at_the_magic() -> None:
    split = framed(b"abcd" + MAGIC + b"efgh")
    assert (
        split
        == MAGIC + struct.pack("<I", 1 << 29 | 4) + b"abcd" + MAGIC + struct.pack("<I", 3 << 29 | 4) + b"efgh"
    )


def test_a_magic_word_in_the_image_header(tmp_path: Path) -> None:
    """The id may be the magic word: then the record is split within its header."""
    magic = 0xCED7230A
    payloads = [struct.pack("<IfQQ", 0, 3, magic, magic << 32) + b"image"]
    records, data = read_all(write_rec(tmp_path / "x.rec", payloads))
    assert data == [b"image"]
    assert (records[0].identity, records[0].bytes) == ("3", 5)


@pytest.mark.parametrize("indexed", [True, False])
def test_insightface_records_without_images_are_no_inputs(indexed: bool, tmp_path: Path) -> None:
    people = {0: [b"a0", b"a1"], 1: [b"b0"], 2: [b"c0", b"c1", b"c2" + MAGIC]}
    payloads = insightface(people)
    place = write_rec(tmp_path / "train.rec", payloads, range(len(payloads)) if indexed else None)
    opened = archive(place)
    records = list(opened.inventory())
    assert [r.id for r in records] == [f"s/{n}" for n in range(1, 7)]
    assert [r.identity for r in records] == ["0", "0", "1", "2", "2", "2"]
    assert opened.notes == [f"{place} holds 4 index records without an image, which are not inputs"]
    assert read_all(place)[1] == [image for found in people.values() for image in found]
    assert opened.stamps().keys() == ({"", ".idx"} if indexed else {""})


def test_labels_that_are_no_names(tmp_path: Path) -> None:
    payloads = [
        packed(0, 0.5, b"x"),
        packed(1, 2.0**24, b"y"),
        packed(2, -1, b"z"),
        packed(3, 2.0**24 - 1, b"w"),
    ]
    records, _ = read_all(write_rec(tmp_path / "x.rec", payloads))
    assert [r.identity for r in records] == ["0.5", None, None, "16777215"]


def test_a_cut_file_is_never_taken_for_whole(tmp_path: Path) -> None:
    payloads = insightface({0: [b"12345678"], 1: [b"x" * 4 + MAGIC + b"y" * 8]})
    place = write_rec(tmp_path / "x.rec", payloads)
    whole = place.read_bytes()
    edges = {sum(len(framed(p)) for p in payloads[:n]) for n in range(len(payloads) + 1)}
    for length in set(range(4, len(whole))) - edges:
        place.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"x\.rec ends within the record at byte \d+: it was cut short"):
            list(archive(place).inventory())


def test_a_file_cut_between_records_differs_from_its_index(tmp_path: Path) -> None:
    payloads = insightface({0: [b"12345678", b"abc"]})
    place = write_rec(tmp_path / "x.rec", payloads, range(len(payloads)))
    place.write_bytes(place.read_bytes()[: -len(framed(payloads[-1]))])
    with pytest.raises(UserError, match=r"x\.idx does not belong to .*x\.rec: it lists 4 records of 3"):
        list(archive(place).inventory())


def test_an_index_of_another_file_is_refused(tmp_path: Path) -> None:
    place = write_rec(tmp_path / "x.rec", [packed(0, 1, b"image"), packed(1, 1, b"other")], [0, 1])
    place.with_suffix(".idx").write_text("0\t0\n1\t44\n")
    with pytest.raises(UserError, match=r"x\.idx does not belong to .*: it has no record at byte 40; remove"):
        list(archive(place).inventory())
    place.with_suffix(".idx").write_text("0 zero\n")
    with pytest.raises(UserError, match=r"x\.idx is not lines of two numbers"):
        list(archive(place).inventory())


def test_damage_is_found(tmp_path: Path) -> None:
    place = write_rec(tmp_path / "x.rec", [packed(0, 1, b"image"), packed(1, 1, b"other")])
    opened = archive(place)
    records = list(opened.inventory())
    data = bytearray(place.read_bytes())
    data[40] ^= 1
    place.write_bytes(data)
    with pytest.raises(UserError, match=r"x\.rec is damaged at byte 40: no record starts there"):
        list(opened.inventory())
    reader = opened.reader()
    assert reader.read(records[0]) == b"image"
    with pytest.raises(OSError, match="1#40: no whole record begins there any more"):
        reader.read(records[1])
    reader.close()


def test_records_that_are_no_images_are_refused(tmp_path: Path) -> None:
    place = write_rec(tmp_path / "x.rec", [b"just text"])
    with pytest.raises(UserError, match=r"x\.rec is no file of images: the record at byte 0"):
        list(archive(place).inventory())
    sagemaker = b'\n"\n\x06source\x12\x18:\x16\n\x14\x01\xff\x01\xf2B\x9f*\xff\xe1\x02\x83\x10\xeb\x02\x95'
    place = write_rec(tmp_path / "x.rec", [sagemaker])
    with pytest.raises(UserError, match=r"the first is no packed image .* give a file that im2rec made"):
        list(archive(place).inventory())
    good, cut = struct.pack("<IfQQ", 0, 0, 0, 0) + b"picture", struct.pack("<IfQQ", 1000, 0, 0, 0) + b"short"
    place = write_rec(tmp_path / "y.rec", [good, cut])
    with pytest.raises(UserError, match="says it has 1000 labels"):
        list(archive(place).inventory())


def recordio(place: Path) -> Source:
    return make_source("recordio", "r", str(place))


def test_any_recordio_in_a_folder(tmp_path: Path) -> None:
    """InsightFace's copy of any set: the records' numbers, a `property` file, pickled evaluation sets."""
    payloads = insightface({0: [b"a0", b"a1"], 1: [b"b0"]})
    write_rec(tmp_path / "train.rec", payloads, range(len(payloads)))
    (tmp_path / "property").write_text("2,112,112\n")
    (tmp_path / "lfw.bin").write_bytes(b"cposix\nsystem\n(S'exit 1'\ntR.")
    source = recordio(tmp_path)
    records = list(source.inventory())
    assert [(r.id, r.identity) for r in records] == [
        ("r/train.rec/1", "0"), ("r/train.rec/2", "0"), ("r/train.rec/3", "1"),
    ]  # fmt: skip
    assert source.notes[-1] == "left aside, as they are pickles, which are never opened: lfw.bin"
    assert source.stamps().keys() == {"train.rec", "train.rec.idx", "property"}
    (tmp_path / "property").write_text("8631,112,112")
    list(source.inventory())
    assert any("property says 8,631 people; there are 2" in note for note in source.notes)
    assert [r.id for r in recordio(tmp_path / "train.rec").inventory()] == ["r/1", "r/2", "r/3"]


def test_people_are_numbered_in_each_of_several_files(tmp_path: Path) -> None:
    for name in ("b/train", "a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_rec(tmp_path / f"{name}.rec", [packed(0, 3, b"x")])
    assert [(r.id, r.identity) for r in recordio(tmp_path).inventory()] == [
        ("r/a.rec/0", "a/3"),
        ("r/b/train.rec/0", "b/train/3"),
    ]


@pytest.mark.parametrize(
    "line", ["1\tn{0}/1.jpg\t{1}", "{0}\t{1}\tn{0}/1.jpg", "1\tp\t{1}\t1\t2\t3\t4\t5"], ids=str
)
def test_labels_beyond_32_bit_floats_come_from_the_list(line: str, tmp_path: Path) -> None:
    labels = [2**24 - 1, 2**24 + 1, 2**24 + 3]
    write_rec(tmp_path / "x.rec", [packed(n, float(label), b"x") for n, label in enumerate(labels)])
    source = recordio(tmp_path)
    assert [r.identity for r in source.inventory()] == ["16777215", None, None]
    place = tmp_path / "x.lst"
    place.write_text("".join(line.format(n, label) + "\n" for n, label in enumerate(labels)))
    assert [r.identity for r in source.inventory()] == [str(label) for label in labels]
    assert "x.lst" in source.stamps()
    place.write_text("".join(line.format(n, 7) + "\n" for n in range(3)))
    assert [r.identity for r in source.inventory()] == ["16777215", None, None]
    assert any("its lines do not go with the records" in note for note in source.notes)
