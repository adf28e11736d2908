"""What `fautrain` reads of shards: the tar, the table and manifests beside it, their labels, the pictures."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import cv2
import numpy as np
import torch
from data_shards import PX, write_corpus
from data_shards import picture as jpeg
from fuzz_archives import MEMBERS, checksummed
from fuzzing import Target, sentence
from labelled_shards import write_labelled

from facecorpus.errors import UserError
from fautrain.data import Augment, LoaderOptions, make_loader, open_corpus, shard_cache
from fautrain.data.benchmark import benchmark
from fautrain.data.dataset import ShardFiles
from fautrain.data.decode import Decoder, UndecodableError
from fautrain.data.index import ShardIndex, index_shard
from fautrain.data.labels import read_labels
from fautrain.data.provenance import is_drawn
from fautrain.data.shards import Shard

torch.set_num_threads(1)
TOML = """
aus = [1, 2]
source = "toy"
label = "AU{au}"
positive = ">= 2"
missing = [9]
videos = []
subjects = ["A", "B"]
folds = [["A"], ["B"]]
codes = [0, 1, 2]
"""


def _tar(form: int, folder: Path) -> Path:
    path = folder / "foreign.tar"
    with tarfile.open(path, "w", format=form) as archive:
        for member, data in {**MEMBERS, "e.cls": b"1", "e.jpg": jpeg(3)}.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _gnu(folder: Path) -> Path:
    return _tar(tarfile.GNU_FORMAT, folder)


def _pax(folder: Path) -> Path:
    return _tar(tarfile.PAX_FORMAT, folder)


def _read_tar(path: Path) -> None:
    cache = shard_cache(path.parent / "cache")
    shard = Shard(str(path), path.stat().st_size)
    try:
        corpus = open_corpus(str(path), cache)
        again: ShardIndex = index_shard(shard, cache)
    except UserError as error:
        sentence(error, path)
        return
    first = corpus.indexes[0]
    assert (first.keys.tolist(), first.damage) == (again.keys.tolist(), again.damage), "remembered otherwise"
    files = ShardFiles(corpus, cache, 8)
    for row in range(len(again.keys)):
        try:
            files.read(0, row)
        except UndecodableError as error:
            assert str(error) and corpus.key(row) is not None
    for descriptor in files._open.values():
        os.close(descriptor)


def _corpus(folder: Path) -> Path:
    write_corpus(folder / "toy", (3, 2))
    return folder / "toy"


def _table(folder: Path) -> Path:
    return _corpus(folder) / "shards.parquet"


def _manifest(folder: Path) -> Path:
    return _corpus(folder) / "shards" / "toy-000001.parquet"


def _read_corpus(path: Path) -> None:
    """Open a corpus and load an epoch of it."""
    root = path.parent.parent if path.parent.name == "shards" else path.parent
    try:
        loader = make_loader(
            open_corpus(str(root), shard_cache(root.parent / "cache")),
            LoaderOptions(
                batch_per_step=2,
                augment=Augment(image_px=PX),
                max_bad=1.0,
                cache=str(root.parent / "cache"),
            ),
        )
        for _ in loader.epoch():
            pass
    except UserError as error:
        said = str(error)
        # A sample is named by its key, where the index is what is wrong.
        assert "\n" not in said
        assert any(name in said for name in ("toy", "sample")), said


def _labels(folder: Path) -> Path:
    root = write_labelled(folder / "disfa", "disfa", frames=2, subjects=benchmark("disfa").subjects[:2])
    return sorted((root / "shards").glob("*.parquet"))[0]


def _read_labels(path: Path) -> None:
    root = path.parent.parent
    try:
        labels = read_labels(open_corpus(str(root), shard_cache(root / "cache")), benchmark("disfa"))
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert len(labels) <= 4


def _origin(folder: Path) -> Path:
    return write_labelled(folder / "o", "disfa", frames=1, subjects=benchmark("disfa").subjects[:1]) / (
        "shards.parquet"
    )


def _read_origin(path: Path) -> None:
    try:
        is_drawn(open_corpus(str(path.parent), shard_cache(path.parent / "cache")))
    except UserError as error:
        sentence(error, path)


def _toml(folder: Path) -> Path:
    (folder / "toy.toml").write_text(TOML)
    return folder / "toy.toml"


def _read_toml(path: Path) -> None:
    try:
        benchmark(path)
    except UserError as error:
        sentence(error, path)


def _picture(suffix: str, folder: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    path = folder / f"picture{suffix}"
    path.write_bytes(cv2.imencode(suffix, noise)[1].tobytes())
    return path


def _jpg(folder: Path) -> Path:
    return _picture(".jpg", folder)


def _png(folder: Path) -> Path:
    return _picture(".png", folder)


def _webp(folder: Path) -> Path:
    return _picture(".webp", folder)


def _read_picture(path: Path) -> None:
    out = np.empty((PX, PX, 3), np.uint8)
    for kind in ("resize-flip", "rrc-flip"):
        try:
            Decoder(Augment(kind, PX), 0)(path.read_bytes(), out, 0, 1)
        except UndecodableError as error:
            assert str(error)


TARGETS = (
    Target("shard-gnu", _gnu, _read_tar, checksummed),
    Target("shard-pax", _pax, _read_tar, checksummed),
    Target("shard-table", _table, _read_corpus),
    Target("shard-manifest", _manifest, _read_corpus),
    Target("shard-labels", _labels, _read_labels),
    Target("shard-origin", _origin, _read_origin),
    Target("benchmark", _toml, _read_toml),
    Target("sample-jpg", _jpg, _read_picture),
    Target("sample-png", _png, _read_picture),
    Target("sample-webp", _webp, _read_picture),
)
