"""Which shards there are and whether they are whole: every way to name them, and every way they may be
wrong."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from data_shards import PX, picture, write_corpus
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facecorpus.errors import UserError
from fautrain.data import Augment, LoaderOptions, held_out_loader, open_corpus, shard_cache
from fautrain.data.index import held_out_mask
from fautrain.data.shards import expand_braces, file_sha256, list_shards, split_list


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "out", (5, 7, 4))
    return tmp_path / "out"


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/", recursive=True)


def loader_options(tmp_path: Path, **options: Any) -> LoaderOptions:
    cache = str(tmp_path / "cache")
    return LoaderOptions(batch_per_step=5, augment=Augment(image_px=PX), cache=cache, **options)


def opened(shards: object, tmp_path: Path, **options: object):
    return open_corpus(str(shards), shard_cache(tmp_path / "cache"), **options)


def test_every_way_to_name_the_shards_gives_the_same_samples(corpus: Path, tmp_path: Path) -> None:
    folder = corpus / "shards"
    ways = [
        corpus,
        folder,
        folder / "*.tar",
        folder / "toy-{000000..000002}.tar",
        folder / "toy-00000{0,2,1}.tar",
        ",".join(str(folder / f"toy-00000{n}.tar") for n in (2, 0, 1)),
        f"file://{folder}/*.tar",
    ]
    assert len({opened(way, tmp_path).fingerprint() for way in ways}) == 1
    assert len(opened(corpus, tmp_path)) == 16


def test_lists_and_braces() -> None:
    assert split_list(" a-{1,2}.tar, b ,,c") == ["a-{1,2}.tar", "b", "c"]
    assert expand_braces("x{8..10}") == ["x8", "x9", "x10"]
    assert expand_braces("{a,b}{1..2}") == ["a1", "a2", "b1", "b2"]
    for wrong, text in (("x{1..2", "braces"), ("x{{1..2}}", "braces"), ("x{3..2}", "empty")):
        with pytest.raises(UserError, match=text):
            expand_braces(wrong)


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ("", "data.shards is empty"),
        ("{out}/nothing-*.tar", "no shard matches"),
        ("{out}/shards/toy-00000[01].tar,{out}/shards/toy-000000.tar", "twice"),
        ("{out}/shards/toy-000009.tar", "does not exist"),
        ("nosuch://bucket/a.tar", "cannot be opened"),
    ],
)
def test_wrong_names_are_one_sentence(corpus: Path, tmp_path: Path, shards: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        opened(shards.replace("{out}", str(corpus)), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_lost_shard_stops_the_run_also_behind_a_glob(corpus: Path, tmp_path: Path) -> None:
    (corpus / "shards" / "toy-000001.tar").unlink()
    for way in (corpus, corpus / "shards" / "*.tar", corpus / "shards" / "toy-{000000..000002}.tar"):
        with pytest.raises(UserError, match=r"toy-000001\.tar is in shards.parquet but does not exist"):
            opened(way, tmp_path)
    assert len(opened(corpus / "shards" / "toy-00000[02].tar", tmp_path)) == 9


def test_another_size_or_hash_stops_the_run(corpus: Path, tmp_path: Path) -> None:
    path = corpus / "shards" / "toy-000002.tar"
    whole = bytearray(path.read_bytes())
    assert len(opened(corpus, tmp_path)) == 16
    whole[700] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"SHA-256 of .*toy-000002\.tar"):
        opened(corpus, tmp_path)
    with pytest.raises(UserError, match=r"SHA-256 of .*toy-000002\.tar"):
        opened(corpus, tmp_path, rank=1, world=3)
    path.write_bytes(whole[:-512])
    with pytest.raises(UserError, match=rf"toy-000002\.tar has {len(whole) - 512} bytes .* {len(whole)}"):
        opened(corpus, tmp_path)


def test_a_good_hash_is_remembered_until_the_file_changes(corpus: Path, tmp_path: Path) -> None:
    opened(corpus, tmp_path)
    marks = list((tmp_path / "cache" / "verified").iterdir())
    assert len(marks) == 3
    opened(corpus, tmp_path)
    assert len(list((tmp_path / "cache" / "verified").iterdir())) == 3


def test_a_shard_the_table_does_not_know_is_refused(corpus: Path, tmp_path: Path) -> None:
    (corpus / "shards" / "stray.tar").write_bytes((corpus / "shards" / "toy-000000.tar").read_bytes())
    with pytest.raises(UserError, match=r"stray.tar is not in the shards.parquet"):
        opened(corpus, tmp_path)


def test_a_manifest_of_another_length_is_refused(corpus: Path, tmp_path: Path) -> None:
    path = corpus / "shards" / "toy-000000.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(UserError, match="4 samples by its index and 5 by the corpus table"):
        opened(corpus, tmp_path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"toy-000000\.parquet cannot be read .*; rebuild"):
        opened(corpus, tmp_path)


def test_a_corpus_without_samples_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "out", (0,))
    with pytest.raises(UserError, match="hold no sample"):
        opened(tmp_path / "out", tmp_path)


def test_the_manifest_says_what_a_walk_over_the_tar_says(corpus: Path, tmp_path: Path) -> None:
    mine = opened(corpus, tmp_path)
    for extra in [*corpus.glob("shards/*.parquet"), *corpus.glob("shards/*.idx"), corpus / "shards.parquet"]:
        extra.unlink()
    walked = opened(corpus, tmp_path)
    assert walked.fingerprint() == mine.fingerprint()
    for a, b in zip(mine.indexes, walked.indexes, strict=True):
        assert (a.offsets == b.offsets).all() and (a.sizes == b.sizes).all() and not b.damage
    assert len(list((tmp_path / "cache" / "index").iterdir())) == 3


def foreign(folder: Path) -> str:
    """Shards as others write them: more members, folders, several extensions, a Parquet file of other
    columns."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for shard in range(2):
        with webdataset.TarWriter(str(folder / f"f-{shard:06d}.tar")) as sink:
            for n in range(6):
                image = Image.fromarray(rng.integers(0, 255, (PX, PX, 3), np.uint8))
                files = {}
                for extension in ("jpg", "png", "webp", "jpeg")[n % 4 : n % 4 + 1]:
                    buffer = io.BytesIO()
                    options = {"lossless": True} if extension == "webp" else {}
                    image.save(buffer, "jpeg" if "jp" in extension else extension, **options)
                    files[extension] = buffer.getvalue()
                sink.write(
                    {"__key__": f"dir.v1/{shard}_{n}", "cls": str(n).encode(), "seg.png": b"no", **files}
                )
        pq.write_table(pa.table({"key": ["x"], "url": ["y"]}), folder / f"f-{shard:06d}.parquet")
    return str(folder / "f-{000000..000001}.tar")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_foreign_shards_read_as_stock_webdataset_reads_them(tmp_path: Path) -> None:
    url = foreign(tmp_path / "foreign")
    stock = {
        sample["__key__"]: np.asarray(Image.open(io.BytesIO(sample[e])).convert("RGB")).astype(int)
        for sample in webdataset.WebDataset(url, shardshuffle=False)
        for e in ("jpg", "jpeg", "png", "webp")
        if e in sample
    }
    loader = held_out_loader(opened(url, tmp_path), loader_options(tmp_path, held_out=1.0))
    mine: dict[str, np.ndarray] = {}
    for batch in loader.epoch():
        keys = map(loader.corpus.key, batch.samples.tolist())
        mine |= dict(zip(keys, batch.images.permute(0, 2, 3, 1).numpy(), strict=True))
    assert list(mine) == list(stock) and len(mine) == 12
    assert max(np.abs(mine[k] - stock[k]).max() for k in stock) <= 2  # two JPEG decoders


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(UserError, match="no uncompressed tar"):
        opened(tmp_path / "a.tar", tmp_path)


