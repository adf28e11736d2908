"""Checkpoints and what befalls their writers: kills, full disks, read-only disks, several ranks."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from checkpoint_same import same_state
from checkpoint_writer import generators_of, state_of

from facecorpus.errors import UserError
from fautrain.checkpoint import State, latest, load, save, step_of, steps, verify

torch.set_num_threads(1)

WRITER = Path(__file__).with_name("checkpoint_writer.py")


def writer(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITER), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_a_writer(run_dir: Path, first: int, delay_s: float) -> int:
    """Starts a writer at step `first`, kills it; the last step that it said was published, 0 if none."""
    process = writer(run_dir, first, 10_000, 2)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    said, complaint = process.communicate()
    assert process.returncode == -signal.SIGKILL, complaint
    return max([int(line) for line in said.split("\n")[:-1]], default=0)


def survive_kills(run_dir: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    published, asides = 0, 0
    for _ in range(kills):
        published = kill_a_writer(run_dir, published + 1, chance.uniform(0.02, 0.4)) or published
        asides += len(list((run_dir / "checkpoints").glob(".*")))
        path = latest(run_dir)
        if path is None:
            assert published == 0
            continue
        step = step_of(path)
        assert step is not None and step >= published, "a published checkpoint was lost"
        assert same_state(load(path), state_of(step))
        # Nothing under a checkpoint's name is ever torn, and at most one more than is kept.
        assert all(verify(path.with_name(f"step-{s:08d}")) == [] for s in steps(run_dir))
        assert len(steps(run_dir)) <= 3
        published = step
    assert published > 0
    assert asides > 0, "no kill found a writer half-way: the test shows nothing"
    save(run_dir, state_of(published + 1), keep=2)
    assert not list((run_dir / "checkpoints").glob(".*"))


def test_killed_writers_leave_whole_checkpoints(tmp_path: Path) -> None:
    survive_kills(tmp_path, kills=6, seed=1)


def test_what_safetensors_left_of_a_file_goes_too(tmp_path: Path) -> None:
    """From 0.8 on it writes under a name of its own, which a kill leaves."""
    torn = tmp_path / "checkpoints/.step-00000007.part-1"
    torn.mkdir(parents=True)
    (torn / ".tmpTYTLil").write_bytes(b"half")
    (theirs := tmp_path / "checkpoints/.step-00000008.part-1").mkdir()
    (theirs / ".tmp-notes").write_bytes(b"mine")
    save(tmp_path, state_of(9), keep=2)
    assert [path.name for path in (tmp_path / "checkpoints").glob(".*")] == [theirs.name]


@pytest.mark.slow
def test_many_killed_writers_leave_whole_checkpoints(tmp_path: Path) -> None:
    survive_kills(tmp_path, kills=25, seed=2)


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[None]:
    """A disk of that size in memory at `folder`."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk to fill")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here to fill: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def assert_untouched(run_dir: Path) -> None:
    """Only the checkpoint of step 1 is there, and it is whole."""
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["step-00000001"]
    path = latest(run_dir)
    assert path is not None and same_state(load(path), state_of(1))


def test_a_full_disk_is_said_and_costs_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path, 4096):
        save(tmp_path, state_of(1), keep=1)
        filler = tmp_path / "filler"
        failed = 0
        # From no room at all to room for all but the last files: the disk fills up at every stage of writing.
        for free_kb in [0, 1, 8, 40, 60, 90, 120, 124, 128, 132, 136, 140, 144, 148]:
            filler.write_bytes(b"")
            room = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
            filler.write_bytes(bytes(max(0, room - free_kb * 1024)))
            try:
                save(tmp_path, state_of(2), keep=2)
            except UserError as error:
                failed += 1
                assert "step-00000002 could not be written: No space left on device" in str(error)
                assert "lower train.keep" in str(error)
                assert_untouched(tmp_path)
            else:
                break
        assert failed >= 6
        filler.unlink()
        assert same_state(load(save(tmp_path, state_of(2), keep=1)), state_of(2))


def test_a_disk_that_became_read_only_is_said(tmp_path: Path) -> None:
    with small_disk(tmp_path, 4096):
        save(tmp_path, state_of(1), keep=1)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        with pytest.raises(UserError, match="Read-only file system; choose a place"):
            save(tmp_path, state_of(2), keep=1)
        assert_untouched(tmp_path)


@pytest.mark.parametrize("limit", [0, 1000, 10_000, 40_000])
def test_a_file_that_may_not_grow_is_said_and_costs_nothing(tmp_path: Path, limit: int) -> None:
    save(tmp_path, state_of(1), keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(UserError) as caught:
            save(tmp_path, state_of(2), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "could not be written: File too large" in str(caught.value)
    assert_untouched(tmp_path)


def test_two_ranks_write_one_checkpoint(tmp_path: Path) -> None:
    run_dir, meeting = tmp_path / "run", tmp_path / "barrier"
    meeting.mkdir()
    # A directory with a name like that of the one aside, which holds something of the user's.
    other = run_dir / "checkpoints" / ".step-00000005.part-1"
    other.mkdir(parents=True)
    (other / "notes.txt").write_text("mine")
    processes = [writer(run_dir, 5, rank, 2, meeting) for rank in (0, 1)]
    for process in processes:
        said, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
        assert said.strip() == str(run_dir / "checkpoints" / "step-00000005")
    assert (other / "notes.txt").read_text() == "mine"
    path = latest(run_dir)
    assert path is not None and load(path).world == 2
    assert same_state(load(path, rank=0), state_of(5))
    assert same_state(load(path, rank=1), state_of(5, rank=1))
    assert load(path, rank=2).rng is None, "a rank that did not save has no generators to go on with"
    assert same_state(load(path, rank=1), state_of(5)) is False
    (path / "rank-00001.json").unlink()
    assert verify(path) == ["rank-00001.json: missing"]


@pytest.mark.parametrize(
    ("bad_rank", "words"), [(1, "lacks the part of rank 1"), (0, "was not written by rank 0")]
)
def test_a_rank_that_fails_leaves_nobody_waiting(tmp_path: Path, bad_rank: int, words: str) -> None:
    meeting = threading.Barrier(2, timeout=30)
    outcome: dict[int, Exception] = {}
    told: list[str] = []

    def share(number: int, value: str) -> str:
        if number == 0:
            told.append(value)
        meeting.wait()
        return told[0]

    def rank(number: int) -> None:
        rng = object() if number == bad_rank else generators_of(1, number)
        try:
            save(
                tmp_path,
                State(step=1, rng=rng),
                keep=1,
                rank=number,
                world=2,
                barrier=lambda: void(meeting.wait()),
                share=lambda value: share(number, value),
            )
        except Exception as error:
            outcome[number] = error

    threads = [threading.Thread(target=rank, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(outcome[bad_rank], TypeError)
    assert isinstance(outcome[1 - bad_rank], UserError) and words in str(outcome[1 - bad_rank])
    assert list((tmp_path / "checkpoints").iterdir()) == []


def void(_: object) -> None:
    """Drops a value."""
