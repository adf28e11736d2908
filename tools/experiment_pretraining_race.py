"""Which way of pretraining learns faces for the least computing: MAE, a lighter decoder, CrossMAE or Muon?

Pretrains each on drawn people with about the same floating-point operations and the same seeds, and judges it
on other drawn people at four points on the way: by a linear probe of its features for action units, and by
how well it predicts their hidden patches. Writes the table and figure of
docs/experiments/pretraining-race.md. Goes on where it stopped.

    python tools/experiment_pretraining_race.py --out build/race      # three quarters of an hour on a core
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import facecorpus
from fautrain import checkpoint
from fautrain.config import PretrainConfig, override
from fautrain.data import Normalise
from fautrain.data.benchmark import benchmark
from fautrain.files import json_bytes, publish
from fautrain.losses.pixels import pixel_loss
from fautrain.metrics import roc_auc
from fautrain.models.build import build_mae
from fautrain.models.flops import mae_training_flops
from fautrain.models.mae import MaskedAutoencoder
from fautrain.noise import uniform_noise
from fautrain.optim import make_optimizer
from fautrain.patches import patchify
from fautrain.recipes import pretraining_recipe

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
BATCH = 32
FRAMES = "80"
"""Of each of the 27 drawn people."""
POINTS = 4
"""Checkpoints of a run that are probed."""
SEEDS = 2
EVERY = 3
"""Of the frames of a drawn person so many-th are probed."""
COMMON = (
    "model.decoder_width=128",
    "model.decoder_heads=4",
    "model.decoder_depth=4",
    f"data.batch_per_step={BATCH}",
    "data.held_out=0",
    "data.workers=0",
    "train.keep=100",
    "train.eval_every_epochs=none",
    "log.grid_every_epochs=none",
)


@dataclass(frozen=True)
class Contestant:
    """A way to pretrain, and for how many epochs that costs about as much as the others."""

    name: str
    title: str
    epochs: int
    settings: tuple[str, ...] = ()

    def values(self, seed: int, steps: int) -> list[str]:
        """All that differs from the recipe `tiny`; `POINTS` checkpoints of the `steps` are kept."""
        own = (f"train.epochs={self.epochs}", f"optim.warmup_epochs={self.epochs / 10}", f"seed={seed}")
        points = ("train.checkpoint_every_epochs=none", f"train.checkpoint_every_steps={steps // POINTS}")
        return [*COMMON, *self.settings, *own, *points]

    def config(self, seed: int = 0, steps: int = POINTS) -> PretrainConfig:
        """The configuration with these values."""
        config = override(pretraining_recipe("tiny"), self.values(seed, steps))
        assert isinstance(config, PretrainConfig)
        return config


CROSS = ("model.decoder=cross", "model.decoder_depth=6", "model.prediction_ratio=0.25")
CONTESTANTS = (
    Contestant("mae", "MAE, decoder of 4 blocks", 5),
    Contestant("light", "MAE, decoder of 1 block", 8, ("model.decoder_depth=1",)),
    Contestant("crossmae", "CrossMAE, 6 blocks, 25 % predicted", 8, CROSS),
    Contestant("muon", "MAE with Muon", 3, ("optim.name=muon",)),
)
RIDGE = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Strengths of the probe's penalty, of which the training people choose."""


@dataclass(frozen=True)
class Point:
    """What a probe found of one checkpoint."""

    step: int
    flops: float
    """Operations until then: the model's and the optimizer's matrix products."""
    loss: float
    """Squared error of the hidden patches of the judged people, all of them, pixels normalised."""
    pooled: float
    """Mean over AUs and folds of the probe's area under the ROC curve, on the mean of the patch tokens."""
    tokens: float
    """The same on all patch tokens side by side: where on the face something is, is known."""


@dataclass(frozen=True)
class People:
    """Drawn people whose action units are known."""

    images: NDArray[np.uint8]
    """(n, 3, side, side) RGB."""
    targets: NDArray[np.float32]
    """(n, A): 1 present, 0 absent."""
    fold: NDArray[np.int64]
    """(n,): the fold in which a frame is tested."""


def main() -> None:
    """What is missing, then the table and the figure."""
    options = _options()
    out: Path = options.out
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    corpus, judged = (_drawn(out, seed) for seed in (1, 0))
    if not options.tables:
        people = _people(judged, pretraining_recipe("tiny").model.image_px)
        _pixels(out, people)
        for seed in range(SEEDS):
            _start(out, seed, people)
            for contestant in CONTESTANTS:
                _race(contestant, seed, corpus, out / f"{contestant.name}-{seed}", people)
    runs = {c: [_points(out, c, seed) for seed in range(SEEDS)] for c in CONTESTANTS}
    found = {c: [points for points in of if len(points) > 1] for c, of in runs.items()}
    found = {c: of for c, of in found.items() if of}
    pixels = json.loads((out / "pixels.json").read_text())["auc"]
    table = _table(found, pixels)
    (out / "table.md").write_text(table + "\n", "utf-8")
    _figure(found, pixels, out / "pretraining-race.png")
    print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/race"))
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is done")
    return parser.parse_args()


