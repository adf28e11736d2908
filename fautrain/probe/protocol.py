"""The identity probe: two divisions of the frames, two classifiers each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fautrain.probe.linear import interval, logistic_probe, published_probe
from fautrain.probe.result import Accuracy, Division, LogisticProbe, ProbeResult, PublishedProbe
from fautrain.probe.rows import check_rows
from fautrain.probe.sampling import Sample, sample_by_frames, sample_by_videos
from fautrain.probe.threads import one_thread


def probe(
    features: NDArray[np.float32],
    subject: NDArray[Any],
    video: NDArray[Any],
    frame: NDArray[Any],
    *,
    seed: int,
    subjects: Sequence[str],
) -> ProbeResult:
    """How well a linear classifier names the subject from the features (FMAE-IAT, section 5.1, Figure 3).

    features: (n, D), the outputs of `fc_norm`; subject: (n,) integers that index the names `subjects`; video:
    (n,) text; frame: (n,) integers, the frame's number in its video. The same arguments give the same result,
    in whatever order the rows are.

    Raises:
        ValueError: the arrays do not fit together.
        UserError: a feature is not finite, a frame is given twice, or fewer than two subjects have frames
            enough.
    """
    features = np.asarray(features, np.float32)
    check_rows(features, subject, video, frame, subjects)
    by_frames = sample_by_frames(subject, video, frame, subjects, seed=seed)
    by_videos = sample_by_videos(subject, video, frame, subjects, seed=seed)
    with one_thread():
        return ProbeResult(
            seed=seed,
            width=features.shape[1],
            frames=_judge(by_frames, features, subject, subjects, seed),
            videos=_judge(by_videos, features, subject, subjects, seed),
        )


def _judge(
    sample: Sample, features: NDArray[np.float32], subject: NDArray[Any], names: Sequence[str], seed: int
) -> Division:
    classes = np.array(sample.subjects)
    train_subject = np.searchsorted(classes, subject[sample.train])
    test_subject = np.searchsorted(classes, subject[sample.test])
    train, test = features[sample.train], features[sample.test]

    def accuracy(right: NDArray[np.bool_]) -> Accuracy:
        return Accuracy(float(right.mean()), *interval(right, test_subject, seed=seed))

    epochs = published_probe(train, train_subject, test, test_subject, len(classes), seed=seed)
    per_epoch = epochs.mean(axis=1)
    best = int(per_epoch.argmax())
    right, iterations, converged = logistic_probe(train, train_subject, test, test_subject)
    return Division(
        by=sample.by,
        subjects=tuple(names[number] for number in sample.subjects),
        left_out=sample.left_out,
        by_time=tuple(names[number] for number in sample.by_time),
        gap_frames=sample.gap_frames,
        train_frames=len(train),
        test_frames=len(test),
        chance=1 / len(classes),
        majority=float((test_subject == np.bincount(train_subject).argmax()).mean()),
        published=PublishedProbe(
            accuracy(epochs[best]), best + 1, accuracy(epochs[-1]), tuple(per_epoch.tolist())
        ),
        logistic=LogisticProbe(accuracy(right), iterations, converged),
    )
