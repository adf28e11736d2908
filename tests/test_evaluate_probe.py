"""What is done with a trained model: its tables anew, another data set, the identity probe."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from labelled_shards import CROPS, PX, files_of, one_cpu, small, write_labelled
from safetensors.torch import load_file, save_file

from facecorpus.errors import UserError
from fautrain import checkpoint
from fautrain.data import Corpus, Normalise
from fautrain.data.benchmark import benchmark
from fautrain.data.labels import LabelledSet
from fautrain.evaluation import prediction_files, read_fold, read_predictions, read_result
from fautrain.runs.evaluate import evaluate, evaluate_across
from fautrain.runs.final import load_final
from fautrain.runs.finetuning import finetune, fold_folder
from fautrain.runs.inference import Trained, beside, checkpoints, features, load_trained, predictions
from fautrain.runs.probing import probe_run, sample_frames
from fautrain.tasks.kept import forget_weights, is_best, keep_weights, weights_path
from fautrain.tasks.labelled import open_labels

__all__ = ["one_cpu"]  # a fixture, used by name

SHARED = ("AU1", "AU2", "AU4", "AU6", "AU12")
"""Action units of both DISFA and BP4D."""


@pytest.fixture(scope="module")
def disfa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled") / "disfa", "disfa", frames=12)


@pytest.fixture(scope="module")
def bp4d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled") / "bp4d", "bp4d", frames=4)


@pytest.fixture(scope="module")
def run(disfa: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All checkpoints of three epochs of one fold. Read only."""
    out = tmp_path_factory.mktemp("runs") / "run"
    config = small("disfa", disfa, "train.epochs=3", "optim.lr=5e-3", "train.keep=9")
    finetune(config, out, folds=(2,), seeds=(3,), resume="auto")
    return out


@pytest.fixture(scope="module")
def fold(run: Path) -> Path:
    return fold_folder(run, 3, 2)


# -- the model out of its folder ---------------------------------------------------------------------------


def test_a_loaded_model_predicts_what_was_written_in_training(disfa: Path, fold: Path) -> None:
    folders = checkpoints(fold)
    assert [checkpoint.step_of(folder) for folder in folders] == [6, 12, 18]
    labels = open_labels(small("disfa", disfa), benchmark("disfa"), 0, 1)
    place = {labels.corpus.key(row): n for n, row in enumerate(labels.rows.tolist())}
    for number, folder in enumerate(folders, 1):
        trained = load_trained(folder)
        assert trained.epochs == number and not trained.model.training and trained.model.ID_head is None
        written = read_predictions(prediction_files(fold)[number])
        chosen = np.array([place[key] for key in written.key])
        np.testing.assert_allclose(
            predictions(trained, labels, chosen), written.prediction, rtol=0, atol=1e-5
        )


def one_by_one(trained: Trained, labels: LabelledSet, chosen: np.ndarray) -> np.ndarray:
    """Probabilities of single pictures, without loader or batches: resized, normalised, the model applied."""
    found: list[np.ndarray] = []
    for row in labels.rows[chosen].tolist():
        pixels = torch.from_numpy(decoded(labels.corpus, row)).permute(2, 0, 1)[None]
        data = trained.config.data
        with torch.no_grad():
            logits = trained.model(Normalise(data.mean, data.std)(pixels)).logits
        found.append(logits.sigmoid()[0].numpy())
    return np.stack(found)


