"""The whole build: truth met, bytes independent of workers, interruptions and faults; changes noticed."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from conftest import build_arguments, command, run, tree
from PIL import Image

import facecorpus
from facecorpus import schema
from facecorpus.errors import UserError
from facecorpus.record import State
from facecorpus.synth.truth import check_truth, read_truth


def outcomes(out: Path) -> dict[str, tuple[str, str | None, str | None]]:
    rows = pq.read_table(out / "selection.parquet").to_pylist()
    return {row["id"]: (row["state"], row["reason"], row["duplicate_of"]) for row in rows}


def test_the_truth_is_met_to_the_last_row(drawn: Path, corpus: Path) -> None:
    rows = read_truth(drawn)
    assert len(rows) > 40
    assert check_truth(rows, outcomes(corpus)) == []
    states = Counter(state for state, _, _ in outcomes(corpus).values())
    assert all(states[state] > 0 for state in ("kept", "rejected", "duplicate", "failed"))


def test_synth_checks_the_truth_too(drawn: Path, corpus: Path) -> None:
    assert "became what" in run("synth", "--out", str(drawn), "--check", str(corpus)).stdout


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # webdataset leaves shards open
def test_stock_webdataset_reads_every_sample(corpus: Path) -> None:
    shards = sorted(str(path) for path in corpus.glob("shards/*.tar"))
    read = {}
    for sample in wds.WebDataset(shards, shardshuffle=False):
        read[sample["__key__"]] = np.asarray(Image.open(io.BytesIO(sample["jpg"])))
    manifest = [
        row for path in sorted(corpus.glob("shards/*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    assert sorted(read) == sorted(row["key"] for row in manifest)
    kept = [i for i, (state, _, _) in outcomes(corpus).items() if state == State.KEPT]
    assert sorted(row["id"] for row in manifest) == sorted(kept)
    assert all(image.shape == (224, 224, 3) for image in read.values())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_opened_corpus_gives_its_samples(corpus: Path, tmp_path: Path) -> None:
    opened = facecorpus.open(corpus)
    keys = [sample["__key__"] for sample in opened.webdataset()]
    assert keys == opened.manifest().column("key").to_pylist() and len(keys) == len(opened)
    with pytest.raises(UserError, match=r"has no shards\.parquet"):
        facecorpus.open(tmp_path)


def test_a_sample_can_be_picked_by_its_offset(corpus: Path) -> None:
    for tar in corpus.glob("shards/*.tar"):
        data = tar.read_bytes()
        for row in pq.read_table(tar.with_suffix(".parquet")).to_pylist():
            picked = data[row["jpg_offset"] : row["jpg_offset"] + row["jpg_bytes"]]
            assert Image.open(io.BytesIO(picked)).size == (224, 224)
            assert data[row["sample_offset"] :].startswith(row["key"].encode() + b".jpg")


def test_tables_have_the_promised_columns(corpus: Path) -> None:
    assert pq.read_schema(corpus / "selection.parquet").equals(schema.SELECTION)
    table = pq.read_schema(corpus / "shards.parquet")
    assert table.equals(schema.SHARDS)
    crops = json.loads(table.metadata[schema.CROPS])
    assert (crops["recipe"]["align"], crops["recipe"]["size_px"]) == ("similarity", 224)
    assert len(crops["points_px"]) == 5 and not {"seed", "dedup"} & crops["recipe"].keys()
    assert all(
        source.keys() == {"name", "adapter", "terms", "redistributable", "origin"}
        for source in crops["sources"]
    )
    assert all(source["origin"]["synthetic"] is True for source in crops["sources"])
    assert "research" in next(s["terms"] for s in crops["sources"] if s["adapter"] == "celeba")
    for path in corpus.glob("shards/*.parquet"):
        assert pq.read_schema(path).equals(schema.MANIFEST)
    for path in corpus.glob("scores/**/*.parquet"):
        assert pq.read_schema(path).equals(schema.SCORES)
    for path in corpus.glob("inventory/*.parquet"):
        assert pq.read_schema(path).equals(schema.INVENTORY)


def test_sources_are_mixed_within_shards(corpus: Path) -> None:
    sources = [
        set(pq.read_table(path)["source"].to_pylist()) for path in sorted(corpus.glob("shards/*.parquet"))
    ]
    assert len(sources) > 1
    assert np.mean([len(found) for found in sources]) > 2


def test_two_workers_and_a_second_run_give_the_same_bytes(drawn: Path, corpus: Path, tmp_path: Path) -> None:
    expected = tree(corpus)
    run(*build_arguments(drawn, tmp_path / "out", workers=2))
    assert tree(tmp_path / "out") == expected
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "scores").rglob("*.parquet")}
    run(*build_arguments(drawn, tmp_path / "out", workers=2))
    assert tree(tmp_path / "out") == expected
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "finished parts were done again"


def test_the_phases_one_by_one_give_the_same_bytes(drawn: Path, corpus: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    first = build_arguments(drawn, tmp_path / "out")
    run("inventory", *(a for a in first[1:] if a != "--no-report"))
    for phase in ("score", "select", "materialise", "verify"):
        run(phase, out)
    assert tree(tmp_path / "out") == tree(corpus)


def kill_and_resume(drawn: Path, out: Path, after_s: float) -> bool:
    """Start a build, SIGKILL its whole process group after a while, and finish it; whether the kill came in
    time."""
    arguments = build_arguments(drawn, out, workers=2)
    process = subprocess.Popen(
        command(*arguments), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    run(*arguments)
    return killed


def duration(drawn: Path, out: Path) -> float:
    start = time.monotonic()
    run(*build_arguments(drawn, out, workers=2))
    return time.monotonic() - start


def test_kill_and_resume(drawn: Path, corpus: Path, tmp_path: Path) -> None:
    # Two kills, whatever the machine's speed: when the first part has been scored and at the first shard.
    for number, sign in enumerate(("done/score", "done/materialise")):
        out = tmp_path / str(number)
        arguments = build_arguments(drawn, out, workers=2)
        process = subprocess.Popen(
            command(*arguments), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (out / sign).exists():
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        run(*arguments)
        assert tree(out) == tree(corpus)
        assert not [path for path in out.rglob("*") if ".part-" in path.name], "left-over aside files"


@pytest.mark.slow
def test_25_random_kills(drawn: Path, corpus: Path, tmp_path: Path) -> None:
    expected = tree(corpus)
    whole = duration(drawn, tmp_path / "timing")
    rng = random.Random(0)
    killed = 0
    for number in range(25):
        out = tmp_path / str(number)
        killed += kill_and_resume(drawn, out, rng.uniform(0.1, 1.0) * whole)
        assert tree(out) == expected, f"after kill {number}"
        shutil.rmtree(out)
    assert killed >= 15


def test_a_changed_recipe_is_refused_then_redone(drawn: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    changed = ("--set", "jpeg_quality=80")
    refused = run(*build_arguments(drawn, out, more=changed), check=False)
    assert refused.returncode == 2
    assert "recipe.jpeg_quality was 95 and is 80" in refused.stderr and "--rebuild" in refused.stderr
    assert tree(out) == tree(corpus), "a refusal must lose nothing"
    run(*build_arguments(drawn, out, more=(*changed, "--rebuild")))
    assert tree(out) != tree(corpus)
    run(*build_arguments(drawn, out, more=("--rebuild",)))
    assert tree(out) == tree(corpus)


def test_a_source_that_is_left_out_is_refused(drawn: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    arguments = build_arguments(drawn, out)
    arguments[arguments.index("--sources") + 1] = "celeba,folder"
    refused = run(*arguments, check=False)
    assert refused.returncode == 2 and "vggface2" in refused.stderr
    run(*arguments, "--rebuild")
    assert set(pq.read_table(out / "selection.parquet")["source"].to_pylist()) == {"celeba", "folder"}
    assert {path.name for path in (out / "scores").iterdir() if any(path.iterdir())} == {"celeba", "folder"}


def test_a_changed_input_file_is_noticed(drawn: Path, corpus: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(drawn, root)
    run(*build_arguments(root, out))
    before = outcomes(out)
    changed = next(
        i for i, (state, _, _) in before.items() if state == State.KEPT and i.startswith("folder/")
    )
    path = root / changed
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    again = run(*build_arguments(root, out))
    assert "out of date" in again.stderr
    after = outcomes(out)
    assert after[changed][0] == State.FAILED
    assert {i for i in before if after[i] != before[i]} == {changed}


def test_a_lost_shard_is_seen_by_verify_and_rebuilt(drawn: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    shard = next(out.glob("shards/*.tar"))
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    seen = run("verify", str(out), check=False)
    assert seen.returncode == 2 and shard.name in seen.stderr
    shard.unlink()
    run(*build_arguments(drawn, out))
    assert tree(out) == tree(corpus)


def test_an_input_that_cannot_be_read_is_in_the_ledger_and_tried_again(drawn: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(drawn, root)
    arguments = build_arguments(root, out)
    run("inventory", *(a for a in arguments[1:] if a != "--no-report"))
    victim = next(path for path in sorted((root / "folder").rglob("*.jpg")) if path.stat().st_size > 3000)
    aside = victim.with_name("aside")
    data = victim.read_bytes()
    victim.rename(aside)
    run("score", str(out))
    aside.rename(victim)
    rows = [
        row for path in (out / "scores/folder").glob("*.parquet") for row in pq.read_table(path).to_pylist()
    ]
    (row,) = [row for row in rows if row["id"] == f"folder/{victim.relative_to(root / 'folder')}"]
    assert (row["state"], row["reason"]) == ("failed", "unreadable")
    assert victim.read_bytes() == data
    run("score", str(out))
    rows = [
        row for path in (out / "scores/folder").glob("*.parquet") for row in pq.read_table(path).to_pylist()
    ]
    assert not [row for row in rows if row["reason"] == "unreadable"]


def test_a_full_disk_stops_with_a_sentence_and_resumes(drawn: Path, corpus: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("mounting a small tmpfs needs rights that this process does not have")
    try:
        full = run(*build_arguments(drawn, disk / "out"), check=False)
        assert full.returncode == 2
        assert full.stderr.strip().splitlines()[-1].startswith("facecorpus: no space left")
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        run(*build_arguments(drawn, disk / "out"))
        assert tree(disk / "out") == tree(corpus)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_ledger_shows_in_stats(corpus: Path) -> None:
    told = json.loads(run("stats", str(corpus), "--json").stdout)
    assert told
    counted = Counter(i.partition("/")[0] for i in outcomes(corpus))
    assert {name: entry["inputs"] for name, entry in told["sources"].items()} == counted
