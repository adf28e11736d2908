"""The identity probe: two divisions of the frames, two classifiers each."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from fautrain.optim import effective_lr, lr_at, make_adamw, set_lr
from fautrain.probe.result import Accuracy, Division, LogisticProbe, ProbeResult, PublishedProbe
from fautrain.probe.sampling import Sample, check_rows, sample_by_frames, sample_by_videos
from fautrain.threads import one_thread


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


EPOCHS: Final = 20
WARMUP_EPOCHS: Final = 2
BATCH: Final = 64
BASE_LR: Final = 2e-4
"""For a batch of 256: 5e-5 for the probe's 64."""
LAST_LR: Final = 1e-6
WEIGHT_DECAY: Final = 0.05
INIT_STD: Final = 2e-5

INVERSE_L2: Final = 1.0
"""scikit-learn's C: the summed cross-entropy is weighed 1 : 1 against half the squared weights."""
TOLERANCE: Final = 1e-5
"""Largest slope of the mean loss at which L-BFGS stops. At scikit-learn's own 1e-4 the accuracy was up to 1.2
points lower on drawn features; at 1e-6 it was the same within 0.2."""
MOST_ITERATIONS: Final = 2000


def published_probe(
    train: NDArray[np.float32],
    train_subject: NDArray[np.int64],
    test: NDArray[np.float32],
    test_subject: NDArray[np.int64],
    subjects: int,
    *,
    seed: int,
) -> NDArray[np.bool_]:
    """Which test frames are named rightly after each epoch, (20, n_test), by FMAE-IAT's protocol.

    A linear layer without bias, drawn from a normal of deviation 2e-5; binary cross-entropy on the one-hot
    subject; AdamW with betas 0.9 and 0.999 for 20 epochs in batches of 64, the last incomplete one dropped;
    the rate rises for two epochs and falls along half a cosine, step by step. The released code keeps drop
    path and augmentation on while the layer learns; here the features are computed once, without either.
    train, test: (n, D); train_subject, test_subject: (n,) in [0, K).
    """
    draw = torch.Generator().manual_seed(seed)
    # Torch's own initialisation would draw from the generator that everyone shares.
    layer = nn.Linear(train.shape[1], subjects, bias=False, device="meta").to_empty(device="cpu")
    nn.init.trunc_normal_(layer.weight, std=INIT_STD, generator=draw)
    x, x_test = torch.from_numpy(train), torch.from_numpy(test)
    y, y_test = torch.from_numpy(train_subject), torch.from_numpy(test_subject)
    one_hot = nn.functional.one_hot(y, subjects).to(x.dtype)
    batch = min(BATCH, len(x))
    steps = len(x) // batch  # per epoch
    peak = effective_lr(BASE_LR, BATCH)
    optimizer = make_adamw(layer, peak, WEIGHT_DECAY, betas=(0.9, 0.999))
    right = np.zeros((EPOCHS, len(test)), bool)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(x), generator=draw)
        for step in range(steps):
            picked = order[step * batch : (step + 1) * batch]
            done = epoch * steps + step
            set_lr(optimizer, lr_at(done, EPOCHS * steps, WARMUP_EPOCHS * steps, peak, LAST_LR))
            loss = nn.functional.binary_cross_entropy_with_logits(layer(x[picked]), one_hot[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right[epoch] = (layer(x_test).argmax(dim=1) == y_test).numpy()
    return right


def logistic_probe(
    train: NDArray[np.float32],
    train_subject: NDArray[np.int64],
    test: NDArray[np.float32],
    test_subject: NDArray[np.int64],
    most_iterations: int = MOST_ITERATIONS,
) -> tuple[NDArray[np.bool_], int, bool]:
    """Which test frames a logistic regression names rightly (n_test,), its iterations, whether it converged.

    Softmax over the subjects, C = 1, L-BFGS, on features that the training frames' mean and deviation
    standardise; a feature that is constant there gets no weight. Where the published protocol stops after a
    fixed number of small steps, this one goes on until the loss is flat.
    """
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    deviation[train.min(axis=0) == train.max(axis=0)] = 1  # rounding may leave a constant's above 0
    model = LogisticRegression(C=INVERSE_L2, tol=TOLERANCE, max_iter=most_iterations)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit((train - mean) / deviation, train_subject)
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in told)
    right = np.equal(model.predict((test - mean) / deviation), test_subject)
    return right, int(model.n_iter_.max()), converged


def interval(
    right: NDArray[np.bool_], subject: NDArray[np.int64], *, seed: int, draws: int = 2000
) -> tuple[float, float]:
    """95 % interval of the share of `right` (n,) by bootstrap over the subjects (n,), in [0, 1].

    Frames of one subject stand and fall together, so subjects are drawn, with replacement, and never single
    frames. The fitted probe is not drawn anew: the interval tells how much the share hangs on who was
    recorded, not on which frames the probe learnt from.
    """
    numbers = np.unique(subject, return_inverse=True)[1]
    frames = np.bincount(numbers)
    hits = np.bincount(numbers, weights=right)
    chosen = np.random.default_rng(seed).integers(len(frames), size=(draws, len(frames)))
    shares = hits[chosen].sum(axis=1) / frames[chosen].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)