def _drawn(out: Path, seed: int) -> Path:
    """A drawn DISFA, 27 people of whom no other seed has one, built."""
    raw, built = out / f"recordings-{seed}", out / f"disfa-{seed}"
    if not (built / "verified.json").exists():
        draw = ["synth", "--sources", "disfa", "--seed", str(seed), "--frames", FRAMES]
        _call("facecorpus", *draw, "--out", str(raw))
        _call("facecorpus", "build", "--sources", "disfa", "--root", str(raw), "--out", str(built))
    return built


def _call(*command: str) -> None:
    subprocess.run([sys.executable, "-m", *command], check=True)


def _people(corpus: Path, side: int) -> People:
    """Every `EVERY`-th frame of a built drawn DISFA with its labels."""
    opened, bench = facecorpus.open(corpus), benchmark("disfa")
    rows = {row["key"]: row for row in opened.manifest().to_pylist()}
    fold_of = {person: number for number, fold in enumerate(bench.folds) for person in fold}
    images: list[NDArray[np.uint8]] = []
    codes: list[list[int]] = []
    folds: list[int] = []
    for place, sample in enumerate(opened.webdataset().decode("rgb8")):
        if place % EVERY == 0:
            row = rows[sample["__key__"]]
            small = cv2.resize(sample["jpg"], (side, side), interpolation=cv2.INTER_AREA)
            images.append(small.transpose(2, 0, 1))
            codes.append([dict(row["labels"])[name] for name in bench.target.labels])
            folds.append(fold_of[row["identity"]])
    return People(np.stack(images), bench.target.decode(np.array(codes)), np.array(folds))


def _race(contestant: Contestant, seed: int, corpus: Path, run: Path, people: People) -> None:
    """Pretrain and probe, as far as that is not done."""
    samples = len(facecorpus.open(corpus).manifest())
    steps = contestant.epochs * math.ceil(samples / BATCH)
    if not (run / "points.json").exists():
        sets = [part for value in contestant.values(seed, steps) for part in ("--set", value)]
        what = ("--shards", str(corpus), "--recipe", "tiny", "--out", str(run))
        _call("fautrain", "pretrain", *what, *sets)
        config = contestant.config(seed)
        model = build_mae(config.model)
        image, step = mae_training_flops(model), _optimizer_flops(model, config)
        points: list[Point] = []
        for number in checkpoint.steps(run):
            folder = run / checkpoint.FOLDER / checkpoint.step_name(number)
            state = checkpoint.load(folder)
            model.load_state_dict(state.model)
            counted = state.counters["samples"] * image + number * step
            points.append(Point(number, counted, *_judge(model, config, people)))
        _write(run / "points.json", points)
    print(f"done: {run.name}", flush=True)


def _start(out: Path, seed: int, people: People) -> None:
    """Probe first weights: where all curves begin."""
    path = out / f"start-{seed}" / "points.json"
    if not path.exists():
        config = CONTESTANTS[0].config()
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, [Point(0, 0.0, *_judge(build_mae(config.model, seed=seed), config, people))])


def _write(path: Path, points: list[Point]) -> None:
    publish(path, json_bytes([vars(point) for point in points]))


def _optimizer_flops(model: MaskedAutoencoder, config: PretrainConfig) -> float:
    """Matrix products of a step of Muon, 0 for AdamW: five Newton-Schulz iterations on (a, b), a <= b, each
    of X X^T, its square, and its product with X."""
    groups = make_optimizer(model, config.optim).param_groups
    shapes = [sorted(p.shape) for group in groups if group.get("muon") for p in group["params"]]
    return sum(5 * (4 * a * a * b + 2 * a**3) for a, b in shapes)


@torch.no_grad()
def _judge(model: MaskedAutoencoder, config: PretrainConfig, people: People) -> tuple[float, float, float]:
    """Loss, and AUC of the probe on pooled and on all tokens."""
    model.eval()
    normalise = Normalise(config.data.mean, config.data.std)
    parts: list[NDArray[np.float32]] = []
    losses: list[float] = []
    for first in range(0, len(people.images), 64):
        images = normalise(torch.from_numpy(people.images[first : first + 64]))
        parts.append(model.encode(images)[:, 1:].numpy())
        noise = uniform_noise(0, 0, torch.arange(first, first + len(images)), model.patches)  # pyright: ignore
        output = model(images, noise)
        loss = pixel_loss(
            output.prediction, patchify(images, model.patch_px), output.predicted, norm_pix=True
        )
        losses.append(float(loss) * len(images) / len(people.images))
    tokens = np.concatenate(parts).astype(np.float64)
    return sum(losses), _auc(tokens.mean(axis=1), people), _auc(tokens, people)


