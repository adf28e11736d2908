"""The array engine: tasks in any order, killed or not, make the corpus that one process makes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_corpus import draw_pictures, prepare

from facecorpus import pipeline
from facecorpus.engines.array import share
from facecorpus.errors import Unfinished, UserError
from facecorpus.progress import Progress

SETTINGS = ("inputs_per_unit=2", "samples_per_shard=4")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Root of pictures and a corpus made of them by one process. Read only."""
    root = tmp_path_factory.mktemp("array")
    pipeline.build(prepare(draw_pictures(root, 20), root / "out", *SETTINGS))
    return root, root / "out"


def holding(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file() and "done/verify" not in path.as_posix())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_seven_tasks_in_random_order(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Two of them are killed in the middle of a phase, and run again later."""
    root, out = built[0], tmp_path / "out"
    order, rounds, kills = random.Random(3), 0, 2
    while True:
        rounds += 1
        whole = 0
        for task in order.sample(range(7), 7):
            corpus = prepare(root, out, *SETTINGS)
            if kills and rounds == 2:  # scoring
                kills -= 1
                with pytest.MonkeyPatch.context() as patch, pytest.raises((KeyboardInterrupt, Unfinished)):
                    patch.setattr(Progress, "update", killed)
                    pipeline.build(corpus, engine=f"array:{task}/7")
                continue
            try:
                pipeline.build(corpus, engine=f"array:{task}/7")
                whole += 1
            except Unfinished as left:
                assert "of other tasks are not; when these have run, run all tasks again" in str(left)
        if whole == 7:
            break
    assert rounds <= 8
    assert holding(out) == holding(built[1])


@pytest.mark.slow
def test_tasks_at_once_and_one_killed(built: tuple[Path, Path], tmp_path: Path) -> None:
    root, out = built[0], tmp_path / "out"
    command = [sys.executable, "-m", "facecorpus", "build", "--sources", "folder", "--root", str(root)]
    command += ["--out", str(out), "--recipe", "sample", "--workers", "1", "--no-report", "--engine", "array"]
    command += [word for setting in SETTINGS for word in ("--set", setting)]

    def start(task: int) -> subprocess.Popen[str]:
        told = {"SLURM_ARRAY_TASK_ID": str(task + 4), "SLURM_ARRAY_TASK_MIN": "4"}
        environment = {**os.environ, **told, "SLURM_ARRAY_TASK_COUNT": "2"}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    codes: list[int] = []
    for attempt in range(12):
        both = [start(0), start(1)]
        if attempt == 1:
            while not any((out / "scores").rglob("*.parquet")) and both[0].poll() is None:
                time.sleep(0.02)
            both[0].send_signal(signal.SIGKILL)
        ends = [process.communicate()[1] for process in both]
        codes = [process.returncode for process in both]
        assert all(code in (0, 75, -signal.SIGKILL) for code in codes), ends
        if codes == [0, 0]:
            break
    assert codes == [0, 0]
    assert holding(out) == holding(built[1])


@pytest.mark.parametrize("argument", ["", "7/7", "1", "x/3", "-1/2"])
def test_a_task_that_is_none_is_refused(argument: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="names no task; write array:INDEX/TASKS"):
        share(argument)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    monkeypatch.setenv("FACE_NUM_TASKS", "3")
    assert share("") == (2, 3) and share("0/2") == (0, 2)


def test_an_engine_that_takes_nothing_is_given_nothing(built: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="--engine local:2: local takes nothing after a colon; leave it out"):
        pipeline.run(prepare(built[0], built[1], *SETTINGS), engine="local:2")
