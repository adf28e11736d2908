"""What a result means, in sentences for somebody who has never seen one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fautrain.evaluation.result import Result, coverage
from fautrain.evaluation.tables import BASELINE, LAST, PUBLISHED, SELECTED, percent, published, summaries

if TYPE_CHECKING:
    from fautrain.data.benchmark import Benchmark

_F1 = (
    "the harmonic mean of precision (how many of the detections are right) and recall (how many of the "
    'frames with the AU are found), from 0 to 100 %; "mean" is over the AUs. An action unit (AU) is the '
    "movement of one facial muscle or a few, such as AU12, the raised corners of the mouth"
)
_LAST = (
    "the model after the last epoch; an AU counts as detected from a probability of 0.5. Nothing is chosen "
    "by looking at results"
)
_PUBLISHED = (
    "the epoch, and the one threshold for all AUs, that do best on the test subjects themselves, as FMAE's "
    "released code reports it"
)
_OPTIMISTIC = (
    ": FMAE's were found in that way, and other papers, too, often choose on the test subjects. It is "
    "optimistic: the epoch and the threshold are chosen with the answers of the people tested, which nobody "
    "has for a new face. What to expect there is nearer to the other rows."
)
_BASELINE = "the F1 reached without looking at the picture. The more often an AU is present, the higher"
_POOLED = (
    "all folds' test frames are put together before F1 is computed, each at its own fold's epoch and "
    "threshold; in the mean over folds, each fold weighs the same"
)


def title(result: Result, benchmark: Benchmark) -> str:
    """What was tested on what."""
    if result.trained_on:
        return f"Trained on {result.trained_on}, tested on {result.dataset}"
    if set(result.aus) != set(benchmark.aus):
        return f"{benchmark.title}: of these AU {', '.join(map(str, result.aus))}"
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
    return " ".join(parts)


def missing(absent: Sequence[str], benchmark: Benchmark) -> str:
    """That the shards lack subjects of the benchmark, which ones, and what follows."""
    return (
        f"{len(absent)} of the benchmark's {len(benchmark.subjects)} subjects ({', '.join(absent)}) are not "
        "in the shards: the scores do not compare with the papers' rows, which are of all of them."
    )


def lead(result: Result) -> str:
    """The numbers in one sentence."""
    bounds = ""
    if result.last.bounds:
        low, high = map(percent, result.last.bounds.mean)
        bounds = f" (95 % interval {low} to {high})"
    return (
        f"On {result.frames:,} frames of {result.subjects:,} people that it has not seen in training, the "
        f"model reaches a mean F1 of {percent(result.last.mean)} %{bounds} over {len(result.aus)} action "
        f"units; calling every one present on every frame reaches {percent(result.all_positive_mean)} %."
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
    if set(result.aus) != set(benchmark.aus):
        limits += " Compare AU by AU: the papers' means are over other AUs."
    if len(result.folds) != result.folds_total:
        limits += (
            f" The papers' rows are means over all {result.folds_total} folds; here: {coverage(result)}."
        )
    return f"{which}{_OPTIMISTIC}{limits}"


def rows(result: Result) -> list[tuple[str, str]]:
    """(name of a row, what it is)."""
    found = [("F1", _F1), (LAST, _LAST)]
    if result.selected:
        found.append((SELECTED, _selected(result)))
    found += [(PUBLISHED, _PUBLISHED), (BASELINE, _BASELINE)]
    if result.last.bounds:
        found.append(("95 % interval", _interval(result)))
    if len(result.folds) > 1:
        found += [("Pooled", _POOLED), ("±", "the standard deviation over folds")]
    return found


def _selected(result: Result) -> str:
    counts = sorted({len(run.validation_subjects) for run in result.runs})
    count = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    each = " of each fold" if result.folds else ""
    return (
        f"{count} training subjects{each} are kept out of training. The epoch, and the one threshold for all "
        "AUs, that do best on them are then applied to the test subjects, who have no say"
    )


def _interval(result: Result) -> str:
    by_fold = ", fold by fold" if len(result.folds) > 1 else ""
    return (
        f"how far the number moves when other people are tested: of the {result.subjects} test subjects as "
        f"many are drawn anew with replacement, {result.resamples:,} times{by_fold}, and the middle 95 % of "
        "the F1 are given. The training is not repeated, and with few people the interval is rather too "
        "narrow. "
        f'"{PUBLISHED}" has none, as its choice would change with the people'
    )


def seeds(result: Result) -> str:
    """Mean and spread over seeds; empty with one."""
    if len(result.seeds) < 2:
        return ""
    parts = [f"{name} {percent(s.mean)} ± {percent(s.seed_sd)}" for name, s in summaries(result)]
    return (
        f"All numbers are means over {len(result.seeds)} runs that differ in their seed "
        f"({', '.join(map(str, result.seeds))}). Mean F1 and its standard deviation over seeds, in percent: "
        f"{'; '.join(parts)}."
    )
