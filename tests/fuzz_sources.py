"""What the general readers, AffectNet, IMDB-WIKI and RAF-DB read besides pictures."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz_archives import PICTURE, checksummed, recordio
from fuzz_archives import read as read_container
from fuzzing import Target, sentence
from test_sources_affectnet import write_2017, write_2021
from test_sources_imdb_wiki import IMDB, mat
from test_sources_rafdb import write_images, write_list
from test_sources_webdataset import img2dataset

from facecorpus import schema
from facecorpus.errors import UserError
from facecorpus.record import to_table
from facecorpus.sources.base import RepeatedIdsError, make_source


def _parquet(compression: str, folder: Path) -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": PICTURE[:n], "path": f"{n}.jpg"} for n in range(300, 340)]
    table = pa.table({"image": pa.array(images, kind), "identity": pa.array(range(40))})
    said = b'{"info": {"features": {"image": {"_type": "Image"}}}}'
    path = folder / "x.parquet"
    pq.write_table(
        table.replace_schema_metadata({"huggingface": said}), path, row_group_size=16, compression=compression
    )
    return path


def _shard(folder: Path) -> Path:
    img2dataset(folder, 0, 3)
    return folder / "00000.tar"


def _stats(folder: Path) -> Path:
    return _shard(folder).with_name("00000_stats.json")


def _list(folder: Path) -> Path:
    recordio(folder)
    (folder / "train.rec").with_suffix(".lst").write_text(
        "".join(f"{n}\t{n}.000\tp/{n}.jpg\n" for n in range(5))
    )
    return folder / "train.lst"


def _affectnet(folder: Path) -> Path:
    write_2017(folder)
    return folder / "Manually_Annotated_file_lists/training.csv"


def _arrays(which: str, folder: Path) -> Path:
    for name, data in write_2021(3, "train_set", "1").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / f"train_set/annotations/3_{which}.npy"


def _imdb(packed: bool, folder: Path) -> Path:
    for row in IMDB:
        path = folder / "imdb_crop" / row[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE)
    (folder / "imdb.mat").write_bytes(mat("imdb", IMDB, packed=packed))
    return folder / "imdb.mat"


def _rafdb(folder: Path) -> Path:
    write_images(folder, "aligned", packed=True)
    write_list(folder)
    return folder / "EmoLabel/list_patition_label.txt"


def _read(adapter: str, levels: int, path: Path) -> int:
    """List the source, as `inventory` does, and make the rows of its table."""
    source = make_source(adapter, adapter, str(path.parents[levels]))
    try:
        try:
            records = list(source.inventory())
        except RepeatedIdsError as error:
            records = list(source.inventory(error.hashes))
    except UserError as error:
        sentence(error, path)
        return 0
    for note in source.notes:
        assert "\n" not in note and len(note) < 2000, note[:300]
    table = to_table(records, schema.INVENTORY)
    table.validate(full=True)
    pq.write_table(table, io.BytesIO())
    assert all(np.isfinite(r.given_box_xyxy_px).all() for r in records if r.given_box_xyxy_px)
    assert all(np.isfinite(r.given_points_px).all() for r in records if r.given_points_px)
    return len(records)


TARGETS = (
    Target("parquet", partial(_parquet, "none"), read_container),
    Target("parquet-zstd", partial(_parquet, "zstd"), read_container),
    Target("webdataset", _shard, partial(_read, "webdataset", 0), checksummed),
    Target("webdataset-stats", _stats, partial(_read, "webdataset", 0)),
    Target("recordio-list", _list, partial(_read, "recordio", 0)),
    Target("affectnet-list", _affectnet, partial(_read, "affectnet", 1)),
    *(Target(f"affectnet-{w}", partial(_arrays, w), partial(_read, "affectnet", 2)) for w in ("exp", "lnd")),
    Target("imdb-wiki", partial(_imdb, False), partial(_read, "imdb_wiki", 0)),
    Target("imdb-wiki-packed", partial(_imdb, True), partial(_read, "imdb_wiki", 0)),
    Target("rafdb", _rafdb, partial(_read, "rafdb", 1)),
)
