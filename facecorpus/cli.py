"""The `facecorpus` command. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facecorpus.commands import Command, run
from facecorpus.errors import Stopped, UserError

if TYPE_CHECKING:
    from facecorpus.phases.corpus import Corpus

app = typer.Typer(
    help="Curate a face corpus: archives in, verified WebDataset shards and a closed ledger out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[str, typer.Option("--out", help="Folder or URL of the corpus.")]
At = Annotated[str, typer.Argument(metavar="CORPUS", help="Folder or URL of a built corpus.")]
Root = Annotated[str, typer.Option("--root", help="Folder or URL that holds the data sets, one folder each.")]
Sources = Annotated[
    str | None,
    typer.Option(
        "--sources", help="Comma-separated [NAME=]ADAPTER[:PATH] or paths, for example celeba,./photos,p.tar."
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="Named recipe; see 'facecorpus recipes'. Default: face9m, or au for annotated recordings.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one recipe value: NAME=VALUE, for example align=box."),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")]
EngineName = Annotated[
    str, typer.Option("--engine", help="What runs the parts: local; array[:INDEX/TASKS]; or a plug-in's.")
]
Weights = Annotated[
    str | None, typer.Option("--weights", help="Detector weights, where they cannot be downloaded.")
]
Device = Annotated[str, typer.Option("--device", help="Where the detector runs: auto, cpu or cuda.")]
RedistributableOnly = Annotated[
    bool, typer.Option("--redistributable-only", help="Leave out pictures of which no crop may be passed on.")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        help="Leave out what files of 'facecorpus fingerprint' show, or lists of SOURCE,IDENTITY name.",
    ),
]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="Allow a changed recipe, detector, version or fewer sources.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facecorpus {importlib.metadata.version('facecorpus')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version.")
]


@app.callback()
def _common(debug: Debug = False, version: Version = False) -> None:
    del debug, version  # `main` takes the first off the command line, wherever it stands


def _cores(workers: int | None) -> int:
    return workers or len(os.sched_getaffinity(0))


def _prepare(
    sources: str | None,
    root: str,
    out: str,
    recipe: str | None,
    settings: list[str] | None,
    weights: str | None,
    device: str,
    rebuild: bool,
    redistributable_only: bool,
    exclude: list[str] | None,
) -> Corpus:
    import dataclasses

    from facecorpus import pipeline, recipes, typed
    from facecorpus.phases import corpus as corpora
    from facecorpus.phases import exclusion

    opened = [] if sources is None else pipeline.open_sources(sources, root)
    name = pipeline.choose_recipe(recipe, opened)
    only = ["limits.redistributable_only=true"] if redistributable_only else []
    names, excluded = exclusion.named(exclude or [])
    chosen = typed.override(recipes.recipe(name), [*(settings or []), *only])
    chosen = dataclasses.replace(chosen, exclude=names)
    if sources is None:
        opened = pipeline.found_sources(chosen, root)
    corpus = pipeline.prepare(chosen, opened, root, out, weights=weights, device=device)
    pipeline.say_terms(corpus)
    corpora.settle(corpus, rebuild=rebuild)
    exclusion.keep(corpus, excluded)
    return corpus


@app.command(cls=Command)
def build(
    out: Out,
    root: Root = ".",
    sources: Sources = None,
    recipe: RecipeName = None,
    settings: Settings = None,
    workers: Workers = None,
    engine: EngineName = "local",
    weights: Weights = None,
    device: Device = "auto",
    rebuild: Rebuild = False,
    redistributable_only: RedistributableOnly = False,
    exclude: Exclude = None,
    report: Annotated[bool, typer.Option(help="Write OUT/report.html at the end.")] = True,
) -> None:
    """Turn data sets into verified shards: inventory, score, select, materialise, verify. Resumes where it
    stopped."""
    from facecorpus import pipeline, progress
    from facecorpus.report import alarms, ledger_text

    corpus = _prepare(
        sources, root, out, recipe, settings, weights, device, rebuild, redistributable_only, exclude
    )
    built = pipeline.build(corpus, engine=engine, workers=_cores(workers))
    typer.echo(ledger_text(built.ledgers))
    typer.echo(
        f"\n{built.samples:,} samples in {built.shards} shards, verified from their bytes: {out}/shards\n"
        f"{built.redistributable:,} of them may be passed on (redistributable in the Parquet beside each)"
    )
    if report:
        _report(corpus)
    for alarm in alarms(corpus, built.ledgers):
        progress.say(f"alarm: {alarm.text}")


@app.command(cls=Command)
def inventory(
    out: Out,
    root: Root = ".",
    sources: Sources = None,
    recipe: RecipeName = None,
    settings: Settings = None,
    workers: Workers = None,
    engine: EngineName = "local",
    weights: Weights = None,
    device: Device = "auto",
    rebuild: Rebuild = False,
    redistributable_only: RedistributableOnly = False,
    exclude: Exclude = None,
) -> None:
    """Phase 1: settle the recipe and list every input of every source exactly once."""
    from facecorpus import pipeline
    from facecorpus.phases import inventory as phase

    corpus = _prepare(
        sources, root, out, recipe, settings, weights, device, rebuild, redistributable_only, exclude
    )
    pipeline.run(corpus, phase.PHASE, engine=engine, workers=_cores(workers))
    for name, count in phase.counts(corpus).items():
        typer.echo(f"{name}: {count:,} inputs")


def _opened(out: str, weights: str | None = None, device: str = "auto") -> Corpus:
    import dataclasses

    from facecorpus.phases import corpus as corpora

    return dataclasses.replace(corpora.load(out), weights=weights, device=device)


@app.command(cls=Command)
def score(
    corpus: At,
    workers: Workers = None,
    engine: EngineName = "local",
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """Phase 2: decode, filter, detect, align and hash every input that has no up-to-date row."""
    from facecorpus import pipeline
    from facecorpus.phases import score as phase

    opened = _opened(corpus, weights, device)
    pipeline.check_build(opened)
    pipeline.run(opened, phase.PHASE, engine=engine, workers=_cores(workers))


@app.command(cls=Command)
def select(corpus: At, engine: EngineName = "local") -> None:
    """Phase 3: find duplicates and give every row its one terminal state."""
    from facecorpus import pipeline
    from facecorpus.phases import select as phase

    pipeline.run(_opened(corpus), phase.PHASE, engine=engine)


@app.command(cls=Command)
def materialise(corpus: At, workers: Workers = None, engine: EngineName = "local") -> None:
    """Phase 4: write the shards."""
    from facecorpus import pipeline
    from facecorpus.phases import materialise as phase

    phases = (phase.GATHER, phase.PHASE)
    done = pipeline.run(_opened(corpus), *phases, engine=engine, workers=_cores(workers))
    shards = phase.shipped(done)
    typer.echo(f"{sum(shard['samples'] for shard in shards):,} samples in {len(shards)} shards")


@app.command(cls=Command)
def verify(
    corpus: At,
    workers: Workers = None,
    engine: EngineName = "local",
    absent: Annotated[
        Path | None,
        typer.Option(
            "--absent", help="Also check that nothing is left of the ids in this list, in any file."
        ),
    ] = None,
) -> None:
    """Phase 5: check shards, manifests, indexes and the ledger again, every byte of them, whatever an earlier
    run has checked."""
    from facecorpus import pipeline
    from facecorpus.phases import forgetting
    from facecorpus.phases import verify as phase

    if absent is not None:
        forgetting.check_absent(_opened(corpus), forgetting.lines(absent))

    done = pipeline.run(_opened(corpus), phase.PHASE, engine=engine, workers=_cores(workers), afresh=True)
    ledgers = phase.ledgers(done).values()
    inputs, kept = sum(e.inputs for e in ledgers), sum(e.samples for e in ledgers)
    typer.echo(f"verified: {kept:,} samples; all {inputs:,} inputs accounted for")


@app.command(cls=Command)
def forget(
    corpus: At,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Id of an input, as 'inspect' shows it.")
    ] = None,
    identities: Annotated[
        list[str] | None, typer.Option("--identity", help="SOURCE,IDENTITY: all inputs of a person.")
    ] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Text file with an id, or SOURCE,IDENTITY, on each line.")
    ] = None,
    workers: Workers = None,
    engine: EngineName = "local",
) -> None:
    """Take inputs, their copies and all that tells of them out of a corpus, for good. Only the shards that
    held them are written anew. The same command goes on after a kill."""
    from facecorpus import pipeline
    from facecorpus.phases import forgetting, verify

    words = [*(ids or []), *(identities or []), *(forgetting.lines(listed) if listed else [])]
    opened, number = forgetting.forget(corpus, words)
    done = pipeline.run(opened, *forgetting.PHASES, verify.PHASE, engine=engine, workers=_cores(workers))
    kept = sum(each.samples for each in verify.ledgers(done).values())
    typer.echo(f"forgotten: {number:,} inputs; {kept:,} samples are left, verified from their bytes")


@app.command(cls=Command)
def fingerprint(
    corpus: At,
    to: Annotated[Path, typer.Option("--out", help="Parquet file to write.")],
) -> None:
    """Write hashes of all that a corpus has looked at: for '--exclude', and to pass on without a picture."""
    from facecorpus.phases import exclusion

    faces = exclusion.write(_opened(corpus), str(to))
    typer.echo(f"{to}: fingerprints of {faces:,} faces; 'facecorpus build --exclude {to}' leaves them out")


@app.command(cls=Command)
def stats(
    corpus: At,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    markdown: Annotated[
        bool, typer.Option(help="The yield by source and rule, as a Markdown table.")
    ] = False,
) -> None:
    """Show the ledger: what became of every source's inputs, by reason; and how kept frames are labelled."""
    from facecorpus.ledger import COLUMNS, close
    from facecorpus.phases import inventory as phase
    from facecorpus.phases.select import read_selection
    from facecorpus.report import (
        labels_json,
        labels_of,
        labels_text,
        ledger_json,
        ledger_markdown,
        ledger_text,
    )

    opened = _opened(corpus)
    ledgers = close(phase.counts(opened), read_selection(opened, COLUMNS))
    if markdown:
        typer.echo(ledger_markdown(ledgers))
        return
    labels = labels_of(opened)
    if as_json:
        typer.echo(json.dumps({**ledger_json(ledgers), "labels": labels_json(labels)}, indent=1))
    else:
        typer.echo(ledger_text(ledgers) + labels_text(labels))