def test_remote_shards_are_fetched_verified_and_evicted(
    corpus: Path, tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    memory.put(str(corpus), "/far", recursive=True)
    cache = shard_cache(tmp_path / "cache")
    far = open_corpus("memory://far/shards/*.tar", cache)
    assert far.fingerprint() == opened(corpus, tmp_path).fingerprint()
    assert not cache.folder.exists()  # the manifests were enough
    copies = [cache.path(s) for s in far.shards]
    assert [file_sha256(p) for p in copies] == [s.sha256 for s in far.shards]
    room = shard_cache(tmp_path / "small", far.shards[0].size_bytes * 2 / 2**30)
    kept = [room.path(s) for s in far.shards[:2]]
    room.path(far.shards[2])
    assert not kept[0].exists() and len(list(room.folder.glob("*.tar"))) <= 2
    assert room.path(far.shards[0]).exists()  # and comes back


def test_a_remote_shard_that_came_altered_is_refused(
    corpus: Path, tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    path = corpus / "shards" / "toy-000001.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    memory.put(str(corpus), "/far", recursive=True)
    cache = shard_cache(tmp_path / "cache")
    shard = open_corpus("memory://far", cache).shards[1]
    with pytest.raises(UserError, match=r"toy-000001\.tar cannot be used: its SHA-256"):
        cache.path(shard)
    assert not list(cache.folder.glob("*.tar")) and not list(cache.folder.glob("*.part"))


@given(
    st.lists(st.binary(min_size=1, max_size=20), unique=True, max_size=50), st.floats(0, 1), st.floats(0, 1)
)
def test_held_out_is_a_growing_function_of_the_key(keys: list[bytes], a: float, b: float) -> None:
    low, high = (held_out_mask(keys, f) for f in sorted((a, b)))
    assert (low <= high).all()
    assert [bool(held_out_mask([k], a)[0]) for k in keys] == held_out_mask(keys, a).tolist()


def test_held_out_is_a_fair_share_and_pinned() -> None:
    mask = held_out_mask([b"%016x" % n for n in range(20000)], 0.1)
    assert abs(mask.mean() - 0.1) < 0.0085  # 4 standard deviations
    assert np.flatnonzero(mask)[:5].tolist() == [28, 29, 35, 47, 56]


def test_a_shard_named_like_a_picture_key_needs_no_table(tmp_path: Path) -> None:
    """Members without a dot, folders and links are no samples; a key may lack a picture and is then named."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (
            ("README", b"x"),
            ("a.jpg", picture(1)),
            ("b.txt", b"t"),
            ("c.JPG", picture(2)),
            ("c.png", b"later"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    index = opened(tmp_path / "a.tar", tmp_path).indexes[0]
    assert index.sizes[2] == len(picture(2))  # a JPEG goes before a PNG, whatever their order
    assert index.keys.tolist() == [b"a", b"b", b"c"] and (index.sizes >= 0).tolist() == [True, False, True]
    assert [s.samples for s in list_shards(str(tmp_path / "a.tar"))] == [None]


def _header(name: str, **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


_GOOD = _header("a.jpg", size=4) + b"JPEG".ljust(512, b"\0")


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (_header("b.jpg", size=-512), "a size of -512 bytes"),
        (_header("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=1 << 33), "a size of 8589934592"),
        (_header("././@LongLink", type=tarfile.XHDTYPE, size=9) + b"9 size=-1".ljust(512) + _GOOD, "byte"),
        (_header("b.jpg", size=1 << 62), "breaks off"),
    ],
)
def test_impossible_headers_end_the_shard_there(tmp_path: Path, tail: bytes, message: str) -> None:
    path = tmp_path / "foreign.tar"
    path.write_bytes(_GOOD + tail + bytes(1024))
    (index,) = opened(path, tmp_path).indexes
    assert index.keys[0] == b"a"
    assert message in index.damage


def test_what_stands_in_a_shards_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tar"
    path.write_bytes(b"<!DOCTYPE html><title>Virus scan warning</title>")
    with pytest.raises(UserError, match=r"is an HTML page .*; download it again in a browser"):
        opened(path, tmp_path)


def test_a_shard_that_cannot_be_read_is_one_sentence(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = corpus / "shards" / "toy-000001.tar"
    loader = held_out_loader(opened(corpus, tmp_path), loader_options(tmp_path, held_out=0.9, workers=1))
    path.unlink()
    path.symlink_to(path)  # whoever opens it gets ELOOP, root too
    with pytest.raises(UserError, match=rf"{path} cannot be read \(.*symbolic links\); make it readable"):
        list(loader.epoch())


@pytest.mark.parametrize("name", ["shards.parquet", "shards/toy-000001.parquet"])
@pytest.mark.parametrize("damage", ["type", "null", "text"])
def test_a_table_with_values_of_another_kind_is_named(
    corpus: Path, tmp_path: Path, name: str, damage: str
) -> None:
    table = pq.read_table(corpus / name)
    column = "bytes" if name == "shards.parquet" else "jpg_offset"
    text = "shard" if name == "shards.parquet" else "key"
    column, values = {
        "type": (column, pa.array(["x"] * len(table))),
        "null": (column, pa.nulls(len(table), pa.int64())),
        "text": (text, pa.array(["k" * 5000] * len(table))),
    }[damage]
    pq.write_table(table.set_column(table.column_names.index(column), column, values), corpus / name)
    with pytest.raises(UserError, match=rf"{name} cannot be read \(.*rebuild the corpus"):
        opened(corpus, tmp_path)
