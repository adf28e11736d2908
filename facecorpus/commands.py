"""How a command ends, and what it says of words that belong to none of its options; for both packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from facecorpus import plugins
from facecorpus.errors import Stopped, UserError


class Command(TyperCommand):
    """A command that answers words without an option better than "unexpected extra argument"."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer brings a click of its own, or not
        """As the base class, but a word left over is a `UserError`."""
        ctx.allow_extra_args = True
        super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise UserError(_stray(ctx.args, ctx.command_path, ctx.params))
        return ctx.args


def _stray(words: Sequence[str], command: str, given: Mapping[str, Any]) -> str:
    """What to say of words that belong to no option, given the values of the options."""
    first, shards = words[0], Path(given.get("shards") or "")
    if shards.suffix and (shards.parent, shards.suffix) == (Path(first).parent, Path(first).suffix):
        return (
            f"--shards takes one word, and the shell has made {len(words) + 1} of its pattern: put it in "
            f"quotes, as in --shards '{shards.parent / f'*{shards.suffix}'}'"
        )
    remedy = f"'{command} --help' lists what can be given"
    if given.keys() >= {"sources", "root"}:
        remedy = (
            f"say what to read with --sources and where with --root, as in '{command} --root . --sources "
            f"photos=folder:{first} --out OUT', and put patterns with * or {{}} in quotes"
        )
    return f"{first!r} belongs to no option; {remedy}"


def run(name: str, app: typer.Typer) -> None:
    """Run the command line and exit: errors meant for the user are one sentence and exit code 2, a signal's
    end is that of `Stopped`. `--debug`, wherever it stands, shows the traceback of an error."""
    debug = "--debug" in sys.argv
    try:
        plugins.load()
        app([argument for argument in sys.argv[1:] if argument != "--debug"])
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(f"{name}: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except (UserError, OSError, ModuleNotFoundError) as error:
        missing = getattr(error, "name", None) or ""
        if debug or missing.partition(".")[0] in ("facecorpus", "fautrain"):
            raise
        print(f"{name}: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


def _sentence(error: Exception) -> str:
    """What to say of an error: which it is and what mends it."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{error.name} is not installed: this needs more than the core; in a clone run 'make setup', "
            "else pip install 'facecorpus[train]'"
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror or error}; mend that and run the same command again"
    return str(error)
