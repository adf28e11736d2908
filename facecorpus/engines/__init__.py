"""What runs units. An engine is one function, registered by its name; it knows nothing of what it runs.

from facecorpus.engines import ENGINES

@ENGINES.register("patient")
def run(function, context, tasks, workers, *, revive=None):
    for task in tasks:
        yield task, function(context, task)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from facecorpus.plugins import Registry

Context = TypeVar("Context")
Task = TypeVar("Task")
Result = TypeVar("Result")
Revive = Callable[[Task, Any, str], Task]
"""(task, last note or None, how the worker ended) -> the task to run in its place."""


class Engine(Protocol):
    """Runs tasks anywhere and yields (task, result) as they finish, in no particular order.

    `function` is importable by name, `context` and the tasks pickle. An exception in a task stops the run and
    is raised where the results are asked for. One that runs a share of the tasks yields no more than these,
    and what stands after a colon in `--engine NAME:ARGUMENT` is given as `argument` to one that takes it.
    Where a worker dies, what `revive` makes of its task is run in its place; it is given the last note that
    the task left with `units.note`, and may refuse by raising.
    """

    def __call__(
        self,
        function: Callable[[Context, Task], Result],
        context: Context,
        tasks: Sequence[Task],
        workers: int,
        *,
        revive: Revive[Task] | None = None,
    ) -> Iterator[tuple[Task, Result]]:
        """Run `function(context, task)` for every task, `workers` at a time."""
        ...


ENGINES = Registry[Engine]("--engine {}: there is no such engine", __name__)
