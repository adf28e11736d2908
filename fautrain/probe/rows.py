"""What the probe reads: one row per frame, checked once at the door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fautrain.errors import UserError


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
