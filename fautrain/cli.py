"""The `fautrain` command. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facecorpus.commands import Command, run
from facecorpus.errors import UserError
from fautrain.threads import sleep_when_idle

if TYPE_CHECKING:
    from fautrain.config import RunConfig

app = typer.Typer(
    help="Train models of facial behaviour on the shards that facecorpus builds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
checkpoints = typer.Typer(help="Look at checkpoints.", no_args_is_help=True)
app.add_typer(checkpoints, name="checkpoint")


Shards = Annotated[str, typer.Option("--shards", help="Shards: a folder, glob, brace range or list.")]
Recipe = Annotated[str, typer.Option("--recipe", help="See 'fautrain recipes'.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Change one value: NAME=VALUE, as in optim.lr=1e-4.")
]


def _configured(recipe: str, dataset: str | None, settings: list[str]) -> RunConfig:
    """A recipe of pretraining, or for a benchmark one of fine-tuning, with values set."""
    from fautrain.config import override
    from fautrain.data.benchmark import benchmark
    from fautrain.recipes import finetuning_recipe, pretraining_recipe

    if dataset is None:
        return override(pretraining_recipe(recipe), settings)
    return override(finetuning_recipe(recipe, benchmark(dataset).name), settings)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fautrain {importlib.metadata.version('facecorpus')}")
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del debug, version  # `main` takes the first off the command line, wherever it stands


@app.command(cls=Command)
def pretrain(
    shards: Shards,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    recipe: Recipe = "fmae-vit-large",
    settings: Settings = None,
    resume: Annotated[
        str, typer.Option("--resume", help="auto: go on from the newest whole checkpoint; no; or its path.")
    ] = "auto",
) -> None:
    """Pretrain a masked autoencoder. The same command goes on where a stopped run was."""
    from dataclasses import replace

    from fautrain.data.shards import absolute
    from fautrain.runs import training

    config = _configured(recipe, None, settings or [])
    config = replace(config, data=replace(config.data, shards=absolute(shards)))
    training.pretrain(config, out, resume)


@app.command(cls=Command)
def finetune(
    dataset: Annotated[
        str, typer.Option("--dataset", help="Benchmark: disfa, bp4d_intensity, rafdb, ..., or a TOML file.")
    ],
    shards: Annotated[
        str, typer.Option("--shards", help="Shards built from that data set; default build/DATASET.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; default build/finetune/DATASET-RECIPE.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", help="See 'fautrain recipes'; fmae-iat, for expressions fmae, intensities mae-face."
        ),
    ] = None,
    fold: Annotated[str, typer.Option("--fold", help="all, or numbers such as 1 or 1,3.")] = "all",
    seeds: Annotated[
        str, typer.Option("--seeds", help="One run over the folds for each, such as 0,1,2.")
    ] = "0",
    init: Annotated[
        str | None,
        typer.Option("--init", help="Pretrained weights: a run, checkpoint, file, hub:OWNER/NAME, or none."),
    ] = None,
    subset: Annotated[
        str | None, typer.Option("--subset", help="Train on every N-th frame: 10%, 0.5% or 1/7.")
    ] = None,
    settings: Settings = None,
    resume: Annotated[
        str, typer.Option("--resume", help="auto: go on where a stopped run was; or no.")
    ] = "auto",
) -> None:
    """Train and evaluate on action units or expressions, fold by fold; goes on where a stopped run was."""
    from fautrain.runs.asked import Asked, numbers
    from fautrain.runs.finetuning import finetune

    asked = Asked(dataset, shards, init, subset, settings or [])
    recipe = recipe or asked.benchmark.target.recipe
    config = asked.config(recipe)
    folder = out if out is not None else Path("build/finetune") / f"{asked.name}-{recipe}"
    folds = () if fold == "all" else numbers("--fold", fold)
    finetune(config, folder, folds=folds, seeds=numbers("--seeds", seeds), resume=resume)


@app.command(cls=Command)
def ablation(
    name: Annotated[str | None, typer.Argument(help="A grid of the papers; none lists them.")] = None,
    dataset: Annotated[str, typer.Option("--dataset", help="As for finetune.")] = "disfa",
    over: Annotated[
        list[str] | None,
        typer.Option("--over", help="Vary NAME=A,B,C: a value, recipe or subset; again: all combinations."),
    ] = None,
    shards: Annotated[str, typer.Option("--shards", help="As for finetune.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of all rows; default build/ablation/DATASET-NAME.")
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="What is varied; default: the grid's.")] = "",
    fold: Annotated[str, typer.Option("--fold", help="all, or numbers such as 1 or 1,3.")] = "all",
    seeds: Annotated[str, typer.Option("--seeds", help="Runs of each row, such as 0,1,2.")] = "0",
    init: Annotated[
        str | None, typer.Option("--init", help="As for finetune; {size} becomes each row's size.")
    ] = None,
    subset: Annotated[str | None, typer.Option("--subset", help="As for finetune.")] = None,
    settings: Settings = None,
    also: Annotated[
        list[str] | None, typer.Option("--also", help="Measure more: epoch, identity-loss, probe or cost.")
    ] = None,
    on: Annotated[
        list[str] | None, typer.Option("--on", help="Test each model on DATASET[=SHARDS] too.")
    ] = None,
    rows: Annotated[str, typer.Option("--rows", help="Run these rows only, such as 1,3.")] = "all",
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the rows and what they set; run nothing.")
    ] = False,
    tables: Annotated[
        bool, typer.Option("--tables", help="Write the tables of what is done; run nothing.")
    ] = False,
    resume: Annotated[str, typer.Option("--resume", help="As for finetune.")] = "auto",
) -> None:
    """Fine-tune every row of a grid, each a resumable run, and write one table, a page and a picture."""
    from fautrain.ablations import grid as grids
    from fautrain.ablations.measures import chosen
    from fautrain.ablations.running import Ablation, run, write
    from fautrain.runs.asked import Asked, numbers

    if name is None and not over:
        typer.echo("\n".join(grids.listed()))
        return
    asked = Asked(dataset, shards, init, subset, settings or [])
    grid = grids.chosen(name, over or [], asked.name, recipe)
    if plan:
        typer.echo("\n".join(grids.planned(grid)))
        return
    planned = Ablation(
        grid,
        asked,
        out or Path("build/ablation") / f"{asked.name}-{name or grids.folder_name(over or [])}",
        folds=() if fold == "all" else numbers("--fold", fold),
        seeds=numbers("--seeds", seeds),
        measures=chosen([*grid.measures, *(also or [])], on or grid.on),
        only=() if rows == "all" else numbers("--rows", rows),
    )
    if tables:
        typer.echo(write(planned))
    else:
        run(planned, resume)


@app.command(cls=Command)
def evaluate(
    run: Annotated[Path, typer.Argument(help="The --out of finetune; with --dataset the run of one fold.")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Test the model on this other benchmark, whole.")
    ] = None,
    shards: Annotated[str, typer.Option("--shards", help="Its shards; default build/DATASET.")] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the result; default on-DATASET in the run's folder."),
    ] = None,
) -> None:
    """Write a run's tables again from its predictions, or test a model on a data set that is new to it."""
    from fautrain.runs.evaluate import evaluate, evaluate_across
    from fautrain.runs.inference import beside

    if dataset is None:
        typer.echo(evaluate(run))
    else:
        folder = out or beside(run, f"on-{Path(dataset).stem}")
        typer.echo(evaluate_across(run, dataset, shards, folder))


