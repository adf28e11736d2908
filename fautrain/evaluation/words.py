"""What a result means, in sentences for somebody who has never seen one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fautrain.evaluation.result import Result, coverage
from fautrain.evaluation.tables import (
    PUBLISHED,
    in_percent,
    last_name,
    published,
    selected_name,
    summaries,
)
from fautrain.targets import Words

if TYPE_CHECKING:
    from fautrain.data.benchmark import Benchmark, Part

_OPTIMISTIC = (
    ": FMAE's were found in that way, and other papers, too, often choose on the test {unit}s. It is "
    "optimistic: the epoch{and_choice} chosen with the answers of the {people} tested, which nobody has for "
    "a new face. What to expect there is nearer to the other rows."
)


def title(result: Result, benchmark: Benchmark) -> str:
    """What was tested on what."""
    if result.trained_on:
        return f"Trained on {result.trained_on}, tested on {result.dataset}"
    if set(result.outputs) != set(benchmark.outputs):
        return f"{benchmark.title}: of these {result.target.listed(result.outputs)}"
    return benchmark.title


def warning(result: Result, benchmark: Benchmark) -> str:
    """Why no number here may stand beside a paper's; empty where the faces are real ones and all there."""
    parts: list[str] = []
    if result.drawn:
        rows = "" if result.trained_on else ", though rows of papers on real recordings are listed"
        parts.append(
            f"The faces are drawn by a program: nothing here can be compared with a paper's numbers{rows}."
        )
    if result.absent:
        parts.append(missing(result.absent, benchmark))
    if (fewer := partial(result, benchmark)) and not result.drawn:
        parts.append(fewer)
    return " ".join(parts)


def partial(result: Result, benchmark: Benchmark) -> str:
    """That the shards hold other test frames than published; empty where they do not, or nobody knows."""
    part: Part = "test" if result.folds and benchmark.split == "official" else "all"
    if len(result.folds) < result.folds_total or benchmark.is_whole(result.frames, part):
        return ""
    return (
        f"{result.frames:,} frames are tested, {benchmark.published_frames(part):,} are published: the "
        "scores do not compare with the papers' rows."
    )


def missing(absent: Sequence[str], benchmark: Benchmark) -> str:
    """That the shards lack subjects of the benchmark, which ones, and what follows."""
    return (
        f"{len(absent)} of the benchmark's {len(benchmark.subjects)} subjects ({', '.join(absent)}) are not "
        "in the shards: the scores do not compare with the papers' rows, which are of all of them."
    )


def lead(result: Result, benchmark: Benchmark) -> str:
    """The numbers in one sentence."""
    measure, words, bounds = result.target.headline, result.target.words, ""
    written = measure.written
    if result.last.bounds:
        low, high = map(written, result.last.bounds.mean)
        bounds = f" (95 % interval {low} to {high})"
    tested = f"{result.frames:,} frames of {result.subjects:,} {_people(benchmark)}"
    if benchmark.unit == "picture":
        tested = f"{result.frames:,} pictures"
    return (
        f"On {tested} that it has not seen in training, the "
        f"model reaches a{'n' * (words.whole[0] in 'aeiou')} {words.whole} {measure.name} of "
        f"{written(result.last.mean)}{measure.unit}{bounds} over "
        f"{len(result.outputs)} {words.output}s; {words.baseline_phrase} reaches "
        f"{written(result.baseline.mean)}{measure.unit}."
    )


def comparison(result: Result, benchmark: Benchmark) -> str:
    """Which of our rows may stand beside the papers', and why it flatters."""
    if result.trained_on:
        return (
            "The papers' rows are left out: their systems were trained on the data set that they were tested "
            f"on, this model was not trained on {result.dataset}."
        )
    if not published(result, benchmark):
        return "No papers' rows are known for this benchmark."
    which = f'Of our rows only "{PUBLISHED}" is comparable with the papers\''
    if result.absent:
        which = (
            "None of our rows is comparable with the papers': subjects are missing. With all of them it "
            f'would be "{PUBLISHED}" only'
        )
    if result.drawn:
        which = (
            "None of our rows is comparable with the papers': the faces are drawn. On real recordings it "
            f'would be "{PUBLISHED}" only'
        )
    limits = ""
    if set(result.outputs) != set(benchmark.outputs):
        short = result.target.words.short
        limits += f" Compare {short} by {short}: the papers' means are over other {short}s."
    if len(result.folds) != result.folds_total:
        limits += (
            f" The papers' rows are means over all {result.folds_total} folds; here: {coverage(result)}."
        )
    choice = result.target.words.choice
    optimistic = _OPTIMISTIC.format(
        and_choice=f" and the {choice} are" if choice else " is",
        unit=benchmark.unit,
        people=_people(benchmark),
    )
    return f"{which}{optimistic}{limits}"


