"""Metrics on arrays, without torch: of detection, of intensity, and how to choose by any and resample it.

Of detection: `probability` is float (n, A) in [0, 1], `target` float (n, A) with 1 (present), 0 (absent) or
NaN (not coded: left out). A probability at or above the threshold is a detection; thresholds are compared in
the probabilities' own dtype, so that a float32 0.3 reaches the threshold 0.3. Counts are int64 (..., A, 4) in
the order true positives, false positives, false negatives, true negatives. All values are fractions.

Of intensity: `prediction` and `target` are float (n, A) on one scale, `target` NaN where not coded. All
measures are functions of sums over the coded frames (`pair_sums`), so that subjects and folds can be added.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

THRESHOLDS: Floats = np.arange(1, 100) / 100
"""The 99 thresholds 0.01, 0.02, ..., 0.99 that the released FMAE code tries."""
HALF = 49
"""Index of 0.5 in `THRESHOLDS`."""


def confusion(probability: NDArray[Any], target: NDArray[Any], threshold: float = 0.5) -> Counts:
    """Counts (A, 4) at one threshold."""
    detected = probability >= probability.dtype.type(threshold)
    present, absent = target == 1, target == 0
    cells = (detected & present, detected & absent, ~detected & present, ~detected & absent)
    return np.stack([cell.sum(axis=0) for cell in cells], axis=-1)


def histogram(
    probability: NDArray[Any],
    target: NDArray[Any],
    group: NDArray[np.int64] | None = None,
    groups: int = 1,
) -> Counts:
    """Coded frames by group, thresholds reached (0 to 99), AU and target: int64 (groups, 100, A, 2).

    One pass over the frames; `sweep` makes of it the counts at all thresholds.

    Args:
        group: (n,) number of each frame's group (its subject, say), below `groups`.
    """
    reached = np.searchsorted(THRESHOLDS.astype(probability.dtype), probability, side="right")
    first = np.zeros(len(reached), np.int64) if group is None else group
    aus, bins = probability.shape[1], len(THRESHOLDS) + 1
    cell = ((first[:, None] * bins + reached) * aus + np.arange(aus)) * 2 + (target == 1)
    counts = np.bincount(cell[~np.isnan(target)], minlength=groups * bins * aus * 2)
    return counts.reshape(groups, bins, aus, 2)


def sweep(counted: Counts) -> Counts:
    """Counts (..., 99, A, 4) at every threshold, of a histogram (..., 100, A, 2)."""
    reaching = counted[..., ::-1, :, :].cumsum(axis=-3)[..., ::-1, :, :]
    detected = reaching[..., 1:, :, :]
    missed = reaching[..., :1, :, :] - detected
    return np.stack([detected[..., 1], detected[..., 0], missed[..., 1], missed[..., 0]], axis=-1)


def f1(counts: NDArray[Any]) -> Floats:
    """2 TP / (2 TP + FP + FN), (..., A); 0 where there is neither a positive nor a detection."""
    hits = 2 * counts[..., 0]
    return _ratio(hits, hits + counts[..., 1] + counts[..., 2])


def precision(counts: NDArray[Any]) -> Floats:
    """TP / (TP + FP), (..., A); 0 where nothing is detected."""
    return _ratio(counts[..., 0], counts[..., 0] + counts[..., 1])


def recall(counts: NDArray[Any]) -> Floats:
    """TP / (TP + FN), (..., A); 0 where nothing is present."""
    return _ratio(counts[..., 0], counts[..., 0] + counts[..., 2])


def accuracy(counts: NDArray[Any]) -> Floats:
    """Share of the coded frames that are right, (..., A); NaN where none is coded."""
    return _ratio(counts[..., 0] + counts[..., 3], counts.sum(axis=-1), empty=np.nan)


def roc_auc(probability: NDArray[Any], target: NDArray[Any]) -> Floats:
    """Area under the ROC curve, (A,): the chance that a positive frame outranks a negative one, ties half.

    NaN where an AU has no positive or no negative frame.
    """
    return np.array(
        [_roc_auc(probability[:, au], target[:, au]) for au in range(probability.shape[1])], np.float64
    )


def _roc_auc(probability: NDArray[Any], target: NDArray[Any]) -> float:
    values, place = np.unique(probability, return_inverse=True)
    positives, negatives = (np.bincount(place[target == kind], minlength=len(values)) for kind in (1, 0))
    pairs = int(positives.sum()) * int(negatives.sum())
    if not pairs:
        return float("nan")
    below = negatives.cumsum() - negatives
    # Doubled, so that ties stay whole numbers: the sum is exact.
    return float((positives * (2 * below + negatives)).sum() / (2 * pairs))


def pair_sums(prediction: NDArray[Any], target: NDArray[Any]) -> Floats:
    """(n, A, 7) float64 of each frame, 0 where not coded: 1, p, t, p^2, t^2, p t, |p - t|."""
    coded = ~np.isnan(target)
    p, t = (np.where(coded, values, 0).astype(np.float64) for values in (prediction, target))
    return np.stack([coded.astype(np.float64), p, t, p * p, t * t, p * t, abs(p - t)], axis=-1)


def icc(sums: NDArray[Any]) -> Floats:
    """ICC(3,1) of two raters, prediction and annotation, (..., A), of `pair_sums` added up (..., A, K).

    Shrout and Fleiss (1979): (BMS - EMS) / (BMS + EMS) of a two-way analysis of variance of n frames by two
    raters. With the centred sums of squares S, BMS = (Spp + Stt + 2 Spt) / 2 / (n - 1) and EMS = (Spp + Stt -
    2 Spt) / 2 / (n - 1), hence 2 Spt / (Spp + Stt). 0 where neither varies, for which there is no ICC.
    """
    n, p, t, pp, tt, pt = (np.asarray(sums[..., at], np.float64) for at in range(6))
    n = np.maximum(n, 1)
    spread_p, spread_t = pp - p * p / n, tt - t * t / n
    # What rounding leaves of a constant is no spread: nothing varies with it.
    alone = (spread_p <= 1e-12 * pp) | (spread_t <= 1e-12 * tt)
    return np.where(alone, 0.0, 2 * (pt - p * t / n) / np.where(alone, 1.0, spread_p + spread_t))


def mse(sums: NDArray[Any]) -> Floats:
    """Mean squared error, (..., A), of `pair_sums` added up; NaN where nothing is coded."""
    return _ratio(np.maximum(sums[..., 3] + sums[..., 4] - 2 * sums[..., 5], 0), sums[..., 0], empty=np.nan)


def mae(sums: NDArray[Any]) -> Floats:
    """Mean absolute error, (..., A), of `pair_sums` added up; NaN where nothing is coded."""
    return _ratio(sums[..., 6], sums[..., 0], empty=np.nan)


def best(gains: Floats, default: int) -> tuple[int, int]:
    """Row and column of the highest of `gains` (epochs, choices).

    Of equal ones the earliest epoch, then the choice nearest to number `default`, then the lower.

    >>> gains = np.zeros((2, 99))
    >>> gains[1, [10, 40, 58]] = 0.7
    >>> best(gains, HALF)
    (1, 40)
    """
    epochs, choices = np.nonzero(gains == gains.max())
    first = np.lexsort((choices, np.abs(choices - default), epochs))[0]
    return int(epochs[first]), int(choices[first])


def resample(
    statistics: NDArray[Any], resamples: int = 2000, seed: int | tuple[int, ...] = 0
) -> NDArray[np.float64]:
    """Sums (resamples, ...) over subjects drawn anew with replacement, of statistics (subjects, ...).

    Frames of one subject are far from independent, so whole subjects are drawn. Further axes (several runs on
    the same subjects) share the draws. Folds are resampled one by one and then averaged, which keeps the
    number of subjects of each.

    Args:
        seed: equal seeds give equal draws.
    """
    subjects = len(statistics)
    drawn = np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), resamples)
    # In float64 whole numbers stay exact, and the product is BLAS's.
    total = drawn.astype(np.float64) @ statistics.reshape(subjects, -1).astype(np.float64)
    return total.reshape(resamples, *statistics.shape[1:])


def interval(values: Floats, level: float = 0.95) -> Floats:
    """Percentile interval (..., 2) of the resampled `values` (resamples, ...)."""
    tail = 50 * (1 - level)
    return np.moveaxis(np.percentile(values, [tail, 100 - tail], axis=0), 0, -1)


def _ratio(over: NDArray[Any], under: NDArray[Any], empty: float = 0.0) -> Floats:
    """`over` / `under`, and `empty` where `under` is 0."""
    return np.where(under > 0, over / np.maximum(under, 1), empty)
