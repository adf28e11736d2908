"""`fautrain ...` in processes of their own that need not import torch anew: a server that has done so forks
them. They exit, fail and die of signals like any other."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple, NoReturn

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    ["fautrain.cli", *(f"fautrain.runs.{name}" for name in ("finetune", "evaluate", "probing", "pretrain"))]
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


def start(folder: Path, *arguments: str | Path) -> Running:
    """Start `fautrain ...` in a working directory and go on."""
    for name in (_OUT, _ERR):
        (folder / name).write_text("")
    process = _server.Process(target=_command, args=(folder, [str(a) for a in arguments]))
    process.start()
    return Running(process, folder)


def run(folder: Path, *arguments: str | Path) -> Done:
    """Run `fautrain ...` in a working directory to its end."""
    return start(folder, *arguments).end()


def _command(folder: Path, arguments: list[str]) -> NoReturn:
    os.chdir(folder)
    os.environ.update(XDG_CACHE_HOME=str(folder / ".cache"), CUDA_VISIBLE_DEVICES="")
    for number, name in ((1, _OUT), (2, _ERR)):
        os.dup2(os.open(name, os.O_WRONLY), number)
    import torch

    from fautrain.cli import main

    torch.set_num_threads(1)
    sys.argv = ["fautrain", *arguments]
    main()
    sys.exit(0)