@app.command(cls=Command)
def report(
    corpus: At,
    to: Annotated[str | None, typer.Option("--to", help="HTML file; default CORPUS/report.html.")] = None,
) -> None:
    """Write one self-contained HTML page: funnel, pictures, duplicates, histograms."""
    _report(_opened(corpus), to)


def _report(corpus: Corpus, to: str | None = None) -> None:
    from facecorpus.report import write_report

    typer.echo(f"report: {write_report(corpus, to)}")


@app.command(cls=Command)
def inspect(
    corpus: At,
    what: Annotated[str, typer.Argument(help="Id of an input (SOURCE/MEMBER) or a sample key.")],
    save: Annotated[
        Path | None, typer.Option("--save", help="Write source, face and crop side by side (PNG).")
    ] = None,
) -> None:
    """Show everything known about one input: its verdict, its face, its duplicates."""
    from facecorpus.report import inspect_record

    typer.echo(inspect_record(_opened(corpus), what, save))


@app.command(cls=Command)
def sources(
    name: Annotated[str | None, typer.Argument(help="Show one data set in full.")] = None,
    root: Annotated[
        str | None, typer.Option("--root", help="Also say which of them are found below this folder or URL.")
    ] = None,
) -> None:
    """List the data sets: layout, size, terms, availability, and how to build from them."""
    from facecorpus.sources.base import describe
    from facecorpus.sources.survey import survey

    if name is not None and root is not None:
        raise UserError("name a data set or --root, not both; --root looks for all of them")
    typer.echo(describe(name) if root is None else survey(root))


