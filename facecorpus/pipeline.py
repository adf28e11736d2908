"""`build`: the phases in order, each of them also callable alone.

    inventory -> score -> select -> (gather ->) materialise -> verify

Whatever is done already, with the same recipe and inputs, is left as it is; so the same command after a kill,
a full disk or a changed file does only what is missing.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from facecorpus import storage, units
from facecorpus.engines import ENGINES
from facecorpus.errors import Unfinished, UserError
from facecorpus.faces.detector import automatic, make_detector
from facecorpus.ledger import SourceLedger
from facecorpus.phases import inventory, materialise, score, select, verify
from facecorpus.phases.corpus import CONFIG, INDEXES, Corpus, SourceSpec
from facecorpus.phases.phase import AGAIN, Phase, work
from facecorpus.progress import Progress, say
from facecorpus.recipes import CorpusRecipe
from facecorpus.sources.base import PASSING_ON, Source, facts, lies_there, parse_spec
from facecorpus.units import Done, Unit

PHASES = (
    inventory.PHASE,
    score.PHASE,
    select.PHASE,
    materialise.GATHER,
    materialise.PHASE,
    verify.PHASE,
)


@dataclass(frozen=True, slots=True)
class Built:
    """What `build` made."""

    shards: int
    samples: int
    redistributable: int
    """Samples that may be passed on."""
    ledgers: dict[str, SourceLedger]


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
    specs = tuple(map(_spec, opened))
    detector = automatic(device) if recipe.detector == "auto" else recipe.detector
    corpus = Corpus(out, recipe, specs, detector, "none", weights, device)
    if corpus.detector == "none":
        return corpus
    return replace(corpus, detector_build=make_detector(corpus.model(), weights=weights, device=device).build)


def _spec(source: Source) -> SourceSpec:
    known = facts().get(source.adapter)
    return SourceSpec(
        source.name,
        source.adapter,
        storage.absolute(source.location),
        "=".join(source.setting or ()),
        source.origin(),
        known.terms if known else None,
        source.redistributable(),
    )


def say_terms(corpus: Corpus) -> None:
    """Say under which terms the sources stand, a line for each."""
    for spec in corpus.sources:
        known, drawn = facts().get(spec.adapter), (spec.origin or {}).get("synthetic") is True
        title = f"{known.title}, in whose layout it was drawn" if known and drawn else known and known.title
        passing = PASSING_ON["yes" if spec.redistributable else known.redistribution if known else "unstated"]
        say(f"terms of {spec.name} ({title or spec.adapter}): {spec.terms or 'not known'}; {passing}")


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


def run(
    corpus: Corpus, *phases: Phase, engine: str = "local", workers: int = 1, afresh: bool = False
) -> Done:
    """Run phases, one after the other: of each the units that are not done or shall be done again.

    Args:
        corpus: the corpus.
        phases: in the order of `PHASES`.
        engine: name of what runs the units, and after a colon what it is to know.
        workers: how many of them at once.
        afresh: all units of the phases, whatever is done.

    Returns:
        The marks of what is done now.

    Raises:
        Unfinished: the engine ran a share of the units, and others are not done.
    """
    done, run_units = Done(corpus.out), functools.partial(_engine(engine), workers=workers)
    if PHASES[0] in phases:
        _clean_asides(corpus)
    for phase in phases:
        _run_phase(corpus, phase, done, run_units, afresh)
    return done


def _engine(spec: str) -> Callable[..., Any]:
    name, colon, argument = spec.partition(":")
    engine: Callable[..., Any] = ENGINES.get(name)
    if not colon:
        return engine
    if "argument" not in inspect.signature(engine).parameters:
        raise UserError(f"--engine {spec}: {name} takes nothing after a colon; leave it out")
    return functools.partial(engine, argument=argument)


def _run_phase(corpus: Corpus, phase: Phase, done: Done, engine: Callable[..., Any], afresh: bool) -> None:
    plan, marks = phase.plan(corpus, done), done.marks(phase.name)
    missing = [
        unit for unit in plan if afresh or not done.holds(unit) or marks[unit.name]["summary"].get(AGAIN)
    ]
    if phase.paths is not None:
        stale = sum(unit.name in marks for unit in missing)
        dropped = units.claim(done, phase.name, {unit.name: phase.paths(unit) for unit in plan})
        if stale or dropped:
            say(
                f"{phase.name}: {stale} parts are out of date and done again, "
                f"{len(dropped)} are no longer needed and removed"
            )
    if missing:
        total, left = (sum(unit.size for unit in each) for each in (plan, missing))
        ran = set[str]()
        with Progress(phase.name, total, phase.counted, total - left) as progress:
            function = functools.partial(work, phase.run)
            for unit, mark in engine(function, corpus, missing, revive=phase.revive):
                marks[unit.name] = mark
                progress.update(unit.size)
                ran.add(unit.name)
        _refuse_missing(phase, [unit for unit in missing if unit.name not in ran], done)
    if phase.finish is not None:
        phase.finish(corpus, plan, done)


def _refuse_missing(phase: Phase, others: Sequence[Unit], done: Done) -> None:
    """Raises Unfinished where units that other processes were to run are not done."""
    if others:
        done.forget(phase.name)
        lacking = [unit for unit in others if not done.holds(unit)]
        if lacking:
            raise Unfinished(
                f"{phase.name}: this task's parts are done, {len(lacking):,} of other tasks are not; when "
                "these have run, run all tasks again"
            )


_FIXED = frozenset({CONFIG, materialise.SHARDS, verify.VERIFIED, "report.html"})


def _clean_asides(corpus: Corpus) -> None:
    """Remove what killed writers of this corpus left aside."""
    claimed = {path for phase in PHASES for path in units.claimed(corpus.out, phase.name)}

    def ours(path: str) -> bool:
        return path in claimed or path in _FIXED or path.startswith((f"{units.DONE}/", f"{INDEXES}/"))

    storage.clean_asides(corpus.out, ours)


def build(corpus: Corpus, *, engine: str = "local", workers: int = 1) -> Built:
    """All phases. The corpus is whole and verified when this returns.

    Raises:
        UserError: nothing was kept, or a phase failed.
    """
    done = run(corpus, *PHASES, engine=engine, workers=workers)
    _clean_asides(corpus)  # of processes that were still dying when this one began
    shards, ledgers = materialise.shipped(done), verify.ledgers(done)
    if not shards:
        from facecorpus.report import nothing_kept

        raise UserError(nothing_kept(corpus, ledgers))
    free = storage.read_table(storage.join(corpus.out, select.PLACEMENT), ["redistributable"])
    passed_on = free["redistributable"].to_numpy().sum()
    return Built(len(shards), sum(shard["samples"] for shard in shards), passed_on, ledgers)
