"""The identity probe on features whose identity content is known by construction."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binom

from facecorpus import typed
from facecorpus.errors import UserError
from fautrain.probe import (
    PROBE_BP4D,
    Embedding,
    ProbeResult,
    RunCurve,
    accuracy_series,
    draw_f1_curves,
    draw_probe_curves,
    draw_tsne,
    draw_tsne_aus,
    draw_tsne_runs,
    embed,
    markdown,
    markdown_by_epoch,
    probe,
)
from fautrain.probe.linear import interval, logistic_probe, published_probe
from fautrain.probe.sampling import Sample, sample_by_frames, sample_by_videos
from fautrain.threads import one_thread

Rows = tuple[NDArray[np.int64], NDArray[np.str_], NDArray[np.int32]]


def recorded(subjects: int, videos: int, frames: int) -> Rows:
    """Subject, video and frame number of every frame of a set in which all subjects have as many."""
    subject = np.repeat(np.arange(subjects), videos * frames)
    video = np.tile(np.repeat([f"T{n + 1}" for n in range(videos)], frames), subjects)
    frame = np.tile(np.arange(1, frames + 1, dtype=np.int32), subjects * videos)
    return subject, video, frame


def names(count: int) -> list[str]:
    return [f"F{n + 1:03d}" for n in range(count)]


def noise(rows: Rows, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(len(rows[0]), width)).astype(np.float32)


def separable(rows: Rows, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Noise around one random centre per subject, far apart."""
    centres = np.random.default_rng(seed).normal(size=(rows[0].max() + 1, width)) * 3
    return (noise(rows, width, seed) + centres[rows[0]]).astype(np.float32)


def drifting(videos: int, frames: int, width: int) -> NDArray[np.float32]:
    """Videos that each start anywhere and move slowly: who is recorded plays no part."""
    draw = np.random.default_rng(5)
    start = draw.normal(size=(videos, 1, width)) * 3
    return (
        (start + draw.normal(size=(videos, frames, width)).cumsum(axis=1) * 0.1)
        .reshape(-1, width)
        .astype("f4")
    )


# --- What the accuracies are -----------------------------------------------------------------------------