def decoded(corpus: Corpus, row: int) -> np.ndarray:
    """RGB of a sample, straight from the tar."""
    shard, number = corpus.locate(row)
    index = corpus.indexes[shard]
    data = Path(corpus.shards[shard].url).read_bytes()
    start, size = int(index.offsets[number]), int(index.sizes[number])
    picture = cv2.imdecode(np.frombuffer(data[start : start + size], np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (PX, PX, 3)
    return np.ascontiguousarray(picture[..., ::-1])


def test_features_and_probabilities_keep_the_order_asked_for(disfa: Path, fold: Path) -> None:
    trained = load_trained(checkpoints(fold)[-1])
    labels = open_labels(trained.config, trained.benchmark, 0, 1)
    every = np.arange(len(labels))
    straight, chances = features(trained, labels, every), predictions(trained, labels, every)
    assert straight.shape == (27 * 12, 192) and chances.shape == (27 * 12, 8)
    mixed = np.random.default_rng(0).permutation(every)[:100]
    np.testing.assert_allclose(features(trained, labels, mixed), straight[mixed], rtol=0, atol=1e-4)
    np.testing.assert_allclose(predictions(trained, labels, mixed), chances[mixed], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        one_by_one(trained, labels, mixed[:20]), chances[mixed[:20]], rtol=0, atol=1e-5
    )
    with torch.no_grad():
        again = trained.model.head(torch.from_numpy(straight)).sigmoid()
    np.testing.assert_allclose(again.numpy(), chances, rtol=0, atol=1e-5)


# -- the final model ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short(disfa: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fold of four epochs that keeps one checkpoint, with an identity head. Read only."""
    out = tmp_path_factory.mktemp("runs") / "short"
    settings = ("train.epochs=4", "optim.lr=1e-2", "train.keep=1", "identity.strength=0.5")
    finetune(small("disfa", disfa, *settings), out, folds=(2,), seeds=(3,), resume="auto")
    return fold_folder(out, 3, 2)


def test_the_weights_of_reported_epochs_outlive_their_checkpoints(short: Path) -> None:
    result = read_fold(short / "fold.json")
    assert result.selected and len(checkpoints(short)) == 1
    reported = {result.selected.epoch, result.published.epoch}
    kept = {int(path.stem.removeprefix("epoch-")) for path in (short / "weights").glob("*.safetensors")}
    assert reported <= kept
    assert not any(name.startswith("ID_head") for name in load_file(weights_path(short, min(kept))))


def test_a_final_model_needs_no_other_file_and_predicts_what_the_run_did(
    disfa: Path, short: Path, tmp_path: Path
) -> None:
    result = read_fold(short / "fold.json")
    assert result.selected
    shutil.copytree(short / "final", tmp_path / "final")
    model, card = load_final(tmp_path / "final")
    assert {path.name for path in (tmp_path / "final").iterdir()} == {"model.safetensors", "model.json"}
    assert card.outputs == benchmark("disfa").outputs and not model.training
    assert (card.chosen, card.epoch) == ("selected", result.selected.epoch)
    assert card.threshold == result.selected.choice and card.drawn and card.crops == CROPS
    assert card.benchmark == benchmark("disfa") and card.config.seed == 3 and card.versions["torch"]
    assert (card.image_px, card.mean, card.precision) == (PX, card.config.data.mean, "fp32")
    assert card.last.epoch == 4 and len(card.train_subjects) == 27 - 9 - len(result.validation_subjects)

    trained = load_trained(tmp_path / "final")
    labels = open_labels(small("disfa", disfa), benchmark("disfa"), 0, 1)
    place = {labels.corpus.key(row): n for n, row in enumerate(labels.rows.tolist())}
    written = read_predictions(prediction_files(short)[card.epoch])
    chosen = np.array([place[key] for key in written.key])
    np.testing.assert_array_equal(predictions(trained, labels, chosen), written.prediction)


def test_evaluate_and_probe_take_a_final_model_and_leave_it_as_it_is(
    short: Path, bp4d: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in (short / "final").iterdir()}
    evaluate_across(short / "final", "bp4d", str(bp4d), tmp_path / "out")
    (epoch,) = prediction_files(tmp_path / "out")
    assert epoch == load_final(short / "final").card.epoch
    probe_run(short / "final", "", tmp_path / "probe", every_epoch=False, seed=0)
    assert {path.name: path.read_bytes() for path in (short / "final").iterdir()} == before
    assert beside(short / "final", "probe") == short / "probe-final"
    newest = checkpoints(short)[-1]
    assert beside(newest, "on-bp4d") == short / f"on-bp4d-{newest.name}"
    assert beside(short, "probe") == short / "probe"


def test_a_final_model_computes_in_the_precision_of_its_card(short: Path, tmp_path: Path) -> None:
    """Whatever `train.precision=auto` of its run would be here."""
    shutil.copytree(short / "final", tmp_path / "final")
    assert not load_trained(tmp_path / "final").half
    card = tmp_path / "final" / "model.json"
    card.write_text(card.read_text().replace('"precision": "fp32"', '"precision": "bf16"'))
    trained = load_trained(tmp_path / "final")
    assert trained.half and trained.config.train.precision == "auto"


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("model.json", lambda data: data.replace(b'"AU1"', b'"AU3"', 1), "describes another model"),
        (
            "model.json",
            lambda data: data.replace(b'"image_px": 32', b'"image_px": 99999968', 1),
            "another model",
        ),
        ("model.json", lambda data: data[:-40], "model.json is damaged .*copy the final model again"),
        ("model.json", lambda data: b"[" * 100_000, "model.json is damaged"),
        ("model.json", lambda data: b"[]", "it is no JSON object"),
        ("model.json", lambda data: data.replace(b'"format": 2', b'"format": 9'), "of format 9"),
        ("model.json", lambda data: data.replace(b'"threshold"', b'"treshold"', 1), "treshold is no value"),
        ("model.safetensors", lambda data: data[:-4] + b"\1\1\1\1", "model.safetensors is altered"),
        ("model.safetensors", lambda data: b"", "model.safetensors is altered"),
    ],
)
def test_a_damaged_final_model_is_refused(
    short: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes], words: str
) -> None:
    shutil.copytree(short / "final", tmp_path / "final")
    path = tmp_path / "final" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=words) as refusal:
        load_trained(tmp_path / "final")
    assert "\n" not in str(refusal.value)


