"""Where shards differ from what is published of their data set, so that a partial copy is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fautrain.data.benchmark import Part
from fautrain.data.labels import LabelledSet

_POINTS: Final = 1.0
"""Percentage points by which a share of positives may differ."""


def differences(labels: LabelledSet) -> Iterator[str]:
    """Sentences on counts of frames and shares of positives that are not the published ones."""
    bench = labels.benchmark
    every = np.ones(len(labels), np.bool_)
    official = bench.split == "official"
    train = labels.within(bench.train) if official else every
    test = labels.within(bench.test) if official else every
    masks: dict[Part, NDArray[np.bool_]] = {"all": every, "train": train, "test": test}
    for part, here in masks.items():
        frames = int(here.sum())
        if not bench.is_whole(frames, part):
            known = bench.published_frames(part)
            used = {"all": "", "train": " to train on", "test": " to test on"}[part]
            yield f"{frames:,} frames{used} are in the shards, {known:,} are published of {bench.name}."
    rates = dict(zip(bench.outputs, bench.rates, strict=False))
    targets = labels.targets[train]
    shares = 100 * (targets > 0).sum(axis=0) / np.maximum(np.isfinite(targets).sum(axis=0), 1)
    odd = [
        f"{name} {share:.1f} ({rates[name]:g})"
        for name, share in zip(labels.outputs, shares.tolist(), strict=True)
        if name in rates and abs(share - rates[name]) > _POINTS
    ]
    if odd:
        yield f"Percent of positives (published: in brackets) differ: {', '.join(odd)}."