@pytest.mark.parametrize("videos", [1, 4])
def test_separable_subjects_are_named(videos: int) -> None:
    rows = recorded(8, videos, 120 // videos)
    found = probe(separable(rows, 48), *rows, seed=0, subjects=names(8))
    for division in (found.frames, found.videos):
        assert division.logistic.accuracy.value > 0.99
        assert division.published.last.value > 0.99
        assert division.logistic.converged
        assert division.chance == 1 / 8
        assert division.majority == pytest.approx(1 / 8, abs=0.02)


def test_noise_is_at_chance() -> None:
    rows = recorded(10, 4, 30)
    found = probe(noise(rows, 32), *rows, seed=0, subjects=names(10))
    for division in (found.frames, found.videos):
        assert division.test_frames == 300
        low, high = binom.ppf([1e-6, 1 - 1e-6], division.test_frames, division.chance) / division.test_frames
        assert 0.02 < low < 0.1 < high < 0.2
        values = [division.logistic.accuracy.value, *division.published.per_epoch]
        assert low <= min(values) <= max(values) <= high


def test_neighbouring_frames_leak_by_frames_and_not_by_videos() -> None:
    rows = recorded(6, 6, 40)
    found = probe(drifting(36, 40, 64), *rows, seed=0, subjects=names(6))
    assert found.frames.logistic.accuracy.value > 0.95
    # 12 of the 36 videos are the test, and the frames of one are named alike: 12 draws, not 180.
    assert found.videos.logistic.accuracy.value <= binom.ppf(1 - 1e-3, 12, 1 / 6) / 12


def test_published_protocol_against_its_formulas() -> None:
    """Sigmoid cross-entropy, AdamW and the schedule written out, on features that are half learnt."""
    n, classes, width, seed = 300, 5, 24, 7
    rows = recorded(classes, 1, n // classes)
    x = separable(rows, width) * 0.1 + noise(rows, width, 1) * 0.5
    test = separable(rows, width) * 0.1 + noise(rows, width, 2) * 0.5
    with one_thread():
        right = published_probe(x, rows[0], test, rows[0], classes, seed=seed)

    draw = torch.Generator().manual_seed(seed)
    weight = (
        torch.nn.init.trunc_normal_(torch.empty(classes, width), std=2e-5, generator=draw).double().numpy()
    )
    target = np.eye(classes)[rows[0]]
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for epoch in range(20):
        order = torch.randperm(n, generator=draw).numpy()
        for part in range(4):  # 300 frames are 4 batches of 64; 44 are dropped
            step, picked = epoch * 4 + part, order[part * 64 : part * 64 + 64]
            slope = (1 / (1 + np.exp(-x[picked] @ weight.T)) - target[picked]).T @ x[picked] / (64 * classes)
            m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
            progress = (step - 8) / 72
            rate = (
                5e-5 * step / 8 if step < 8 else 1e-6 + (5e-5 - 1e-6) * (1 + math.cos(math.pi * progress)) / 2
            )
            weight = weight * (1 - rate * 0.05)
            corrected = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
            weight = weight - rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        expected = (test @ weight.T).argmax(axis=1) == rows[0]
        assert (right[epoch] != expected).sum() <= 1
    assert 0.3 < right[0].mean() < right[-1].mean() < 0.9


def test_logistic_regression_standardises_by_the_training_frames() -> None:
    rows = recorded(4, 1, 50)
    train, test = (separable(rows, 12) * 0.2 + noise(rows, 12, seed) for seed in (1, 2))
    plain_right, _, converged = logistic_probe(train, rows[0], test, rows[0])
    assert converged
    assert 0.3 < plain_right.mean() < 0.95
    assert logistic_probe(train, rows[0], test, rows[0], most_iterations=2)[1:] == (2, False)
    scale = np.geomspace(1e-3, 1e3, 12, dtype=np.float32)
    moved, _, _ = logistic_probe(train * scale + 5 * scale, rows[0], test * scale + 5 * scale, rows[0])
    assert (moved != plain_right).mean() < 0.01
    # A feature that is constant in training says nothing, whatever the test frames hold.
    constant = np.full((200, 1), 0.1, np.float32)
    wider, _, _ = logistic_probe(
        np.hstack([train, constant]), rows[0], np.hstack([test, 1e6 * constant]), rows[0]
    )
    np.testing.assert_array_equal(wider, plain_right)


def test_interval_is_over_subjects() -> None:
    subject = np.repeat(np.arange(100), 30)
    right = subject < 60  # known always or never
    low, high = interval(right, subject, seed=0)
    half = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert (low, high) == (pytest.approx(0.6 - half, abs=0.01), pytest.approx(0.6 + half, abs=0.01))
    assert interval(subject >= 0, subject, seed=0) == (1, 1)
    # A subject with more frames weighs more, and its number plays no part.
    low, high = interval(np.arange(40) < 30, np.repeat([7, 3], [30, 10]), seed=0)
    assert (low, high) == (0, 1)


# --- Which frames ----------------------------------------------------------------------------------------


def test_published_sampling() -> None:
    rows = recorded(5, 2, 90)
    sample = sample_by_frames(*rows, names(5), seed=0)
    subject = rows[0]
    assert (np.bincount(subject[sample.train]) == 70).all()
    assert (np.bincount(subject[sample.test]) == 30).all()
    drawn = np.concatenate([sample.train, sample.test])
    assert len(np.unique(drawn)) == 500
    assert (sample.gap_frames, sample.by_time, sample.left_out) == (None, (), ())
    # Random over the subject's frames: both halves of every video are met in both parts.
    late = rows[2] > 45
    assert 0.4 < late[sample.train].mean() < 0.6


def test_fewer_frames_keep_the_ratio_and_too_few_are_named() -> None:
    frames = np.array([40, 8, 7, 1])
    subject = np.repeat(np.arange(4), frames)
    frame = np.concatenate([np.arange(n) for n in frames])
    video = np.full(len(subject), "T1")
    sample = sample_by_frames(subject, video, frame, names(4), seed=0)
    assert np.bincount(subject[sample.train]).tolist() == [28, 5]
    assert np.bincount(subject[sample.test]).tolist() == [12, 3]
    assert sample.subjects == (0, 1)
    assert [str(one) for one in sample.left_out] == [
        "F003 has 7 frames: 4 to train, 3 to test",
        "F004 has 1 frame: 0 to train, 1 to test",
    ]


@pytest.mark.parametrize(("videos", "trains"), [(2, 1), (3, 2), (4, 3), (8, 6)])
def test_by_videos_shares_no_video(videos: int, trains: int) -> None:
    rows = recorded(6, videos, 60)
    subject, video, _ = rows
    sample = sample_by_videos(*rows, names(6), seed=0)
    chosen: set[frozenset[str]] = set()
    for number in range(6):
        train, test = (set(video[part[subject[part] == number]]) for part in (sample.train, sample.test))
        assert not train & test
        assert (len(train), len(test)) == (trains, videos - trains)
        chosen.add(frozenset(train))
    assert len(chosen) > 1  # each subject's own draw
    assert (np.bincount(subject[sample.train]) <= 70).all()
    assert (np.bincount(subject[sample.test]) == 30).all()
    assert (sample.by_time, sample.gap_frames) == ((), None)


def test_a_single_video_is_divided_in_time_with_a_gap() -> None:
    subject, video, frame = recorded(3, 1, 1001)
    frame = frame * 3 + 100  # every third frame is annotated; 3,000 numbers from first to last
    sample = sample_by_videos(subject, video, frame, names(3), seed=0)
    assert (np.bincount(subject[sample.train]) == 70).all()
    assert (np.bincount(subject[sample.test]) == 30).all()
    assert frame[sample.train].max() < 103 + 2100
    assert frame[sample.test].min() >= 103 + 2400
    assert sample.by_time == (0, 1, 2)
    gaps = [
        frame[sample.test][k * 30 : k * 30 + 30].min() - frame[sample.train][k * 70 : k * 70 + 70].max()
        for k in range(3)
    ]
    assert sample.gap_frames == min(gaps) >= 300


def test_one_subject_may_have_one_video_and_another_several() -> None:
    subject, video, frame = recorded(3, 2, 100)
    only = ~((subject == 1) & (video == "T2"))
    sample = sample_by_videos(subject[only], video[only], frame[only], names(3), seed=0)
    assert sample.by_time == (1,)
    assert sample.gap_frames is not None
    assert sample.gap_frames >= 10


@pytest.mark.parametrize("draw", [sample_by_frames, sample_by_videos])
def test_the_draw_hangs_on_seed_and_subject_alone(draw: Callable[..., Sample]) -> None:
    subject, video, frame = recorded(4, 3, 50)

    def drawn(
        order: NDArray[Any], seed: int
    ) -> tuple[list[tuple[int, str, int]], list[tuple[int, str, int]]]:
        rows = subject[order], video[order], frame[order]
        sample = draw(*rows, names(4), seed=seed)
        train, test = (
            [tuple(r[i].item() for r in rows) for i in part] for part in (sample.train, sample.test)
        )
        assert not set(train) & set(test)
        return train, test

    everyone = np.arange(len(subject))
    train, test = drawn(everyone, 0)
    assert drawn(np.random.default_rng(0).permutation(everyone), 0) == (train, test)
    assert drawn(everyone, 1) != (train, test)
    without = drawn(everyone[subject != 1], 0)
    assert without == tuple([row for row in part if row[0] != 1] for part in (train, test))


# --- The whole -------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_results_in_any_order_of_rows() -> None:
    rows = recorded(5, 3, 40)
    features = separable(rows, 16) * 0.1 + noise(rows, 16, 1)
    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = probe(features, *rows, seed=3, subjects=names(5))
    order = np.random.default_rng(0).permutation(len(features))
    assert probe(features[order], *(r[order] for r in rows), seed=3, subjects=names(5)) == first
    assert probe(features, *rows, seed=4, subjects=names(5)) != first
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_result_is_json_and_comes_back() -> None:
    rows = recorded(3, 1, 60)
    some = np.flatnonzero((rows[0] < 2) | (rows[2] < 2))  # the third subject has one frame
    found = probe(noise(rows, 8)[some], *(r[some] for r in rows), seed=0, subjects=names(3))
    assert found.frames.left_out[0].subject == "F003"
    assert typed.build(ProbeResult, json.loads(json.dumps(typed.to_plain(found)))) == found
    assert found.width == 8
    assert len(found.frames.published.per_epoch) == 20
    best = found.frames.published
    assert best.per_epoch[best.best_epoch - 1] == max(best.per_epoch) == best.best.value
    assert best.per_epoch[-1] == best.last.value


def test_words_of_the_report() -> None:
    rows = recorded(3, 1, 60)
    some = np.flatnonzero((rows[0] < 2) | (rows[2] < 2))
    found = probe(noise(rows, 8)[some], *(r[some] for r in rows), seed=0, subjects=names(3))
    text = markdown(found, "Probe of epoch 3")
    assert text.startswith("## Probe of epoch 3\n\n| divided | probe |")
    value = found.frames.logistic.accuracy
    assert (
        f"| by frames | logistic regression | {value.value:.1%} [{value.low:.1%}, {value.high:.1%}] |" in text
    )
    assert "| by time | published, last epoch |" in text
    assert "50.0% | 50.0% | 84 / 36 | 2 |" in text
    assert (
        "Left out when divided by frames, with too few frames: F003 has 1 frame: 0 to train, 1 to test."
        in text
    )
    assert f"frames are {found.videos.gap_frames} frame numbers apart" in text
    assert "not converged" not in text
    stopped = replace(found.frames, logistic=replace(found.frames.logistic, converged=False))
    assert "logistic regression, **not converged**" in markdown(replace(found, frames=stopped))
    by_epoch = markdown_by_epoch({3: found, 1: found}).splitlines()
    assert [line.split(" | ")[0] for line in by_epoch] == ["| epoch", "| ---", "| 1", "| 3"]


def test_what_is_refused() -> None:
    rows = recorded(3, 1, 30)
    features, known = noise(rows, 4), names(3)
    subject, video, frame = rows
    broken = features.copy()
    broken[[35, 61], 2] = [np.nan, np.inf]
    with pytest.raises(
        UserError, match=r"of 2 of 90 frames are not finite, first those of F002, video T1, frame 6:"
    ):
        probe(broken, *rows, seed=0, subjects=known)
    with pytest.raises(UserError, match=r"not finite"):
        embed(broken, *rows, broken[:, :2], seed=0, subjects=known)
    twice = frame.copy()
    twice[31] = 1
    with pytest.raises(
        UserError, match=r"1 frames are given twice, first F002, video T1, frame 1, and could"
    ):
        probe(features, subject, video, twice, seed=0, subjects=known)
    with pytest.raises(UserError, match=r"finds 1 \(F002 has 1 frame: 0 to train, 1 to test\): give it more"):
        probe(features[:31], subject[:31], video[:31], frame[:31], seed=0, subjects=known)
    with pytest.raises(UserError, match=r"finds 0 \(there are no others\)"):
        probe(features[:0], subject[:0], video[:0], frame[:0], seed=0, subjects=known)
    with pytest.raises(UserError, match=r"t-SNE needs ten frames and gets 5"):
        embed(features[:5], subject[:5], video[:5], frame[:5], features[:5], seed=0, subjects=known)
    with pytest.raises(ValueError, match="with 2 names"):
        probe(features, *rows, seed=0, subjects=known[:2])
    with pytest.raises(ValueError, match=r"frame is .* beside 90 features"):
        probe(features, subject, video, frame[:-1], seed=0, subjects=known)
    with pytest.raises(ValueError, match=r"targets are of shape \(3, 2\)"):
        embed(features, *rows, features[:3, :2], seed=0, subjects=known)


# --- Pictures --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def laid_out() -> Embedding:
    """23 subjects of 12 frames and one of 130, three AUs of which the last is not coded."""
    rows = tuple(np.concatenate(pair) for pair in zip(recorded(23, 1, 12), recorded(1, 1, 130), strict=True))
    rows[0][-130:] = 23
    targets = (noise((rows[0], rows[1], rows[2]), 3, 9) > 0.5).astype(np.float32)
    targets[:, 2] = np.nan
    return embed(separable(rows, 16), *rows, targets, seed=0, subjects=names(24))  # type: ignore[arg-type]


def test_embedding_draws_few_and_keeps_neighbours(laid_out: Embedding) -> None:
    assert len(laid_out.subjects) == 20
    counts = np.bincount(laid_out.subject)
    assert set(counts.tolist()) <= {12, 100}
    assert (
        len(np.unique(laid_out.rows)) == len(laid_out.rows) == len(laid_out.points) == len(laid_out.targets)
    )
    apart = np.linalg.norm(laid_out.points[:, None] - laid_out.points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (laid_out.subject[apart.argmin(axis=1)] == laid_out.subject).mean() > 0.99
    assert laid_out.perplexity == 30


def test_embedding_is_repeatable_and_shows_models_on_the_same_frames() -> None:
    rows = recorded(22, 1, 4)
    one, two = separable(rows, 8), noise(rows, 8)
    targets = (two[:, :2] > 0).astype(np.float32)
    first = embed(one, *rows, targets, seed=0, subjects=names(22))
    again = embed(one, *rows, targets, seed=0, subjects=names(22))
    other = embed(two, *rows, targets, seed=0, subjects=names(22))
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.rows, other.rows)
    assert not np.array_equal(first.points, other.points)
    assert first.perplexity == pytest.approx(79 / 3)
    np.testing.assert_array_equal(first.targets, targets[first.rows])
    assert [first.subjects[k] for k in first.subject] == [names(22)[k] for k in rows[0][first.rows]]


def drawn(path: Path, draw: Callable[[Path], None], size: tuple[int, int]) -> bytes:
    """The bytes that `draw` writes: a whole PNG of `size` that says nothing of when or by what."""
    draw(path)
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.size == size
        assert set(picture.info) == {"dpi"}
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 10
    return path.read_bytes()


def test_tsne_pictures(laid_out: Embedding, tmp_path: Path) -> None:
    path, aus = tmp_path / "one.png", ["AU1", "AU2", "AU4"]
    moved = replace(laid_out, points=laid_out.points[::-1].copy())
    first = drawn(path, lambda p: draw_tsne(laid_out, p, aus), (2060, 900))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 50}):
        assert drawn(path, lambda p: draw_tsne(laid_out, p, aus), (2060, 900)) == first
    assert drawn(path, lambda p: draw_tsne(moved, p, aus), (2060, 900)) != first
    with pytest.raises(ValueError, match="2 names of AUs for 3 columns"):
        draw_tsne(laid_out, path, aus[:2])
    grid = drawn(path, lambda p: draw_tsne_aus(laid_out, p, aus), (1440, 600))
    assert drawn(path, lambda p: draw_tsne_aus(moved, p, aus), (1440, 600)) != grid
    drawn(path, lambda p: draw_tsne_runs({"a": laid_out, "b": moved}, p), (2060, 900))
    with pytest.raises(ValueError, match="different subjects"):
        draw_tsne_runs({"a": laid_out, "b": replace(moved, subjects=moved.subjects[1:])}, path)


