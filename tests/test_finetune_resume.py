"""Killed at any moment, in any fold, fine-tuning ends with the same bytes; two processes do what one does."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from labelled_shards import SMALL, files_of, write_labelled

from fautrain import checkpoint
from fautrain.evaluation import prediction_files, read_predictions, read_result
from fautrain.runlog import read_log

RANDOM = ("model.drop_path=0.2", "data.erasing=0.5", "data.mixup=0.8", "data.cutmix=0.5")
"""All that draws while training: drop path and the noise of erasing from torch's own generator."""
STEPS = 8
"""Of each fold: two epochs of 90 frames in batches of 24."""
TIMES = ("images_per_s", "data_wait", "mfu")
FOLDS = ("--fold", "1,3")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled") / "disfa", "disfa", frames=6)


def arguments(shards: Path, out: Path, *settings: str, folds: tuple[str, ...] = FOLDS) -> list[str]:
    where = ["finetune", "--dataset", "disfa", "--shards", str(shards), "--out", str(out), "--recipe", "tiny"]
    chosen = (*SMALL, "data.batch_per_step=24", "train.checkpoint_every_steps=3", *RANDOM, *settings)
    return [*where, *folds, *(part for setting in chosen for part in ("--set", setting))]


def finish(shards: Path, out: Path, *settings: str, folds: tuple[str, ...] = FOLDS) -> str:
    """Run the command to its end; returns what it says on stderr."""
    done = forked.run(out.parent, *arguments(shards, out, *settings, folds=folds))
    assert done.code == 0, done.err[-3000:]
    return done.err


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted. Read only."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    finish(shards, out)
    assert len(files_of(out)) == 2 * 3 + 3
    assert checkpoint.steps(out / "seed-0" / "fold-1")[-1] == STEPS
    return out


def lines(out: Path) -> int:
    """Lines of all logs of a run."""
    return sum(path.read_text().count("\n") for path in out.glob("seed-*/fold-*/log.jsonl"))


def kill(shards: Path, out: Path, lots: random.Random, *settings: str) -> bool:
    """Start the command, SIGKILL it after a few lines of the log and a moment; False if it ended before."""
    until = lines(out) + lots.randint(1, 5)
    running = forked.start(out.parent, *arguments(shards, out, *settings))
    while running.process.is_alive() and lines(out) < until:
        time.sleep(0.002)
    time.sleep(lots.uniform(0, 0.06))  # into a step, an evaluation or a write
    running.signal(signal.SIGKILL)
    return running.end().code == -signal.SIGKILL


def logged(out: Path) -> list[tuple[str, str, int, dict[str, str]]]:
    """All lines of all logs, without times."""
    return [
        (fold.name, line.kind, line.step, {n: str(v) for n, v in line.values.items() if n not in TIMES})
        for fold in sorted(out.glob("seed-*/fold-*"))
        for line in read_log(fold)
    ]


def assert_same(out: Path, expected: Path) -> None:
    assert logged(out) == logged(expected)
    assert_same_files(out, expected)


def assert_same_files(out: Path, expected: Path) -> None:
    ours, theirs = files_of(out), files_of(expected)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_killed_again_and_again(shards: Path, whole: Path, tmp_path: Path) -> None:
    lots = random.Random(0)
    assert sum(kill(shards, tmp_path / "run", lots) for _ in range(5)) >= 3
    finish(shards, tmp_path / "run")
    assert_same(tmp_path / "run", whole)


def test_what_draws_at_random_does_draw(shards: Path, whole: Path, tmp_path: Path) -> None:
    """Otherwise the restored generators would prove nothing: without drop path the numbers are others."""
    finish(shards, tmp_path / "run", "model.drop_path=0", folds=("--fold", "1"))
    ours, theirs = files_of(tmp_path / "run"), files_of(whole)
    assert [name for name in ours if name.endswith(".parquet") and ours[name] == theirs[name]] == []
    assert len(ours) == 3 + 3


