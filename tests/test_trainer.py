"""The loop: learns, resumes exactly, and computes the same on one process as on two."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import load_file

from facecorpus import shards as tar

SETTINGS = (
    "model.image_px=32",
    "model.patch_px=8",
    "model.decoder_width=32",
    "model.decoder_depth=1",
    "data.batch_per_step=8",
    "data.workers=0",
    "data.held_out=0.2",
    "train.epochs=6",
    "optim.warmup_epochs=1",
    "log.every_steps=1",
    "log.grid_every_epochs=3",
    "train.checkpoint_every_steps=3",
    "train.eval_every_epochs=2",
)
STEPS = 36
"""What SETTINGS make of 60 samples less some held out: checked by the first test."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of smooth random pictures."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    for number in range(2):
        with (folder / f"train-{number:06d}.tar").open("wb") as file:
            writer = tar.ShardWriter(file)
            for _ in range(30):
                low = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                picture = cv2.resize(low, (64, 64), interpolation=cv2.INTER_CUBIC)
                jpg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
                writer.add(f"{int(rng.integers(1 << 62)):016x}", {"jpg": jpg})
            writer.finish()
    return folder


def command(shards: Path, out: Path, *settings: str, processes: int = 1) -> list[str]:
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    more = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    where = ["--shards", str(shards / "*.tar"), "--out", str(out)]
    return [*launch, "-m", "fautrain", "pretrain", *where, "--recipe", "tiny", *more]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def train(shards: Path, out: Path, *settings: str, processes: int = 1) -> None:
    done = subprocess.run(
        command(shards, out, *settings, processes=processes), capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr[-3000:]


def losses(out: Path) -> list[tuple[str, int, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["kind"], line["step"], line["values"]["loss"]) for line in lines]


def weights(out: Path) -> dict[str, np.ndarray]:
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    return load_file(newest / "model.safetensors")


def logged(out: Path) -> list[tuple[str, int, dict[str, float]]]:
    """The lines of the log without times, which are never twice the same."""
    times = ("images_per_s", "data_wait", "mfu")
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in line["values"].items() if name not in times} for line in lines]
    return [(line["kind"], line["step"], values) for line, values in zip(lines, kept, strict=True)]


