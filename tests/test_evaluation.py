"""Predictions on disk, and the three columns of a fold."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.metrics as sk

from facecorpus.errors import UserError
from fautrain.evaluation import (
    Header,
    Predictions,
    check_support,
    evaluate_fold,
    prediction_path,
    read_predictions,
    write_predictions,
)
from fautrain.targets.occurrence import Occurrence

AUS = ("AU1", "AU4", "AU12")


def epoch(
    number: int,
    sharpness: float = 2.0,
    *,
    test: tuple[str, ...] = ("SN003", "SN004", "SN005"),
    validation: tuple[str, ...] = ("SN001", "SN002"),
    frames: int = 40,
    shift: float = 0.0,
    missing: float = 0.1,
    **header: object,
) -> Predictions:
    """Predictions that are the better the greater `sharpness`; the frames are the same for all epochs."""
    subjects = np.repeat((*validation, *test), frames)
    rng = np.random.default_rng(11)
    target = (rng.random((len(subjects), len(AUS))) < (0.15, 0.3, 0.6)).astype(np.float32)
    target[rng.random(target.shape) < missing] = np.nan
    noise = np.random.default_rng([number, 5]).normal(size=target.shape)
    logits = sharpness * (2 * np.nan_to_num(target, nan=0.5) - 1) + noise + shift
    frame = np.tile(np.arange(1, frames + 1, dtype=np.int32), len(subjects) // frames)
    given = {
        "dataset": "disfa",
        "kind": "occurrence",
        "outputs": AUS,
        "epochs": 3,
        "fold": 3,
        "folds": 3,
        **header,
    }
    return Predictions(
        Header(epoch=number, **given),  # type: ignore[arg-type]
        part=np.where(np.isin(subjects, validation), "validation", "test"),
        key=np.array([f"{s}-{f}" for s, f in zip(subjects, frame, strict=True)]),
        subject=subjects,
        video=np.full(len(subjects), "right"),
        frame=frame,
        prediction=(1 / (1 + np.exp(-logits))).astype(np.float32),
        target=target,
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for number, sharpness in ((1, 0.5), (2, 1.5), (3, 1.0)):
        write_predictions(tmp_path, epoch(number, sharpness, shift=-0.8))
    return tmp_path


def permuted(predictions: Predictions, order: np.ndarray) -> Predictions:
    arrays = {f.name: getattr(predictions, f.name) for f in dataclasses.fields(predictions)}
    header = arrays.pop("header")
    return Predictions(header, **{name: values[order] for name, values in arrays.items()})


def test_predictions_come_back_as_written(tmp_path: Path):
    given = epoch(3)
    path = write_predictions(tmp_path, given)
    assert path == tmp_path / "predictions" / "epoch-0003.parquet" == prediction_path(tmp_path, 3)
    found = read_predictions(path)
    assert found.header == given.header
    order = np.lexsort((given.frame, given.video, given.subject, given.part))
    for field in dataclasses.fields(Predictions)[1:]:
        np.testing.assert_array_equal(getattr(found, field.name), getattr(given, field.name)[order])
    assert list(found.part) == sorted(given.part)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_equal_predictions_give_equal_bytes_in_any_order(tmp_path: Path):
    given = epoch(1)
    order = np.random.default_rng(0).permutation(len(given.part))
    first = write_predictions(tmp_path / "a", given)
    second = write_predictions(tmp_path / "b", permuted(given, order))
    assert first.read_bytes() == second.read_bytes()


def test_the_columns_are_the_promised_ones(tmp_path: Path):
    schema = pq.read_schema(write_predictions(tmp_path, epoch(1)))
    names = {field.name: str(field.type) for field in schema}
    assert names == {
        "part": "string",
        "key": "string",
        "subject": "string",
        "video": "string",
        "frame": "int32",
        "prediction": "list<element: float>",
        "target": "list<element: float>",
    }
    metadata = json.loads(schema.metadata[b"fautrain"])
    assert metadata | {"version": 2, "dataset": "disfa", "outputs": [*AUS], "fold": 3, "epoch": 1} == metadata


def rewritten(path: Path, change: str) -> None:
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[b"fautrain"])
    if change == "width":
        metadata["outputs"] = ["AU1", "AU4"]
    elif change == "version":
        metadata["version"] = 9
    elif change == "kind":
        metadata["kind"] = "happiness"
    elif change == "header":
        metadata["surprise"] = 1
    elif change == "epoch":
        metadata["epoch"] = 8
    elif change == "column":
        table = table.drop_columns(["subject"])
    elif change == "twice":
        table = pa.concat_tables([table, table])
    elif change == "text":
        table = table.set_column(
            2, table.schema.field(2), pa.array([b"\xb8"] * len(table), pa.binary()).view(pa.string())
        )
    elif change == "range":
        table = table.set_column(
            5, table.schema.field(5), pa.array([[2.0, 0, 0]] * len(table), pa.list_(pa.float32()))
        )
    pq.write_table(table.replace_schema_metadata({b"fautrain": json.dumps(metadata)}), path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("width", "has 3 values for 2 outputs"),
        ("version", "version 9"),
        ("kind", "there is no kind of target happiness"),
        ("header", "surprise"),
        ("epoch", "it holds epoch 8"),
        ("column", "its columns"),
        ("twice", "a key comes twice"),
        ("range", "outside 0 to 1"),
        ("text", "it is no Parquet file of predictions"),
    ],
)
def test_a_file_of_other_content_is_refused_in_a_sentence(tmp_path: Path, change: str, says: str):
    path = write_predictions(tmp_path, epoch(1))
    rewritten(path, change)
    with pytest.raises(UserError, match=says) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)
    assert "evaluate the epoch again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 100, -9])
def test_a_cut_file_is_refused_in_a_sentence(tmp_path: Path, keep: int):
    path = write_predictions(tmp_path, epoch(1))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="is damaged"):
        read_predictions(path)


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"there is no .*epoch-0001"):
        read_predictions(prediction_path(tmp_path, 1))
    with pytest.raises(UserError, match=r"holds no epoch-NNNN\.parquet"):
        evaluate_fold(tmp_path)


def test_wrong_arrays_are_not_written(tmp_path: Path):
    good = epoch(1)
    bad = {
        "differ in length": {"frame": good.frame[1:]},
        "outputs have predictions": {"prediction": good.prediction[:, :2]},
        "neither": {"part": np.full(len(good.part), "train")},
        "outside 0 to 1": {"prediction": good.prediction * 2},
        "not 0, 1 or NaN": {"target": good.target * 3},
        "twice": {"key": np.full(len(good.key), "x")},
    }
    for says, change in bad.items():
        with pytest.raises(ValueError, match=says):
            write_predictions(tmp_path, dataclasses.replace(good, **change))
    with pytest.raises(UserError, match="diverged"):
        write_predictions(tmp_path, dataclasses.replace(good, prediction=good.prediction * np.nan))
    assert not list(tmp_path.iterdir())


def slow_f1(predictions: Predictions, part: str, threshold: float) -> list[float]:
    rows = predictions.part == part
    p, t = predictions.prediction[rows], predictions.target[rows]
    found = []
    for au in range(len(AUS)):
        kept = ~np.isnan(t[:, au])
        present, detected = t[kept, au] == 1, p[kept, au] >= np.float32(threshold)
        found.append(2 * (present & detected).sum() / max(present.sum() + detected.sum(), 1))
    return found


def slow_best(run: Path, part: str) -> tuple[int, float]:
    epochs = {number: read_predictions(prediction_path(run, number)) for number in (1, 2, 3)}
    scores = {
        (number, step): np.mean(slow_f1(epochs[number], part, step / 100))
        for number in (1, 2, 3)
        for step in range(1, 100)
    }
    top = max(scores.values())
    tied = [place for place, score in scores.items() if score > top - 1e-12]
    number, step = min(tied, key=lambda place: (place[0], abs(place[1] - 50), place[1]))
    return number, step / 100


def test_the_three_columns_are_those_found_by_trying_everything(run: Path):
    found = evaluate_fold(run)
    assert (found.last.epoch, found.last.choice) == (3, 0.5)
    assert found.selected is not None
    assert (found.selected.epoch, found.selected.choice) == slow_best(run, "validation")
    assert (found.published.epoch, found.published.choice) == slow_best(run, "test")
    assert found.selected.choice != 0.5  # or the comparison would prove little
    assert (found.selected.epoch, found.selected.choice) != (
        found.published.epoch,
        found.published.choice,
    )
    for column in (found.last, found.selected, found.published):
        predictions = read_predictions(prediction_path(run, column.epoch))
        assert column.scores == pytest.approx(slow_f1(predictions, "test", column.choice), abs=1e-12)
        assert column.mean == pytest.approx(np.mean(column.scores))
        assert found.published.mean >= column.mean
        test = predictions.of("test")
        for au in range(len(AUS)):
            kept = ~np.isnan(test.target[:, au])
            t, p = test.target[kept, au], test.prediction[kept, au]
            d = p >= np.float32(column.choice)
            assert column.scores[au] == pytest.approx(sk.f1_score(t, d, zero_division=0))
            assert column.measures["AUC"][au] == pytest.approx(sk.roc_auc_score(t, p))
            assert column.measures["accuracy"][au] == pytest.approx(sk.accuracy_score(t, d))
            assert column.measures["precision"][au] == pytest.approx(
                sk.precision_score(t, d, zero_division=0)
            )
            assert column.measures["recall"][au] == pytest.approx(sk.recall_score(t, d, zero_division=0))
            assert np.sum(column.statistics, axis=(0, 2))[au] == kept.sum()
            assert found.baseline_statistics[au] == (t.sum(), kept.sum() - t.sum(), 0, 0)
            assert found.baseline[au] == pytest.approx(sk.f1_score(t, np.ones_like(t)))
    assert found.subjects == ("SN003", "SN004", "SN005")
    assert found.validation_subjects == ("SN001", "SN002")
    assert found.frames == 120
    assert found.notes == ()


def test_the_curves_run_over_epochs_and_thresholds(run: Path):
    found = evaluate_fold(run)
    curves = found.curves
    assert curves.epochs == (1, 2, 3)
    last = read_predictions(prediction_path(run, 3))
    assert curves.test[2] == pytest.approx(np.mean(slow_f1(last, "test", 0.5)))
    assert curves.test_choices[29] == pytest.approx(np.mean(slow_f1(last, "test", 0.3)))
    assert curves.test_best[2] == max(curves.test_choices)
    assert max(curves.test_best) == found.published.mean
    assert curves.validation is not None and curves.validation_choices is not None
    assert curves.validation[1] == pytest.approx(
        np.mean(slow_f1(read_predictions(prediction_path(run, 2)), "validation", 0.5))
    )
    assert curves.validation_choices[69] == pytest.approx(np.mean(slow_f1(last, "validation", 0.7)))


def test_without_validation_subjects_nothing_is_selected(tmp_path: Path):
    write_predictions(tmp_path, epoch(2, validation=(), fold=None, folds=0, trained_on="bp4d", epochs=0))
    found = evaluate_fold(tmp_path)
    assert found.selected is None
    assert found.curves.validation is None and found.curves.validation_choices is None
    assert (found.fold, found.trained_on) == (None, "bp4d")
    assert found.last.epoch == found.published.epoch == 2


def test_equal_epochs_are_broken_towards_the_earliest_and_half(tmp_path: Path):
    for number in (1, 2):
        write_predictions(tmp_path, dataclasses.replace(epoch(1), header=epoch(number).header))
    perfect = epoch(1, 50.0, missing=0)
    write_predictions(tmp_path / "perfect", perfect)
    assert evaluate_fold(tmp_path).published.epoch == 1
    assert evaluate_fold(tmp_path / "perfect").published.choice == 0.5


@pytest.mark.parametrize(
    "other",
    [
        {"frames": 41},
        {"test": ("SN003", "SN004", "SN006")},
        {"missing": 0.2},
        {"seed": 4},
        {"fold": 2},
    ],
)
def test_epochs_of_different_runs_are_not_mixed(run: Path, other: dict[str, object]):
    write_predictions(run, epoch(4, **other))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"epoch-0004\.parquet holds other frames or settings"):
        evaluate_fold(run)


def test_a_subject_in_both_parts_is_refused(tmp_path: Path):
    given = epoch(1)
    part = given.part.copy()
    part[-1] = "validation"
    write_predictions(tmp_path, dataclasses.replace(given, part=part))
    with pytest.raises(UserError, match="subject SN005 of disfa is in both"):
        evaluate_fold(tmp_path)


def test_an_au_without_positives_is_noted_and_one_without_codes_refused(tmp_path: Path):
    given = epoch(1)
    target = given.target.copy()
    target[:, 1] = np.minimum(target[:, 1], 0)
    write_predictions(tmp_path, dataclasses.replace(given, target=target))
    found = evaluate_fold(tmp_path)
    assert found.last.scores[1] == 0 and found.last.measures["AUC"][1] is None
    assert "AU 4 is present on no test frame of fold 3 of disfa" in found.notes[0]
    assert "the last epoch evaluated is 1 of 3 planned" in found.notes[1]
    target[:, 2] = np.nan
    write_predictions(tmp_path, dataclasses.replace(given, target=target))
    with pytest.raises(UserError, match="no test frame of fold 3 of disfa is coded for AU 12"):
        evaluate_fold(tmp_path)
    with pytest.raises(UserError, match=r"shape \(2, 2\) for 3 outputs"):
        check_support(Occurrence, np.zeros((2, 2)), AUS, "disfa")
