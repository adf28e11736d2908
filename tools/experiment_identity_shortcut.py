"""Does a model of action units learn who is shown, does identity adversarial training stop it, at what price?

Draws a DISFA whose action units depend strongly on the person, fine-tunes a pretrained model on fold 1 over a
grid of lambda, identity heads and identity losses, and probes the features for identity (FMAE-IAT, sections
5.1 to 5.3): an ablation, and the figures of docs/experiments/identity-shortcut.md. Goes on where it stopped.

    python tools/experiment_identity_shortcut.py --setting cpu --out build/experiment   # an hour on 2 cores
    python tools/experiment_identity_shortcut.py --setting gpu --shards /data/disfa --init hub:...
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facecorpus.typed import build
from fautrain.ablations.grid import Grid, Row
from fautrain.ablations.measures import ConvergenceEpoch, Finished, IdentityLoss, IdentityProbe
from fautrain.ablations.running import Ablation, run, write
from fautrain.config import FinetuneConfig
from fautrain.data.benchmark import benchmark
from fautrain.evaluation import evaluate_fold
from fautrain.files import read_json
from fautrain.probe import (
    PROBE_BP4D,
    Embedding,
    ProbeResult,
    RunCurve,
    accuracy_series,
    draw_f1_curves,
    draw_probe_curves,
    draw_tsne_runs,
    embed,
)
from fautrain.runs.asked import Asked
from fautrain.runs.finetuning import fold_folder
from fautrain.runs.inference import checkpoints, features, load_trained
from fautrain.runs.probing import probe_run, sample_frames
from fautrain.tasks.labelled import open_labels

FOLD = 1
RELEASED = 0.5
"""The released lambda for DISFA."""
HEADS_AT = 2.0
"""Lambda at which identity heads are compared, as in Table 7."""
SUBJECTS = 27
SHOWN = ((0.0, "bce", 1), (RELEASED, "bce", 1), (HEADS_AT, "bce", 1))
"""Lambda, loss and layers of the rows that are in the figures."""


class Setting(NamedTuple):
    """What a machine can do in reasonable time."""

    rows: list[tuple[float, str, int]]
    """Lambda, loss and layers."""
    seeds: tuple[int, ...]
    recipe: str
    epochs: int


SETTINGS = {
    "cpu": Setting(
        [
            *SHOWN,
            (RELEASED / SUBJECTS, "ce", 1),
            (RELEASED, "ce", 1),
            (HEADS_AT, "bce", 2),
            (HEADS_AT, "bce", 3),
            (0.02, "bce", 1),
            (1.0, "bce", 1),
        ],
        (0,),
        "tiny",
        10,
    ),
    "gpu": Setting(
        [
            (0.0, "bce", 1),
            *(
                (s, loss, n)
                for loss in ("bce", "ce")
                for n in (1, 2, 3)
                for s in (0.02, RELEASED, 1.0, 2.0, 3.0)
            ),
        ],
        (0, 1, 2),
        "fmae-iat",
        20,
    ),
}


class Course(IdentityProbe):
    """The probe, of all epochs of the rows that are in the figures."""

    def measure(self, finished: Finished, path: Path) -> None:
        """Probe one fold's."""
        assert isinstance(finished.config, FinetuneConfig)
        identity = finished.config.identity
        shown = (identity.strength, identity.loss, identity.layers) in SHOWN
        probe_run(path.parent.parent, "", path.parent, every_epoch=shown, seed=0)


