"""What a command says of words that belong to none of its options; for both packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from facecorpus.errors import UserError


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
