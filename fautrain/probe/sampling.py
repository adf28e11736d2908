"""Which frames the probe learns the subjects from, and which it is judged by.

Two ways to divide. By frames, as published (FMAE-IAT, section 5.1): test frames lie between training frames
of the same video, as little as one frame away. By videos: no test frame comes from a training video, and
where a subject has one video only (DISFA), its last part is the test and a gap parts it from training. Two
cameras that film the same moment count as two videos, so give one camera.

A subject's draw depends on the seed, the subject's number and its own frames alone: neither on the order of
the rows nor on who else is there. Checkpoints that are compared are therefore judged by the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from facecorpus.errors import UserError
from fautrain.probe.result import LeftOut

Rows = NDArray[np.int64]
By = Literal["frames", "videos"]

FRAMES_PER_SUBJECT: Final = 100
TRAIN_PERCENT: Final = 70
"""70 of 100 frames train. A subject with fewer frames keeps the ratio; the released code gives it 70 training
frames and the rest, perhaps none, for test. BP4D, BP4D+ and DISFA have more than 100 for everyone."""
GAP_PERCENT: Final = 10
"""Of a single video's time span: the first 70 % train, the next 10 % are left out, the last 20 % test."""
LEAST_TRAIN: Final = 5
LEAST_TEST: Final = 2
"""A subject with fewer frames in either part is left out, and named."""


@dataclass(frozen=True)
class Sample:
    """Rows to learn from and to be judged by.

    Attributes:
        by: Between frames or between videos.
        train: Rows, by subject in ascending order, each subject's in the order drawn.
        test: Likewise; no row is in both.
        subjects: Numbers of the subjects that are in both parts, ascending: the probe's classes.
        left_out: Those with too few frames.
        by_time: Of `subjects`, those with one video, which is divided in time.
        gap_frames: Shortest distance in frame numbers between training and test within one video; None where
            no video is divided.
    """

    by: By
    train: Rows
    test: Rows
    subjects: tuple[int, ...]
    left_out: tuple[LeftOut, ...]
    by_time: tuple[int, ...]
    gap_frames: int | None


def sample_by_frames(
    subject: NDArray[Any], video: NDArray[Any], frame: NDArray[Any], names: Sequence[str], *, seed: int
) -> Sample:
    """The published sampling: at most 100 random frames a subject, the first 70 train, the rest test.

    subject, frame: (n,) integers; video: (n,) text.

    Raises:
        UserError: fewer than two subjects have frames enough.
    """

    def divide(rows: Rows, draw: np.random.Generator) -> tuple[Rows, Rows]:
        drawn = draw.permutation(rows)[:FRAMES_PER_SUBJECT]
        cut = len(drawn) * TRAIN_PERCENT // 100
        return drawn[:cut], drawn[cut:]

    return _sample("frames", divide, subject, video, frame, names, seed)


def sample_by_videos(
    subject: NDArray[Any], video: NDArray[Any], frame: NDArray[Any], names: Sequence[str], *, seed: int
) -> Sample:
    """70 % of a subject's videos (at least one, never all) give at most 70 training frames, the others at
    most 30 test frames; a single video is divided in time.

    Raises:
        UserError: fewer than two subjects have frames enough.
    """
    most_train = FRAMES_PER_SUBJECT * TRAIN_PERCENT // 100

    def divide(rows: Rows, draw: np.random.Generator) -> tuple[Rows, Rows]:
        videos = np.unique(video[rows])
        if len(videos) == 1:
            train, test = _parts_in_time(rows, frame)
        else:
            count = min(max(1, round(len(videos) * TRAIN_PERCENT / 100)), len(videos) - 1)
            trains = np.isin(video[rows], draw.permutation(videos)[:count])
            train, test = rows[trains], rows[~trains]
        train, test = draw.permutation(train), draw.permutation(test)
        return train[:most_train], test[: FRAMES_PER_SUBJECT - most_train]

    return _sample("videos", divide, subject, video, frame, names, seed)