@app.command(cls=Command)
def recipes(name: Annotated[str | None, typer.Argument(help="Show one recipe's values.")] = None) -> None:
    """List the corpus recipes, or show one."""
    from facecorpus.recipes import RECIPES, recipe
    from facecorpus.typed import to_plain

    if name is not None:
        typer.echo(json.dumps(to_plain(recipe(name)), indent=1))
        return
    for known in RECIPES:
        typer.echo(f"{known:15s} {recipe(known).about}")


@app.command(cls=Command)
def weights(
    name: Annotated[
        str | None, typer.Argument(help="Detector whose weights to obtain; none: list them.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--weights", help="Check this file instead of obtaining one.")
    ] = None,
) -> None:
    """Obtain and check the detector weights, or list them."""
    from facecorpus.faces.weights import WEIGHTS, weights_path

    if name is not None:
        typer.echo(str(weights_path(name, file)))
        return
    for entry in map(WEIGHTS.get, WEIGHTS):
        typer.echo(f"{entry.name:26s} {entry.licence:8s} {entry.cached() or 'not on this machine yet'}")
        typer.echo(f"    {entry.origin}")


@app.command(cls=Command)
def synth(
    out: Annotated[Path, typer.Option("--out", help="Folder of the drawn data sets.")],
    sources: Annotated[
        str | None,
        typer.Option("--sources", help="Comma-separated, as for build; default: the recipe sample's."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed draws other people.")] = 0,
    preset: Annotated[str, typer.Option("--preset", help="sample (about 1,500 images) or tiny.")] = "sample",
    dependence: Annotated[
        str,
        typer.Option(
            "--dependence", help="mild or strong: how far a recorded person's AU rates are their own."
        ),
    ] = "mild",
    frames: Annotated[
        int | None,
        typer.Option("--frames", help="Annotated frames of each recording; default: the preset's."),
    ] = None,
    workers: Workers = None,
    check: Annotated[
        str | None,
        typer.Option("--check", help="Draw nothing; check this corpus, built from --out, against the truth."),
    ] = None,
) -> None:
    """Draw people and write miniature data sets in the real ones' layouts, with a truth file."""
    if check is not None:
        from facecorpus.phases.select import read_selection
        from facecorpus.synth.truth import check_selection

        corpus = _opened(check)
        names, faces = {spec.name for spec in corpus.sources}, corpus.recipe.limits.faces
        typer.echo(check_selection(out, names, read_selection(corpus), faces))
        return
    from facecorpus.synth.datasets import SAMPLE, write_datasets

    named = tuple(map(_drawn_set, sources.split(","))) if sources else SAMPLE
    truth = write_datasets(
        out,
        sources=named,
        seed=seed,
        preset=preset,
        workers=_cores(workers),
        dependence=dependence,
        frames=frames,
    )
    typer.echo(f"drawn data sets in {out}; what must become of each input: {truth}")


def _drawn_set(spec: str) -> str:
    """The folder below the root that `[NAME=]ADAPTER[/SETTING][:PATH]` reads: PATH's first, or ADAPTER's."""
    before, colon, path = spec.strip().partition(":")
    return path.partition("/")[0] if colon else before.partition("/")[0].rpartition("=")[2]


def _stop(number: int, frame: object) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # once is enough: what is left to do takes no time
    raise Stopped(number)


def main() -> None:
    """Entry point: see `commands.run`."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported; see engines/local.py
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    run("facecorpus", app)