def test_without_validation_subjects_the_final_model_is_of_the_last_epoch(
    disfa: Path, tmp_path: Path
) -> None:
    config = small("disfa", disfa, "data.validation=0", "train.epochs=1", "identity.strength=1")
    finetune(config, tmp_path, folds=(1,), seeds=(0,), resume="auto")
    model, card = load_final(fold_folder(tmp_path, 0, 1) / "final")
    assert (card.chosen, card.epoch, card.threshold, card.selected) == ("last", 1, 0.5, None)
    last = load_trained(checkpoints(fold_folder(tmp_path, 0, 1))[-1]).model.state_dict()
    assert all(torch.equal(tensor, last[name]) for name, tensor in model.state_dict().items())


def test_kept_weights_are_those_that_may_be_reported(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    bystander = tmp_path / "weights" / "epoch-0001.safetensors"
    save_file({"mine": torch.ones(1)}, bystander)
    course = [(0.2, 0.5), (0.4, 0.4), (0.3, 0.3), (0.5, 0.6), (0.5, 0.6), (0.1, 0.7)]
    kept: list[list[int]] = []
    tensors = {"w": torch.ones(1), "ID_head.w": torch.ones(1)}
    for epoch, (validation, test) in enumerate(course, 2):
        scores = {"validation": validation, "test": test}
        if is_best(tmp_path, epoch, scores):
            keep_weights(tmp_path, epoch, scores, tensors, [epoch - 1])
        kept.append(sorted(int(path.stem[-4:]) for path in (tmp_path / "weights").iterdir()))
    assert load_file(bystander)["mine"] == 1
    # Nothing is removed before a run that goes on after the epoch before would find it.
    assert kept == [[1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3, 5], [1, 2, 3, 5], [1, 5, 7]]
    forget_weights(tmp_path, 7)
    forget_weights(tmp_path, 1)
    assert {path.name[6:10] for path in (tmp_path / "weights").iterdir()} == {"0001", "0005"}


# -- evaluate ----------------------------------------------------------------------------------------------


def test_the_tables_are_written_again_the_same(run: Path, tmp_path: Path) -> None:
    before, out = files_of(run), tmp_path / "copy"
    shutil.copytree(run, out)
    for name in ("result.json", "table.md", "report.html"):
        (out / name).unlink()
    evaluate(out)
    assert files_of(out) == before and len(before) == 3 + 1 + 3


def test_tables_of_the_folds_that_are_there(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(run, out)
    (fold_folder(out, 3, 2) / "predictions" / "epoch-0003.parquet").unlink()
    evaluate(out)
    result = read_result(out / "result.json")
    assert result.runs[0].last.epoch == 2 and any("2 of 3" in note for note in result.notes)


def test_another_data_set_on_the_shared_action_units(fold: Path, bp4d: Path, tmp_path: Path) -> None:
    evaluate_across(fold, "bp4d", str(bp4d), tmp_path)
    found = read_predictions(prediction_files(tmp_path)[3])
    header = found.header
    assert (header.dataset, header.trained_on, header.outputs) == ("bp4d", "disfa", SHARED)
    assert (header.fold, header.epoch, header.seed, header.drawn) == (None, 3, 3, True)
    assert len(found.key) == 41 * 4 and {*found.part} == {"test"} and {*found.video} == {"T1", "T2"}

    trained = load_trained(checkpoints(fold)[-1])
    labels = open_labels(small("bp4d", bp4d), benchmark("bp4d"), 0, 1)
    place = {labels.corpus.key(row): n for n, row in enumerate(labels.rows.tolist())}
    chosen = np.array([place[key] for key in found.key])
    ours = [trained.target.outputs.index(au) for au in SHARED]
    np.testing.assert_allclose(
        found.prediction, one_by_one(trained, labels, chosen)[:, ours], rtol=0, atol=1e-5
    )
    theirs = [labels.outputs.index(au) for au in SHARED]
    np.testing.assert_array_equal(found.target, labels.targets[chosen][:, theirs])

    result = read_result(tmp_path / "result.json")
    assert (result.trained_on, result.outputs, result.folds, result.subjects) == ("disfa", SHARED, (), 41)
    # The pictures of the two sets show their first four action units alike, and 12 elsewhere.
    assert min(result.last.scores[:2]) > 0.6
    assert "disfa" in (tmp_path / "table.md").read_text().lower()


def test_another_checkpoint_leaves_nothing_of_the_first(fold: Path, bp4d: Path, tmp_path: Path) -> None:
    for folder in (checkpoints(fold)[-1], checkpoints(fold)[0]):
        evaluate_across(folder, "bp4d", str(bp4d), tmp_path)
    assert [*prediction_files(tmp_path)] == [1] == [read_result(tmp_path / "result.json").runs[0].last.epoch]


def test_people_who_were_trained_on_are_not_tested(fold: Path, disfa: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"subject SN0.. of disfa is in both train .disfa. and test .disfa."):
        evaluate_across(fold, "disfa", str(disfa), tmp_path / "a")
    # Those of the tested fold alone may be.
    strangers = write_labelled(tmp_path / "fold-2", "disfa", subjects=benchmark("disfa").folds[1])
    evaluate_across(fold, "disfa", str(strangers), tmp_path / "b")
    assert read_result(tmp_path / "b" / "result.json").subjects == 9
    assert not (tmp_path / "a").exists()


def test_without_a_shared_action_unit_there_is_nothing_to_test(
    disfa: Path, bp4d: Path, tmp_path: Path
) -> None:
    config = small("disfa", disfa, "data.aus=9,25,26", "train.max_steps=1")
    finetune(config, tmp_path, folds=(1,), seeds=(0,), resume="auto")
    with pytest.raises(UserError, match=r"bp4d shares no action unit .*\(AU9, AU25, AU26\); choose another"):
        evaluate_across(fold_folder(tmp_path, 0, 1), "bp4d", str(bp4d), tmp_path / "on-bp4d")


def test_a_damaged_checkpoint_is_not_used(fold: Path, bp4d: Path, tmp_path: Path) -> None:
    copy = tmp_path / "step-00000018"
    shutil.copytree(checkpoints(fold)[-1], copy)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\1\1\1\1")
    with pytest.raises(UserError, match=r"not whole: model.safetensors: altered.*; use an older one"):
        evaluate_across(copy, "bp4d", str(bp4d), tmp_path / "out")


# -- probe -------------------------------------------------------------------------------------------------


def picture(path: Path) -> np.ndarray:
    found = cv2.imread(str(path))
    assert found is not None and min(found.shape[:2]) > 200 and found.std() > 10
    return found


def test_the_probe_reads_who_is_shown_and_writes_what_it_promises(fold: Path, tmp_path: Path) -> None:
    text = probe_run(fold, "", tmp_path, every_epoch=False, seed=0)
    assert {path.name for path in tmp_path.iterdir()} == {
        "probe.json",
        "probe.md",
        "tsne.png",
        "tsne-aus.png",
    }
    assert (tmp_path / "probe.md").read_text() == text
    (found,) = json.loads((tmp_path / "probe.json").read_text()).items()
    epoch, result = found
    frames = result["frames"]
    assert epoch == "3" and frames["chance"] == pytest.approx(1 / 27) and result["width"] == 192
    # Every subject has a pattern of their own, whatever the face shows.
    assert frames["logistic"]["accuracy"]["value"] > 3 * frames["chance"]
    assert frames["train_frames"] == 27 * 8 and frames["test_frames"] == 27 * 4
    for name in ("tsne.png", "tsne-aus.png"):
        picture(tmp_path / name)
    again = tmp_path / "again"
    assert probe_run(fold, "", again, every_epoch=False, seed=0) == text
    assert (again / "probe.json").read_bytes() == (tmp_path / "probe.json").read_bytes()


def test_every_epoch_draws_the_course(fold: Path, tmp_path: Path) -> None:
    text = probe_run(fold, "", tmp_path, every_epoch=True, seed=1)
    found = json.loads((tmp_path / "probe.json").read_text())
    assert [*found] == ["1", "2", "3"]
    accuracy = [result["frames"]["logistic"]["accuracy"]["value"] for result in found.values()]
    assert len({*accuracy}) > 1 and all(0 <= value <= 1 and math.isfinite(value) for value in accuracy)
    for name in ("identity-over-epochs.png", "f1-over-epochs.png"):
        picture(tmp_path / name)
    assert text == (tmp_path / "probe.md").read_text()


def test_one_checkpoint_has_no_course(fold: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has kept one checkpoint; .* --set train.keep=1000"):
        probe_run(checkpoints(fold)[-1], "", tmp_path / "out", every_epoch=True, seed=0)
    assert not (tmp_path / "out").exists()


def test_the_frames_of_the_probe_are_drawn_for_each_subject(disfa: Path) -> None:
    labels = open_labels(small("disfa", disfa), benchmark("disfa"), 0, 1)
    assert sample_frames(labels, 0).tolist() == [*range(27 * 12)], "few frames are all taken"
    one = replace(labels, subject=labels.subject // 20)  # 240 frames of the first, 84 of the other
    taken = sample_frames(one, 0)
    assert np.bincount(one.subject[taken]).tolist() == [200, 84]
    assert (np.diff(taken) > 0).all() and taken[:200].tolist() != [*range(200)]
    assert sample_frames(one, 0).tolist() == taken.tolist() != sample_frames(one, 1).tolist()