def main() -> None:
    """Everything that is missing, then the table and the figures."""
    options = _options()
    setting = SETTINGS[options.setting]
    out: Path = options.out
    shards = options.shards or _drawn_shards(out, options.frames)
    ablation = Ablation(
        _grid(setting),
        Asked("disfa", shards, options.init, None, _settings(options.epochs or setting.epochs)),
        out / "runs",
        (FOLD,),
        tuple(options.seeds or setting.seeds),
        [ConvergenceEpoch(), IdentityLoss(), Course()],
    )
    if options.tables:
        print(write(ablation))
    else:
        run(ablation, "auto")
    _figures(_shown(ablation), out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--setting", choices=SETTINGS, default="cpu")
    parser.add_argument("--out", type=Path, default=Path("build/experiment"))
    parser.add_argument("--shards", help="a built DISFA; default: drawn, strongly subject-dependent")
    parser.add_argument("--frames", type=int, default=80, help="frames per drawn subject")
    parser.add_argument("--init", default="build/pretrain", help="pretrained weights")
    parser.add_argument("--epochs", type=int, help="default: the setting's")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: the setting's")
    parser.add_argument("--tables", action="store_true", help="run nothing; show the rows that are done")
    return parser.parse_args()


def _drawn_shards(out: Path, frames: int) -> str:
    raw, shards = out / "recordings", out / "disfa"
    if not (shards / "verified.json").exists():
        draw = ["synth", "--sources", "disfa", "--dependence", "strong", "--frames", str(frames)]
        built = ["build", "--sources", "disfa", "--root", str(raw), "--out", str(shards)]
        for line in ([*draw, "--out", str(raw)], built):
            subprocess.run([sys.executable, "-m", "facecorpus", *line], check=True)
    return str(shards)


def _grid(setting: Setting) -> Grid:
    rows = [
        Row(
            _values(row),
            setting.recipe,
            (f"identity.strength={row[0]}", f"identity.loss={row[1]}", f"identity.layers={row[2]}"),
        )
        for row in setting.rows
    ]
    return Grid("Identity adversarial training", ("lambda", "loss", "layers"), tuple(rows))


def _values(row: tuple[float, str, int]) -> tuple[str, ...]:
    """As the table shows it."""
    return f"{row[0]:.4g}", row[1].upper(), str(row[2])


def _settings(epochs: int) -> list[str]:
    values = {
        "data.validation": 0,  # as published: all training subjects train, the test fold chooses
        "train.epochs": epochs,
        "train.keep": epochs,
        "optim.lr": 2e-3,
        "optim.layer_decay": 0.65,
    }
    return [f"{name}={value}" for name, value in values.items()]


def _shown(ablation: Ablation) -> dict[str, Path]:
    """The fold of the first seed of each row in the figures that is probed, by what they call it."""
    titles = ["without identity head", *(f"BCE, lambda {s:g}, {n}-layer head" for s, _, n in SHOWN[1:])]
    names = dict(zip(map(_values, SHOWN), titles, strict=True))
    folders = {
        names[row.values]: fold_folder(ablation.folder(row), ablation.seeds[0], FOLD)
        for row in ablation.grid.rows
        if row.values in names
    }
    return {title: at for title, at in folders.items() if (at / "probe" / "probe.json").exists()}


def _figures(shown: Mapping[str, Path], out: Path) -> None:
    """Figures 3 to 5 of the paper, of these runs."""
    accuracy: list[RunCurve] = []
    f1: list[RunCurve] = []
    embeddings: dict[str, Embedding] = {}
    chance = baseline = 0.0
    for title, folder in shown.items():
        found = read_json(folder / "probe" / "probe.json", "probe again")
        results = {float(epoch): build(ProbeResult, result) for epoch, result in found.items()}
        fold = evaluate_fold(folder)
        accuracy += accuracy_series(title, results)
        f1.append(RunCurve(title, tuple(map(float, fold.curves.epochs)), fold.curves.test_best))
        embeddings[title] = _embedded(folder)
        chance, baseline = results[max(results)].frames.chance, float(np.mean(fold.baseline))
    if shown:
        draw_probe_curves(accuracy, out / "figure-3.png", chance=chance, reference=PROBE_BP4D)
        draw_tsne_runs(embeddings, out / "figure-4.png")
        draw_f1_curves(f1, out / "figure-5.png", baseline=baseline)


def _embedded(folder: Path) -> Embedding:
    trained = load_trained(checkpoints(folder)[-1])
    labels = open_labels(trained.config, benchmark("disfa"), 0, 1)
    chosen = sample_frames(labels, 0)
    return embed(
        features(trained, labels, chosen),
        labels.subject[chosen],
        labels.video[chosen],
        labels.frame[chosen],
        labels.targets[chosen],
        seed=0,
        subjects=labels.subjects,
    )


if __name__ == "__main__":
    main()
