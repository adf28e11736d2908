"""Runs one task's share of the units, on this machine: for batch systems, with nothing shared but the corpus.

    facecorpus build ... --engine array:3/7      # task 3 of the seven numbered 0 to 6
    facecorpus build ... --engine array          # numbers from Slurm's array or an indexed Kubernetes job

Each task does its share of a phase and goes on to the next one if all others have done theirs; else it ends
with exit status 75, and whoever started it starts it again when the others have ended, in any order and any
number at a time. Which units are a task's follows from their names, so a task that was killed has lost the
unit it was at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

from facecorpus.engines import ENGINES, Context, Result, Revive, Task, local
from facecorpus.errors import UserError

_SYSTEMS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT"),
    ("JOB_COMPLETION_INDEX", "", "FACE_NUM_TASKS"),
)
"""Environment variables that hold a task's index, the first task's, and the number of tasks."""


@ENGINES.register("array")
def run(
    function: Callable[[Context, Task], Result],
    context: Context,
    tasks: Sequence[Task],
    workers: int,
    *,
    revive: Revive[Task] | None = None,
    argument: str = "",
) -> Iterator[tuple[Task, Result]]:
    """As the local engine, of this task's units alone.

    Args:
        function, context, tasks, workers, revive: see `Engine`.
        argument: INDEX/TASKS; empty takes both from the batch system.

    Raises:
        UserError: as `local.run`; or there is no such task.
    """
    index, number = share(argument)
    mine = [task for task in tasks if _owner(str(getattr(task, "name", task)), number) == index]
    yield from local.run(function, context, mine, workers, revive=revive)


def share(argument: str) -> tuple[int, int]:
    """This task's index, from 0, and how many tasks there are.

    Raises:
        UserError: they are not known, or there is no such task.
    """
    told = re.fullmatch(r"(\d+)/(\d+)", argument or _told_by_system())
    if told is None or int(told[1]) >= int(told[2]):
        what = f"array:{argument}" if argument else "array"
        raise UserError(
            f"--engine {what} names no task; write array:INDEX/TASKS with an index from 0, as in array:3/7, "
            "or start it in a Slurm array or an indexed Kubernetes job with FACE_NUM_TASKS set"
        )
    return int(told[1]), int(told[2])


def _told_by_system() -> str:
    for index, first, number in _SYSTEMS:
        if index in os.environ and number in os.environ:
            try:
                at = int(os.environ[index]) - int(os.environ.get(first, "0"))
            except ValueError:
                continue
            return f"{at}/{os.environ[number]}"
    return ""


def _owner(name: str, number: int) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") % number
