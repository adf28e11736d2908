"""Which frames train, validate and test: no subject twice, nothing lost, nothing by chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecorpus.errors import UserError
from fautrain.data.benchmark import Benchmark, benchmark, benchmark_names
from fautrain.data.folds import Split, refuse_shared_subjects, split, subset
from fautrain.data.index import Corpus
from fautrain.data.labels import LabelledSet
from fautrain.targets.occurrence import Occurrence

NOWHERE = Corpus((), (), np.zeros(1, np.int64))


def a_benchmark(folds: tuple[tuple[str, ...], ...], **fields: Any) -> Benchmark:
    subjects = tuple(sorted(subject for fold in folds for subject in fold))
    target = Occurrence(aus=(1, 12), label="AU{au}", positive="== 1", missing=(9,))
    return Benchmark("toy", "Toy", "toy", "occurrence", target, (), subjects, folds, **fields)


def labelled(known: Benchmark, frames: int = 4, without: tuple[str, ...] = (), seed: int = 0) -> LabelledSet:
    """`frames` frames of each subject, in an order of no meaning; targets are 1 and 0 in turn in a video."""
    names = [s for s in known.subjects if s not in without]
    subject = np.repeat([known.subjects.index(s) for s in names], frames).astype(np.int64)
    frame = np.tile(np.arange(1, frames + 1, dtype=np.int32), len(names))
    order = np.random.default_rng(seed).permutation(len(subject))
    targets = np.stack([frame % 2] * len(known.outputs), axis=1).astype(np.float32)
    return LabelledSet(
        known,
        NOWHERE,
        known.target,
        np.arange(len(subject)),
        subject[order],
        np.full(len(subject), "right"),
        frame[order],
        targets[order],
        without,
        known.subjects,
        np.full(len(subject), ""),
    )


def subjects_of(frames: LabelledSet, indices: np.ndarray) -> set[str]:
    return {frames.subjects[i] for i in frames.subject[indices]}


def frames_of(parts: Split) -> list[int]:
    return sorted([*parts.train.tolist(), *parts.validation.tolist(), *parts.test.tolist()])


SIX = a_benchmark((("A", "B"), ("C", "D"), ("E", "F")))


@pytest.mark.parametrize("name", [name for name in benchmark_names() if benchmark(name).folds])
def test_every_fold_of_every_benchmark(name: str) -> None:
    frames = labelled(benchmark(name))
    for fold, tested in enumerate(frames.benchmark.folds, 1):
        parts = split(frames, fold, validation=0.15, seed=0)
        train, held = subjects_of(frames, parts.train), subjects_of(frames, parts.validation)
        assert subjects_of(frames, parts.test) == {*tested}
        assert len(held) == int(np.ceil(0.15 * (len(frames.benchmark.subjects) - len(tested))))
        assert not train & held and not (train | held) & {*tested}
        assert frames_of(parts) == list(range(len(frames)))
        assert all((np.diff(part) > 0).all() for part in (parts.train, parts.validation, parts.test))


@settings(deadline=None)
@given(st.data())
def test_properties(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text("abc", min_size=1, max_size=4), min_size=4, max_size=12, unique=True))
    number = data.draw(st.integers(2, len(names) // 2))
    folds = tuple(tuple(names[i::number]) for i in range(number))
    fold = data.draw(st.integers(1, number))
    fraction = data.draw(st.floats(0, 0.999))
    seed, every = data.draw(st.integers(0, 9)), data.draw(st.sampled_from([1, 3]))
    frames = labelled(a_benchmark(folds), frames=6)
    parts = split(frames, fold, validation=fraction, seed=seed, every=every)
    train, held = subjects_of(frames, parts.train), subjects_of(frames, parts.validation)
    others = len(names) - len(folds[fold - 1])
    assert not train & held and not (train | held) & {*folds[fold - 1]}
    assert train | held == {*names} - {*folds[fold - 1]} and subjects_of(frames, parts.test) == {
        *folds[fold - 1]
    }
    assert len(held) == min(max(int(np.ceil(round(fraction * others, 9))), fraction > 0), others - 1)
    again = split(frames, fold, validation=fraction, seed=seed, every=every)
    assert all(np.array_equal(getattr(parts, p), getattr(again, p)) for p in ("train", "validation", "test"))

    # Neither the order of the folds nor of their subjects nor of the frames changes who validates.
    turned = tuple(tuple(reversed(f)) for f in reversed(folds))
    other = labelled(a_benchmark(turned), frames=6, seed=1)
    same = split(other, number + 1 - fold, validation=fraction, seed=seed, every=every)
    assert subjects_of(other, same.validation) == held and subjects_of(other, same.train) == train
    # A larger fraction only adds.
    more = split(frames, fold, validation=min(0.999, fraction + 0.2), seed=seed)
    assert subjects_of(frames, more.validation) >= held


def official(**parts: tuple[str, ...]) -> LabelledSet:
    target = Occurrence(aus=(1, 12), label="AU{au}", positive="== 1", missing=(9,))
    return labelled(Benchmark("toy", "Toy", "toy", "occurrence", target, split="official", **parts))


def test_an_official_split_tests_its_part_alone() -> None:
    frames = official(train=("A", "C", "E", "G"), test=("B", "D"))
    found = split(frames, 1, validation=0.25, seed=0)
    assert subjects_of(frames, found.test) == {"B", "D"}
    (held,) = subjects_of(frames, found.validation)
    assert subjects_of(frames, found.train) == {"A", "C", "E", "G"} - {held}
    assert frames_of(found) == [*range(len(frames))]
    with pytest.raises(UserError, match="--fold 2: toy has one split; give 1 or all"):
        split(frames, 2, validation=0.25, seed=0)


@pytest.mark.parametrize("validation", [0.0, 0.5])
def test_a_named_validation_part_is_taken_whatever_the_fraction(validation: float) -> None:
    frames = official(train=("A", "C"), validation=("E",), test=("B",))
    found = split(frames, 1, validation=validation, seed=0)
    parts = [subjects_of(frames, part) for part in (found.train, found.validation, found.test)]
    assert parts == [{"A", "C"}, {"E"}, {"B"}]


def test_nobody_is_in_train_and_validation_of_an_official_split() -> None:
    """Parts by a column of the shards, which may divide one person's pictures."""
    frames = official(train=("A", "C"), validation=("E",), test=("B",))
    known = replace(frames.benchmark, by="split", train=("train",), validation=("val",), test=("test",))
    whose = [frames.subjects[i] for i in frames.subject]
    parts = {"A": "train", "C": "train", "E": "val", "B": "test"}
    said = np.array([parts[name] for name in whose])
    held = replace(frames, benchmark=known, partition=said)
    assert subjects_of(held, split(held, 1, validation=0.5, seed=0).validation) == {"E"}
    said = said.copy()
    said[whose.index("C")] = "val"
    with pytest.raises(UserError, match="subject C is in both train and validation of the official split"):
        split(replace(held, partition=said), 1, validation=0.5, seed=0)


