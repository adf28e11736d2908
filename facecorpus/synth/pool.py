"""Processes that draw, and that end with the command."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import TypeVar

import cv2

from facecorpus.errors import UserError

Job = TypeVar("Job")
Drawn = TypeVar("Drawn")


def _set_up() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def in_order(
    draw: Callable[[Job], Drawn], jobs: Sequence[Job], workers: int, chunk: int = 1
) -> Iterator[Drawn]:
    """`draw` of every job, in their order, by so many processes; with one, in this process.

    Raises:
        UserError: a process died.
    """
    if workers <= 1:
        yield from map(draw, jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_set_up)
    try:
        # A worker that is still being started must not answer a signal with a traceback.
        resource_tracker.ensure_running()  # it would unblock the signal on its way
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            drawn = pool.map(draw, jobs, chunksize=chunk)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        yield from drawn
    except BrokenProcessPool:
        raise UserError(
            "a drawing process died, perhaps for want of memory; run the command again with fewer --workers"
        ) from None
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
