"""Does a model of action units learn who is shown, does identity adversarial training stop it, at what price?

Draws a DISFA whose action units depend strongly on the person, fine-tunes a pretrained model on fold 1 over a
grid of lambda, identity heads and identity losses, and probes the features for identity (FMAE-IAT, sections
5.1 to 5.3). Writes the tables and figures of docs/experiments/identity-shortcut.md. Goes on where it stopped.

    python tools/experiment_identity_shortcut.py --setting cpu --out build/experiment   # an hour on 2 cores
    python tools/experiment_identity_shortcut.py --setting gpu --shards /data/disfa --init hub:...
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecorpus.typed import build
from fautrain.evaluation import FoldResult, evaluate_fold
from fautrain.probe import (
    PROBE_BP4D,
    ProbeResult,
    RunCurve,
    accuracy_series,
    draw_f1_curves,
    draw_probe_curves,
)

FOLD = 1
CE = "ce"
RELEASED = 0.5
"""The released lambda for DISFA."""
HEADS_AT = 2.0
"""Lambda at which identity heads are compared, as in Table 7."""
SUBJECTS = 27


@dataclass(frozen=True)
class Point:
    """One cell of the grid."""

    strength: float
    loss: str = "bce"
    layers: int = 1
    seed: int = 0

    @property
    def name(self) -> str:
        """Folder of the run."""
        return f"{self.loss}-lambda{self.strength:g}-head{self.layers}-seed{self.seed}"

    @property
    def title(self) -> str:
        """As the figures call it."""
        if not self.strength:
            return "without identity head"
        return f"{self.loss.upper()}, lambda {self.strength:g}, {self.layers}-layer head"


def cpu_grid() -> list[Point]:
    """What matters most first: the contrast twice, then the losses, the heads, more of lambda."""
    contrast = [Point(strength, seed=seed) for seed in (0, 1) for strength in (0.0, RELEASED)]
    losses = [Point(HEADS_AT), Point(RELEASED / SUBJECTS, CE), Point(RELEASED, CE)]
    heads = [Point(HEADS_AT, layers=2), Point(HEADS_AT, layers=3)]
    return contrast + losses + heads + [Point(0.02), Point(1.0), Point(HEADS_AT, seed=1)]


def gpu_grid() -> list[Point]:
    """All of lambda x head x loss, three seeds."""
    cells = [(0.0, "bce", 1)] + [
        (s, loss, layers)
        for loss in ("bce", CE)
        for layers in (1, 2, 3)
        for s in (0.02, RELEASED, 1.0, 2.0, 3.0)
    ]
    return [Point(s, loss, layers, seed) for seed in range(3) for s, loss, layers in cells]


@dataclass(frozen=True)
class Setting:
    """What a machine can do in reasonable time."""

    grid: list[Point]
    recipe: str
    epochs: int
    jobs: int


SETTINGS = {
    "cpu": Setting(cpu_grid(), "tiny", 10, 2),
    "gpu": Setting(gpu_grid(), "fmae-iat", 20, 1),
}


@dataclass(frozen=True)
class Outcome:
    """What one run showed."""

    point: Point
    fold: FoldResult
    probe: ProbeResult
    id_loss: float | None
    """Of the training batches of the epoch that the published protocol chooses."""


def main() -> None:
    """Everything that is missing, then the tables and figures."""
    options = _options()
    setting = SETTINGS[options.setting]
    out: Path = options.out
    shards = options.shards or _drawn_shards(out, options.frames)
    epochs = options.epochs or setting.epochs
    runs = out / "runs"

    def run(point: Point) -> None:
        _finetune(point, setting.recipe, shards, options.init, runs / point.name, epochs, setting.jobs > 1)
        _probe(point, runs / point.name, setting.jobs > 1)
        print(f"done: {point.name}", flush=True)

    if not options.tables:
        with ThreadPoolExecutor(setting.jobs) as pool:
            list(pool.map(run, setting.grid))
    finished = [point for point in setting.grid if (runs / point.name / "probe" / "probe.json").exists()]
    outcomes = [_outcome(point, runs / point.name) for point in finished]
    tables = "\n\n".join([_table_lambda(outcomes), _table_heads(outcomes), _table_losses(outcomes)])
    (out / "tables.md").write_text(tables + "\n", "utf-8")
    _figures(outcomes, runs, out, shards)
    print(tables)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--setting", choices=SETTINGS, default="cpu")
    parser.add_argument("--out", type=Path, default=Path("build/experiment"))
    parser.add_argument("--shards", help="a built DISFA; default: drawn, strongly subject-dependent")
    parser.add_argument("--frames", type=int, default=80, help="frames per drawn subject")
    parser.add_argument("--init", default="build/pretrain", help="pretrained weights")
    parser.add_argument("--epochs", type=int, help="default: the setting's")
    parser.add_argument("--tables", action="store_true", help="run nothing; show the points that are done")
    return parser.parse_args()


def _drawn_shards(out: Path, frames: int) -> str:
    raw, shards = out / "recordings", out / "disfa"
    if not (shards / "verified.json").exists():
        draw = ["synth", "--sources", "disfa", "--dependence", "strong", "--frames", str(frames)]
        _call([sys.executable, "-m", "facecorpus", *draw, "--out", str(raw)])
        built = ["build", "--sources", "disfa", "--root", str(raw), "--out", str(shards)]
        _call([sys.executable, "-m", "facecorpus", *built])
    return str(shards)


def _finetune(
    point: Point, recipe: str, shards: str, init: str, out: Path, epochs: int, one_core: bool
) -> None:
    values = {
        "identity.strength": point.strength,
        "identity.loss": point.loss,
        "identity.layers": point.layers,
        "data.validation": 0,  # as published: all training subjects train, the test fold chooses
        "train.epochs": epochs,
        "train.keep": epochs,
        "optim.lr": 2e-3,
        "optim.layer_decay": 0.65,
    }
    if one_core:
        values["data.workers"] = 0
    sets = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    what = ["finetune", "--dataset", "disfa", "--shards", shards, "--recipe", recipe, "--init", init]
    which = ["--fold", str(FOLD), "--seeds", str(point.seed), "--out", str(out)]
    _call([sys.executable, "-m", "fautrain", *what, *which, *sets], out.parent / f"{out.name}.log", one_core)


def _probe(point: Point, out: Path, one_core: bool) -> None:
    run = out / f"seed-{point.seed}" / f"fold-{FOLD}"
    if (out / "probe" / "probe.json").exists():
        return
    every = ["--every-epoch"] if _in_curves(point) else []
    _call(
        [
            sys.executable,
            "-m",
            "fautrain",
            "probe",
            "--checkpoint",
            str(run),
            "--out",
            str(out / "probe"),
            *every,
        ],
        out.parent / f"{out.name}.log",
        one_core,
    )


def _in_curves(point: Point) -> bool:
    return point in (Point(0.0), Point(RELEASED), Point(HEADS_AT))


def _call(command: list[str], log: Path | None = None, one_core: bool = False) -> None:
    environment = dict(os.environ) | ({"OMP_NUM_THREADS": "1"} if one_core else {})
    if log is None:
        subprocess.run(command, check=True, env=environment)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed; see {log}")


def _outcome(point: Point, out: Path) -> Outcome:
    run = out / f"seed-{point.seed}" / f"fold-{FOLD}"
    fold = evaluate_fold(run)
    found = json.loads((out / "probe" / "probe.json").read_text("utf-8"))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    losses = [
        line["values"]["id_loss"]
        for line in lines
        if "id_loss" in line["values"] and fold.published.epoch - 1 < line["epoch"] <= fold.published.epoch
    ]
    newest = found[max(found, key=int)]
    mean = float(np.mean(losses)) if losses else None
    return Outcome(point, fold, build(ProbeResult, newest), mean)


def _groups(outcomes: list[Outcome]) -> dict[tuple[float, str, int], list[Outcome]]:
    groups: dict[tuple[float, str, int], list[Outcome]] = {}
    for outcome in outcomes:
        point = outcome.point
        groups.setdefault((point.strength, point.loss, point.layers), []).append(outcome)
    return groups


def _percent(values: list[float]) -> str:
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


_HEADS = (
    "F1 published",
    "its epoch",
    "F1@0.5 last",
    "AUC last",
    "id. frames, published probe",
    "id. frames, logistic",
    "id. time, published probe",
    "id. time, logistic",
)


def _cells(group: list[Outcome]) -> list[str]:
    folds = [outcome.fold for outcome in group]
    probes = [outcome.probe for outcome in group]
    areas = [float(np.mean([a for a in fold.last.measures["AUC"] if a is not None])) for fold in folds]
    return [
        _percent([fold.published.mean for fold in folds]),
        ", ".join(str(fold.published.epoch) for fold in folds),
        _percent([fold.last.mean for fold in folds]),
        _percent(areas),
        _percent([p.frames.published.best.value for p in probes]),
        _percent([p.frames.logistic.accuracy.value for p in probes]),
        _percent([p.videos.published.best.value for p in probes]),
        _percent([p.videos.logistic.accuracy.value for p in probes]),
    ]


def _table(title: str, first: list[str], rows: list[list[str]]) -> str:
    heads = [*first, *_HEADS]
    lines = [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]
    return f"### {title}\n\n" + "\n".join(lines)


def _table_lambda(outcomes: list[Outcome]) -> str:
    rows = [
        [f"{strength:g}", *_cells(group)]
        for (strength, loss, layers), group in sorted(_groups(outcomes).items())
        if loss == "bce" and layers == 1
    ]
    return _table("Lambda (BCE, linear head; the paper's Tables 5 and 6)", ["lambda"], rows)


def _table_heads(outcomes: list[Outcome]) -> str:
    rows: list[list[str]] = []
    for (strength, loss, layers), group in sorted(_groups(outcomes).items()):
        if loss == "bce" and strength == HEADS_AT:
            losses = [outcome.id_loss for outcome in group if outcome.id_loss is not None]
            rows.append([str(layers), f"{np.mean(losses):.3f}", *_cells(group)])
    return _table(f"Identity head (BCE, lambda {HEADS_AT:g}; Table 7)", ["layers", "identity loss"], rows)


def _table_losses(outcomes: list[Outcome]) -> str:
    rows = [
        [loss.upper(), f"{strength:.4g}", *_cells(group)]
        for (strength, loss, layers), group in sorted(_groups(outcomes).items(), key=lambda g: g[0][1:])
        if layers == 1 and strength and (loss == CE or strength in (RELEASED, HEADS_AT))
    ]
    return _table("Identity loss (linear head)", ["loss", "lambda"], rows)


def _figures(outcomes: list[Outcome], runs: Path, out: Path, shards: str) -> None:
    from fautrain.data.benchmark import benchmark
    from fautrain.probe import draw_tsne_runs, embed
    from fautrain.runs.inference import checkpoints, features, load_trained
    from fautrain.runs.probing import sample_frames
    from fautrain.tasks.labelled import open_labels

    shown = [outcome for outcome in outcomes if _in_curves(outcome.point)]
    accuracy: list[RunCurve] = []
    f1: list[RunCurve] = []
    for outcome in shown:
        point = outcome.point
        found = json.loads((runs / point.name / "probe" / "probe.json").read_text("utf-8"))
        results = {float(epoch): build(ProbeResult, result) for epoch, result in found.items()}
        accuracy += accuracy_series(point.title, results)
        curves = outcome.fold.curves
        f1.append(RunCurve(point.title, tuple(map(float, curves.epochs)), curves.test_best))
    chance = shown[0].probe.frames.chance
    draw_probe_curves(accuracy, out / "figure-3.png", chance=chance, reference=PROBE_BP4D)
    baseline = float(np.mean(shown[0].fold.baseline))
    draw_f1_curves(f1, out / "figure-5.png", baseline=baseline)
    embeddings = {}
    for outcome in shown:
        run = runs / outcome.point.name / f"seed-{outcome.point.seed}" / f"fold-{FOLD}"
        trained = load_trained(checkpoints(run)[-1])
        labels = open_labels(trained.config, benchmark("disfa"), 0, 1)
        chosen = sample_frames(labels, 0)
        embeddings[outcome.point.title] = embed(
            features(trained, labels, chosen),
            labels.subject[chosen],
            labels.video[chosen],
            labels.frame[chosen],
            labels.targets[chosen],
            seed=0,
            subjects=labels.subjects,
        )
    draw_tsne_runs(embeddings, out / "figure-4.png")


if __name__ == "__main__":
    main()
