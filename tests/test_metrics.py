"""Metrics against scikit-learn, against slow direct versions, and against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fautrain import metrics

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 3))


@st.composite
def frames(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, some exactly on a threshold, and targets with missing ones."""
    shape = draw(SHAPES)
    ties = st.sampled_from([0.0, 0.004, 0.01, 0.3, 0.33, 0.5, 0.58, 0.99, 1.0])
    values = ties | st.floats(0, 1, width=32)
    probability = draw(hnp.arrays(np.float32, shape, elements=values))
    return probability, draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 1, np.nan])))


def coded(probability: np.ndarray, target: np.ndarray, au: int) -> tuple[np.ndarray, np.ndarray]:
    kept = ~np.isnan(target[:, au])
    return probability[kept, au], target[kept, au].astype(int)


@settings(max_examples=50, deadline=None)
@given(frames(), st.sampled_from([0.01, 0.29, 0.3, 0.5, 0.57, 0.58, 0.99]))
def test_counts_and_rates_agree_with_scikit_learn(data: tuple[np.ndarray, np.ndarray], threshold: float):
    counts = metrics.confusion(*data, threshold)
    for au in range(data[0].shape[1]):
        p, t = coded(*data, au)
        d = (p >= np.float32(threshold)).astype(int)
        (tn, fp), (fn, tp) = sk.confusion_matrix(t, d, labels=[0, 1]) if len(t) else ((0, 0), (0, 0))
        assert counts[au].tolist() == [tp, fp, fn, tn]
        if len(t) == 0:
            assert metrics.f1(counts)[au] == 0
            assert np.isnan(metrics.accuracy(counts)[au])
            continue
        for ours, theirs in ((metrics.f1, sk.f1_score), (metrics.precision, sk.precision_score)):
            assert ours(counts)[au] == pytest.approx(theirs(t, d, zero_division=0), abs=1e-12)
        assert metrics.recall(counts)[au] == pytest.approx(sk.recall_score(t, d, zero_division=0), abs=1e-12)
        assert metrics.accuracy(counts)[au] == pytest.approx(sk.accuracy_score(t, d), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(frames())
def test_auc_agrees_with_scikit_learn(data: tuple[np.ndarray, np.ndarray]):
    ours = metrics.roc_auc(*data)
    for au, value in enumerate(ours):
        p, t = coded(*data, au)
        if len(set(t)) < 2:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(sk.roc_auc_score(t, p), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(frames())
def test_sweep_is_the_confusion_at_every_threshold(data: tuple[np.ndarray, np.ndarray]):
    counts = metrics.sweep(metrics.histogram(*data))[0]
    assert counts.shape == (99, data[0].shape[1], 4)
    for place, threshold in enumerate(metrics.THRESHOLDS):
        assert (counts[place] == metrics.confusion(*data, threshold)).all()


def test_thresholds_are_the_ninety_nine_and_half_is_half():
    assert len(metrics.THRESHOLDS) == 99
    assert metrics.THRESHOLDS[[0, metrics.HALF, -1]].tolist() == [0.01, 0.5, 0.99]


def test_groups_are_counted_apart_and_add_up():
    rng = np.random.default_rng(1)
    probability = rng.random((200, 2), np.float32)
    target = rng.choice([0.0, 1.0, np.nan], (200, 2))
    group = rng.integers(0, 3, 200)
    grouped = metrics.histogram(probability, target, group, 4)
    assert grouped.shape == (4, 100, 2, 2)
    assert not grouped[3].any()
    assert (grouped.sum(axis=0) == metrics.histogram(probability, target)[0]).all()
    own = metrics.histogram(probability[group == 1], target[group == 1])[0]
    assert (grouped[1] == own).all()


def test_best_breaks_ties_by_epoch_then_by_nearness_to_half():
    scores = np.zeros((3, 99))
    scores[1, 80] = scores[2, 49] = 0.8
    assert metrics.best(scores, metrics.HALF) == (1, 80)
    scores[1, [40, 60]] = 0.8
    assert metrics.best(scores, metrics.HALF) == (1, 40)
    scores[1, 58] = 0.8
    assert metrics.best(scores, metrics.HALF) == (1, 40)  # 0.41 and 0.59 are as near: the lower
    scores[1, 57] = 0.8
    assert metrics.best(scores, metrics.HALF) == (1, 57)
    assert metrics.best(np.zeros((2, 99)), metrics.HALF) == (0, metrics.HALF)


def test_resampled_f1_is_the_slow_direct_one():
    counts = np.random.default_rng(2).integers(0, 20, (5, 3, 4))
    rng = np.random.default_rng(7)
    ours = metrics.f1(metrics.resample(counts, 50, 7))
    for row in rng.multinomial(5, [0.2] * 5, 50):
        taken = np.repeat(np.arange(5), row)
        tp, fp, fn = (sum(counts[s, :, k] for s in taken) for k in range(3))
        expected = [2 * t / (2 * t + p + n) if t + p + n else 0 for t, p, n in zip(tp, fp, fn, strict=True)]
        assert ours[0] == pytest.approx(expected, abs=1e-12)
        ours = ours[1:]


def test_resampling_draws_each_subject_by_chance():
    """Two subjects, one all hits and one all misses: F1 is 1, 2/3 and 0 with chances 1/4, 1/2 and 1/4."""
    counts = np.array([[[10, 0, 0, 5]], [[0, 0, 10, 5]]])
    drawn = metrics.f1(metrics.resample(counts, 20_000, 3))[:, 0]
    shares = [np.isclose(drawn, value).mean() for value in (1, 2 / 3, 0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    assert metrics.interval(drawn).tolist() == [0, 1]


def test_interval_of_many_subjects_is_the_delta_method_s():
    rng = np.random.default_rng(4)
    n = 400
    tp, fp, fn = rng.poisson(30, n), rng.poisson(12, n), rng.poisson(20, n)
    counts = np.stack([tp, fp, fn, np.zeros(n, int)], -1)[:, None]
    value = metrics.f1(counts.sum(axis=0))[0]
    # F1 = sum(a) / sum(b) with a = 2 TP and b = 2 TP + FP + FN per subject.
    a, b = 2 * tp, 2 * tp + fp + fn
    deviation = np.sqrt(((a - value * b) ** 2).sum()) / b.sum()
    low, high = metrics.interval(metrics.f1(metrics.resample(counts, 20_000)))[0]
    assert low == pytest.approx(value - 1.96 * deviation, abs=0.06 * deviation)
    assert high == pytest.approx(value + 1.96 * deviation, abs=0.06 * deviation)


def test_further_axes_share_the_draws_and_seeds_repeat_them():
    counts = np.random.default_rng(5).integers(0, 9, (6, 2, 4))
    both = metrics.resample(np.stack([counts, counts], 1), 30, (1, 2))
    assert both.shape == (30, 2, 2, 4)
    assert (both[:, 0] == both[:, 1]).all()
    assert (both[:, 0] == metrics.resample(counts, 30, (1, 2))).all()
    assert (both[:, 0] != metrics.resample(counts, 30, (1, 3))).any()