def assert_same(out: Path, reference: Path) -> None:
    assert logged(out) == logged(reference)
    ours, theirs = weights(out), weights(reference)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def reference(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reference"
    train(shards, out)
    return out


def test_it_learns_and_leaves_what_it_promises(reference: Path) -> None:
    trained = [loss for kind, _, loss in losses(reference) if kind == "train"]
    assert len(trained) == STEPS
    assert np.mean(trained[-4:]) < 0.9 * np.mean(trained[:4])
    assert [step for kind, step, _ in losses(reference) if kind == "held_out"] == [12, 24, 36]
    assert json.loads((reference / "config.json").read_text())["model"]["image_px"] == 32
    picture = cv2.imread(str(sorted((reference / "grids").glob("*.png"))[-1]))
    assert picture is not None and picture.std() > 10


def test_workers_change_nothing(shards: Path, reference: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "run", "data.workers=2")
    assert_same(tmp_path / "run", reference)


def stop(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a process and everything it has started (a launcher's workers have sessions of their own)."""
    family = psutil.Process(process.pid).children(recursive=True)
    for member in [psutil.Process(process.pid), *family]:
        try:
            member.send_signal(number)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(family, timeout=30)


def kill_and_resume(shards: Path, out: Path, after: int, processes: int, *settings: str) -> None:
    """SIGKILL a run once it has logged `after` steps, then run the same command to the end."""
    process = subprocess.Popen(
        command(shards, out, *settings, processes=processes),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT,
    )  # fmt: skip
    log = out / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= after):
        time.sleep(0.005)
    if process.poll() is None:
        stop(process, signal.SIGKILL)
    train(shards, out, *settings, processes=processes)


def test_a_killed_run_goes_on_bit_for_bit(shards: Path, reference: Path, tmp_path: Path) -> None:
    kill_and_resume(shards, tmp_path / "run", 11, 1, "data.workers=2")
    assert_same(tmp_path / "run", reference)


@pytest.mark.slow
def test_with_other_parts_it_goes_on_bit_for_bit_too(shards: Path, tmp_path: Path) -> None:
    parts = ("optim.name=muon", "model.decoder=cross", "model.prediction_ratio=0.25", "train.epochs=2")
    train(shards, tmp_path / "whole", *parts)
    kill_and_resume(shards, tmp_path / "killed", 5, 1, *parts)
    assert_same(tmp_path / "killed", tmp_path / "whole")
    trained = [loss for kind, _, loss in losses(tmp_path / "whole") if kind == "train"]
    assert np.mean(trained[-4:]) < 0.95 * np.mean(trained[:4])


def test_sigterm_writes_a_checkpoint_and_ends_cleanly(shards: Path, reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(command(shards, out), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    while process.poll() is None and not ((out / "log.jsonl").exists() and len(losses(out)) >= 7):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143 and "stopped by SIGTERM; the same command goes on where it was" in said
    done = losses(out)[-1][1]
    assert done < STEPS
    assert (out / "checkpoints" / f"step-{done:08d}").is_dir()
    train(shards, out)
    assert_same(out, reference)


def test_a_torn_checkpoint_is_passed_over(shards: Path, reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(shards, out, "train.max_steps=9")
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    with (newest / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    done = subprocess.run(command(shards, out), capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0 and newest.name in done.stderr
    assert_same(out, reference)


def test_two_processes_follow_one(shards: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        train(shards, tmp_path / str(processes), "train.epochs=9", processes=processes)
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert [entry[:2] for entry in one] == [entry[:2] for entry in two]
    assert one[-1][1] >= 50
    assert np.allclose([entry[2] for entry in one], [entry[2] for entry in two], rtol=0, atol=1e-5)


def test_accumulation_follows_the_whole_batch(shards: Path, reference: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "run", "train.accumulate=2")
    one, parts = losses(reference), losses(tmp_path / "run")
    assert np.allclose([entry[2] for entry in one], [entry[2] for entry in parts], rtol=0, atol=1e-5)


def test_other_settings_are_refused(shards: Path, reference: Path) -> None:
    before = losses(reference)
    done = subprocess.run(
        command(shards, reference, "optim.lr=0.5"), capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 2
    assert "optim.lr was" in done.stderr and "Traceback" not in done.stderr
    assert losses(reference) == before


def test_other_samples_are_refused(shards: Path, reference: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    (one / "train-000000.tar").write_bytes((shards / "train-000000.tar").read_bytes())
    newest = sorted((reference / "checkpoints").glob("step-*"))[-1]
    line = [*command(one, tmp_path / "run"), "--resume", str(newest)]
    done = subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 2 and "other samples" in done.stderr


def test_gradients_that_are_not_finite_are_skipped_then_stop_the_run(shards: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(shards, tmp_path / "run", "optim.lr=1e30", "train.max_nonfinite=3"),
        capture_output=True, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 2
    assert "not finite" in done.stderr and "clip_grad" in done.stderr


def test_bench_prints_what_it_assumes(shards: Path) -> None:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    line = [sys.executable, "-m", "fautrain", "bench", "--shards", str(shards), "--recipe", "tiny", *settings]
    line += ["--seconds", "0.2", "--original"]
    done = subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [row.split("|")[1:3] for row in done.stdout.splitlines() if row.startswith("|")][2:]
    assert len(rows) == 4
    assert all(float(rate.replace(",", "")) > 0 for _, rate in rows)
    assert "GFLOP an image" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_killed_run_goes_on_on_a_gpu(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ENVIRONMENT, "CUDA_VISIBLE_DEVICES")
    train(shards, tmp_path / "whole", "data.workers=2")
    kill_and_resume(shards, tmp_path / "killed", 11, 1, "data.workers=2")
    whole, killed = losses(tmp_path / "whole"), losses(tmp_path / "killed")
    assert [entry[:2] for entry in whole] == [entry[:2] for entry in killed]
    # Atomic additions on a GPU come in any order; the samples and masks are the same ones.
    assert np.allclose([entry[2] for entry in whole], [entry[2] for entry in killed], rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "workers", "kills"), [(1, 0, 8), (1, 2, 9), (2, 0, 4), (2, 2, 4)])
def test_25_random_kills(
    shards: Path, reference: Path, tmp_path: Path, processes: int, workers: int, kills: int
) -> None:
    rng = random.Random(processes * 10 + workers)
    expected = reference
    if processes > 1:
        expected = tmp_path / "reference"
        train(shards, expected, processes=processes)
    for number in range(kills):
        out = tmp_path / str(number)
        kill_and_resume(shards, out, rng.randint(1, STEPS), processes, f"data.workers={workers}")
        assert_same(out, expected)
