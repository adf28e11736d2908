"""Which way of pretraining learns faces for the least computing: MAE, a lighter decoder, CrossMAE or Muon?

Pretrains each on drawn people with about the same floating-point operations and the same seeds, and judges
the encoder on other drawn people by a linear probe for action units, at four points on the way. Writes the
table and figure of docs/experiments/pretraining-race.md. Goes on where it stopped.

    python tools/experiment_pretraining_race.py --out build/race      # some 40 minutes on a core
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
from sklearn.linear_model import LogisticRegression

import facecorpus
from fautrain import checkpoint
from fautrain.config import PretrainConfig, override
from fautrain.data.benchmark import benchmark
from fautrain.files import json_bytes, publish
from fautrain.metrics import confusion, f1, roc_auc
from fautrain.models.build import build_mae
from fautrain.models.convert import load_encoder
from fautrain.models.flops import mae_training_flops
from fautrain.models.mae import MaskedAutoencoder
from fautrain.optim import make_optimizer
from fautrain.recipes import pretraining_recipe

Floats = NDArray[np.float64]
BATCH = 32
FRAMES = "80"
"""Of each of the 27 drawn people."""
POINTS = 4
"""Checkpoints of a run that are probed."""
EVERY = 2
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


@dataclass(frozen=True)
class Point:
    """What a probe found of one checkpoint."""

    step: int
    flops: float
    """Operations until then: the model's and the optimizer's matrix products."""
    auc: float
    """Mean over AUs and folds of the area under the ROC curve of people whom the probe has not seen."""
    f1: float
    """The same of F1 at 0.5."""


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
        for seed in range(options.seeds):
            _start(out, seed, people)
            for contestant in CONTESTANTS:
                _race(contestant, seed, corpus, out / f"{contestant.name}-{seed}", people)
    found = {
        contestant: points
        for contestant in CONTESTANTS
        if (points := [_points(out, contestant, seed) for seed in range(options.seeds)])
        and all(len(p) > 1 for p in points)
    }
    table = _table(found)
    (out / "table.md").write_text(table + "\n", "utf-8")
    _figure(found, out / "pretraining-race.png")
    print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/race"))
    parser.add_argument("--seeds", type=int, default=2)
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
            load_encoder(model, folder)
            counted = checkpoint.load(folder).counters["samples"] * image + number * step
            points.append(Point(number, counted, *_probe(model, config, people)))
        _write(run / "points.json", points)
    print(f"done: {run.name}", flush=True)


def _start(out: Path, seed: int, people: People) -> None:
    """Probe first weights: where all curves begin."""
    path = out / f"start-{seed}" / "points.json"
    if not path.exists():
        config = CONTESTANTS[0].config()
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, [Point(0, 0.0, *_probe(build_mae(config.model, seed=seed), config, people))])


def _write(path: Path, points: list[Point]) -> None:
    publish(path, json_bytes([vars(point) for point in points]))


def _optimizer_flops(model: MaskedAutoencoder, config: PretrainConfig) -> float:
    """Matrix products of a step of Muon, 0 for AdamW: five Newton-Schulz iterations on (a, b), a <= b, each
    of X X^T, its square, and its product with X."""
    groups = make_optimizer(model, config.optim).param_groups
    shapes = [sorted(p.shape) for group in groups if group.get("muon") for p in group["params"]]
    return sum(5 * (4 * a * a * b + 2 * a**3) for a, b in shapes)


@torch.no_grad()
def _probe(model: MaskedAutoencoder, config: PretrainConfig, people: People) -> tuple[float, float]:
    """AUC and F1 of logistic regressions on the mean patch token, each fold's people after the others'."""
    model.eval()
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (config.data.mean, config.data.std))
    parts: list[NDArray[np.float32]] = []
    for first in range(0, len(people.images), 64):
        pixels = (people.images[first : first + 64].astype(np.float32) / 255 - mean) / std
        parts.append(model.encode(torch.from_numpy(pixels))[:, 1:].mean(dim=1).numpy())
    features = np.concatenate(parts).astype(np.float64)
    scores = [_fold_scores(features, people, fold) for fold in np.unique(people.fold)]
    auc, f = np.nanmean(np.stack(scores), axis=(0, 2))
    return float(auc), float(f)


def _fold_scores(features: Floats, people: People, fold: int) -> Floats:
    """(2, A): AUC and F1 at 0.5 of the people of a fold."""
    test = people.fold == fold
    mean, deviation = features[~test].mean(axis=0), features[~test].std(axis=0) + 1e-12
    x, y = (features - mean) / deviation, people.targets
    probability = np.stack(
        [
            LogisticRegression(C=0.1, max_iter=2000).fit(x[~test], y[~test, au]).predict_proba(x[test])[:, 1]
            for au in range(y.shape[1])
        ],
        axis=1,
    )
    return np.stack([roc_auc(probability, y[test]), f1(confusion(probability, y[test]))])


def _points(out: Path, contestant: Contestant, seed: int) -> list[Point]:
    """First weights, then the run's checkpoints."""
    files = [out / f"{name}-{seed}" / "points.json" for name in ("start", contestant.name)]
    read: list[dict[str, Any]] = [
        row for path in files if path.exists() for row in json.loads(path.read_text())
    ]
    return [Point(**row) for row in read]


def _spread(values: list[float]) -> str:
    """Percent over the seeds: the mean, and each of them."""
    return f"{100 * np.mean(values):.1f} ({', '.join(f'{100 * v:.1f}' for v in values)})"


def _table(found: dict[Contestant, list[list[Point]]]) -> str:
    heads = ["", "epochs", "GFLOP an image", "optimizer, GFLOP a step", "TFLOP in all", "AUC", "F1 at 0.5"]
    rows = [heads, ["---"] * len(heads)]
    for contestant, runs in found.items():
        config = contestant.config()
        with torch.device("meta"):
            model = build_mae(config.model)
        rows.append(
            [
                contestant.title,
                str(contestant.epochs),
                f"{mae_training_flops(model) / 1e9:.2f}",
                f"{_optimizer_flops(model, config) / 1e9:.1f}",
                f"{runs[0][-1].flops / 1e12:.2f}",
                _spread([points[-1].auc for points in runs]),
                _spread([points[-1].f1 for points in runs]),
            ]
        )
    if found:
        first = [points[0] for points in next(iter(found.values()))]
        rows.append(["first weights", "0", "", "", "0"])
        rows[-1] += [_spread([point.auc for point in first]), _spread([point.f1 for point in first])]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figure(found: dict[Contestant, list[list[Point]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    for number, (contestant, runs) in enumerate(found.items()):
        x = np.mean([[point.flops / 1e12 for point in points] for points in runs], axis=0)
        y = 100 * np.array([[point.auc for point in points] for points in runs])
        axes.plot(x, y.mean(axis=0), color=f"C{number}", marker="o", label=contestant.title)
        for row in y:
            axes.plot(x, row, color=f"C{number}", linewidth=0.7, alpha=0.5)
    axes.set_xlabel("operations of training, TFLOP (optimizer's included)")
    axes.set_ylabel("AUC of the linear AU probe, unseen drawn people, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
