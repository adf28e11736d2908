"""The local engine: every task's result once, whatever becomes of the processes that work on them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facecorpus import units
from facecorpus.engines import local
from facecorpus.errors import UserError

ENDS: dict[str, Callable[[], object]] = {
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit status 3": lambda: os._exit(3),
}


def double(factor: int, task: int) -> int:
    return factor * task


def fall(context: Path, task: Any) -> str:
    """Ends its process at a task named in ENDS, unless it has been told which input to leave out."""
    units.note(f"{task} looked at")
    if task in ENDS:
        ENDS[task]()
    if str(task).endswith("alone"):  # nothing may run beside it
        assert len(list(context.iterdir())) == 0
    else:
        (context / f"{task}").touch()
        time.sleep(0.01)
        (context / f"{task}").unlink()
    return f"{task} done"


def refuse(_: None, task: int) -> int:
    raise UserError(f"task {task} is refused") if task == 2 else ValueError(f"task {task}")


def revive(task: str, note: Any, how: str) -> str:
    assert note == f"{task} looked at" and how == task
    return f"{task} alone"


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_has_its_result_once(workers: int) -> None:
    found = list(local.run(double, 3, range(50), workers))
    assert sorted(found) == [(task, 3 * task) for task in range(50)]
    assert not multiprocessing.active_children()


def test_an_error_in_a_task_is_raised_here_and_nothing_lives_on() -> None:
    with pytest.raises(UserError, match="task 2 is refused"):
        list(local.run(refuse, None, [2, 2, 2], 2))
    with pytest.raises(ValueError, match="task 1") as told:
        list(local.run(refuse, None, [1, 1], 2))
    assert "in refuse" in told.value.__notes__[0], "where it happened is lost"
    assert not multiprocessing.active_children()


def test_who_stops_listening_stops_the_workers() -> None:
    running = local.run(double, 3, range(50), 2)
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_death_costs_its_own_task_alone(tmp_path: Path, workers: int) -> None:
    tasks = ["a", *ENDS, *"bcdefgh"]
    found = dict(local.run(fall, tmp_path, tasks, workers, revive=revive))
    assert found == {task: f"{task} done" for task in [*"abcdefgh", *(f"{end} alone" for end in ENDS)]}


def test_a_death_without_a_second_try_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a worker process died \(SIGSEGV\), most likely for want of memory"):
        list(local.run(fall, tmp_path, ["SIGSEGV", "a", "b"], 2))


def test_whoever_stops_a_worker_from_outside_stops_the_run() -> None:
    with pytest.raises(UserError, match="stopped from outside"):
        list(local.run(terminate, None, ["a"], 1, revive=revive))


def terminate(_: None, task: str) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
