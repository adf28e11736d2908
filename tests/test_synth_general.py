"""The miniatures of MAE-Face's sources, RAF-DB and the general readers: what they hold, and a build."""

from __future__ import annotations

import hashlib
import io
import json
import math
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import run
from scipy.io import loadmat

from facecorpus.record import Record
from facecorpus.sources.base import make_source
from facecorpus.synth import general, mae_face
from facecorpus.synth.datasets import write_datasets
from facecorpus.synth.truth import TruthRow, read_truth

SETS = (*mae_face.WRITERS, *general.WRITERS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    write_datasets(root, SETS, preset="tiny")
    return root


@pytest.fixture(scope="module")
def listed(root: Path) -> dict[str, Record]:
    sources = [make_source(name, name, str(root / name)) for name in SETS]
    return {record.id: record for source in sources for record in source.inventory()}


@pytest.fixture(scope="module")
def truth(root: Path) -> dict[str, TruthRow]:
    return {row.id: row for row in read_truth(root)}


def test_the_truth_names_every_input_and_who_it_shows(
    listed: dict[str, Record], truth: dict[str, TruthRow]
) -> None:
    assert {id: r.identity for id, r in listed.items()} == {id: row.identity for id, row in truth.items()}


def test_every_trap_is_there(root: Path, listed: dict[str, Record], truth: dict[str, TruthRow]) -> None:
    left_out = {id for id, row in truth.items() if row.reason == "left_out"}
    assert left_out == {id for id, r in listed.items() if r.left_out} != set()
    scores = [r.given_values for r in listed.values() if r.source == "imdb_wiki" and r.given_values]
    assert -math.inf in [values["face_score"] for values in scores]
    expressions = {(r.labels or {}).get("expression") for r in listed.values() if r.source == "affectnet"}
    assert {8, 9} & expressions and None in expressions
    by_photo: dict[str, set[str]] = {}
    for r in listed.values():
        if r.source == "imdb_wiki" and r.photo_id:
            by_photo.setdefault(r.photo_id, set()).add(r.id)
    assert max(map(len, by_photo.values())) > 1  # a photograph that stands there twice


def test_other_tools_read_the_layouts(root: Path, truth: dict[str, TruthRow]) -> None:
    found: set[str] = set()
    for shard in sorted((root / "webdataset").glob("*.tar")):
        with tarfile.open(shard) as archive:
            names = archive.getnames()
        found |= {f"webdataset/{shard.name}/{name}" for name in names if name.endswith(".jpg")}
        assert len(names) == 4 * len({name.partition(".")[0] for name in names})
    for path in sorted((root / "parquet/data").glob("*.parquet")):
        table = pq.read_table(path)
        assert (
            json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["image"]["_type"] == "Image"
        )
        found |= {f"parquet/data/{path.name}/{row['path']}" for row in table["image"].to_pylist()}
    with zipfile.ZipFile(root / "rafdb/basic/Image/original.zip") as archive:
        found |= {f"rafdb/{name}" for name in archive.namelist()}
    for path in sorted((root / "imdb_wiki").glob("*.tar")):
        with tarfile.open(path) as archive:
            found |= {f"imdb_wiki/{n}" for n in archive.getnames() if not n.endswith(".mat")}
    other = {"affectnet", "recordio"}
    assert found == {id for id, row in truth.items() if row.source not in other}
    with tarfile.open(root / "imdb_wiki/imdb_meta.tar") as archive:
        stream = archive.extractfile("imdb/imdb.mat")
        assert stream is not None
        imdb = loadmat(io.BytesIO(stream.read()))["imdb"][0, 0]
    assert imdb["face_location"][0, 0].shape == (1, 4) and imdb["face_score"].dtype == np.float64
    assert {f"imdb_wiki/imdb/{path[0]}" for path in imdb["full_path"][0]} == {
        id for id in truth if id.startswith("imdb_wiki/imdb/")
    }


def test_same_seed_same_bytes(root: Path, tmp_path: Path) -> None:
    write_datasets(tmp_path, SETS, preset="tiny")

    def digests(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    assert digests(tmp_path) == digests(root)


def test_a_build_meets_the_truth_to_the_last_row(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["build", "--root", str(root), "--out", str(out), "--sources", ",".join(SETS), "--workers", "1"]
    run(*line, "--recipe", "sample", "--no-report")
    said = run("synth", "--out", str(root), "--check", str(out)).stdout
    assert "inputs became what" in said
    classes = json.loads(run("stats", str(out), "--json").stdout)["labels"]["rafdb"]["classes"]
    assert set(classes["expression"]) <= set("1234567") and sum(classes["expression"].values()) > 3
    told = run("stats", str(out)).stdout
    assert "labelled frames\n  expression      1: " in told
    plain = ["build", "--root", str(root), "--out", str(tmp_path / "plain"), "--workers", "1", "--no-report"]
    done = run(*plain, "--sources", "./parquet,webdataset/00000.tar", "--recipe", "sample")
    assert "00000" in done.stdout and "parquet" in done.stdout
