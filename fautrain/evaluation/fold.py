"""One fold of a run in three columns: how the epoch and the threshold are chosen decides what an F1 means.

`last`       the last epoch at threshold 0.5; nothing is chosen.
`selected`   epoch and threshold with the highest mean F1 on validation subjects (kept out of training).
`published`  epoch and threshold with the highest mean F1 on the test fold itself, as the released FMAE code
             reports. Optimistic: the answers are used to choose.

A threshold is shared by all AUs. Of equal choices the earliest epoch wins, then the threshold nearest to 0.5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fautrain import metrics
from fautrain.errors import UserError
from fautrain.evaluation.predictions import TEST, VALIDATION, Predictions, prediction_files, read_predictions


@dataclass(frozen=True)
class Column:
    """The test fold at one epoch and threshold. Tuples are per AU; values are fractions."""

    epoch: int
    threshold: float
    f1: tuple[float, ...]
    mean_f1: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    accuracy: tuple[float, ...]
    auc: tuple[float | None, ...]
    """None where an AU has no positive or no negative frame."""
    counts: tuple[tuple[tuple[int, ...], ...], ...]
    """(subjects, AUs, 4): true positives, false positives, false negatives, true negatives."""


@dataclass(frozen=True)
class Curves:
    """Mean F1 on the way, a value per evaluated epoch or per threshold of `metrics.THRESHOLDS`."""

    epochs: tuple[int, ...]
    test: tuple[float, ...]
    """At 0.5."""
    validation: tuple[float, ...] | None
    """At 0.5 on the validation subjects; None where there are none."""
    test_best: tuple[float, ...]
    """At the epoch's best threshold on the test fold."""
    test_thresholds: tuple[float, ...]
    """(99,) at the last epoch."""
    validation_thresholds: tuple[float, ...] | None
    """(99,) at the last epoch."""


@dataclass(frozen=True)
class FoldResult:
    """What one run shows on its test fold, or on a data set as a whole."""

    dataset: str
    trained_on: str
    """The data set that was trained on, where it is another one; else empty."""
    aus: tuple[int, ...]
    fold: int | None
    """From 1; None where the data set is tested as a whole."""
    folds: int
    """Folds of the benchmark."""
    seed: int
    drawn: bool
    epochs: int
    """Planned epochs; 0 where it is not known."""
    subjects: tuple[str, ...]
    """Test subjects, in order of `Column.counts`."""
    validation_subjects: tuple[str, ...]
    frames: int
    """Test frames."""
    positives: tuple[int, ...]
    """Test frames with the AU present."""
    coded: tuple[int, ...]
    """Test frames coded for the AU."""
    all_positive: tuple[float, ...]
    """F1 of calling the AU present on every frame."""
    last: Column
    selected: Column | None
    """None where there are no validation subjects."""
    published: Column
    curves: Curves
    notes: tuple[str, ...]
    """Sentences on what limits these numbers."""
    absent: tuple[str, ...] = ()
    """Subjects of the benchmark of whom the shards hold no frame."""


def evaluate_fold(run_dir: Path) -> FoldResult:
    """The three columns of the run in `run_dir`, from the predictions of its evaluated epochs.

    Reads one epoch at a time.

    Raises:
        UserError: there are no predictions, they are damaged or do not belong together, a subject is in both
            parts, or an AU is coded on no test frame.
    """
    files = prediction_files(run_dir)
    first = read_predictions(next(iter(files.values())))
    seen = {part: _mark(first.of(part)) for part in (TEST, VALIDATION)}
    scores: dict[str, list[NDArray[np.float64]]] = {TEST: [], VALIDATION: []}
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
            found.append(_mean_f1(epoch.of(part)))
    epochs = list(files)
    test, validation = np.stack(scores[TEST]), np.stack(scores[VALIDATION])
    has_validation = bool((first.part == VALIDATION).any())
    choices = {"last": (len(epochs) - 1, metrics.HALF), "published": metrics.best(test)}
    if has_validation:
        choices["selected"] = metrics.best(validation)
    columns = _columns(files, choices)
    curves = Curves(
        epochs=tuple(epochs),
        test=_floats(test[:, metrics.HALF]),
        validation=_floats(validation[:, metrics.HALF]) if has_validation else None,
        test_best=_floats(test.max(axis=1)),
        test_thresholds=_floats(test[-1]),
        validation_thresholds=_floats(validation[-1]) if has_validation else None,
    )
    return _fold(first, epochs[-1], columns, curves)