@pytest.mark.parametrize("where", ["between folds", "before the checkpoint", "before the result", "at first"])
def test_killed_where_it_hurts(shards: Path, whole: Path, tmp_path: Path, where: str) -> None:
    """The folder as a kill leaves it at one moment, made from the finished one."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    for path in ("result.json", "table.md", "report.html", "seed-0/fold-3/fold.json"):
        (out / path).unlink()
    last = out / "seed-0" / "fold-3"
    if where == "between folds":
        shutil.rmtree(last)
    elif where == "before the checkpoint":  # the predictions of the last epoch are there
        shutil.rmtree(last / "checkpoints" / f"step-{STEPS:08d}")
    elif where == "at first":  # predictions and half a checkpoint, whose rename did not come
        shutil.rmtree(last / "checkpoints")
        (last / "checkpoints" / ".step-00000003.part-1").mkdir(parents=True)
    said = finish(shards, out)
    assert ("going on after step 6" in said) == (where == "before the checkpoint")
    assert_same(out, whole)
    assert sorted(path.name for path in (last / "checkpoints").iterdir()) == sorted(
        path.name for path in (whole / "seed-0" / "fold-3" / "checkpoints").iterdir()
    )


def test_a_torn_checkpoint_is_passed_over(shards: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    run = out / "seed-0" / "fold-1"
    (run / "fold.json").unlink()
    with (run / "checkpoints" / f"step-{STEPS:08d}" / "optimizer.safetensors").open("r+b") as file:
        file.truncate(1000)
    said = finish(shards, out)
    assert "optimizer.safetensors" in said and "going on after step 6" in said
    assert_same(out, whole)


def test_a_finished_run_is_left_alone(shards: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    kept = [path for path in out.glob("seed-*/**/*") if path.is_file() and path.name != "config.json"]
    before = {path: path.stat().st_mtime_ns for path in kept}
    said = finish(shards, out, "train.keep=5", "data.prefetch=1")
    assert "step" not in said and {path: path.stat().st_mtime_ns for path in kept} == before
    assert_same(out, whole)


def test_sigterm_ends_it_cleanly(shards: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    running = forked.start(tmp_path, *arguments(shards, out))
    while running.process.is_alive() and lines(out) < 3:
        time.sleep(0.002)
    running.signal(signal.SIGTERM)
    done = running.end()
    assert done.code == 143 and "the same command goes on where it was" in done.err
    assert "Traceback" not in done.err and not (out / "result.json").exists()
    newest = checkpoint.latest(max((out / "seed-0").glob("fold-*")))
    assert newest is not None and (checkpoint.step_of(newest) or 0) < STEPS
    assert f"going on after step {checkpoint.step_of(newest)}" in finish(shards, out)
    assert_same(out, whole)


def test_sigterm_in_the_last_evaluation_of_a_fold_ends_the_next(
    shards: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    running = forked.start(tmp_path, *arguments(shards, out))
    last = out / "seed-0" / "fold-1" / "predictions" / "epoch-0002.parquet"
    while running.process.is_alive() and not last.exists():
        time.sleep(0.001)
    running.signal(signal.SIGTERM)
    done = running.end()
    assert done.code == 143 and "the same command goes on where it was" in done.err
    assert 0 < checkpoint.steps(out / "seed-0" / "fold-3")[-1] < STEPS
    finish(shards, out)
    assert_same(out, whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_25_random_kills(shards: Path, whole: Path, tmp_path: Path, workers: int) -> None:
    lots = random.Random(workers)
    settings = (f"data.workers={workers}",)
    kills = 0
    for number in range(5):
        out = tmp_path / str(number)
        kills += sum(kill(shards, out, lots, *settings) for _ in range(6))
        finish(shards, out, *settings)
        assert_same(out, whole)
    assert kills >= 25


# -- several processes -------------------------------------------------------------------------------------


def launch(shards: Path, out: Path, processes: int, *settings: str) -> None:
    """The command as torchrun starts it."""
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    line += ["-m", "fautrain", *arguments(shards, out, *settings, folds=("--fold", "1,2"))]
    done = subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("all tables: ") == 1, "one process speaks"


PLAIN = ("model.drop_path=0", "data.erasing=0", "data.mixup=0", "data.cutmix=0")
"""Nothing that each process draws for itself."""


def assert_close(one: Path, two: Path, epochs: int, frames: int) -> None:
    """The same folds, frames and targets, and probabilities within 1e-4."""
    assert read_result(one / "result.json").folds == read_result(two / "result.json").folds == (1, 2)
    for fold in (1, 2):
        files = [prediction_files(out / "seed-0" / f"fold-{fold}") for out in (one, two)]
        assert [*files[0]] == [*files[1]] == [*range(1, epochs + 1)]
        for epoch in files[0]:
            ours, theirs = (read_predictions(found[epoch]) for found in files)
            assert ours.key.tolist() == theirs.key.tolist() and len(ours.key) == frames
            np.testing.assert_allclose(ours.prediction, theirs.prediction, rtol=0, atol=1e-4)
            np.testing.assert_array_equal(ours.target, theirs.target)


@pytest.mark.slow
def test_two_processes_predict_what_one_does(tmp_path: Path) -> None:
    """Uneven on purpose: a last step of one frame, of which the second process has none, and as uneven an
    evaluation."""
    shards = write_labelled(tmp_path / "disfa", "disfa", frames=5)
    # 15 subjects of 5 frames train: 37 + 37 + 1; 60 frames are evaluated in steps of 148.
    settings = ("data.batch_per_step=37", "train.epochs=3", "data.workers=1")
    for processes in (1, 2):
        launch(shards, tmp_path / str(processes), processes, *PLAIN, *settings)
    assert_close(tmp_path / "1", tmp_path / "2", epochs=3, frames=60)
    losses = [
        [json.loads(line)["values"].get("loss") for line in log.read_text().splitlines()]
        for log in (tmp_path / str(n) / "seed-0" / "fold-2" / "log.jsonl" for n in (1, 2))
    ]
    assert len(losses[0]) == len(losses[1])
    known = [pair for pair in zip(*losses, strict=True) if pair[0] is not None]
    np.testing.assert_allclose(*np.array(known).T, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_sharded_weights_predict_the_same(shards: Path, tmp_path: Path) -> None:
    for strategy in ("ddp", "fsdp2"):
        launch(shards, tmp_path / strategy, 2, *PLAIN, f"train.strategy={strategy}")
    assert_close(tmp_path / "ddp", tmp_path / "fsdp2", epochs=2, frames=72)


@pytest.mark.slow
def test_two_killed_processes_go_on(shards: Path, tmp_path: Path) -> None:
    launch(shards, tmp_path / "whole", 2)
    out = tmp_path / "run"
    launch(shards, out, 2, "train.max_steps=5")
    for path in ("seed-0/fold-2", "result.json", "table.md", "report.html"):
        gone = out / path
        if gone.is_dir():
            shutil.rmtree(gone)
        else:
            gone.unlink()
    launch(shards, out, 2)
    whole = logged(tmp_path / "whole")
    # A run that was to end after 5 steps looked there once more.
    assert [line for line in logged(out) if line in whole or line[2] != 5] == whole
    assert_same_files(out, tmp_path / "whole")
