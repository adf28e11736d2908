"""One fold of a run in three columns: how the epoch and the choice are chosen decides what a score means.

`last`       the last epoch with the target's default choice (threshold 0.5); nothing is chosen.
`selected`   epoch and choice with the best mean score on validation subjects (kept out of training).
`published`  epoch and choice with the best mean score on the test fold itself, as the released FMAE code
             reports. Optimistic: the answers are used to choose.

The score is the target's headline measure (F1); a choice (a threshold) is shared by all outputs. Of equal
ones the earliest epoch wins, then the choice nearest to the default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecorpus.errors import UserError
from fautrain import metrics
from fautrain.evaluation.predictions import TEST, VALIDATION, Predictions, prediction_files, read_predictions
from fautrain.metrics import Floats
from fautrain.targets import TARGETS, Target
from fautrain.targets.base import Statistics

Sums = tuple[tuple[int | float, ...], ...]
"""(outputs, K): a target's additive statistics; for occurrence true positives, false positives, false
negatives and true negatives."""


@dataclass(frozen=True)
class Column:
    """The test fold at one epoch and choice. Tuples are per output; values are fractions, not percent."""

    epoch: int
    choice: float | None
    """The threshold, say; None where a target has no choice."""
    scores: tuple[float, ...]
    """Headline measure."""
    mean: float
    """Score of all outputs: the mean of the scores, unless the target weighs them otherwise."""
    measures: Mapping[str, tuple[float | None, ...]]
    """Others by name; None where undefined."""
    statistics: tuple[Sums, ...]
    """Of each test subject."""


@dataclass(frozen=True)
class Curves:
    """Mean score on the way, a value per evaluated epoch or per choice of the target."""

    epochs: tuple[int, ...]
    test: tuple[float, ...]
    """With the default choice."""
    validation: tuple[float, ...] | None
    """With the default choice on the validation subjects; None where there are none."""
    test_best: tuple[float, ...]
    """With the epoch's best choice on the test fold."""
    test_choices: tuple[float, ...]
    """At the last epoch."""
    validation_choices: tuple[float, ...] | None
    """At the last epoch."""


@dataclass(frozen=True)
class FoldResult:
    """What one run shows on its test fold, or on a data set as a whole."""

    dataset: str
    trained_on: str
    """The data set that was trained on, where it is another one; else empty."""
    kind: str
    """What is predicted (`fautrain.targets`)."""
    outputs: tuple[str, ...]
    fold: int | None
    """From 1; None where the data set is tested as a whole."""
    folds: int
    """Folds of the benchmark."""
    seed: int
    drawn: bool
    epochs: int
    """Planned epochs; 0 where it is not known."""
    subjects: tuple[str, ...]
    """Test subjects, in order of `Column.statistics`."""
    validation_subjects: tuple[str, ...]
    frames: int
    """Test frames."""
    baseline: tuple[float, ...]
    """Score of the target's baseline, who does not look at the picture, per output."""
    baseline_statistics: Sums
    """Its statistics, which also say how many frames there are."""
    last: Column
    selected: Column | None
    """None where there are no validation subjects."""
    published: Column
    curves: Curves
    notes: tuple[str, ...]
    """Sentences on what limits these numbers."""
    absent: tuple[str, ...] = ()
    """Subjects of the benchmark of whom the shards hold no frame."""

    @property
    def target(self) -> type[Target]:
        """What is predicted."""
        return TARGETS.get(self.kind)


def evaluate_fold(run_dir: Path) -> FoldResult:
    """The three columns of the run in `run_dir`, from the predictions of its evaluated epochs.

    Reads one epoch at a time.

    Raises:
        UserError: there are no predictions, they are damaged or do not belong together, a subject is in both
            parts, or an output is coded on no test frame.
    """
    files = prediction_files(run_dir)
    first = read_predictions(next(iter(files.values())))
    target = TARGETS.get(first.header.kind)
    seen = {part: _mark(first.of(part)) for part in (TEST, VALIDATION)}
    scores: dict[str, list[Floats]] = {TEST: [], VALIDATION: []}
    for path in files.values():
        epoch = read_predictions(path)
        if replace(epoch.header, epoch=first.header.epoch) != first.header or any(
            _mark(epoch.of(part)) != mark for part, mark in seen.items()
        ):
            raise UserError(
                f"{path} holds other frames or settings than the run's first epoch; delete it and evaluate "
                "the epoch again"
            )
        for part, found in scores.items():
            found.append(mean_scores(target, epoch.of(part).prediction, epoch.of(part).target))
    validated = bool((first.part == VALIDATION).any())
    test, validation = np.stack(scores[TEST]), np.stack(scores[VALIDATION]) if validated else None
    choices = {"last": (len(files) - 1, target.default), "published": _best(target, test)}
    if validation is not None:
        choices["selected"] = _best(target, validation)
    columns = _columns(target, files, choices)
    return _fold(first, list(files)[-1], columns, _curves(target, files, test, validation))


def mean_scores(target: type[Target], prediction: NDArray[Any], truth: NDArray[Any]) -> Floats:
    """Mean over the outputs of the headline measure with each choice, (choices,), of frames (n, outputs)."""
    return overall(target, target.statistics(prediction, truth)[0])