def _auc(features: Floats, people: People) -> float:
    """Of a linear probe, each fold's people judged by one that the other two folds' have trained."""
    flat = features.reshape(len(features), -1)
    areas: list[float] = []
    for fold in np.unique(people.fold):
        train, test = people.fold != fold, people.fold == fold
        inner = [train & (people.fold != other) for other in np.unique(people.fold[train])]
        gains = np.mean([_areas(flat, people, part, train & ~part) for part in inner], axis=0)
        areas.append(_areas(flat, people, train, test)[int(gains.argmax())])
    return float(np.mean(areas))


def _areas(features: Floats, people: People, train: Mask, test: Mask) -> list[float]:
    """Mean AUC for each of `RIDGE` of ridge regressions on standardised features, solved among frames."""
    mean, deviation = features[train].mean(axis=0), features[train].std(axis=0) + 1e-6
    x = (features - mean) / (deviation * features.shape[1] ** 0.5)
    y = people.targets[train] - people.targets[train].mean(axis=0)
    alike, between = x[train] @ x[train].T, x[test] @ x[train].T
    solved = [np.linalg.solve(alike + strength * np.eye(len(alike)), y) for strength in RIDGE]
    return [float(np.nanmean(roc_auc(between @ part, people.targets[test]))) for part in solved]


def _pixels(out: Path, people: People) -> None:
    """The probe on the pixels themselves: what no encoder should fall behind."""
    if not (out / "pixels.json").exists():
        publish(out / "pixels.json", json_bytes({"auc": _auc(people.images.astype(np.float64), people)}))


def _points(out: Path, contestant: Contestant, seed: int) -> list[Point]:
    """First weights, then the run's checkpoints."""
    files = [out / f"{name}-{seed}" / "points.json" for name in ("start", contestant.name)]
    read: list[dict[str, Any]] = [
        row for path in files if path.exists() for row in json.loads(path.read_text())
    ]
    return [Point(**row) for row in read]


def _spread(values: list[float], scale: float = 100.0, digits: int = 1) -> str:
    """The mean over seeds and, in brackets, each of them."""
    each = ", ".join(f"{scale * value:.{digits}f}" for value in values)
    return f"{scale * np.mean(values):.{digits}f}" + (f" ({each})" if len(values) > 1 else "")


def _measures(points: list[Point]) -> list[str]:
    """Cells of a row: loss, pooled, tokens."""
    loss = _spread([point.loss for point in points], scale=1, digits=3)
    return [loss, _spread([p.pooled for p in points]), _spread([p.tokens for p in points])]


def _table(found: dict[Contestant, list[list[Point]]], pixels: float) -> str:
    heads = ["", "epochs", "GFLOP an image", "optimizer, GFLOP a step", "TFLOP in all"]
    rows = [[*heads, "loss", "AUC, pooled", "AUC, all tokens"], ["---"] * 8]
    for contestant, runs in found.items():
        config = contestant.config()
        with torch.device("meta"):
            model = build_mae(config.model)
        image, step = mae_training_flops(model) / 1e9, _optimizer_flops(model, config) / 1e9
        cells = [contestant.title, str(contestant.epochs), f"{image:.2f}", f"{step:.1f}"]
        cells += [f"{runs[0][-1].flops / 1e12:.2f}", *_measures([points[-1] for points in runs])]
        rows.append(cells)
    first = [points[0] for points in next(iter(found.values()))]
    rows.append(["first weights", "0", "", "", "0", *_measures(first)])
    rows.append(["pixels", "", "", "", "", "", "", f"{100 * pixels:.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figure(found: dict[Contestant, list[list[Point]]], pixels: float, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    titles = ("AU probe, all patch tokens: AUC, %", "AU probe, mean token: AUC, %", "loss of hidden patches")
    for at, name, title in zip(axes, ("tokens", "pooled", "loss"), titles, strict=True):
        for number, runs in enumerate(found.values()):
            x = np.mean([[point.flops / 1e12 for point in points] for points in runs], axis=0)
            scale = 1 if name == "loss" else 100
            y = scale * np.array([[getattr(point, name) for point in points] for points in runs])
            first = int(name == "loss")  # that of first weights would squeeze the others
            at.plot(x[first:], y.mean(axis=0)[first:], color=f"C{number}", marker="o", markersize=4)
            for row in y:
                at.plot(x[first:], row[first:], color=f"C{number}", linewidth=0.6, alpha=0.5)
        at.set_title(title, fontsize=10)
        at.set_xlabel("operations of training, TFLOP")
        at.grid(alpha=0.3)
    axes[0].axhline(100 * pixels, color="grey", linestyle=":")
    axes[0].annotate("pixels", (0, 100 * pixels), xytext=(0, 3), textcoords="offset points", fontsize=8)
    names = [contestant.title for contestant in found]
    lines = [axes[0].plot([], [], color=f"C{number}", marker="o")[0] for number in range(len(names))]
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