def test_curves(tmp_path: Path) -> None:
    rows = recorded(3, 2, 30)
    found = probe(noise(rows, 4), *rows, seed=0, subjects=names(3))
    series = accuracy_series("lambda_$2", {3: found, 1: found})
    assert [(s.panel, s.protocol) for s in series[:2]] == [
        ("by frames", "published protocol"),
        ("by frames", "logistic regression"),
    ]
    assert [s.panel for s in series[2:]] == ["by videos"] * 2
    assert series[0].epochs == (1, 3)
    assert series[0].values == (found.frames.published.best.value,) * 2
    assert series[3].values[0] == found.videos.logistic.accuracy.value

    path, size = tmp_path / "curves.png", (1760, 960)
    first = drawn(path, lambda p: draw_probe_curves(series, p, chance=1 / 3), size)
    assert drawn(path, lambda p: draw_probe_curves(series, p, chance=1 / 3), size) == first
    assert drawn(path, lambda p: draw_probe_curves(series, p, chance=1 / 2), size) != first
    beside = [*PROBE_BP4D]
    assert drawn(path, lambda p: draw_probe_curves(series, p, chance=1 / 3, reference=beside), size) != first
    lower = [replace(s, values=tuple(v / 2 for v in s.values)) for s in series]
    assert drawn(path, lambda p: draw_probe_curves(lower, p, chance=1 / 3), size) != first
    f1 = RunCurve("a", (1.0, 2.0), (0.5, 0.6))
    bare = drawn(path, lambda p: draw_f1_curves([f1], p, baseline=0.4), size)
    better = replace(f1, values=(0.5, 0.7))
    assert drawn(path, lambda p: draw_f1_curves([better], p, baseline=0.4), size) != bare
    with pytest.raises(UserError, match="8 and 1: draw them in several figures"):
        draw_f1_curves([replace(f1, run=str(n)) for n in range(8)], path, baseline=0.4)


def test_published_curves_are_the_papers() -> None:
    assert [(s.values[0], s.values[-1]) for s in PROBE_BP4D] == [(0.5414, 0.8308), (0.0463, 0.2788)]
    assert all(s.epochs == tuple(range(1, 20, 2)) for s in PROBE_BP4D)
