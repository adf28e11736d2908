"""Verify proves the claim: every alteration of every file of a corpus is a fault, a fault is a sentence."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpus import build, draw_pictures, prepare

from facecorpus import pipeline, storage, units
from facecorpus.errors import UserError
from facecorpus.phases import corpus as corpora
from facecorpus.phases import inventory, verify

Table = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a CelebA-like folder. Read only."""
    return draw_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with several parts and shards, and sidecars. Read only."""
    out = tmp_path_factory.mktemp("built") / "out"
    build(root, out, "sidecar_json=true")
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


def fault(out: Path) -> str | None:
    """What verify says of a corpus, None where it finds it whole; any other exception is a failed test."""
    try:
        pipeline.run(corpora.load(str(out)), verify.PHASE, afresh=True)
    except UserError as error:
        return str(error)
    return None


def files(out: Path) -> list[Path]:
    """All that is part of the claim."""
    found = sorted(
        path
        for path in out.rglob("*")
        if path.is_file() and path.name != "verified.json" and out / "done/verify" not in path.parents
    )
    assert len(found) == 36
    return found


def test_a_byte_changed_in_any_file_is_found(out: Path) -> None:
    assert fault(out) is None
    rng, passed = random.Random(0), list[str]()
    for path in files(out):
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        if path.name not in (said := fault(out) or "") and path.name.split(".")[0] not in said:
            passed.append(f"{path.relative_to(out)}: {said}")
        path.write_bytes(whole)
    assert not passed
    assert fault(out) is None


def test_any_file_that_is_lost_or_cut_is_found(out: Path) -> None:
    passed: list[Path] = []
    for path in files(out):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        if fault(out) is None:
            passed.append(path)
        path.unlink()
        if fault(out) is None and path.suffix != ".crops":  # they may go: the shards hold what was kept
            passed.append(path)
        path.write_bytes(whole)
    assert not passed


def test_no_byte_of_a_mark_can_change(out: Path) -> None:
    for path in (out / f"done/score/{PART}.json", out / "corpus.json"):
        data = path.read_bytes()
        assert units.unsealed(data) is not None
        for place in range(len(data)):
            assert units.unsealed(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]) is None
            assert units.unsealed(data[:place] + data[place + 1 :]) is None
    assert not any(map(units.unsealed, (b"[1]\n", b"\xff", b"[" * 10**5)))


def rewrite(out: Path, path: str, data: bytes, mark: str, *, reseal: bool) -> None:
    """Put other bytes in place of a file; with `reseal`, their hash into its mark, which is sealed anew."""
    (out / path).write_bytes(data)
    if reseal:
        place = out / "done" / f"{mark}.json"
        told = {key: value for key, value in json.loads(place.read_bytes()).items() if key != units.SEAL}
        for output in told["outputs"]:
            if output["path"] == path:
                output.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        place.write_bytes(storage.json_bytes(units.sealed(told)))


def written(table: pa.Table, groups: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=groups)
    return sink.getvalue().to_pybytes()


def swapped(table: pa.Table) -> pa.Table:
    return table.take(pa.array([1, 0, *range(2, len(table))]))


def column(name: str, *values: object) -> Table:
    """Puts `values` into the first rows of a column."""

    def change(table: pa.Table) -> pa.Table:
        old = table[name].to_pylist()
        kind = table.schema.field(name)
        new = pa.array([*values, *old[len(values) :]], kind.type)
        return table.set_column(table.column_names.index(name), kind, new)

    return change


PART = "folder/part-ae9f8dd572320e8f"
"""The first unit of a source called folder, named by that."""
TABLES = {
    "inventory/folder.parquet": "inventory/folder",
    f"scores/{PART}.parquet": f"score/{PART}",
    "selection.parquet": "select/all",
    "placement.parquet": "select/all",
    "shards/sample-000000.parquet": "materialise/sample-000000.tar",
    "shards.parquet": "list/shards",
}
FOUND = [path for path in TABLES if path not in ("selection.parquet", "shards.parquet")]
"""Tables that say what the source says of an input."""
ALTERATIONS = [
    *((path, "two rows swapped", swapped) for path in TABLES),
    *((path, "a row lost", lambda table: table.slice(1)) for path in TABLES),
    *((path, "an identity", column("identity", "somebody")) for path in FOUND),
    *((path, "a label", column("labels", [("AU1", 3)])) for path in FOUND),
    ("selection.parquet", "a repeated id", column("id", "folder/0.jpg", "folder/0.jpg")),
    ("selection.parquet", "a state", column("state", "rejected")),
    ("selection.parquet", "a reason", column("reason", "no_face")),
    ("selection.parquet", "another shard", column("shard", 2)),
    ("selection.parquet", "another key", column("key", "0123456789abcdef")),
    ("selection.parquet", "not the kept copy", column("duplicate_of", "folder/notes.txt")),
    ("shards.parquet", "another hash", column("sha256", "0" * 64)),
    (
        "shards.parquet",
        "other crops",
        lambda table: table.replace_schema_metadata({"facecorpus.crops": "{}"}),
    ),
    ("shards/sample-000000.parquet", "another offset", column("jpg_offset", 1024)),
    ("shards/sample-000000.parquet", "another matrix", column("matrix", [0.0] * 6)),
    ("shards/sample-000000.parquet", "a column lost", lambda table: table.drop_columns(["split"])),
    (f"scores/{PART}.parquet", "a score", column("face_score", 0.5)),
]


@pytest.mark.parametrize("reseal", [False, True], ids=["mark-as-it-was", "mark-forged"])
def test_a_table_that_says_something_else_is_found(out: Path, reseal: bool) -> None:
    passed: list[str] = []
    for path, what, change in ALTERATIONS:
        mark = TABLES[path]
        before = {name: (out / name).read_bytes() for name in (path, f"done/{mark}.json")}
        table = pq.read_table(out / path)
        groups = 3 if path in ("inventory/folder.parquet", "placement.parquet") else None
        changed = written(change(table), groups)
        assert changed != written(table, groups)
        rewrite(out, path, changed, mark, reseal=reseal)
        if fault(out) is None:
            passed.append(f"{path}: {what}")
        for name, data in before.items():
            (out / name).write_bytes(data)
    assert not passed
    assert fault(out) is None


def test_a_shard_whose_mark_was_forged_is_found(out: Path) -> None:
    tar, mark = "shards/sample-000000.tar", "materialise/sample-000000.tar"
    before = {name: (out / name).read_bytes() for name in (tar, f"{tar}.idx", f"done/{mark}.json")}
    data, index = before[tar], before[f"{tar}.idx"]
    ends = [int.from_bytes(index[at : at + 8], "little") for at in range(0, len(index), 8)]
    first, second = data[: ends[1]], data[ends[1] : ends[2]]
    altered = bytearray(data)
    altered[data.index(b"\xff\xd8") + 900] ^= 1
    cases = [
        (tar, second + first + data[ends[2] :], "not the one that was placed"),
        (tar, bytes(altered), "not the one that was placed"),
        (tar, first + data, "not the one that was placed"),
        (tar, data[: ends[-1]] + first + bytes(1024), "more samples than were placed"),
        (tar, data.replace(b'"source"', b'"sauces"', 1), "not the one that was placed"),
        (tar, data[:-512], "cannot be checked (ValueError"),
        (tar, data[: ends[2]] + bytes(1024), "not the one that was placed"),
        (f"{tar}.idx", index[:-1], f"an index of {len(index) - 1} bytes is cut"),
        (f"{tar}.idx", index[8:], "does not match the tar"),
        (f"{tar}.idx", b"", "an index of 0 bytes is cut"),
        ("shards/sample-000000.parquet", b"PAR1", "is not a whole Parquet file"),
    ]
    for path, wrong, words in cases:
        rewrite(out, path, wrong, mark, reseal=True)
        assert words in (fault(out) or "nothing"), (path, words)
        for name, whole in {**before, path: before.get(path, b"")}.items():
            (out / name).write_bytes(whole)


def test_an_inventory_or_a_recipe_of_another_corpus_is_found(root: Path, out: Path) -> None:
    for setting in (
        "inputs_per_unit=4",
        "jpeg_quality=80",
        "dedup.image_radius=20",
        "samples_per_shard=4",
        "seed=1",
    ):
        shutil.copytree(out, copy := out.parent / setting)
        pipeline.run(prepare(root, copy, "sidecar_json=true", setting, rebuild=True), inventory.PHASE)
        assert fault(copy), setting


def test_a_tar_that_no_mark_lists_is_found_and_other_files_are_not_ours(out: Path) -> None:
    (out / "shards/NOTES.txt").write_text("mine")
    (out / "mine").mkdir()
    (out / "mine/x.parquet").write_bytes(b"mine")
    assert fault(out) is None
    shutil.copy(out / "shards/sample-000000.tar", out / "shards/sample-000009.tar")
    assert "shards/sample-000009.tar: no shard of this corpus" in (fault(out) or "")


def test_a_corpus_of_which_nothing_was_kept_is_sound(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes.txt").write_text("no picture")
    with pytest.raises(UserError, match="none of the 1 inputs was kept"):
        build(tmp_path, tmp_path / "out")
    assert fault(tmp_path / "out") is None


def test_another_version_of_a_library_is_no_fault(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora.importlib.metadata, "version", lambda name: "99.0")
    assert fault(out) is None


def test_storage_that_may_only_be_read_is_verified_all_the_same(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "verified.json").unlink()
    place = tmp_path / "mounted"
    place.mkdir()
    if subprocess.run(["mount", "--bind", str(out), str(place)], capture_output=True).returncode:
        (out / "verified.json").mkdir()  # without the right to mount: a place that cannot be written
        place = out
    else:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
    try:
        assert fault(place) is None
        assert "all is verified, but verified.json could not be written" in capsys.readouterr().err
    finally:
        if place != out:
            subprocess.run(["umount", str(place)], check=True)
