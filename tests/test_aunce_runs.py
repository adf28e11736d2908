"""AUNCE from its command: contrast teaches the encoder, the heads read it, kills change no number."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import forked
import pytest
import torch
from labelled_shards import SMALL, files_of, one_cpu, small, write_labelled
from safetensors.torch import load_file

from facecorpus.errors import UserError
from fautrain import checkpoint
from fautrain.config import AunceConfig, override
from fautrain.data import Batch
from fautrain.evaluation import prediction_files, read_predictions, read_result
from fautrain.recipes import FINETUNING, finetuning_recipe
from fautrain.runlog import read_log
from fautrain.runs.finetuning import finetune, fold_folder
from fautrain.runs.inference import load_trained, predictions
from fautrain.tasks.aunce import ContrastTask, LinearHeadsTask
from fautrain.tasks.labelled import open_labels

__all__ = ["one_cpu"]  # a fixture, used by name

TINY = (
    "model.size=tiny",
    "model.patch_px=8",
    "data.batch_per_step=24",
    "contrast.epochs=2",
    "contrast.batch_per_step=24",
    "contrast.lr=1e-3",
)
TIMES = ("images_per_s", "data_wait", "mfu")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled") / "disfa", "disfa", frames=6)


def config_of(shards: Path, *settings: str, recipe: str = "aunce") -> AunceConfig:
    config = small("disfa", shards, *TINY, *settings, recipe=recipe)
    assert isinstance(config, AunceConfig)
    return config


# -- what it computes --------------------------------------------------------------------------------------


def test_the_contrastive_stage_teaches_the_encoder(shards: Path, tmp_path: Path) -> None:
    """The heads alone, on an encoder that was only drawn, find next to nothing."""
    settings = ("optim.lr=2e-2", "model.drop_path=0", "train.epochs=5", "model.image_px=64")
    for name, epochs in (("taught", 6), ("drawn", 0)):
        config = config_of(shards, *settings, f"contrast.epochs={epochs}")
        finetune(config, tmp_path / name, folds=(1,), seeds=(0,), resume="auto")
    taught, drawn = (read_result(tmp_path / name / "result.json") for name in ("taught", "drawn"))
    assert taught.last.mean > drawn.last.mean + 0.2 and taught.last.mean > taught.baseline.mean + 0.05
    fold = fold_folder(tmp_path / "taught", 0, 1)
    log = [line.values["contrast_loss"] for line in read_log(fold / "before") if line.kind == "train"]
    assert sum(log[-4:]) < 0.9 * sum(log[:4])
    first = max((fold / "before/checkpoints").glob("step-*"))
    one, other = (
        load_file(path / "model.safetensors") for path in (first, max((fold / "checkpoints").glob("s*")))
    )
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed == {"head", "head_bias"}, "a frozen encoder that stands still"
    assert json.loads((fold / "before/config.json").read_text("utf-8"))["task"] == "aunce-contrast"
    assert (
        not (fold / "before/predictions").exists() and not (tmp_path / "drawn/seed-0/fold-1/before").exists()
    )


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted. Read only."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    command(shards, out)
    return out


def arguments(shards: Path, out: Path, *settings: str) -> list[str]:
    where = ["finetune", "--dataset", "disfa", "--shards", str(shards), "--out", str(out)]
    chosen = (*SMALL, *TINY, "train.checkpoint_every_steps=3", "model.frozen=moving", *settings)
    return [
        *where,
        "--recipe",
        "aunce",
        "--init",
        "none",
        "--fold",
        "1",
        *(part for s in chosen for part in ("--set", s)),
    ]


def command(shards: Path, out: Path, *settings: str) -> forked.Done:
    done = forked.run(out.parent, *arguments(shards, out, *settings))
    assert done.code == 0, done.err[-3000:]
    return done


def lines(out: Path) -> int:
    return sum(path.read_text().count("\n") for path in out.glob("seed-*/fold-*/**/log.jsonl"))


def logged(out: Path) -> list[tuple[str, int, dict[str, str]]]:
    return [
        (line.kind, line.step, {n: str(v) for n, v in line.values.items() if n not in TIMES})
        for log in sorted(out.glob("seed-*/fold-*/**/log.jsonl"))
        for line in read_log(log.parent)
    ]


def assert_same(out: Path, expected: Path) -> None:
    assert logged(out) == logged(expected)
    ours, theirs = files_of(out), files_of(expected)
    assert ours.keys() == theirs.keys() and len(ours) == 2 + 1 + 3
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_killed_in_either_stage(shards: Path, whole: Path, tmp_path: Path) -> None:
    """Stochastic depth and batch norms go on under the heads too (`moving`): both are in the checkpoints."""
    out, lots, killed = tmp_path / "run", random.Random(0), 0
    for until in (3, 6, 11):  # eight steps contrast, then eight train heads
        running = forked.start(out.parent, *arguments(shards, out))
        while running.process.is_alive() and lines(out) < until:
            time.sleep(0.002)
        time.sleep(lots.uniform(0, 0.06))
        running.signal(signal.SIGKILL)
        killed += running.end().code == -signal.SIGKILL
    assert killed >= 2
    command(shards, out)
    assert_same(out, whole)


@pytest.mark.parametrize("where", ["between the stages", "the stage before is gone"])
def test_killed_where_it_hurts(shards: Path, whole: Path, tmp_path: Path, where: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    fold = fold_folder(out, 0, 1)
    for path in (out / "result.json", out / "table.md", out / "report.html", fold / "fold.json"):
        path.unlink()
    if where == "between the stages":
        shutil.rmtree(fold / "checkpoints")
        said = command(shards, out).err
        assert "going on after step 8" in said, "the stage before is not trained again"
        assert_same(out, whole)
    else:  # who has begun with the heads needs it no more
        shutil.rmtree(fold / "before")
        shutil.rmtree(max((fold / "checkpoints").glob("step-*")))
        command(shards, out)
        assert not (fold / "before").exists()
        assert files_of(out) == files_of(whole)


def test_other_settings_of_the_stage_before_are_refused(shards: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    for settings in (("contrast.temperature=0.4",), ("contrast.positives=1,0,0",)):
        done = forked.run(out.parent, *arguments(shards, out, *settings))
        assert done.code == 2 and "was begun with other settings (contrast." in done.err
    assert_same(out, whole)


def test_the_final_model_predicts_as_the_run_did(shards: Path, whole: Path) -> None:
    fold = fold_folder(whole, 0, 1)
    trained = load_trained(fold / "final")
    labels = open_labels(trained.config, trained.benchmark, 0, 1)
    kept = read_predictions(prediction_files(fold)[trained.epochs]).of("test")
    place = {labels.corpus.key(row): number for number, row in enumerate(labels.rows.tolist())}
    found = predictions(trained, labels, torch.tensor([place[key] for key in kept.key]).numpy())
    assert (found == kept.prediction).all()
    assert trained.config.task == "aunce" and checkpoint.verify(max((fold / "checkpoints").glob("s*"))) == []


@pytest.mark.parametrize(("recipe", "moves"), [("aunce-released", "norms"), ("aunce-wce", "all")])
def test_the_other_recipes_run(shards: Path, tmp_path: Path, recipe: str, moves: str) -> None:
    settings = ("data.every=3", "train.max_steps=2", "contrast.epochs=1", "train.checkpoint_every_steps=1")
    if recipe == "aunce-wce":
        settings = (*settings, "contrast.epochs=0")
    config = config_of(shards, *settings, recipe=recipe)
    finetune(config, tmp_path, folds=(1,), seeds=(0,), resume="auto")
    fold = fold_folder(tmp_path, 0, 1)
    one, other = (
        load_file(path / "model.safetensors") for path in sorted((fold / "checkpoints").glob("step-*"))
    )
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    norms = {name for name in one if "running" in name or "num_batches" in name}
    assert norms | {"head", "head_bias"} <= changed
    assert (moves == "all") == ("encoder.fgg.U.weight" in changed) and (fold / "before").exists() == (
        moves != "all"
    )


# -- what a step gets --------------------------------------------------------------------------------------


def step_of(task: ContrastTask) -> Batch:
    loader = task.loader(0, 1)
    batch = next(loader.batches())
    loader.close()
    return batch


def test_views_and_positives_are_the_sample_s_own(shards: Path) -> None:
    config = config_of(shards).before()
    assert config is not None
    task = ContrastTask(config, ContrastTask.open(config, 0, 1))  # type: ignore[arg-type]
    batch = step_of(task)
    images, targets, draws, lots = task.inputs(batch)
    assert (images.shape, targets.shape) == ((24, 3, 32, 32), (24, 8))
    assert (draws.shape, lots.shape) == ((2, 24, 10), (48, 1))
    assert draws.flatten().unique().numel() == draws.numel(), "no two draws are one"
    again = [each[:, 5:6] if each is draws else each for each in (draws, task.inputs(batch)[2])]
    assert torch.equal(again[0], again[1][:, 5:6])
    with pytest.raises(UserError, match="it trains on one process, not on 2"):
        task.loader(0, 2)
    released = override(config, ["contrast.kind=aunce-released"])
    other = ContrastTask(released, ContrastTask.open(released, 0, 1))  # type: ignore[arg-type]
    assert other.inputs(batch)[3].shape == (1, 8), "one for each action unit"
    assert task.training_flops() == 2 * 3 * LinearHeadsTask(config, task.open(config, 0, 1)).training_flops()  # type: ignore[arg-type]


def test_every_recipe_is_what_its_paper_or_code_says() -> None:
    paper, released = (finetuning_recipe(name, "bp4d") for name in ("aunce", "aunce-released"))
    assert isinstance(paper, AunceConfig) and isinstance(released, AunceConfig)
    assert {"aunce", "aunce-released", "aunce-wce"} <= {*FINETUNING}
    first = paper.before()
    assert first is not None and first.before() is None
    assert (first.optim.lr, first.optim.min_lr, first.optim.weight_decay) == (1e-5, 1e-5, 1e-6)
    assert (first.train.epochs, first.data.batch_per_step, first.optim.betas) == (60, 32, (0.9, 0.999))
    assert paper.contrast.positives == (0.15, 0.15, 0.7) and paper.contrast.exponents == (2.2, 1.4)
    assert (paper.model.image_px, paper.model.crop_px, paper.model.neighbours) == (256, 224, 4)
    assert released.contrast.positives == (0.2, 0.2, 0.6) and released.contrast.exponents == (1.2, 0.8)
    assert (released.coloured, finetuning_recipe("aunce-released", "disfa").coloured) == (True, False)  # type: ignore[attr-defined]
    wce = finetuning_recipe("aunce-wce", "bp4d")
    assert wce.before() is None and wce.loss.kind == "weighted-bce"
