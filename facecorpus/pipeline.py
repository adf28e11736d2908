"""`build`: the phases in order, each of them also callable alone.

    inventory -> score -> select -> materialise -> verify

Whatever is done already, with the same recipe and inputs, is left as it is; so the same command after a kill,
a full disk or a changed file does only what is missing.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from facecorpus import storage, units
from facecorpus.engines import local
from facecorpus.errors import UserError
from facecorpus.faces.detector import make_detector
from facecorpus.ledger import SourceLedger
from facecorpus.phases import corpus as corpora
from facecorpus.phases import inventory, materialise, score, select, verify
from facecorpus.phases.corpus import CONFIG, INDEXES, Corpus, SourceSpec
from facecorpus.progress import Progress
from facecorpus.recipes import CorpusRecipe
from facecorpus.sources.base import Source, lies_there, parse_spec
from facecorpus.units import Unit


class Phase(NamedTuple):
    """What the engine needs of a phase."""

    name: str
    plan: Callable[[Corpus], list[Unit]]
    run: Callable[[Corpus, Unit], dict[str, Any]]
    paths: Callable[[Unit], Sequence[str]]
    """What a unit writes, relative to the corpus."""
    revive: Callable[[Unit, Any, str], Unit] | None = None
    """What to run in place of a unit whose worker died; see `engines.local.run`."""


INVENTORY = Phase(inventory.PHASE, inventory.plan, inventory.run, lambda unit: [inventory.path(unit.name)])
SCORE = Phase(score.PHASE, score.plan, score.run, lambda unit: score.paths(unit.name), revive=score.revive)
SELECT = Phase(select.PHASE, select.plan, select.run, lambda unit: [select.SELECTION, select.PLACEMENT])
MATERIALISE = Phase(
    materialise.PHASE, materialise.plan, materialise.run, lambda unit: materialise.paths(unit.name)
)


@dataclass(frozen=True, slots=True)
class Built:
    """What `build` made."""

    shards: pa.Table
    ledgers: dict[str, SourceLedger]
    samples: int


def choose_detector(recipe: CorpusRecipe, device: str) -> str:
    """The detector's name with `auto` resolved: ResNet-50 where there is a GPU and torch, MobileNet-0.25
    elsewhere."""
    if recipe.detector != "auto":
        return recipe.detector
    gpu = device == "cuda" or (device == "auto" and Path("/dev/nvidia0").exists())
    return "retinaface-resnet50" if gpu and importlib.util.find_spec("torch") else "retinaface-mobilenet025"


def open_sources(sources: str, root: str) -> list[Source]:
    """The sources of `--sources`, each found.

    Raises:
        UserError: there is none, or one is unknown, named twice or not there.
    """
    opened: list[Source] = []
    for spec in sources.split(","):
        if spec.strip():
            opened.append(parse_spec(spec, root, taken=[source.name for source in opened]))
    if not opened:
        raise UserError("--sources is empty; name at least one, for example --sources celeba,vggface2")
    names = [source.name for source in opened]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"--sources has two called {name}; give one a name of its own, as in {name}2=ADAPTER:PATH"
            )
    return opened


def choose_recipe(recipe: str | None, opened: Sequence[Source]) -> str:
    """Name of the recipe: the one given, else the one that suits the sources.

    Raises:
        UserError: the sources want different ones.
    """
    if recipe is not None:
        return recipe
    wanted = {source.recipe: source.name for source in opened}
    if len(wanted) > 1:
        listed = " and ".join(f"{name} wants {recipe}" for recipe, name in sorted(wanted.items()))
        raise UserError(
            f"--sources mixes annotated recordings with collections of pictures ({listed}); "
            "build them apart, or name one --recipe for all"
        )
    return next(iter(wanted), "face9m")


def found_sources(recipe: CorpusRecipe, root: str) -> list[Source]:
    """Those of the recipe's sources that lie below `root`; says which do not.

    Raises:
        UserError: none does.
    """
    found: list[Source] = []
    missing: list[str] = []
    for spec in recipe.sources:
        try:
            found.append(parse_spec(spec, root))
        except UserError:
            missing.append(re.split("[=/:]", spec)[0])
    if not found:
        raise UserError(
            f"--root {root}: none of the sources of the recipe {recipe.name} ({', '.join(missing)}) is there "
            f"({lies_there(root)}); name what to read, as in --sources photos=folder:DIR or "
            "--sources celeba:DIR ('facecorpus sources' lists the adapters)"
        )
    if missing:
        say(
            f"sources of the recipe {recipe.name} that are not in {root}, or have no adapter: "
            f"{', '.join(missing)}; reading {', '.join(source.name for source in found)}"
        )
    return found


def prepare(
    recipe: CorpusRecipe,
    opened: Sequence[Source],
    root: str,
    out: str,
    *,
    weights: str | None,
    device: str,
) -> Corpus:
    """A corpus to build from opened sources, with the detector's weights at hand.

    Raises:
        UserError: a source shares its folder with the corpus; the weights cannot be had.
    """
    _refuse_nesting(opened, root, out)
    specs = tuple(
        SourceSpec(s.name, s.adapter, storage.absolute(s.location), "=".join(s.setting or ())) for s in opened
    )
    drawn = tuple(source.name for source in opened if source.is_drawn())
    corpus = Corpus(out, recipe, specs, choose_detector(recipe, device), "none", weights, device, drawn)
    if corpus.detector == "none":
        return corpus
    return replace(corpus, detector_build=make_detector(corpus.model(), weights=weights, device=device).build)


def _refuse_nesting(sources: Sequence[Source], root: str, out: str) -> None:
    """Refuse to build where the corpus's own files would be inputs of the next run, or lie among the data.

    Raises:
        UserError: `out` is `root`, or it and a source lie one within the other.
    """
    for source in sources:
        if storage.is_within(out, source.location):
            raise UserError(
                f"--out {out} lies within the source {source.name} ({source.location}), so that its crops "
                "would be inputs of the next run; give a folder outside"
            )
        if storage.is_within(source.location, out):
            raise UserError(
                f"the source {source.name} ({source.location}) lies within --out {out}; give the corpus a "
                "folder of its own"
            )
    if storage.is_within(out, root) and storage.is_within(root, out):
        raise UserError(
            f"--out {out} is --root, the folder of the data sets; give the corpus a folder of its own"
        )


def check_build(corpus: Corpus) -> None:
    """Refuse to score with another detector than the corpus was begun with.

    Raises:
        UserError: the weights, runtime or provider differ.
    """
    if corpus.detector == "none":
        return
    found = make_detector(corpus.model(), weights=corpus.weights, device=corpus.device).build
    if found != corpus.detector_build:
        raise UserError(
            f"{corpus.out} was begun with detector build {corpus.detector_build}, here it is {found}; go on "
            "with the same --device and --weights on a machine of the same kind, or run 'facecorpus build "
            "--rebuild'"
        )


def run_phase(
    corpus: Corpus,
    phase: Phase,
    workers: int,
    label: str,
    unit: str,
    *,
    again: Callable[[Unit], bool] | None = None,
) -> list[Unit]:
    """Run the units of a phase that are not done, or that `again` wants done again; returns the whole
    plan."""
    plan = phase.plan(corpus)
    missing = [u for u in plan if not units.is_done(corpus.out, u) or (again is not None and again(u))]
    stale = [u for u in missing if units.read_mark(corpus.out, phase.name, u.name) is not None]
    paths = {u.name: phase.paths(u) for u in plan}
    dropped = units.discard(
        corpus.out, phase.name, paths.keys(), {p for names in paths.values() for p in names}
    )
    if stale or dropped:
        say(
            f"{label}: {len(stale)} parts are out of date and done again, "
            f"{len(dropped)} are no longer needed and removed"
        )
    done = sum(u.size for u in plan) - sum(u.size for u in missing)
    units.claim(corpus.out, phase.name, paths)
    if missing:
        with Progress(label, sum(u.size for u in plan), unit, done) as progress:
            for finished, _ in local.run(phase.run, corpus, missing, workers, revive=phase.revive):
                progress.update(finished.size)
    return plan


def say(text: str) -> None:
    """A line for the person, on standard error."""
    print(text, file=sys.stderr, flush=True)


_PHASES = (INVENTORY, SCORE, SELECT, MATERIALISE)
_FIXED = frozenset({CONFIG, materialise.SHARDS, verify.VERIFIED, "report.html"})


def _clean_asides(corpus: Corpus) -> None:
    """Remove what killed writers of this corpus left aside."""
    claimed = {path for phase in _PHASES for path in units.claimed(corpus.out, phase.name)}

    def ours(path: str) -> bool:
        return path in claimed or path in _FIXED or path.startswith((f"{units.DONE}/", f"{INDEXES}/"))

    storage.clean_asides(corpus.out, ours)


def run_inventory(corpus: Corpus, workers: int) -> None:
    """List the inputs of every source."""
    _clean_asides(corpus)
    run_phase(corpus, INVENTORY, workers, "inventory", "sources")
    for note in inventory.notes(corpus):
        say(f"note: {note}")


def run_score(corpus: Corpus, workers: int) -> None:
    """Score every input that has no up-to-date row; inputs that could not be read last time are tried
    again."""

    def unreadable(unit: Unit) -> bool:
        mark = units.read_mark(corpus.out, score.PHASE, unit.name)
        return bool(mark and mark["summary"].get("again"))

    run_phase(corpus, SCORE, workers, "score", "images", again=unreadable)


def run_select(corpus: Corpus) -> None:
    """Decide on every row."""
    run_phase(corpus, SELECT, 1, "select", "rows")


def run_materialise(corpus: Corpus, workers: int) -> pa.Table:
    """Write the shards; returns `shards.parquet`."""
    return materialise.finish(corpus, run_phase(corpus, MATERIALISE, workers, "materialise", "samples"))


def run_verify(corpus: Corpus, workers: int) -> dict[str, SourceLedger]:
    """Check everything from the bytes and record it; returns the ledger.

    Raises:
        UserError: something is not as claimed; the message counts the faults and names the first ones.
    """
    corpus = corpora.as_recorded(corpus)
    if not units.has_record(corpus.out, materialise.PHASE) and not storage.exists(
        storage.join(corpus.out, materialise.SHARDS)
    ):
        raise UserError(f"{corpus.out} has no shards yet; run 'facecorpus materialise' or 'build' first")
    checks, faults = verify.plan(corpus)
    found: list[tuple[Unit, verify.Found]] = []
    with Progress("verify", sum(unit.size for unit in checks), "rows") as progress:
        for unit, result in local.run(verify.check, corpus, checks, workers):
            found.append((unit, result))
            faults.extend(result.faults)
            progress.update(unit.size)
    ledgers: dict[str, SourceLedger] = {}
    if not faults:
        faults, ledgers = verify.conclude(corpus, found)
    if faults:
        shown = sorted(faults)
        listed = "\n  ".join(shown[:10]) + (f"\n  and {len(faults) - 10} more" if len(faults) > 10 else "")
        raise UserError(
            f"{corpus.out} is not what it claims to be, {len(faults)} faults; delete the files named and "
            f"build again:\n  {listed}"
        )
    if (why := verify.publish(corpus, ledgers)) is not None:
        say(f"note: all is verified, but {verify.VERIFIED} could not be written: {why}")
    return ledgers


def build(corpus: Corpus, workers: int) -> Built:
    """All phases. The corpus is whole and verified when this returns.

    Raises:
        UserError: nothing was kept, or a phase failed.
    """
    run_inventory(corpus, workers)
    run_score(corpus, workers)
    run_select(corpus)
    table = run_materialise(corpus, workers)
    ledgers = run_verify(corpus, workers)
    _clean_asides(corpus)  # of processes that were still dying when this one began
    samples = sum(table["samples"].to_pylist())
    if samples == 0:
        from facecorpus.report import nothing_kept

        raise UserError(nothing_kept(corpus, ledgers))
    return Built(table, ledgers, samples)


def check_against(corpus: Corpus, truth: Path) -> str:
    """Compare a corpus of drawn people with the truth file that `synth` wrote; returns a sentence.

    Raises:
        UserError: an input did not become what it must.
    """
    from facecorpus.synth.truth import check_truth, read_truth

    rows = [row for row in read_truth(truth.parent) if row.source in {spec.name for spec in corpus.sources}]
    columns = ("id", "state", "reason", "duplicate_of")
    selection = verify.read_selection(corpus).select(columns).to_pylist()
    outcomes = {row["id"]: tuple(row[name] for name in columns[1:]) for row in selection}
    complaints = check_truth(rows, outcomes, corpus.recipe.limits.faces)
    if complaints:
        listed = "\n  ".join(complaints[:10])
        raise UserError(f"{len(complaints)} of {len(rows)} inputs are not what {truth} says:\n  {listed}")
    return f"all {len(rows):,} inputs became what {truth} says"
