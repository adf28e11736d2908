"""The identity probe and t-SNE of a trained model, or of all its epochs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facecorpus.errors import UserError
from facecorpus.typed import to_plain
from fautrain.config import LabelledConfig
from fautrain.data.labels import LabelledSet
from fautrain.evaluation import evaluate_fold
from fautrain.files import json_bytes, publish, refuse_others
from fautrain.probe import (
    ProbeResult,
    RunCurve,
    accuracy_series,
    draw_f1_curves,
    draw_probe_curves,
    draw_tsne,
    draw_tsne_aus,
    embed,
    markdown,
    markdown_by_epoch,
    probe,
)
from fautrain.runs.inference import Trained, checkpoints, features, load_trained
from fautrain.tasks.labelled import open_labels

FRAMES_PER_SUBJECT = 200
"""Frames of a subject, drawn at random, of which features are computed: twice what the probe takes, so that
its division by videos has a choice."""

FILES = (
    "probe.json",
    "probe.md",
    "tsne.png",
    "tsne-aus.png",
    "identity-over-epochs.png",
    "f1-over-epochs.png",
)
"""What a probe writes."""


def probe_run(where: Path, shards: str, out: Path, *, every_epoch: bool, seed: int) -> str:
    """Probe the newest checkpoint, or with `every_epoch` all that were kept; returns the report as Markdown.

    Args:
        where: the run of one fold, or a checkpoint. shards: of the data set it was trained on; empty for
            those it was trained on. out: folder for `probe.json`, `probe.md` and the pictures. every_epoch:
            also draw identity accuracy (Figure 3) and F1 (Figure 5) over the epochs. seed: of the frames, the
            probe and t-SNE.

    Raises:
        UserError: there is no checkpoint, or with `every_epoch` only one.
    """
    folders = checkpoints(where)
    if every_epoch and len(folders) < 2:
        raise UserError(
            f"{where} has kept one checkpoint; to probe every epoch, train with --set train.keep=1000"
        )
    refuse_others(out, FILES, lambda epochs: all(map(str.isdigit, epochs)))
    newest = load_trained(folders[-1])
    config = _with_shards(newest, shards) if shards else newest.config
    labels = open_labels(config, newest.benchmark, 0, 1)
    chosen = sample_frames(labels, seed)
    out.mkdir(parents=True, exist_ok=True)
    results: dict[int, ProbeResult] = {}
    _say(f"features of {len(chosen):,} frames from {folders[-1]}")
    values = features(newest, labels, chosen)
    _say("fitting the probes")
    results[newest.epochs] = probe_features(values, labels, chosen, seed)
    _say("drawing t-SNE")
    draw_embedding(values, labels, chosen, out, seed)
    for number, folder in enumerate(folders[:-1] if every_epoch else [], 2):
        _say(f"checkpoint {number} of {len(folders)}: {folder}")
        trained = load_trained(folder)
        results[trained.epochs] = probe_features(features(trained, labels, chosen), labels, chosen, seed)
    text = markdown(results[max(results)])
    if every_epoch:
        text += "\n" + markdown_by_epoch(results)
        _draw_epochs(results, where, out)
    _write(out, results, text)
    return text


def _say(text: str) -> None:
    print(f"probe: {text}", file=sys.stderr, flush=True)


def sample_frames(labels: LabelledSet, seed: int) -> NDArray[np.int64]:
    """Indices of at most `FRAMES_PER_SUBJECT` random frames of every subject, ascending."""
    random = np.random.default_rng(seed)
    kept: list[NDArray[np.int64]] = []
    for subject in np.unique(labels.subject):
        own = np.flatnonzero(labels.subject == subject)
        kept.append(random.permutation(own)[:FRAMES_PER_SUBJECT])
    return np.sort(np.concatenate(kept))


def probe_features(
    values: NDArray[np.float32], labels: LabelledSet, chosen: NDArray[np.int64], seed: int
) -> ProbeResult:
    """`fautrain.probe.probe` of the features of chosen frames."""
    return probe(
        values,
        labels.subject[chosen],
        labels.video[chosen],
        labels.frame[chosen],
        seed=seed,
        subjects=labels.subjects,
    )


def draw_embedding(
    values: NDArray[np.float32], labels: LabelledSet, chosen: NDArray[np.int64], out: Path, seed: int
) -> None:
    """t-SNE by subject and by action unit, as two PNGs."""
    found = embed(
        values,
        labels.subject[chosen],
        labels.video[chosen],
        labels.frame[chosen],
        labels.targets[chosen],
        seed=seed,
        subjects=labels.subjects,
    )
    draw_tsne(found, out / "tsne.png", labels.outputs)
    draw_tsne_aus(found, out / "tsne-aus.png", labels.outputs)


def _with_shards(trained: Trained, shards: str) -> LabelledConfig:
    return replace(trained.config, data=replace(trained.config.data, shards=shards))


def _draw_epochs(results: Mapping[int, ProbeResult], where: Path, out: Path) -> None:
    by_epoch = {float(epoch): result for epoch, result in results.items()}
    chance = results[max(results)].frames.chance
    draw_probe_curves(accuracy_series("this run", by_epoch), out / "identity-over-epochs.png", chance=chance)
    fold = evaluate_fold(where)
    series = RunCurve("this run", tuple(map(float, fold.curves.epochs)), fold.curves.test)
    baseline = float(np.mean(fold.baseline))
    draw_f1_curves([series], out / "f1-over-epochs.png", baseline=baseline)


def _write(out: Path, results: Mapping[int, ProbeResult], text: str) -> None:
    plain = {str(epoch): to_plain(result) for epoch, result in sorted(results.items())}
    publish(out / "probe.json", json_bytes(plain))
    publish(out / "probe.md", text)