def rows(result: Result, benchmark: Benchmark) -> list[tuple[str, str]]:
    """(name of a row, what it is)."""
    target = result.target
    measure, words = target.headline, target.words
    unchosen = f"; {words.unchosen}" if words.unchosen else ""
    last = f"the model after the last epoch{unchosen}. Nothing is chosen by looking at results"
    found = [(measure.name, measure.about), (last_name(target), last)]
    if result.selected:
        found.append((selected_name(benchmark), _selected(result, benchmark)))
    published = (
        f"{_chosen(words)} on the test {benchmark.unit}s themselves, as FMAE's released code reports it"
    )
    found += [(PUBLISHED, published), (words.baseline, words.baseline_about)]
    found += [(other.name, other.about) for other in target.measures]
    if result.last.bounds:
        found.append(("95 % interval", _interval(result, benchmark)))
    if len(result.folds) > 1:
        pooled = (
            f"all folds' test frames are put together before {measure.name} is computed, each at its own "
            f"fold's epoch{f' and {words.choice}' if words.choice else ''}; in the mean over folds, each "
            "fold weighs the same"
        )
        found += [("Pooled", pooled), ("±", "the standard deviation over folds")]
    return [(name, about) for name, about in found if about]


def _chosen(words: Words) -> str:
    """The epoch, and what else is chosen, as the beginning of a sentence."""
    if not words.choice:
        return "the epoch that does best"
    return f"the epoch, and the one {words.choice} for all {words.short}s, that do best"


def _selected(result: Result, benchmark: Benchmark) -> str:
    counts = sorted({len(run.validation_subjects) for run in result.runs})
    count = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    each, unit = " of each fold" if result.folds_total > 1 else "", benchmark.unit
    chosen, applied = _chosen(result.target.words), "are" if result.target.words.choice else "is"
    return (
        f"{count} training {unit}s{each} are kept out of training. T{chosen[1:]} on them {applied} then "
        f"applied to the test {unit}s, {'who' if unit == 'subject' else 'which'} have no say"
    )


def _interval(result: Result, benchmark: Benchmark) -> str:
    by_fold = ", fold by fold" if len(result.folds) > 1 else ""
    people, alone = _people(benchmark), ""
    if benchmark.unit == "picture":
        alone = "Nobody knows who is shown, so each picture counts as a person of its own. "
    return (
        f"how far the number moves when other {people} are tested: of the {result.subjects} test "
        f"{benchmark.unit}s as many are drawn anew with replacement, {result.resamples:,} times{by_fold}, "
        f"and the middle 95 % of the {result.target.headline.name} are given. {alone}The training is not "
        f"repeated, and with few {people} the interval is rather too narrow. "
        f'"{PUBLISHED}" has none, as its choice would change with the {people}'
    )


def _people(benchmark: Benchmark) -> str:
    """Whom the bootstrap draws anew."""
    return "people" if benchmark.unit == "subject" else f"{benchmark.unit}s"


def seeds(result: Result) -> str:
    """Mean and spread over seeds; empty with one."""
    if len(result.seeds) < 2:
        return ""
    measure, whole = result.target.headline, result.target.words.whole
    written = measure.written
    parts = [f"{name} {written(s.mean)} ± {written(s.seed_sd)}" for name, s in summaries(result)]
    return (
        f"All numbers are means over {len(result.seeds)} runs that differ in their seed "
        f"({', '.join(map(str, result.seeds))}). {whole.capitalize()} {measure.name} and its standard "
        f"deviation over seeds{in_percent(measure)}: {'; '.join(parts)}."
    )