def check_support(target: NDArray[Any], aus: tuple[int, ...], where: str) -> tuple[str, ...]:
    """A sentence for each AU that has no positive frame: its F1 is 0 whatever the model says.

    Cheap: call it before the training, so that nobody waits for an F1 that cannot be.

    Args:
        target: (n, A) 1, 0 or NaN. aus: A numbers. where: names the part, as "fold 2 of disfa".

    Raises:
        UserError: `target` is not A wide, or an AU is coded on no frame, so that it has no F1.
    """
    if target.ndim != 2 or target.shape[1] != len(aus):
        raise UserError(
            f"the targets of {where} have shape {target.shape} for {len(aus)} AUs; give one column per AU"
        )
    found = metrics.support(target)
    uncoded = [au for au, coded in zip(aus, found.coded, strict=True) if not coded]
    if uncoded:
        raise UserError(
            f"no test frame of {where} is coded for AU {', '.join(map(str, uncoded))}; leave it out of the "
            "AUs or add the missing labels"
        )
    absent = np.array(aus)[found.positives == 0]
    return tuple(
        f"AU {au} is present on no test frame of {where}: its F1 there is 0 by convention and counts in the "
        "mean."
        for au in absent
    )


def _fold(first: Predictions, last_epoch: int, columns: dict[str, Column], curves: Curves) -> FoldResult:
    header, test = first.header, first.of(TEST)
    subjects, kept_out = np.unique(test.subject), np.unique(first.of(VALIDATION).subject)
    both = np.intersect1d(subjects, kept_out)
    if len(both):
        raise UserError(
            f"subject {both[0]} of {header.dataset} is in both the validation and the test part; make the "
            "split anew"
        )
    where = f"fold {header.fold} of {header.dataset}" if header.fold else header.dataset
    notes = list(check_support(test.target, header.aus, where))
    if last_epoch < header.epochs:
        notes.append(f"{where}: the last epoch evaluated is {last_epoch} of {header.epochs} planned.")
    found = metrics.support(test.target)
    return FoldResult(
        dataset=header.dataset,
        trained_on=header.trained_on,
        aus=header.aus,
        fold=header.fold,
        folds=header.folds,
        seed=header.seed,
        drawn=header.drawn,
        epochs=header.epochs,
        subjects=tuple(map(str, subjects)),
        validation_subjects=tuple(map(str, kept_out)),
        frames=len(test.part),
        positives=tuple(map(int, found.positives)),
        coded=tuple(map(int, found.coded)),
        all_positive=_floats(metrics.all_positive_f1(found)),
        last=columns["last"],
        selected=columns.get("selected"),
        published=columns["published"],
        curves=curves,
        notes=tuple(notes),
        absent=header.absent,
    )


def _columns(files: dict[int, Path], choices: dict[str, tuple[int, int]]) -> dict[str, Column]:
    """The columns by name, of (place of the epoch, place of the threshold) by name."""
    epochs = list(files)
    columns: dict[str, Column] = {}
    for place in sorted({place for place, _ in choices.values()}):
        test = read_predictions(files[epochs[place]]).of(TEST)
        auc = metrics.roc_auc(test.probability, test.target)
        for name, (chosen, threshold) in choices.items():
            if chosen == place:
                columns[name] = _column(test, float(metrics.THRESHOLDS[threshold]), auc)
    return columns


def _column(test: Predictions, threshold: float, auc: NDArray[np.float64]) -> Column:
    by_subject = np.stack(
        [
            metrics.confusion(test.probability[rows], test.target[rows], threshold)
            for rows in (test.subject == subject for subject in np.unique(test.subject))
        ]
    )
    counts = by_subject.sum(axis=0)
    f1 = metrics.f1(counts)
    return Column(
        epoch=test.header.epoch,
        threshold=threshold,
        f1=_floats(f1),
        mean_f1=float(f1.mean()),
        precision=_floats(metrics.precision(counts)),
        recall=_floats(metrics.recall(counts)),
        accuracy=_floats(metrics.accuracy(counts)),
        auc=tuple(None if np.isnan(value) else float(value) for value in auc),
        counts=tuple(tuple(tuple(map(int, au)) for au in subject) for subject in by_subject),
    )


def _mean_f1(part: Predictions) -> NDArray[np.float64]:
    """Mean F1 over the AUs at each threshold, (99,)."""
    counts = metrics.sweep(metrics.histogram(part.probability, part.target))[0]
    return metrics.f1(counts).mean(axis=-1)


def _mark(part: Predictions) -> str:
    """A digest of which frames these are and how they are annotated."""
    digest = hashlib.sha256("\n".join([*part.key, *part.subject]).encode())
    digest.update(np.nan_to_num(part.target, nan=-1).tobytes())  # one NaN's bytes may differ from another's
    return digest.hexdigest()


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(map(float, values))
