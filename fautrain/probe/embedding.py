"""t-SNE of features (FMAE-IAT, Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from fautrain.errors import UserError
from fautrain.probe.rows import check_rows
from fautrain.probe.threads import one_thread

SUBJECTS: Final = 20
FRAMES_PER_SUBJECT: Final = 100
PERPLEXITY: Final = 30.0


@dataclass(frozen=True)
class Embedding:
    """Frames as points of a plane whose axes mean nothing: only who is near whom does.

    Attributes:
        points: (m, 2) float32.
        rows: (m,) int64, the frames' rows in what was embedded.
        subject: (m,) int64, an index into `subjects`.
        subjects: Names of the subjects drawn.
        targets: (m, A) float32: 1 present, 0 absent, nan not coded.
        perplexity: Used; less than 30 where there are too few frames.
    """

    points: NDArray[np.float32]
    rows: NDArray[np.int64]
    subject: NDArray[np.int64]
    subjects: tuple[str, ...]
    targets: NDArray[np.float32]
    perplexity: float


def embed(
    features: NDArray[np.float32],
    subject: NDArray[Any],
    video: NDArray[Any],
    frame: NDArray[Any],
    targets: NDArray[np.float32],
    *,
    seed: int,
    subjects: Sequence[str],
) -> Embedding:
    """Lay at most 100 random frames of each of at most 20 random subjects out in a plane.

    The arrays are those of `probe`, and targets (n, A). t-SNE of the features as they are, perplexity 30,
    started from their first two principal components. Subjects and frames drawn depend on the seed and not on
    the features, so two models are shown on the same frames. The paper shows 20 of BP4D's 41 subjects and
    gives neither frames, perplexity nor seed.

    Raises:
        ValueError: the arrays do not fit together.
        UserError: a feature is not finite, a frame is given twice, or there are fewer than ten frames.
    """
    features = np.asarray(features, np.float32)
    check_rows(features, subject, video, frame, subjects)
    if targets.ndim != 2 or len(targets) != len(features):
        raise ValueError(f"targets are of shape {targets.shape} beside {len(features)} features")
    draw = np.random.default_rng(seed)
    shown = np.sort(draw.permutation(np.unique(subject))[:SUBJECTS])
    drawn: list[NDArray[np.int64]] = []
    for number in shown.tolist():
        rows = np.flatnonzero(subject == number)
        rows = rows[np.lexsort((frame[rows], video[rows]))]
        drawn.append(np.random.default_rng([seed, number]).permutation(rows)[:FRAMES_PER_SUBJECT])
    rows = np.concatenate(drawn) if drawn else np.zeros(0, np.int64)
    if len(rows) < 10:
        raise UserError(f"t-SNE needs ten frames and gets {len(rows)}: give it more frames or subjects")
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    with one_thread():
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        points = tsne.fit_transform(features[rows])
    return Embedding(
        points=np.asarray(points, np.float32),
        rows=rows,
        subject=np.searchsorted(shown, subject[rows]),
        subjects=tuple(subjects[int(number)] for number in shown.tolist()),
        targets=np.asarray(targets, np.float32)[rows],
        perplexity=perplexity,
    )
