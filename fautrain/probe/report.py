"""A probe's result in words: each number, what it means and what it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fautrain.probe.linear import EPOCHS, INVERSE_L2
from fautrain.probe.result import Accuracy, Division, ProbeResult
from fautrain.probe.sampling import GAP_PERCENT, TRAIN_PERCENT


def markdown(result: ProbeResult, title: str = "Identity probe") -> str:
    """A Markdown section: the table, then how to read it."""
    heads = ("divided", "probe", "accuracy [95%]", "chance", "majority", "frames train / test", "subjects")
    rows = _rows(result.frames) + _rows(result.videos)
    reading = "\n".join(f"- {line}" for line in _reading(result))
    return f"## {title}\n\n{_table(heads, rows)}\n\n{reading}\n"


def markdown_by_epoch(results: Mapping[int, ProbeResult]) -> str:
    """A Markdown table with a row per epoch of the model that was probed; without intervals."""
    rows: list[tuple[str, ...]] = []
    for epoch, result in sorted(results.items()):
        both = (result.frames, result.videos)
        shares = [d.published.best.value for d in both] + [d.logistic.accuracy.value for d in both]
        rows.append((str(epoch), *(f"{share:.1%}" for share in shares)))
    first = results[min(results)]
    by = (first.frames.divided, first.videos.divided)
    heads = ("epoch", *(f"published, {word}" for word in by), *(f"logistic, {word}" for word in by))
    return _table(heads, rows) + "\n"


def _rows(division: Division) -> list[tuple[str, ...]]:
    published, logistic = division.published, division.logistic
    probes = (
        (f"published, best of {EPOCHS} epochs (epoch {published.best_epoch})", published.best),
        ("published, last epoch", published.last),
        (f"logistic regression{'' if logistic.converged else ', **not converged**'}", logistic.accuracy),
    )
    counts = (
        f"{division.chance:.1%}",
        f"{division.majority:.1%}",
        f"{division.train_frames:,} / {division.test_frames:,}",
        f"{len(division.subjects)}",
    )
    return [(division.divided, name, _percent(accuracy), *counts) for name, accuracy in probes]


def _reading(result: ProbeResult) -> list[str]:
    lines = [
        _accuracy(result),
        _chance(),
        _frames(),
        _videos(result.videos),
        _published(),
        _logistic(result),
        _interval(result),
    ]
    for division in (result.frames, result.videos):
        if division.left_out:
            who = "; ".join(map(str, division.left_out))
            lines.append(f"Left out when divided {division.divided}, with too few frames: {who}.")
    return lines


def _accuracy(result: ProbeResult) -> str:
    return (
        "**Accuracy** is the share of test frames whose subject a linear classifier names from the frozen "
        f"{result.width} features. Every subject is in training and test: the question is whether identity "
        "can be read from the features, not whether strangers are told apart."
    )


def _chance() -> str:
    return (
        "**Chance** is one over the number of subjects, **majority** the accuracy of always naming the "
        "subject most frequent in training. Features that tell nothing end near chance, not at 0%."
    )


def _frames() -> str:
    return (
        "**By frames** is the published sampling: test frames lie between training frames of the same video, "
        "so a near-duplicate is often enough to name one. It is the row to set beside the paper's, and it "
        "overstates how well the subject is known."
    )


def _videos(division: Division) -> str:
    left = "What is left to recognise is the face, and also the light, background and clothes of"
    if not division.by_time:
        return (
            "**By videos** keeps every video whole, in training or in test, so that no neighbouring frames "
            f"leak. {left} the same person's other recordings."
        )
    single, all_of = len(division.by_time), len(division.subjects)
    who = "Every subject has" if single == all_of else f"{single} of {all_of} subjects have"
    return (
        f"**{division.divided.capitalize()}**, no neighbouring frames leak. {who} a "
        f"single video, of which the first {TRAIN_PERCENT}% of the time train, the next {GAP_PERCENT}% are "
        "left out and the rest is test; the nearest training and test frames are "
        f"{division.gap_frames} frame numbers apart. {left} the same recording, so a high value does not "
        "show that it is the face that is recognised."
    )


def _published() -> str:
    return (
        f"**Published** is the paper's protocol: {EPOCHS} epochs of small steps from near zero, which may "
        "stop long before all is learnt. The best epoch is chosen on the test frames, as in the paper's "
        "Figure 3, so it is a little too high; the last epoch is not chosen. A low value does *not* say that "
        "the identity is gone. The paper's code computes features with drop path and augmentation while the "
        "layer learns; here they are computed once, without either."
    )


def _logistic(result: ProbeResult) -> str:
    told = ", ".join(
        f"{d.logistic.iterations} iterations {d.divided}"
        + ("" if d.logistic.converged else " without converging")
        for d in (result.frames, result.videos)
    )
    return (
        "**Logistic regression** is fitted until its loss is flat, on standardised features (softmax, L2, "
        f"C = {INVERSE_L2:g}; {told}). What it reads is in the features, linearly; what it does not read may "
        "still be there for a deeper classifier."
    )


def _interval(result: ProbeResult) -> str:
    return (
        "**The 95% interval** is a bootstrap over subjects with the fitted probe held fixed: it says how "
        "much the number hangs on who was recorded. It covers neither another draw of frames nor another "
        f"training of the model. Seed {result.seed}."
    )


def _percent(accuracy: Accuracy) -> str:
    return f"{accuracy.value:.1%} [{accuracy.low:.1%}, {accuracy.high:.1%}]"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
