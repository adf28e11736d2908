"""Runs units in processes on this machine. An engine runs units and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

from facecorpus.errors import UserError

Context = TypeVar("Context")
Task = TypeVar("Task")
Result = TypeVar("Result")

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The processes are the parallelism. NumPy's BLAS would start a thread per core in each of them, and waiting
threads spin: with two workers on two cores that costs more than half the speed (`docs/benchmarks.md`)."""

_state: dict[str, Any] = {}


def _set_up(run: Callable[..., Any], context: Any) -> None:
    """Once per worker: one thread per process (the processes are the parallelism), and no life after the
    parent."""
    import cv2  # in the worker only, so that importing the engine is cheap

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _state.update(run=run, context=context)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A worker whose parent was killed would wait for its queue for ever: nobody closes it.
        threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()


def _call(task: Any) -> Any:
    return _state["run"](_state["context"], task)


def run(
    function: Callable[[Context, Task], Result], context: Context, tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Yield (task, result) as tasks finish, in no particular order.

    `function` must be importable by name, `context` and the tasks must pickle. With one worker everything
    runs in this process. An exception in a task stops the run and is raised here.

    Raises:
        UserError: a worker process died.
    """
    if workers <= 1 or len(tasks) <= 1:
        yield from _run_here(function, context, tasks)
        return
    for name in BLAS_THREADS:  # read when a worker imports NumPy
        os.environ.setdefault(name, "1")
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_up,
        initargs=(function, context),
    )
    try:
        waiting = {pool.submit(_call, task): task for task in tasks}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process died, most likely for want of memory; run the same command again with fewer "
            "--workers: finished parts are kept"
        ) from None
    except BaseException:
        for (
            worker
        ) in multiprocessing.active_children():  # their units are not marked done, so nothing is lost
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
