"""The `fautrain` command. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fautrain.errors import UserError

app = typer.Typer(
    help="Train models of facial behaviour on the shards that facecorpus builds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
checkpoints = typer.Typer(help="Look at checkpoints.", no_args_is_help=True)
app.add_typer(checkpoints, name="checkpoint")


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    del debug  # `main` takes it off the command line, wherever it stands


@app.command()
def pretrain(
    shards: Annotated[str, typer.Option("--shards", help="Shards: a folder, glob, brace range or list.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    recipe: Annotated[str, typer.Option("--recipe", help="See 'fautrain recipes'.")] = "fmae-vit-large",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value: NAME=VALUE, as in optim.lr=1e-4.")
    ] = None,
    resume: Annotated[
        str, typer.Option("--resume", help="auto: go on from the newest whole checkpoint; no; or its path.")
    ] = "auto",
) -> None:
    """Pretrain a masked autoencoder. The same command goes on where a stopped run was."""
    from dataclasses import replace

    from fautrain import recipes, runs
    from fautrain.config import override

    config = override(recipes.recipe(recipe), settings or [])
    config = replace(config, data=replace(config.data, shards=shards))
    if not runs.pretrain(config, out, resume):
        print("fautrain: stopped by a signal; the same command goes on where it was", file=sys.stderr)
        raise typer.Exit(0)


@app.command()
def recipes(
    action: Annotated[str | None, typer.Argument(help="'show', with a name: the resolved values.")] = None,
    name: Annotated[str | None, typer.Argument(help="Name of a recipe.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Apply NAME=VALUE first.")] = None,
) -> None:
    """List the recipes; `show NAME` prints where its values come from and the resolved configuration."""
    from fautrain.config import override, to_plain
    from fautrain.recipes import RECIPES, explanation, recipe

    if action is None:
        for known, make in RECIPES.items():
            typer.echo(f"{known:22s} {make().about}")
        return
    if action != "show" or name is None:
        raise UserError("write 'fautrain recipes' or 'fautrain recipes show NAME'")
    typer.echo(explanation(name), err=True)
    typer.echo(json.dumps(to_plain(override(recipe(name), settings or [])), indent=1))


@app.command()
def bench(
    shards: Annotated[str, typer.Option("--shards", help="Shards: a folder, glob, brace range or list.")],
    recipe: Annotated[str, typer.Option("--recipe", help="See 'fautrain recipes'.")] = "fmae-vit-base",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change one value: NAME=VALUE.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Time for each measurement.")] = 20.0,
    original: Annotated[
        bool, typer.Option("--original", help="Also measure steps as the released code makes them.")
    ] = False,
) -> None:
    """Measure the loader alone, the model alone and both together, with the MFU and the FLOPs it assumes."""
    from dataclasses import replace

    from fautrain.bench import bench
    from fautrain.config import override
    from fautrain.recipes import recipe as named

    config = override(named(recipe), settings or [])
    typer.echo(bench(replace(config, data=replace(config.data, shards=shards)), seconds, original))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    to: Annotated[Path | None, typer.Option("--to", help="HTML file; default RUN/report.html.")] = None,
) -> None:
    """Draw a run's curves and reconstructions into one self-contained HTML page."""
    from fautrain.report import write_report

    typer.echo(f"report: {write_report(run, to)}")


@checkpoints.command("verify")
def verify(path: Annotated[Path, typer.Argument(help="A checkpoint's directory.")]) -> None:
    """Check every byte of a checkpoint against its manifest."""
    from fautrain.checkpoint import verify

    faults = verify(path)
    if faults:
        raise UserError(f"{path} is not whole: {'; '.join(faults)}; use an older one")
    typer.echo(f"{path} is whole")


@checkpoints.command("inspect")
def inspect(path: Annotated[Path, typer.Argument(help="A checkpoint's directory.")]) -> None:
    """Show what a checkpoint holds and what it was made with."""
    from fautrain.checkpoint import inspect

    typer.echo(inspect(path))


def main() -> None:
    """Entry point: errors meant for the user are one sentence and exit code 2; Ctrl-C exits with 130."""
    debug = "--debug" in sys.argv
    try:
        app([argument for argument in sys.argv[1:] if argument != "--debug"])
    except UserError as error:
        if debug:
            raise
        print(f"fautrain: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("fautrain: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
