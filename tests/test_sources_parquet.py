"""Parquet sources, against pyarrow's writer and the layout of Hugging Face's datasets library."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facecorpus.errors import UserError
from facecorpus.reasons import CORRUPT, EMPTY
from facecorpus.record import Record
from facecorpus.sources.base import InputError, Source, make_source

IMAGES = [b"\xff\xd8\xff" + bytes([n]) * (50 + n) for n in range(40)]
HUGGING_FACE = {
    "image": {"_type": "Image"},
    "celeb_id": {"_type": "ClassLabel", "names": ["Ann", "Bo", "Cy"]},
}


def write(place: Path, columns: dict[str, Any], features: object = None, **options: Any) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        said = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": said})
    pq.write_table(table, place, **options)


def hugging_face(images: Sequence[bytes | None], paths: Sequence[str | None]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": b, "path": p} for b, p in zip(images, paths, strict=True)], kind)


def parquet(place: Path) -> Source:
    return make_source("parquet", "p", str(place))


def read_in_any_order(source: Source) -> tuple[list[Record], list[bytes]]:
    records = list(source.inventory())
    order = list(range(len(records)))
    random.Random(1).shuffle(order)
    reader = source.reader()
    data = {n: reader.read(records[n]) for n in order}
    reader.close()
    return records, [data[n] for n in range(len(records))]


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_hugging_face(rows: int, compression: str, tmp_path: Path) -> None:
    """`{bytes, path}` in shards of any row groups, people as class labels, splits by name."""
    for shard, split in enumerate(("train", "train", "validation")):
        chosen = range(shard * 10, shard * 10 + 10)
        write(
            tmp_path / f"data/{split}-{shard % 2:05d}-of-00002.parquet",
            {
                "image": hugging_face([IMAGES[n] for n in chosen], [f"{n:06d}.jpg" for n in chosen]),
                "celeb_id": pa.array([n % 3 for n in chosen]),
                "attributes": pa.array([[1, 0]] * 10),
            },
            HUGGING_FACE,
            row_group_size=rows,
            compression=compression,
        )
    records, data = read_in_any_order(parquet(tmp_path))
    assert data == IMAGES[:30]
    assert [r.id for r in records[:2]] == [
        f"p/data/train-00000-of-00002.parquet/00000{n}.jpg" for n in (0, 1)
    ]
    assert [r.identity for r in records[:4]] == ["Ann", "Bo", "Cy", "Ann"]
    assert [r.split for r in records] == ["train"] * 20 + ["val"] * 10
    assert parquet(tmp_path).stamps().keys() == {r.container for r in records}


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_bytes_are_called_by_their_rows(kind: pa.DataType, tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"jpg": pa.array(IMAGES, kind), "label": pa.array([1] * 40)})
    records, data = read_in_any_order(parquet(tmp_path / "x.parquet"))
    assert data == IMAGES
    assert [r.id for r in records] == [f"p/{n}" for n in range(40)]
    assert {r.identity for r in records} == {None}  # a label may be an emotion as well


@pytest.mark.parametrize("paths", [["a.jpg", "a.jpg"], ["a.jpg", None], [None, None], ["", "b"]])
def test_paths_that_repeat_or_are_missing_are_no_names(paths: list[str | None], tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"image": hugging_face(IMAGES[:2], paths)})
    assert [r.member for r in parquet(tmp_path).inventory()] == ["0", "1"]


def test_rows_without_bytes_fail_alone(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"image": hugging_face([None, IMAGES[1]], ["far.jpg", "b.jpg"])})
    source = parquet(tmp_path)
    first, second = source.inventory()
    reader = source.reader()
    with pytest.raises(InputError, match="the row holds no bytes") as caught:
        reader.read(first)
    assert caught.value.reason == EMPTY
    assert reader.read(second) == IMAGES[1]
    reader.close()


def test_several_columns_of_pictures(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"mask": pa.array(IMAGES[1:3]), "image": pa.array(IMAGES[:2])})
    assert read_in_any_order(parquet(tmp_path))[1] == IMAGES[:2]
    write(tmp_path / "a.parquet", {"left": pa.array(IMAGES[:2]), "right": pa.array(IMAGES[1:3])})
    with pytest.raises(
        UserError, match=r"of its columns \(left, right\), several \(left, right\) could hold"
    ):
        list(parquet(tmp_path).inventory())
    write(tmp_path / "a.parquet", {"url": pa.array(["http://x"])})  # img2dataset's, beside a tar
    with pytest.raises(UserError, match=r"of its columns \(url\), none could hold them"):
        list(parquet(tmp_path).inventory())


def test_the_one_that_hugging_face_calls_a_picture(tmp_path: Path) -> None:
    columns = {"image": pa.array(IMAGES[1:3]), "face": pa.array(IMAGES[:2])}
    write(tmp_path / "a.parquet", columns, {"face": {"_type": "Image"}})
    assert read_in_any_order(parquet(tmp_path))[1] == IMAGES[:2]


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    place = tmp_path / "x.parquet"
    write(place, {"image": pa.array(IMAGES)})
    place.write_bytes(place.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"x\.parquet"):
        list(parquet(tmp_path).inventory())


def test_a_damaged_page_costs_its_rows_alone(tmp_path: Path) -> None:
    place = tmp_path / "x.parquet"
    write(place, {"image": pa.array(IMAGES)}, row_group_size=20, compression="zstd", use_dictionary=False)
    source = parquet(tmp_path)
    records = list(source.inventory())
    at = pq.ParquetFile(place).metadata.row_group(0).column(0).data_page_offset
    data = bytearray(place.read_bytes())
    data[at : at + 60] = bytes(60)
    place.write_bytes(data)
    reader = source.reader()
    found = []
    for record in records:
        try:
            found.append(reader.read(record))
        except InputError as error:
            assert error.reason == CORRUPT
            found.append(None)
    reader.close()
    assert found == [None] * 20 + IMAGES[20:]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a \.parquet file is not there"):
        list(parquet(tmp_path).inventory())
    write(tmp_path / "x.parquet", {"image": pa.array([], pa.binary())})
    with pytest.raises(UserError, match="holds no files"):
        list(parquet(tmp_path).inventory())