def _parts_in_time(rows: Rows, frame: NDArray[Any]) -> tuple[Rows, Rows]:
    """Rows of the first 70 % and of the last 20 % of the time that the frame numbers span."""
    past = 100 * (frame[rows].astype(np.int64) - int(frame[rows].min()))
    span = int(past.max())  # a hundredth of it is one percent of the time
    train = past * 100 < span * TRAIN_PERCENT
    test = past * 100 >= span * (TRAIN_PERCENT + GAP_PERCENT)
    return rows[train], rows[test & ~train]


def _sample(
    by: By,
    divide: Callable[[Rows, np.random.Generator], tuple[Rows, Rows]],
    subject: NDArray[Any],
    video: NDArray[Any],
    frame: NDArray[Any],
    names: Sequence[str],
    seed: int,
) -> Sample:
    parts: dict[int, tuple[Rows, Rows]] = {}
    left_out: list[LeftOut] = []
    for number in np.unique(subject).tolist():
        rows = np.flatnonzero(subject == number)
        rows = rows[np.lexsort((frame[rows], video[rows]))]
        train, test = divide(rows, np.random.default_rng([seed, number]))
        if len(train) < LEAST_TRAIN or len(test) < LEAST_TEST:
            left_out.append(LeftOut(names[int(number)], len(rows), len(train), len(test)))
        else:
            parts[number] = (train, test)
    if len(parts) < 2:
        few = "; ".join(map(str, left_out[:3])) or "there are no others"
        raise UserError(
            f"the identity probe, divided by {by}, needs two subjects with {LEAST_TRAIN} training and "
            f"{LEAST_TEST} test frames and finds {len(parts)} ({few}): give it more frames or subjects"
        )
    by_time = [n for n, (train, test) in parts.items() if np.isin(video[test], video[train]).any()]
    by_time = by_time if by == "videos" else []
    gaps = [int(frame[parts[n][1]].min() - frame[parts[n][0]].max()) for n in by_time]
    return Sample(
        by,
        np.concatenate([train for train, _ in parts.values()]),
        np.concatenate([test for _, test in parts.values()]),
        tuple(parts),
        tuple(left_out),
        tuple(by_time),
        min(gaps, default=None),
    )


def check_rows(
    features: NDArray[Any],
    subject: NDArray[Any],
    video: NDArray[Any],
    frame: NDArray[Any],
    subjects: Sequence[str],
) -> None:
    """Refuse what no probe could be read from.

    features: (n, D) floating; subject: (n,) integers that index `subjects`; video: (n,) text; frame: (n,)
    integers.

    Raises:
        ValueError: shapes or kinds do not fit together, or a subject has no name.
        UserError: a feature is not finite, or a frame is given twice.
    """
    n = len(features)
    if features.ndim != 2 or features.dtype.kind != "f":
        raise ValueError(f"features are {features.dtype} of shape {features.shape}, not floats of (n, D)")
    for name, values, kinds in (("subject", subject, "iu"), ("video", video, "UTO"), ("frame", frame, "iu")):
        if values.shape != (n,) or values.dtype.kind not in kinds:
            raise ValueError(f"{name} is {values.dtype} of shape {values.shape} beside {n} features")
    if n and not 0 <= subject.min() <= subject.max() < len(subjects):
        raise ValueError(f"subject runs from {subject.min()} to {subject.max()} with {len(subjects)} names")
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise UserError(
            f"the features of {bad.sum()} of {n} frames are not finite, first those of "
            f"{_place(bad.argmax(), subject, video, frame, subjects)}: probe a checkpoint from before its "
            "training diverged"
        )
    order = np.lexsort((frame, video, subject))
    before, after = order[:-1], order[1:]
    twice = (
        (subject[before] == subject[after])
        & (video[before] == video[after])
        & (frame[before] == frame[after])
    )
    if twice.any():
        raise UserError(
            f"{twice.sum()} frames are given twice, first "
            f"{_place(after[twice.argmax()], subject, video, frame, subjects)}, and could be in training and "
            "test at once: give every frame once"
        )


def _place(
    row: Any, subject: NDArray[Any], video: NDArray[Any], frame: NDArray[Any], subjects: Sequence[str]
) -> str:
    return f"{subjects[int(subject[row])]}, video {video[row]!s}, frame {int(frame[row])}"