def overall(target: type[Target], statistics: Statistics) -> Floats:
    """The score (...) of all outputs, of statistics (..., outputs, K)."""
    return target.overall(target.score(statistics), statistics).mean(axis=-1)


def check_support(
    target: type[Target], truth: NDArray[Any], outputs: tuple[str, ...], where: str
) -> tuple[str, ...]:
    """The target's remarks on test frames, such as on an AU that is present on none.

    Args:
        truth: (n, A) targets. outputs: A names. where: names the part, as "fold 2 of disfa".

    Raises:
        UserError: `truth` is not A wide, or an output is coded on no frame, so that it has no score.
    """
    if truth.ndim != 2 or truth.shape[1] != len(outputs):
        raise UserError(
            f"the targets of {where} have shape {truth.shape} for {len(outputs)} outputs; give one column "
            "per output"
        )
    uncoded = [name for name, column in zip(outputs, truth.T, strict=True) if np.isnan(column).all()]
    if uncoded:
        raise UserError(
            f"no test frame of {where} is coded for {target.listed(uncoded)}; leave it out of the outputs "
            "or add the missing labels"
        )
    return tuple(target.remarks(truth, outputs, where))


def _best(target: type[Target], scores: Floats) -> tuple[int, int]:
    """Places of the best epoch and choice of scores (epochs, choices)."""
    return metrics.best(target.headline.gain(scores), target.default)


def _curves(target: type[Target], epochs: Iterable[int], test: Floats, validation: Floats | None) -> Curves:
    gain = target.headline.gain
    return Curves(
        epochs=tuple(epochs),
        test=floats(test[:, target.default]),
        validation=None if validation is None else floats(validation[:, target.default]),
        test_best=floats(gain(gain(test).max(axis=1))),
        test_choices=floats(test[-1]),
        validation_choices=None if validation is None else floats(validation[-1]),
    )


def _fold(first: Predictions, last_epoch: int, columns: dict[str, Column], curves: Curves) -> FoldResult:
    header, test, target = first.header, first.of(TEST), TARGETS.get(first.header.kind)
    subjects, kept_out = np.unique(test.subject), np.unique(first.of(VALIDATION).subject)
    both = np.intersect1d(subjects, kept_out)
    if len(both):
        raise UserError(
            f"subject {both[0]} of {header.dataset} is in both the validation and the test part; make the "
            "split anew"
        )
    where = f"fold {header.fold} of {header.dataset}" if header.folds > 1 else header.dataset
    notes = list(check_support(target, test.target, header.outputs, where))
    if last_epoch < header.epochs:
        notes.append(f"{where}: the last epoch evaluated is {last_epoch} of {header.epochs} planned.")
    baseline = target.statistics(target.baseline(test.target), test.target)[0, target.default]
    return FoldResult(
        dataset=header.dataset,
        trained_on=header.trained_on,
        kind=header.kind,
        outputs=header.outputs,
        fold=header.fold,
        folds=header.folds,
        seed=header.seed,
        drawn=header.drawn,
        epochs=header.epochs,
        subjects=tuple(map(str, subjects)),
        validation_subjects=tuple(map(str, kept_out)),
        frames=len(test.part),
        baseline=floats(target.score(baseline)),
        baseline_statistics=_sums(baseline),
        last=columns["last"],
        selected=columns.get("selected"),
        published=columns["published"],
        curves=curves,
        notes=tuple(notes),
        absent=header.absent,
    )


def _columns(
    target: type[Target], files: dict[int, Path], choices: dict[str, tuple[int, int]]
) -> dict[str, Column]:
    """The columns by name, of (place of the epoch, place of the choice) by name; each epoch is read once."""
    epochs = list(files)
    columns: dict[str, Column] = {}
    for place in sorted({place for place, _ in choices.values()}):
        test = read_predictions(files[epochs[place]]).of(TEST)
        names, subject = np.unique(test.subject, return_inverse=True)
        statistics = target.statistics(test.prediction, test.target, subject, len(names))
        for name, (chosen, choice) in choices.items():
            if chosen == place:
                columns[name] = _column(target, test, choice, statistics[:, choice])
    return columns


def _column(target: type[Target], test: Predictions, choice: int, statistics: NDArray[Any]) -> Column:
    total = statistics.sum(axis=0)
    value = target.choices[choice]
    measured = target.measured(test.prediction, test.target, value)
    return Column(
        epoch=test.header.epoch,
        choice=value,
        scores=floats(target.score(total)),
        mean=float(overall(target, total)),
        measures={measure.name: known(measured[measure.name]) for measure in target.measures},
        statistics=tuple(map(_sums, statistics)),
    )


def known(values: Floats) -> tuple[float | None, ...]:
    """The values, None for NaN."""
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _mark(part: Predictions) -> str:
    """A digest of which frames these are and how they are annotated."""
    digest = hashlib.sha256("\n".join([*part.key, *part.subject]).encode())
    digest.update(np.nan_to_num(part.target, nan=-1).tobytes())  # one NaN's bytes may differ from another's
    return digest.hexdigest()


def _sums(statistics: NDArray[Any]) -> Sums:
    return tuple(map(tuple, statistics.tolist()))


def floats(values: Iterable[Any]) -> tuple[float, ...]:
    """Numpy's numbers as Python's."""
    return tuple(map(float, values))