@app.command(cls=Command)
def probe(
    run: Annotated[Path, typer.Option("--checkpoint", help="The run of one fold, or a checkpoint of it.")],
    shards: Annotated[str, typer.Option("--shards", help="Default: those it was trained on.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the result; default probe in the run's folder.")
    ] = None,
    every_epoch: Annotated[
        bool, typer.Option("--every-epoch", help="Probe all kept checkpoints and draw the course.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the frames, the probes and t-SNE.")] = 0,
) -> None:
    """Tell how much of who is shown can be read from a trained model's features."""
    from fautrain.runs.inference import beside
    from fautrain.runs.probing import probe_run

    folder = out or beside(run, "probe")
    typer.echo(probe_run(run, shards, folder, every_epoch=every_epoch, seed=seed))
    typer.echo(f"pictures: {folder}")


@app.command(cls=Command)
def recipes(
    action: Annotated[str | None, typer.Argument(help="show")] = None,
    name: Annotated[str | None, typer.Argument(help="Recipe to show.")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Show the fine-tuning recipe for this benchmark.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Apply NAME=VALUE first.")] = None,
) -> None:
    """List the recipes; `show NAME` prints where its values come from and the resolved configuration."""
    from fautrain.config import described, to_plain
    from fautrain.recipes import FINETUNING, PRETRAINING, explanation, finetuning_recipe, pretraining_recipe

    if action is None:
        typer.echo("pretrain:")
        for known in PRETRAINING:
            typer.echo(f"  {known:22s} {pretraining_recipe(known).about}")
        typer.echo("finetune (values depend on the benchmark; add --dataset to show them):")
        for known in FINETUNING:
            typer.echo(f"  {known:22s} {finetuning_recipe(known, 'disfa').about}")
        return
    if action != "show" or name is None:
        raise UserError("write 'fautrain recipes' or 'fautrain recipes show NAME'")
    if dataset is None and name in FINETUNING and name not in PRETRAINING:
        dataset = "disfa"
        typer.echo(
            "fautrain: --dataset is not given, so these are the values for disfa; "
            "other benchmarks have others: --dataset bp4d, bp4d_plus or your TOML file\n",
            err=True,
        )
    config = _configured(name, dataset, settings or [])
    typer.echo(explanation(name, finetuning=dataset is not None) + "\n", err=True)
    for value, set_to, about in described(config):
        typer.echo(f"{value} = {set_to}\n    {about}", err=True)
    typer.echo(json.dumps(to_plain(config), indent=1))


@app.command(cls=Command)
def bench(
    shards: Shards,
    recipe: Recipe = "fmae-vit-base",
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Benchmark of the shards: measure fine-tuning on it.")
    ] = None,
    settings: Settings = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Time for each measurement.")] = 20.0,
    original: Annotated[
        bool, typer.Option("--original", help="Also measure steps as the released code makes them.")
    ] = False,
    to: Annotated[Path | None, typer.Option("--to", help="Write the numbers to this JSON file too.")] = None,
) -> None:
    """Measure the loader alone, the model alone and both together, with the MFU and the FLOPs it assumes."""
    from dataclasses import asdict

    from fautrain.bench import bench, table
    from fautrain.files import json_bytes, publish

    changes = [f"data.dataset={dataset}"] if dataset else []
    config = _configured(recipe, dataset, [*changes, f"data.shards={shards}", *(settings or [])])
    measured = bench(config, seconds, original)
    if to is not None:
        publish(to, json_bytes(asdict(measured)))
    typer.echo(table(measured))


@app.command(cls=Command)
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    to: Annotated[Path | None, typer.Option("--to", help="HTML file; default RUN/report.html.")] = None,
) -> None:
    """Draw a run's curves and reconstructions into one self-contained HTML page."""
    from fautrain.report import write_report

    typer.echo(f"report: {write_report(run, to)}")


@checkpoints.command("verify", cls=Command)
def verify(
    path: Annotated[Path, typer.Argument(help="A checkpoint's directory, a run's, or a final model's.")],
) -> None:
    """Check every byte of a checkpoint, of all those of a run, or of a final model, against its hashes."""
    from fautrain.runs.inference import verified

    for line in verified(path):
        typer.echo(line)


@checkpoints.command("inspect", cls=Command)
def inspect(path: Annotated[Path, typer.Argument(help="A checkpoint's directory.")]) -> None:
    """Show what a checkpoint holds and what it was made with."""
    from fautrain.checkpoint import inspect

    typer.echo(inspect(path))


def main() -> None:
    """Entry point: see `commands.run`."""
    sleep_when_idle()
    run("fautrain", app)
