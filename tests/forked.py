"""`fautrain ...` in processes of their own that need not import torch anew: a server that has done so forks
them. They exit, fail and die of signals like any other."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple, NoReturn

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    [
        "fautrain.cli",
        *(f"fautrain.runs.{name}" for name in ("finetuning", "evaluate", "probing", "training")),
    ]
)
_OUT, _ERR = ".stdout", ".stderr"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    """Exit status; the signal's number, negative, where it died of one."""
    out: str
    err: str


class Running(NamedTuple):
    """A command that may still run."""

    process: BaseProcess
    folder: Path

    def signal(self, number: int) -> None:
        """Send a signal; nothing where it has ended."""
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, number)

    def end(self) -> Done:
        """Wait for the end."""
        self.process.join()
        assert self.process.exitcode is not None
        return Done(self.process.exitcode, *((self.folder / name).read_text() for name in (_OUT, _ERR)))


def start(
    folder: Path,
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> Running:
    """Start `fautrain ...` in a working directory, as the first of a process group of its own, and go on.

    `before` is called there first; it must be a module's function.
    """
    for name in (_OUT, _ERR):
        (folder / name).write_text("")
    process = _server.Process(
        target=_command, args=(folder, [str(a) for a in arguments], dict(environment or {}), before)
    )
    process.start()
    return Running(process, folder)


def start_ranks(ranks: int, folder: Path, *arguments: str | Path) -> list[Running]:
    """Start `fautrain ...` as so many ranks, as a launcher does, each with a working directory of its own."""
    running: list[Running] = []
    for rank, environment in enumerate(_rank_environments(ranks)):
        (where := folder / f"rank-{rank}").mkdir()
        running.append(start(where, *arguments, environment=environment))
    return running


def call_ranks(ranks: int, function: Callable[..., object], *arguments: object) -> None:
    """Call a module's function in so many ranks, as a launcher does."""
    processes = [
        _server.Process(target=_call, args=(environment, function, arguments))
        for environment in _rank_environments(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * ranks


def _rank_environments(ranks: int) -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    common |= {"LOCAL_WORLD_SIZE": str(ranks), "CUDA_VISIBLE_DEVICES": ""}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def _call(environment: dict[str, str], function: Callable[..., object], arguments: Sequence[object]) -> None:
    os.environ.update(environment)
    function(*arguments)


def run(folder: Path, *arguments: str | Path) -> Done:
    """Run `fautrain ...` in a working directory to its end."""
    return start(folder, *arguments).end()


def _command(
    folder: Path, arguments: list[str], environment: dict[str, str], before: Callable[[], object] | None
) -> NoReturn:
    os.setpgid(0, 0)
    os.chdir(folder)
    os.environ.update(environment)
    os.environ.update(XDG_CACHE_HOME=str(folder / ".cache"), CUDA_VISIBLE_DEVICES="")
    for number, name in ((1, _OUT), (2, _ERR)):
        os.dup2(os.open(name, os.O_WRONLY), number)
    import torch

    from fautrain.cli import main

    torch.set_num_threads(1)
    if before is not None:
        before()
    sys.argv = ["fautrain", *arguments]
    main()
    sys.exit(0)