def test_the_seed_chooses_who_validates() -> None:
    frames = labelled(benchmark("disfa"))
    chosen = [
        frozenset(subjects_of(frames, split(frames, 1, validation=0.15, seed=s).validation)) for s in range(8)
    ]
    assert len({*chosen}) > 4
    # Written down once, so that a run of today finds the same subjects next year.
    assert sorted(chosen[0]) == ["SN003", "SN017", "SN021"]


def test_no_validation_and_nearly_all() -> None:
    frames = labelled(SIX)
    assert len(split(frames, 1, validation=0, seed=0).validation) == 0
    assert len(subjects_of(frames, split(frames, 1, validation=0.99, seed=0).validation)) == 3


def test_every_nth_frame_of_training_only() -> None:
    frames = labelled(SIX, frames=10)
    all_, third = (split(frames, 2, validation=0.2, seed=3, every=n) for n in (1, 3))
    assert np.array_equal(all_.validation, third.validation) and np.array_equal(all_.test, third.test)
    order = sorted(all_.train.tolist(), key=lambda i: (frames.subject[i], frames.video[i], frames.frame[i]))
    assert third.train.tolist() == sorted(order[::3]) and len(third.train) == 10


def test_subjects_that_the_shards_lack_are_no_hindrance() -> None:
    frames = labelled(SIX, without=("B", "C"))
    parts = split(frames, 1, validation=0.3, seed=0)
    assert subjects_of(frames, parts.test) == {"A"} and len(subjects_of(frames, parts.train)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 0}, "--fold 0: toy has folds 1 to 3; give one or all"),
        ({"fold": 4}, "--fold 4: toy has folds 1 to 3; give one or all"),
        ({"validation": 1.0}, "data.validation=1.0 is no fraction; give 0 <= value < 1"),
        ({"every": 0}, "data.every=0 keeps no frame; give 1 or more"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        split(labelled(SIX), **{"fold": 1, "validation": 0.1, "seed": 0, **options})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("without", "validation", "message"),
    [
        (("A", "B"), 0.1, "fold 1 of toy has no test frame; build"),
        (("C", "D", "E", "F"), 0.1, "fold 1 of toy has no training frame; build"),
        (("C", "D", "E"), 0.1, "fold 1 of toy has one training subject, so none can be held out; give 0"),
    ],
)
def test_empty_parts_are_refused(without: tuple[str, ...], validation: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(labelled(SIX, without=without), 1, validation=validation, seed=0)


@pytest.mark.parametrize(
    ("tested", "code", "message"),
    [
        (False, 0, "fold 1 of toy has no positive frame to train on for AU12"),
        (False, 1, "fold 1 of toy has no negative frame to train on for AU12"),
        (False, np.nan, "fold 1 of toy has no positive frame to train on for AU12"),
        (True, 0, "fold 1 of toy has no positive frame to test on for AU12"),
        (True, np.nan, "fold 1 of toy has no positive frame to test on for AU12"),
    ],
)
def test_an_au_without_frames_is_refused(tested: bool, code: float, message: str) -> None:
    frames = labelled(SIX)
    in_test = np.isin(frames.subject, [0, 1])
    frames.targets[in_test == tested, 1] = code
    with pytest.raises(UserError) as caught:
        split(frames, 1, validation=0, seed=0)
    assert str(caught.value) == f"{message}; leave it out with --set data.aus=1"


def test_only_negatives_to_test_on_is_refused_and_only_positives_is_not() -> None:
    frames = labelled(SIX)
    frames.targets[np.isin(frames.subject, [0, 1])] = 1
    assert len(split(frames, 1, validation=0, seed=0).test) == 8


def test_too_small_a_subset_is_named() -> None:
    frames = labelled(SIX)
    with pytest.raises(UserError, match=r"for AU1, AU12; keep more frames with --subset, or build more"):
        split(frames, 1, validation=0, seed=0, every=16)


def test_nobody_is_in_train_and_test_across_benchmarks() -> None:
    one, other = labelled(SIX), labelled(replace(SIX, name="mine"))
    train, test = (np.flatnonzero(np.isin(one.subject, subjects)) for subjects in ([2, 3], [3, 4]))
    with pytest.raises(UserError, match=r"subject D of toy is in both train \(toy\) and test \(mine\)"):
        refuse_shared_subjects(one, train, other, test)
    refuse_shared_subjects(one, train, other, np.flatnonzero(np.isin(one.subject, [0, 1, 4, 5])))
    # An F001 of BP4D and one of BP4D+ are different people.
    refuse_shared_subjects(one, train, labelled(replace(SIX, source="another")), test)


@pytest.mark.parametrize(
    ("text", "every"),
    [("10%", 10), ("0.5%", 200), ("1/7", 7), ("100%", 1), ("0.1%", 1000), ("25%", 4), ("1/1", 1), ("2/6", 3)],
)
def test_subsets(text: str, every: int) -> None:
    assert subset(text) == every


@pytest.mark.parametrize("text", ["", "%", "10", "0.1", "ten%", "0%", "-10%", "150%", "3/2", "1/0", "nan%"])
def test_no_subset(text: str) -> None:
    with pytest.raises(UserError) as caught:
        subset(text)
    assert str(caught.value) == f"--subset {text} is no share of the frames; give for example 10% or 1/7"


def test_a_subset_that_is_not_every_nth_frame() -> None:
    with pytest.raises(UserError, match=r"--subset 30% is not every N-th frame; give 1/3, or"):
        subset("30%")
