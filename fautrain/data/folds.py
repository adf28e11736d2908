"""Which frames train, validate and test in a fold: no subject in two parts."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from facecorpus.errors import UserError
from fautrain.data.labels import LabelledSet
from fautrain.data.order import Ints

_VALIDATION_KEY = b"fautrain validation subjects"


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Indices into the rows of a `LabelledSet`, ascending; the three share no subject."""

    train: Ints
    validation: Ints
    test: Ints


def split(labelled: LabelledSet, fold: int, *, validation: float, seed: int, every: int = 1) -> Split:
    """The frames of fold `fold` (from 1).

    Args:
        labelled: the frames, with their benchmark.
        fold: whose test subjects are tested.
        validation: fraction of the other subjects that is held out of training, in [0, 1): rounded up to
            whole subjects, and one at least is left to train on. Who they are depends on `seed` and their
            names alone. Of no effect where the benchmark names a validation part.
        seed: of that choice.
        every: keep the first of every so many training frames, in order of subject, video and frame; 1 for
            all. Validation and test frames are never thinned.

    Raises:
        UserError: there is no such fold, a part has no frame, an output none to learn from or for its
            test, or a subject is in both train and test.
    """
    benchmark = labelled.benchmark
    if fold not in benchmark.numbers:
        there = f"folds 1 to {len(benchmark.folds)}; give one" if benchmark.folds else "one split; give 1"
        raise UserError(f"--fold {fold}: {benchmark.name} has {there} or all")
    if not 0 <= validation < 1:
        raise UserError(f"data.validation={validation} is no fraction; give 0 <= value < 1")
    if every < 1:
        raise UserError(f"data.every={every} keeps no frame; give 1 or more")
    test, held = labelled.within(benchmark.tested(fold)), labelled.within(benchmark.validation)
    if not benchmark.validation:
        held = np.isin(labelled.subject, _held_out(labelled, np.flatnonzero(~test), validation, seed))
    train = np.flatnonzero(~test & ~held)
    by_frame = np.lexsort((labelled.frame[train], labelled.video[train], labelled.subject[train]))
    parts = Split(np.sort(train[by_frame[::every]]), np.flatnonzero(held), np.flatnonzero(test))
    _check_parts(labelled, parts, fold, validation)
    refuse_shared_subjects(labelled, parts.train, labelled, parts.test)
    _check_support(labelled, parts, fold, every)
    return parts


def subset(text: str) -> int:
    """N of "every N-th frame", from a share of the frames.

    >>> subset("10%"), subset("0.5%"), subset("1/7")
    (10, 200, 7)

    Raises:
        UserError: it is no share, or not one in N.
    """
    try:
        share = Fraction(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1 or not ("%" in text or "/" in text):
        raise UserError(f"--subset {text} is no share of the frames; give for example 10% or 1/7")
    if share.numerator != 1:
        raise UserError(
            f"--subset {text} is not every N-th frame; give 1/{round(1 / share)}, or another 1/N or "
            "percentage that divides 100"
        )
    return share.denominator


def refuse_shared_subjects(train_set: LabelledSet, train: Ints, test_set: LabelledSet, test: Ints) -> None:
    """Nobody may be both trained and tested on, be it within a benchmark or across two of one data set.

    Subjects of different data sets are different people, whatever their names.

    Args:
        train_set: what `train` indexes.
        train: indices of frames.
        test_set: what `test` indexes; the same set or another.
        test: indices of frames.

    Raises:
        UserError: a subject is in both.
    """
    one, other = train_set.benchmark, test_set.benchmark
    if one.population != other.population:
        return
    shared = {*train_set.names(train)} & {*test_set.names(test)}
    if shared:
        raise UserError(
            f"subject {min(shared)} of {other.source} is in both train ({one.name}) and test ({other.name}); "
            "mend the folds, or test on another data set"
        )


def _held_out(labelled: LabelledSet, rest: Ints, fraction: float, seed: int) -> list[int]:
    """Of the n subjects of the frames `rest` the ceil(fraction n) with the smallest keyed hash of (seed,
    subject), never all; their indices."""

    def rank(subject: int) -> bytes:
        text = f"{seed} {labelled.subjects[subject]}"
        return hashlib.blake2b(text.encode(), digest_size=8, key=_VALIDATION_KEY).digest()

    ranked = sorted(np.unique(labelled.subject[rest]).tolist(), key=rank)
    # Rounded first: 0.07 x 100 is 7.000000000000001.
    number = max(math.ceil(round(fraction * len(ranked), 9)), fraction > 0)
    return ranked[:-1][:number]


def _check_parts(labelled: LabelledSet, parts: Split, fold: int, validation: float) -> None:
    where = labelled.benchmark.part_named(fold)
    for part, indices in (("training", parts.train), ("test", parts.test)):
        if not len(indices):
            raise UserError(
                f"data.shards: {where} has no {part} frame; build its subjects too, or choose another --fold"
            )
    both = {*labelled.names(parts.train)} & {*labelled.names(parts.validation)}
    if both:
        unit = labelled.benchmark.unit
        raise UserError(f"{unit} {min(both)} is in both train and validation of {where}; mend its parts")
    if validation and not len(parts.validation):
        raise UserError(
            f"data.validation={validation}: {where} has one training subject, so none can be held out; give "
            "0 or build more subjects"
        )


def _check_support(labelled: LabelledSet, parts: Split, fold: int, every: int) -> None:
    """Every output needs frames to learn from and to be tested on."""
    outputs, target = labelled.outputs, labelled.target
    for lack, good in target.lacks(labelled.targets[parts.train], labelled.targets[parts.test]):
        without = [name for name, found in zip(outputs, good, strict=True) if not found]
        if without:
            option = target.option([name for name in outputs if name not in without])
            remedy = f"leave it out with --set {option}" if option else "build more of the data set"
            more = "keep more frames with --subset, or " if every > 1 and "train" in lack else ""
            raise UserError(
                f"{labelled.benchmark.part_named(fold)} has {lack} for {', '.join(without)}; {more}{remedy}"
            )
