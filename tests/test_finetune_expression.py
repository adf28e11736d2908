"""Expressions in small, on pictures without subjects: it learns what they show, a stop changes no number,
another data set's pictures are tested on the expressions that both have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled_shards import files_of, one_cpu, small, write_pictures
from safetensors.torch import load_file

from facecorpus.errors import UserError
from fautrain.config import FinetuneConfig
from fautrain.data.benchmark import benchmark
from fautrain.evaluation import prediction_files, read_predictions, read_result
from fautrain.recipes import finetuning_recipe
from fautrain.runs.evaluate import evaluate, evaluate_across
from fautrain.runs.final import load_final
from fautrain.runs.finetuning import finetune, fold_folder

__all__ = ["one_cpu"]  # a fixture, used by name

PICTURES = {"rafdb": {"train": 210, "test": 70}, "affectnet8": {"train": 120, "val": 40, "automatic": 16}}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pictures")
    return {name: write_pictures(root / name, name, pictures=parts) for name, parts in PICTURES.items()}


def train(config: FinetuneConfig, out: Path) -> Path:
    finetune(config, out, folds=(), seeds=(0,), resume="auto")
    return out


@pytest.fixture(scope="module")
def learnt(shards: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = ("train.epochs=8", "optim.lr=3e-3")
    config = small("rafdb", shards["rafdb"], *settings, recipe="tiny-expression")
    return train(config, tmp_path_factory.mktemp("runs") / "learnt")


def test_it_learns_what_the_pictures_show(learnt: Path) -> None:
    result = read_result(learnt / "result.json")
    assert (result.kind, result.outputs) == ("expression", benchmark("rafdb").outputs)
    assert result.baseline.mean == pytest.approx(1 / 7) and result.frames == result.subjects == 70
    assert result.last.mean > 0.5 and result.selected is not None and result.selected.mean > 0.5
    assert result.published.mean >= max(result.last.mean, result.selected.mean)
    assert np.mean(result.last.measures["mean accuracy"]) == pytest.approx(np.mean(result.last.scores))


def test_the_overall_accuracy_is_that_of_the_predictions_on_disk(learnt: Path) -> None:
    run = fold_folder(learnt, 0, 1)
    last = read_predictions(prediction_files(run)[8]).of("test")
    assert last.prediction.sum(axis=1) == pytest.approx(np.ones(70), abs=1e-5)
    right = last.prediction.argmax(axis=1) == last.target.argmax(axis=1)
    found = read_result(learnt / "result.json")
    assert found.last.mean == pytest.approx(right.mean(), abs=1e-12)
    assert {*last.subject} == {*last.key}, "nobody knows who is shown: each picture counts for itself"
    text = (learnt / "table.md").read_text()
    assert "On 70 pictures" in text and "Nobody knows who is shown" in text
    assert "What each expression is taken for" in text and "| **F1" not in text
    assert evaluate(learnt).startswith("RAF-DB, 7 expressions; accuracy in percent, the official test part")


def test_the_final_model_says_that_it_has_no_threshold(learnt: Path) -> None:
    _, card = load_final(fold_folder(learnt, 0, 1) / "final")
    assert (card.kind, card.outputs, card.threshold) == ("expression", benchmark("rafdb").outputs, None)
    assert card.train_frames == 178 and card.train_subjects == ()


def test_a_stop_changes_no_number(shards: dict[str, Path], tmp_path: Path) -> None:
    settings = ("train.epochs=2", "data.mixup=0.2", "data.cutmix=0.75")
    config = small("affectnet8", shards["affectnet8"], *settings, recipe="tiny-expression")
    whole = train(config, tmp_path / "whole")
    for steps in (3, None):
        train(replace(config, train=replace(config.train, max_steps=steps)), tmp_path / "parts")
    assert files_of(tmp_path / "parts") == files_of(whole) and len(files_of(whole)) == 6
    newest = [
        max((fold_folder(out, 0, 1) / "checkpoints").glob("step-*")) for out in (whole, tmp_path / "parts")
    ]
    one, other = (load_file(path / "model.safetensors") for path in newest)
    assert all((one[name] == other[name]).all() for name in one)


def test_what_was_annotated_automatically_does_not_train_and_contempt_is_no_eighth_of_seven(
    shards: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained on eight, tested on RAF-DB's seven: what is left of the probabilities adds up to 1."""
    settings = ("train.max_steps=1", "data.validation=0")
    train(small("affectnet8", shards["affectnet8"], *settings, recipe="tiny-expression"), tmp_path)
    assert "trains on 120 pictures, tests on 40 pictures" in capsys.readouterr().out
    evaluate_across(fold_folder(tmp_path, 0, 1), "rafdb", str(shards["rafdb"]), tmp_path / "rafdb")
    found = read_predictions(prediction_files(tmp_path / "rafdb")[1])
    assert found.prediction.shape == (280, 7) and found.header.outputs == benchmark("rafdb").outputs
    assert found.prediction.sum(axis=1) == pytest.approx(np.ones(280), abs=1e-5)


def test_another_data_set_is_tested_on_the_expressions_of_both(
    learnt: Path, shards: dict[str, Path], tmp_path: Path
) -> None:
    """AffectNet's contempt, which RAF-DB has not, is left out; its order is its own."""
    evaluate_across(learnt / "seed-0/fold-1/final", "affectnet8", str(shards["affectnet8"]), tmp_path)
    result = read_result(tmp_path / "result.json")
    assert result.outputs == benchmark("affectnet7").outputs and result.trained_on == "rafdb"
    found = read_predictions(prediction_files(tmp_path)[load_final(learnt / "seed-0/fold-1/final")[1].epoch])
    assert found.prediction.sum(axis=1) == pytest.approx(np.ones(len(found.key)), abs=1e-5)
    assert len(found.key) == 7 * 20, "of 160 pictures 20 show contempt"


def test_identities_are_not_learnt_where_nobody_knows_them(shards: dict[str, Path], tmp_path: Path) -> None:
    config = small("rafdb", shards["rafdb"], recipe="fmae-iat")
    with pytest.raises(UserError, match="nobody knows who is shown in RAF-DB, 7 expressions"):
        train(config, tmp_path)


@pytest.mark.parametrize(
    ("dataset", "batch", "lr", "epochs", "warmup"),
    [("rafdb", 32, 1e-3, 60, 6), ("affectnet8", 64, 5e-4, 30, 3)],
)
def test_fmaes_settings_are_the_released_ones(
    dataset: str, batch: int, lr: float, epochs: int, warmup: float
) -> None:
    config = finetuning_recipe("fmae", dataset)
    assert (config.data.batch_per_step, config.optim.base_lr) == (batch, lr)
    assert config.optim.base_lr * batch / 256 == 1.25e-4
    assert (config.train.epochs, config.optim.warmup_epochs) == (epochs, warmup)
    assert config.identity.strength == 0 and config.loss.kind is None
    assert benchmark(dataset).target.recipe == "fmae" and benchmark("disfa").target.recipe == "fmae-iat"
