"""Fine-tuning in small: it learns what the pictures show, tests only people it has not seen, and the identity
head, the schedule of lambda, the subset and the first weights are those that were asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_shards import files_of, one_cpu, small, write_labelled
from safetensors.torch import load_file

from fautrain import checkpoint
from fautrain.config import FinetuneConfig, override
from fautrain.data import Augment, Batch, LoaderOptions
from fautrain.data.benchmark import benchmark
from fautrain.data.folds import split
from fautrain.data.labels import LabelledSet
from fautrain.data.loader import make_loader
from fautrain.evaluation import prediction_files, read_fold, read_predictions, read_result
from fautrain.models.reversal import strength
from fautrain.recipes import finetuning_recipe, pretraining_recipe
from fautrain.runs.finetuning import finetune, fold_folder
from fautrain.runs.training import pretrain
from fautrain.tasks.au import ActionUnitTask
from fautrain.tasks.labelled import open_labels

__all__ = ["one_cpu"]  # a fixture, used by name

FRAMES = {"disfa": 10, "bp4d": 6, "bp4d_plus": 2}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("labelled")
    return {name: write_labelled(root / name, name, frames=frames) for name, frames in FRAMES.items()}


def train(config: FinetuneConfig, out: Path, *folds: int, seeds: tuple[int, ...] = (0,)) -> Path:
    finetune(config, out, folds=folds, seeds=seeds, resume="auto")
    return out


def weights(out: Path, fold: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    newest = max((fold_folder(out, seed, fold) / "checkpoints").glob("step-*"))
    return load_file(newest / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- a fold ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt(shards: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small("disfa", shards["disfa"], "train.epochs=6", "optim.lr=3e-3")
    return train(config, tmp_path_factory.mktemp("runs") / "learnt", 1)


def test_it_learns_what_the_pictures_show(learnt: Path) -> None:
    result = read_result(learnt / "result.json")
    assert result.baseline.mean < 0.65
    assert result.last.mean > result.baseline.mean + 0.12
    assert result.selected is not None and result.selected.mean > result.baseline.mean + 0.12
    assert result.published.mean >= max(result.last.mean, result.selected.mean)
    curve = result.runs[0].curves
    assert curve.epochs == (1, 2, 3, 4, 5, 6) and curve.test[-1] > curve.test[0] + 0.2


def test_a_run_leaves_what_it_promises(learnt: Path) -> None:
    run, bench = fold_folder(learnt, 0, 1), benchmark("disfa")
    result = read_result(learnt / "result.json")
    assert (result.dataset, result.folds, result.folds_total, result.seeds) == ("disfa", (1,), 3, (0,))
    assert result.drawn and result.runs == (read_fold(run / "fold.json"),)
    fold = result.runs[0]
    assert fold.subjects == tuple(sorted(bench.folds[0])) and fold.frames == 9 * 10
    # 15 % of the 18 others, rounded up, and none of them tested.
    assert len(fold.validation_subjects) == 3 and not {*fold.validation_subjects} & {*bench.folds[0]}
    config = json.loads((run / "config.json").read_text())
    assert (config["data"]["fold"], config["seed"], config["name"]) == (1, 0, "tiny")
    assert (run / "config.json").stat().st_mode & 0o044, "a group shares its runs"
    table = (learnt / "table.md").read_text()
    assert all(column in table for column in ("last epoch", "Selected on", "Published protocol"))
    page = (learnt / "report.html").read_text()
    assert all(f"{100 * mean:.1f}" in page for mean in (result.last.mean, result.published.mean))
    kinds = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in kinds} == {"train", "validation", "test"}
    assert {"loss", "au_loss", "id_loss", "id_accuracy"} <= kinds[0]["values"].keys()


def test_predictions_are_the_frames_of_held_out_people(learnt: Path, shards: dict[str, Path]) -> None:
    labels = open_labels(small("disfa", shards["disfa"]), benchmark("disfa"), 0, 1)
    parts = split(labels, 1, validation=0.15, seed=0)
    for path in prediction_files(fold_folder(learnt, 0, 1)).values():
        found = read_predictions(path)
        for name, indices in (("test", parts.test), ("validation", parts.validation)):
            rows = labels.rows[indices].tolist()
            assert {*found.of(name).key} == {labels.corpus.key(row) for row in rows}
        place = {labels.corpus.key(row): n for n, row in enumerate(labels.rows.tolist())}
        order = [place[key] for key in found.key]
        np.testing.assert_array_equal(found.target, labels.targets[order])
        np.testing.assert_array_equal(found.frame, labels.frame[order])
        assert found.subject.tolist() == [labels.benchmark.subjects[s] for s in labels.subject[order]]


def test_without_validation_subjects_nothing_is_selected(shards: dict[str, Path], tmp_path: Path) -> None:
    config = small("disfa", shards["disfa"], "data.validation=0", "train.max_steps=1")
    train(config, tmp_path, 1)
    result = read_result(tmp_path / "result.json")
    assert result.selected is None and result.runs[0].validation_subjects == ()
    assert "Selected on" not in (tmp_path / "table.md").read_text()


def test_only_the_action_units_asked_for(shards: dict[str, Path], tmp_path: Path) -> None:
    config = small("disfa", shards["disfa"], "data.aus=12,4", "train.max_steps=1")
    train(config, tmp_path, 3)
    assert read_result(tmp_path / "result.json").outputs == ("AU4", "AU12")
    assert weights(tmp_path, 3)["head.weight"].shape == (2, 192)


# -- folds and seeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dataset", "folds"), [("disfa", 3), ("bp4d", 3), ("bp4d_plus", 4)])
def test_all_folds_test_their_own_people(
    shards: dict[str, Path], tmp_path: Path, dataset: str, folds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(dataset, shards[dataset], "train.max_steps=1")
    train(config, tmp_path)
    said = capsys.readouterr().out
    bench, result = benchmark(dataset), read_result(tmp_path / "result.json")
    assert result.folds == tuple(range(1, folds + 1)) and result.folds_total == folds == len(bench.folds)
    assert result.subjects == len(bench.subjects) and result.frames == len(bench.subjects) * FRAMES[dataset]
    for fold, tested in enumerate(bench.folds, 1):
        found = read_predictions(prediction_files(fold_folder(tmp_path, 0, fold))[1])
        assert {*found.of("test").subject} == {*tested}
        kept = len(bench.subjects) - len(tested) - len({*found.of("validation").subject})
        assert f"fold {fold}, seed 0: trains on {kept * FRAMES[dataset]} frames of {kept} subjects" in said
    by_fold = [run.last.mean for run in result.runs]
    assert result.last.by_fold == tuple(by_fold) and result.last.mean == pytest.approx(np.mean(by_fold))


def test_tested_people_change_nothing_in_training(tmp_path: Path) -> None:
    """Other pictures of those whom fold 2 tests: the same weights. Of one who trains: others."""
    tested = benchmark("disfa").folds[1]
    trains = benchmark("disfa").folds[0][0]
    found: list[dict[str, torch.Tensor]] = []
    for name, others in (("as-they-are", ()), ("tested", tested), ("trains", (trains,))):
        corpus = write_labelled(tmp_path / name, "disfa", frames=4, redrawn=others)
        config = small("disfa", corpus, "train.epochs=1", "data.validation=0")
        found.append(weights(train(config, tmp_path / f"run-{name}", 2), 2))
    assert same(found[0], found[1]) and not same(found[0], found[2])


def test_every_seed_is_a_run_of_its_own(shards: dict[str, Path], tmp_path: Path) -> None:
    config = small("disfa", shards["disfa"], "train.max_steps=2", "data.validation=0.3")
    train(config, tmp_path, 1, seeds=(0, 5))
    result = read_result(tmp_path / "result.json")
    assert result.seeds == (0, 5) and [run.seed for run in result.runs] == [0, 5]
    assert len(result.last.by_seed) == 2 and result.last.seed_sd is not None
    assert not same(weights(tmp_path), weights(tmp_path, seed=5))
    held_out = [run.validation_subjects for run in result.runs]
    assert held_out[0] != held_out[1] and len(held_out[0]) == len(held_out[1]) == 6
    alone = train(config, tmp_path / "alone", 1, seeds=(5,))
    assert same(weights(alone, seed=5), weights(tmp_path, seed=5)), "what ran before must not matter"


# -- identity ----------------------------------------------------------------------------------------------


def labels_of(config: FinetuneConfig) -> LabelledSet:
    return open_labels(config, benchmark(config.data.dataset), 0, 1)


def task_of(config: FinetuneConfig) -> tuple[ActionUnitTask, LabelledSet]:
    fold = ActionUnitTask.open(config, 0, 1)
    return ActionUnitTask(config, fold), fold.labels


def batches_of(config: FinetuneConfig, labels: LabelledSet, epochs: int = 1) -> list[Batch]:
    data = config.data
    parts = split(labels, data.fold, validation=data.validation, seed=config.seed, every=data.every)
    loader = make_loader(
        labels.corpus,
        LoaderOptions(batch_per_step=data.batch_per_step, augment=Augment(image_px=config.model.image_px)),
        labels.rows[parts.train],
    )
    found = loader.batches()
    return [next(found) for _ in range(epochs * loader.steps_per_epoch)]


@pytest.mark.parametrize(("dataset", "subjects"), [("disfa", 27), ("bp4d", 41), ("bp4d_plus", 140)])
def test_the_identity_head_of_each_recipe(shards: dict[str, Path], dataset: str, subjects: int) -> None:
    heads: dict[str, tuple[int, ...] | None] = {}
    for name in ("fmae", "fmae-iat", "fmae-iat-paper"):
        config = small(dataset, shards[dataset], "model.size=tiny", "optim.warmup_epochs=0", recipe=name)
        task, labels = task_of(config)
        head = task.network.state_dict().get("ID_head.weight")
        heads[name] = tuple(head.shape) if head is not None else None
        assert task.network.head.out_features == len(labels.outputs)
    bench = benchmark(dataset)
    training = len(bench.subjects) - len(bench.folds[0])
    training -= int(np.ceil(round(0.15 * training, 9)))
    assert heads == {"fmae": None, "fmae-iat": (subjects, 192), "fmae-iat-paper": (training, 192)}


@pytest.mark.parametrize("which", ["all", "training"])
def test_each_sample_has_its_own_subject_in_the_identity_head(shards: dict[str, Path], which: str) -> None:
    config = small("disfa", shards["disfa"], f"identity.subjects={which}")
    task, labels = task_of(config)
    seen: dict[int, int] = {}
    for batch in batches_of(config, labels):
        identities = task.inputs(batch)[2]
        assert (identities.sum(dim=1) == 1).all()
        place = np.searchsorted(labels.rows, batch.samples.numpy())
        for subject, head in zip(labels.subject[place].tolist(), identities.argmax(1).tolist(), strict=True):
            assert seen.setdefault(subject, head) == head
    assert len({*seen.values()}) == len(seen) == 15
    if which == "all":
        assert all(subject == head for subject, head in seen.items())
    else:
        assert sorted(seen.values()) == [*range(15)] and task.subjects == 15


@pytest.mark.parametrize("kind", ["constant", "ramp"])
def test_lambda_follows_its_schedule(shards: dict[str, Path], kind: str) -> None:
    config = small("disfa", shards["disfa"], f"identity.schedule={kind}", "train.epochs=3")
    task, labels = task_of(config)
    batches = batches_of(config, labels, epochs=3)
    found = [task.inputs(batch)[3].item() for batch in batches]
    assert len(found) == 15
    assert found == pytest.approx([strength(kind, 0.5, step / 15) for step in range(15)])
    assert found[0] == (0.0 if kind == "ramp" else 0.5) and found[-1] > 0.49


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("loss", ["bce", "ce"])
def test_the_reversed_gradient_reaches_the_features(shards: dict[str, Path], layers: int, loss: str) -> None:
    """d(loss)/d(features) = d(AU loss) - lambda d(identity loss), the identity head's own gradient is not
    scaled (Eq. 3 and 4)."""
    config = small("disfa", shards["disfa"], f"identity.layers={layers}", f"identity.loss={loss}")
    task, labels = task_of(config)
    task.eval()
    images, targets, identities, lam, *rest = task.inputs(batches_of(config, labels)[0])
    assert lam == 0.5
    name = "ID_head.weight" if layers == 1 else f"ID_head.{2 * layers - 2}.weight"
    features: list[torch.Tensor] = []
    heads: list[torch.Tensor] = []
    for factor in (0.0, 0.5, 2.0):
        task.zero_grad()
        values = task(images, targets, identities, torch.tensor(factor), *rest)
        assert task.terms == ("au_loss", "id_loss")
        (values["au_loss"] + values["id_loss"]).backward()
        parameters = dict(task.network.named_parameters())
        features.append(parameters["blocks.0.mlp.fc1.weight"].grad.clone())
        heads.append(parameters[name].grad.clone())
    assert heads[0].abs().max() > 0 and torch.equal(heads[0], heads[1]) and torch.equal(heads[0], heads[2])
    reversed_part = features[0] - features[1]
    assert reversed_part.abs().max() > 1e-6
    torch.testing.assert_close(features[0] - features[2], 4 * reversed_part, rtol=1e-3, atol=1e-6)


def test_erasing_and_mixing_are_for_training_only(shards: dict[str, Path]) -> None:
    config = small("disfa", shards["disfa"], "data.erasing=1", "data.mixup=0.8", "data.cutmix=1")
    plain = small("disfa", shards["disfa"])
    found: list[list[float]] = []
    for each in (config, plain):
        task, labels = task_of(each)
        inputs = task.inputs(batches_of(each, labels)[0])
        found.append([task.eval()(*inputs)["au_loss"].item(), task.train()(*inputs)["au_loss"].item()])
        with torch.no_grad():
            assert task.predictions(inputs[0]).shape == (32, 8)
    (evaluated, trained), (plain_evaluated, plain_trained) = found
    assert evaluated == plain_evaluated == plain_trained
    # The head starts near 0: mixed labels hardly move the loss, but something must have happened.
    assert trained != evaluated


# -- what it starts from and what it trains on -------------------------------------------------------------


def test_a_subset_trains_on_every_tenth_frame(
    shards: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small("disfa", shards["disfa"], "data.every=10", "data.batch_per_step=4", "train.epochs=1")
    train(config, tmp_path, 1)
    assert "trains on 15 frames of 15 subjects, validates on 30 frames" in capsys.readouterr().out
    found = checkpoint.latest(fold_folder(tmp_path, 0, 1))
    assert found is not None
    assert checkpoint.load(found).counters == {"step": 4, "samples": 15, "nonfinite": 0}


def test_it_starts_from_the_encoder_of_a_pretraining_run(
    shards: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ("image_px=32", "patch_px=16", "decoder_width=32", "decoder_depth=1")
    before = override(
        pretraining_recipe("tiny"),
        [
            *(f"model.{setting}" for setting in settings),
            f"data.shards={shards['disfa']}",
            f"data.cache={tmp_path}",
            "data.workers=0",
            "data.held_out=0",
            "train.max_steps=2",
            "log.grid_every_epochs=none",
        ],
    )
    pretrain(before, tmp_path / "pretrained", "auto")
    still = ("optim.lr=0", "train.max_steps=1")
    config = small("disfa", shards["disfa"], f"model.init={tmp_path / 'pretrained'}", *still)
    ours = weights(train(config, tmp_path / "run", 1))
    newest = max((tmp_path / "pretrained" / "checkpoints").glob("step-*"))
    theirs = load_file(newest / "model.safetensors")
    shared = {name for name in ours if name.startswith(("blocks.", "patch_embed.", "cls_token", "pos_embed"))}
    assert len(shared) == 4 + 12 * 4 and all(torch.equal(ours[name], theirs[name]) for name in shared)
    assert "unused decoder" in capfd.readouterr().err.replace("\n", " ")
    drawn = weights(train(small("disfa", shards["disfa"], *still), tmp_path / "drawn", 1))
    assert not torch.equal(drawn["blocks.0.attn.qkv.weight"], ours["blocks.0.attn.qkv.weight"])
    assert torch.equal(drawn["head.weight"], ours["head.weight"]), "heads start the same, whatever is loaded"


def test_training_may_end_within_an_epoch_and_go_on(shards: dict[str, Path], tmp_path: Path) -> None:
    config = small("disfa", shards["disfa"], "data.batch_per_step=64")  # three steps an epoch
    whole = train(config, tmp_path / "whole", 1)
    parts = tmp_path / "parts"
    for steps in (2, 4, None):
        train(replace(config, train=replace(config.train, max_steps=steps)), parts, 1)
        epochs = read_result(parts / "result.json").runs[0].curves.epochs
        assert epochs == ((1,) if steps == 2 else (1, 2))
    assert files_of(parts) == files_of(whole) and len(files_of(whole)) == 6
    assert same(weights(parts), weights(whole))


def test_recipes_train_as_they_are_but_for_size(shards: dict[str, Path], tmp_path: Path) -> None:
    """RandAugment, erasing, drop path and layer decay of the published recipe, in two steps."""
    config = small(
        "disfa", shards["disfa"], "model.size=tiny", "optim.warmup_epochs=1", "train.max_steps=2",
        "data.rrc_scale=0.08,1", recipe="fmae-iat",
    )  # fmt: skip
    assert config.data.randaugment == finetuning_recipe("fmae-iat", "disfa").data.randaugment is not None
    out = train(config, tmp_path, 1)
    assert len(read_result(out / "result.json").last.scores) == 8
