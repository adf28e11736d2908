"""Shards: stock tarfile and webdataset read them, bytes depend on nothing but the samples, damage is seen."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
import webdataset as wds
from hypothesis import given
from hypothesis import strategies as st

from facecorpus import schema, shards

samples = st.lists(
    st.tuples(
        st.text("abcdef0123456789", min_size=16, max_size=16),
        st.binary(max_size=1500),
        st.binary(max_size=40),
    ),
    max_size=8,
    unique_by=lambda sample: sample[0],
)


def write(entries: list[tuple[str, bytes, bytes]]) -> tuple[bytes, bytes, list[shards.Placed]]:
    file = io.BytesIO()
    writer = shards.ShardWriter(file)
    for key, jpg, sidecar in entries:
        writer.add(key, {"json": sidecar, "jpg": jpg})
    index = writer.finish()
    return file.getvalue(), index, writer.placed


@given(samples)
def test_tarfile_reads_what_was_written(entries: list[tuple[str, bytes, bytes]]) -> None:
    data, index, placed = write(entries)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = []
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found.append((member.name, file.read()))
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o444)
            assert not member.pax_headers
    expected = [item for key, jpg, side in entries for item in ((f"{key}.jpg", jpg), (f"{key}.json", side))]
    assert found == expected
    offsets = shards.read_index(index)
    assert offsets == [p.sample_offset for p in placed] + [len(data) - 1024]
    for (_, jpg, side), place in zip(entries, placed, strict=True):
        assert data[place.payload_offsets["jpg"] :][: len(jpg)] == jpg
        assert data[place.payload_offsets["json"] :][: len(side)] == side


@given(samples)
def test_parse_members_agrees_with_tarfile(entries: list[tuple[str, bytes, bytes]]) -> None:
    data, _, _ = write(entries)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(member.name, member.offset_data, member.size) for member in tar]
    assert list(shards.parse_members(data)) == expected


@given(st.data())
def test_parse_members_sees_damaged_headers_and_cuts(data: st.DataObject) -> None:
    whole, _, placed = write([("a" * 16, b"x" * 700, b"{}"), ("b" * 16, b"y" * 3, b"{}")])
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"tar header|end-of-archive"):
        list(shards.parse_members(whole[:cut]))
    at = data.draw(st.sampled_from([p.sample_offset for p in placed])) + data.draw(st.integers(0, 511))
    broken = bytearray(whole)
    broken[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"tar header|end-of-archive"):
        list(shards.parse_members(bytes(broken)))


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves the shard's file open
def test_stock_webdataset_reads_the_samples(tmp_path: Path) -> None:
    entries = [(f"{i:016x}", bytes([i]) * 100, b"{}") for i in range(5)]
    path = tmp_path / schema.shard_name("test", 0)
    path.write_bytes(write(entries)[0])
    read = list(wds.WebDataset(str(path), shardshuffle=False))
    assert [(s["__key__"], s["jpg"], s["json"]) for s in read] == entries


@pytest.mark.parametrize("key", ["a.b", "", "a/b", "ä", "x" * 91])
def test_a_key_that_would_split_or_escape_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="sample key"):
        shards.ShardWriter(io.BytesIO()).add(key, {"jpg": b""})


def test_a_member_too_large_for_ustar_is_refused() -> None:
    with pytest.raises(ValueError, match="USTAR"):
        shards.member_header("a.jpg", 8 << 30)


def test_keys_and_order_are_stable_across_versions() -> None:
    # Pinned: shards already on a disk must keep their keys.
    name = "celeba/000001.jpg"
    key = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    codes = shards.key_codes(pa.chunked_array([[name], ["é"]]))
    assert shards.sample_key(name) == key == shards.key_names(codes)[0].as_py() == f"{int(codes[0]):016x}"
    rank = hashlib.blake2b(key.encode(), digest_size=8, key=bytes(7) + b"\x01").hexdigest()
    assert shards.shuffle_ranks(codes, 1)[0] == int(rank, 16)
    assert shards.shuffle_ranks(codes, 0)[0] != shards.shuffle_ranks(codes, 1)[0]
