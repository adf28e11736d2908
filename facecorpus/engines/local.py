"""Runs units in processes on this machine. An engine runs units and nothing else."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from typing import Any

from facecorpus import plugins, units
from facecorpus.engines import ENGINES, Context, Result, Revive, Task
from facecorpus.errors import UserError

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The processes are the parallelism. NumPy's BLAS would start a thread per core in each of them, and waiting
threads spin: with two workers on two cores that costs more than half the speed (`docs/benchmarks.md`)."""

_SPAWN = multiprocessing.get_context("spawn")


@ENGINES.register("local")
def run(
    function: Callable[[Context, Task], Result],
    context: Context,
    tasks: Sequence[Task],
    workers: int,
    *,
    revive: Revive[Task] | None = None,
) -> Iterator[tuple[Task, Result]]:
    """Yield (task, result) as tasks finish, in no particular order.

    `function` must be importable by name, `context` and the tasks must pickle. With one worker everything
    runs in this process. An exception in a task stops the run and is raised here.

    With `revive`, every task runs in a worker process, a single one too, and a worker that dies costs nothing
    but its task: what `revive` makes of that task is run after all others, with no other beside it. It is
    given the last note that the task left with `units.note`, and may refuse by raising.

    Raises:
        UserError: a worker process died, and there is no `revive`.
    """
    if revive is None and (workers <= 1 or len(tasks) <= 1):
        yield from _run_here(function, context, tasks)
        return
    for name in BLAS_THREADS:  # read when a worker imports NumPy
        os.environ.setdefault(name, "1")
    left: list[Task] = []
    yield from _run_there(function, context, tasks, workers, revive, left)
    while left:
        again, left = left, []
        yield from _run_there(function, context, again, 1, revive, left)


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    task: Any = None
    note: Any = None

    def give(self, task: Any) -> None:
        self.task, self.note = task, None
        with contextlib.suppress(OSError):  # it is dead: `_run_there` sees that where it waits
            self.connection.send(task)

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _start(function: Callable[..., Any], context: Any) -> _Worker:
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_work, args=(there, function, context), daemon=True)
    resource_tracker.ensure_running()  # it would unblock the signal on its way
    signals = {signal.SIGINT, signal.SIGTERM}  # a process that is being started must not answer them
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    there.close()  # so that the end of the process is the end of the connection
    return _Worker(process, here)


def _run_there(
    function: Callable[[Context, Task], Result],
    context: Context,
    tasks: Sequence[Task],
    workers: int,
    revive: Revive[Task] | None,
    left: list[Task],
) -> Iterator[tuple[Task, Result]]:
    """Run tasks in worker processes; those to be run again are added to `left`."""
    waiting = deque(tasks)
    busy: dict[Connection, _Worker] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker = _start(function, context)
                busy[worker.connection] = worker
                worker.give(waiting.popleft())
            for ready in wait_for(list(busy)):
                worker = busy[ready]  # pyright: ignore[reportArgumentType]
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    del busy[worker.connection]
                    left.append(_after_death(worker, revive))
                    continue
                if kind == "note":
                    worker.note = value
                elif kind == "error":
                    raise value
                else:
                    done = worker.task
                    if waiting:
                        worker.give(waiting.popleft())
                    else:
                        del busy[worker.connection]
                        worker.stop()
                    yield done, value
    finally:
        for worker in busy.values():  # their units are not marked done, so nothing is lost
            worker.stop()


def _after_death(worker: _Worker, revive: Revive[Task] | None) -> Task:
    """What to run in place of a dead worker's task."""
    worker.process.join()
    how = _how(worker.process.exitcode)
    if how in ("SIGTERM", "SIGINT", "SIGHUP"):
        raise UserError(f"a worker process was stopped from outside ({how}); run the same command again")
    if revive is None:
        raise UserError(
            f"a worker process died ({how}), most likely for want of memory; run the same command again with "
            "fewer --workers: finished parts are kept"
        )
    return revive(worker.task, worker.note, how)


def _how(code: int | None) -> str:
    """How a process ended: the name of the signal, or its exit status."""
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit status {code}"


def _work(connection: Connection, function: Callable[..., Any], context: Any) -> None:
    """A worker's life: one thread per process (the processes are the parallelism), and none after the
    parent's."""
    import cv2  # in the worker only, so that importing the engine is cheap

    cv2.setNumThreads(1)
    plugins.load()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    parent = multiprocessing.parent_process()
    if parent is not None:  # while it works, nothing else tells a worker that its parent was killed
        threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()
    units.listen(lambda value: connection.send(("note", value)))
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = "result", function(context, task)
        except BaseException as error:
            error.add_note(traceback.format_exc())
            answer = "error", _portable(error)
        with contextlib.suppress(BrokenPipeError):
            connection.send(answer)


def _portable(error: BaseException) -> BaseException:
    """The error, or one with its words where it does not pickle."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    return error


def _run_here(
    function: Callable[[Context, Task], Result], context: Context, tasks: Iterable[Task]
) -> Iterator[tuple[Task, Result]]:
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for task in tasks:
            yield task, function(context, task)
    finally:
        cv2.setNumThreads(threads)
