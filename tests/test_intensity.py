"""Intensities: ICC(3,1), MSE and MAE against pingouin and an analysis of variance, the target, its loss, and
MAE-Face's recipes from the command to the tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from labelled_shards import files_of, small, write_labelled
from labelled_shards import one_cpu as one_cpu
from numpy.typing import NDArray

from facecorpus.errors import UserError
from fautrain import metrics
from fautrain.config import OutputLossConfig
from fautrain.data.benchmark import benchmark, from_plain
from fautrain.evaluation import read_predictions, read_result
from fautrain.losses import LOSSES
from fautrain.recipes import FINETUNING, finetuning_recipe, pretraining_recipe
from fautrain.recipes.mae_face import PARTS
from fautrain.runs.asked import Asked
from fautrain.runs.evaluate import evaluate_across
from fautrain.runs.final import load_final
from fautrain.runs.finetuning import finetune
from fautrain.targets.intensity import Intensity

NAN = float("nan")
TARGET = Intensity(aus=(6, 12), label="AU{au}_intensity", missing=(9,), codes=(0, 1, 2, 3, 4, 5))

JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], np.float64
)
"""Shrout and Fleiss (1979), Table 2: six targets, four judges."""
PINGOUIN = {
    (0, 1): 0.7453416149068339,
    (0, 2): 0.7250000000000005,
    (0, 3): 0.6865671641791047,
    (1, 2): 0.8944099378881988,
    (1, 3): 0.6691449814126398,
    (2, 3): 0.6567164179104481,
}
"""`ICC3` of two of the judges, as `pingouin.intraclass_corr` of pingouin 0.5.5 gives it; of all four it gives
0.714841, the paper's .71."""


def icc_of(prediction: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    return metrics.icc(metrics.pair_sums(prediction, target).sum(axis=0))


def analysis_of_variance(prediction: NDArray[Any], target: NDArray[Any]) -> float:
    """ICC(3,1) = (BMS - EMS) / (BMS + (k - 1) EMS), of n targets by k = 2 raters, by its sums of squares."""
    x = np.stack([prediction, target], axis=1).astype(np.float64)
    n, k = x.shape
    rows, columns, mean = x.mean(axis=1), x.mean(axis=0), x.mean()
    between = k * ((rows - mean) ** 2).sum() / (n - 1)
    residual = ((x - rows[:, None] - columns[None] + mean) ** 2).sum() / ((n - 1) * (k - 1))
    return float((between - residual) / (between + (k - 1) * residual))


@pytest.mark.parametrize("pair", PINGOUIN)
def test_icc_is_pingouins(pair: tuple[int, int]) -> None:
    one, other = (JUDGES[:, [judge]] for judge in pair)
    assert icc_of(one, other)[0] == pytest.approx(PINGOUIN[pair], abs=1e-12)
    assert icc_of(one + 3, other)[0] == pytest.approx(PINGOUIN[pair], abs=1e-12), "a constant is forgiven"


def test_icc_of_many_frames_is_pingouins() -> None:
    random = np.random.default_rng(1979)
    target = random.integers(0, 6, 400).astype(float)
    prediction = np.round(0.6 * target + random.normal(0, 1, 400) + 0.5, 3)
    assert icc_of(prediction[:, None], target[:, None])[0] == pytest.approx(0.7006423713830757, abs=1e-12)


LEVELS = st.tuples(st.integers(2, 30), st.just(2)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.floats(-1, 6, width=16)),
        hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 1, 2, 3, 4, 5, NAN])),
    )
)


@settings(max_examples=50, deadline=None)
@given(LEVELS)
def test_measures_agree_with_slow_ones_and_add_up(data: tuple[NDArray[Any], NDArray[Any]]) -> None:
    prediction, target = data
    group = np.arange(len(target)) % 3
    apart = TARGET.statistics(prediction, target, group, 3)
    whole = TARGET.statistics(prediction, target)
    assert apart.shape == (3, 1, 2, 8) and whole.shape == (1, 1, 2, 8)
    np.testing.assert_allclose(apart.sum(axis=0), whole[0], atol=1e-9)
    icc, measured = TARGET.score(whole)[0, 0], TARGET.measured(prediction, target, None)
    for au in range(2):
        coded = ~np.isnan(target[:, au])
        p, t = (values[coded, au].astype(np.float64) for values in (prediction, target))
        if not len(t):
            assert np.isnan([measured["MSE"][au], measured["MAE"][au]]).all() and icc[au] == 0
            continue
        assert measured["MSE"][au] == pytest.approx(((p - t) ** 2).mean(), abs=1e-9)
        assert measured["MAE"][au] == pytest.approx(abs(p - t).mean(), abs=1e-9)
        if len(set(p)) > 1 and len(set(t)) > 1:
            assert icc[au] == pytest.approx(analysis_of_variance(p, t), abs=1e-9)
        else:
            assert icc[au] == 0


def test_a_constant_says_nothing_and_agreement_is_one() -> None:
    target = np.array([[0, 3], [1, 3], [5, 3], [NAN, 3]], np.float32)
    same = np.nan_to_num(target)
    assert icc_of(same, target).tolist() == [pytest.approx(1), 0], "AU12 does not vary"
    assert icc_of(-same, target)[0] == pytest.approx(-1)
    mean = TARGET.baseline(target)
    assert mean.tolist() == [[2, 3]] * 4 and icc_of(mean, target).tolist() == [0, 0]
    assert TARGET.support(TARGET.statistics(mean, target)[0, 0]) == ["2 (66.7 %)", "4 (100.0 %)"]


def test_levels_are_read_as_coded() -> None:
    codes = np.array([[0, 5], [9, 3]], np.int16)
    np.testing.assert_array_equal(TARGET.decode(codes), [[0, 5], [NAN, 3]])
    fera = replace(TARGET, missing=(), zero=(9,))
    np.testing.assert_array_equal(fera.decode(codes), [[0, 5], [0, 3]])  # as FERA 2015's baseline has it
    assert TARGET.known(np.array([0, 5, 6, 9])).tolist() == [True, True, False, True]
    open_coding = replace(TARGET, codes=())
    assert open_coding.known(np.array([0, 5, 6, 9])).tolist() == [True, True, False, True]
    assert fera.known(np.array([5, 9, 8])).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"codes": (0, 6)}, "codes: 6 is no level from 0 to 5"),
        ({"zero": (9,)}, "missing and zero both hold 9"),
    ],
)
def test_a_coding_that_is_none_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(TARGET, **fields)


def test_an_au_of_one_level_is_named() -> None:
    target = np.array([[0, 1], [2, 1], [NAN, 1]])
    assert [good for _, good in TARGET.lacks(target, target)] == [[True, False]] * 2
    (said,) = TARGET.remarks(target, TARGET.outputs, "fold 1 of toy")
    assert said.startswith("AU 12 has one level on all test frames of fold 1 of toy: its ICC there is 0")


def test_the_loss_is_the_squared_error_of_a_fifth_of_the_level() -> None:
    loss = LOSSES.get(TARGET.loss)(OutputLossConfig(), torch.zeros(2))
    logits = torch.tensor([[0.5, 0.0], [1.0, 7.0]], dtype=torch.float64, requires_grad=True)
    value = loss(logits, torch.tensor([[5.0, 2.0], [4.0, NAN]]))
    assert value.item() == pytest.approx((0.5**2 + 0.4**2 + 0.2**2) / 3, rel=1e-7)
    value.backward()
    by_hand = [[2 * -0.5 / 3, 2 * -0.4 / 3], [2 * 0.2 / 3, 0.0]]
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor(by_hand, dtype=torch.float64), atol=1e-7, rtol=0)
    assert TARGET.activation(torch.tensor([0.6])).item() == pytest.approx(3.0)
    assert loss(logits.half(), torch.full((2, 2), NAN)).item() == 0


def test_the_benchmarks_are_the_published_ones() -> None:
    bp4d, disfa = benchmark("bp4d_intensity"), benchmark("disfa_intensity")
    assert bp4d.outputs == ("AU6", "AU10", "AU12", "AU14", "AU17") and len(disfa.outputs) == 12
    assert (len(bp4d.train), len(bp4d.validation), len(bp4d.test)) == (21, 0, 20)
    assert {int(s[1:]) % 2 for s in bp4d.train} == {1} and {int(s[1:]) % 2 for s in bp4d.test} == {0}
    assert {*bp4d.subjects} == {*benchmark("bp4d").subjects}
    assert disfa.folds == benchmark("disfa").folds
    heatmaps = benchmark("disfa_intensity_heatmaps")
    assert [len(fold) for fold in heatmaps.folds] == [9] * 3 and {*heatmaps.folds[0]} != {*disfa.folds[0]}
    for known, icc, mse, mae in ((bp4d, 0.740, 0.778, 0.552), (disfa, 0.674, 0.206, 0.153)):
        row = next(row for row in known.published if row.system == "MAE-Face")
        assert (row.mean, row.measures["MSE"][-1], row.measures["MAE"][-1]) == (icc, mse, mae)
        # Printed with three decimals each.
        for *values, mean in ((*row.scores, row.mean), *row.measures.values()):
            assert np.mean([v for v in values if v is not None]) == pytest.approx(mean, abs=1.01e-3)


def test_measures_of_papers_are_checked() -> None:
    plain = {
        "name": "toy", "title": "Toy", "source": "toy", "kind": "intensity", "aus": [6], "missing": [],
        "label": "AU{au}", "folds": [["A"], ["B"]], "subjects": ["A", "B"],
    }  # fmt: skip
    row = {"system": "Someone", "where": "Table 1", "scores": [0.5], "mean": 0.5}
    for measures, message in (
        ({"RMSE": [0.1, 0.1]}, "intensity has no RMSE"),
        ({"MSE": [0.1]}, r"published.measures.MSE of Someone has 1 values for 1 outputs and their mean"),
    ):
        with pytest.raises(UserError, match=message):
            from_plain({**plain, "published": [{**row, "measures": measures}]})


def test_the_recipes_are_what_the_paper_says() -> None:
    for dataset, lr, mixed in (
        ("bp4d", 2e-4, (0.2, 0.75)),
        ("bp4d_plus", 4e-4, (0.2, 0.75)),
        ("disfa", 4e-4, (0.2, 0.75)),
        ("bp4d_intensity", 6e-5, (0, 0)),
        ("disfa_intensity", 3e-4, (0, 0)),
        ("disfa_intensity_heatmaps", 3e-4, (0, 0)),
    ):
        config = finetuning_recipe("mae-face", dataset)
        assert config.optim.base_lr * config.data.batch_per_step / 256 == pytest.approx(lr)
        assert (config.data.mixup, config.data.cutmix) == mixed
        assert (config.train.epochs, config.optim.warmup_epochs, config.data.batch_per_step) == (20, 10, 512)
    epochs = {10: 200, 100: 2000, 200: 4000, 500: 10000, 1000: 20000}
    assert {every: make("disfa").train.epochs for every, make in PARTS.items()} == epochs
    assert finetuning_recipe("mae-face-0.1-percent", "disfa").data.every == 1000
    assert {f"mae-face-{percent}-percent" for percent in ("10", "1", "0.5", "0.2", "0.1")} <= {*FINETUNING}
    scratch = finetuning_recipe("mae-face-scratch", "bp4d")
    assert (scratch.train.epochs, scratch.optim.warmup_epochs, scratch.model.init) == (200, 20, None)
    assert (
        finetuning_recipe("mae-face-imagenet", "bp4d").model.init == pretraining_recipe("mae-face").model.init
    )
    names = ("mae-face-l1", "mae-face-l1-pixels", "mae-face-l2", "mae-face-l2-pixels")
    losses = {(n, pretraining_recipe(n).loss.kind, pretraining_recipe(n).loss.norm_pix) for n in names}
    assert losses == {
        ("mae-face-l1", "l1", True), ("mae-face-l1-pixels", "l1", False),
        ("mae-face-l2", "l2", True), ("mae-face-l2-pixels", "l2", False),
    }  # fmt: skip


def test_only_from_scratch_begins_without_weights_unasked() -> None:
    assert Asked("disfa").config("mae-face-scratch").model.init is None
    with pytest.raises(UserError, match="--init is not given, and recipe mae-face is meant to start from"):
        Asked("disfa").config("mae-face")


TINY = ("model.size=tiny", "model.drop_path=0", "data.randaugment=none", "data.erasing=0")


@pytest.fixture(scope="module")
def disfa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("disfa"), "disfa_intensity", frames=12)


def test_intensity_is_learnt_evaluated_and_kept(disfa: Path, tmp_path: Path) -> None:
    """`mae-face` on DISFA's 12 intensities: better than the mean level, in the words of intensity, and its
    final model predicts levels."""
    config = small("disfa_intensity", disfa, *TINY, "train.epochs=7", "optim.lr=2e-3", recipe="mae-face")
    finetune(config, tmp_path / "run", folds=[1], seeds=[0], resume="no")
    result = read_result(tmp_path / "run/result.json")
    assert (result.kind, len(result.outputs), result.frames) == ("intensity", 12, 9 * 12)
    assert result.baseline.mean == 0 and result.last.mean > 0.5
    assert result.last.bounds is not None and result.last.bounds.mean[0] < result.last.mean
    assert 0 < np.mean([v or 0 for v in result.last.measures["MAE"]]) < 1.3
    table = (tmp_path / "run/table.md").read_text("utf-8")
    assert "## ICC per action unit\n" in table and "Always the mean level" in table
    assert "| fold | seed | which epoch | epoch | mean ICC | MSE | MAE |" in table
    assert "threshold" not in table and "| MAE-Face | MSE | 0.215 |" in table
    assert table.count("Not comparable, as the faces above are drawn") == 2
    found = read_predictions(tmp_path / "run/seed-0/fold-1/predictions/epoch-0007.parquet")
    assert set(np.unique(found.target)) == {0, 1, 2, 3, 4, 5} and found.prediction.max() > 2
    model, card = load_final(tmp_path / "run/seed-0/fold-1/final")
    assert (card.kind, card.threshold, model.training) == ("intensity", None, False)


def test_fera_2015_is_one_split_and_a_stop_changes_no_number(tmp_path: Path) -> None:
    """BP4D's five intensities on the official partition; 9 is not coded; stopped after one epoch and gone on
    with, the files are those of the run that was not."""

    def unknown(row: dict[str, Any]) -> None:
        if row["frame"] == 2:
            row["labels"] = [(key, 9 if key == "AU14_intensity" else level) for key, level in row["labels"]]

    shards = write_labelled(tmp_path / "bp4d", "bp4d_intensity", frames=6, change=unknown)
    config = small("bp4d_intensity", shards, *TINY, recipe="mae-face")
    finetune(config, tmp_path / "whole", folds=[], seeds=[0], resume="no")
    part = replace(config, train=replace(config.train, max_steps=2))
    finetune(part, tmp_path / "stopped", folds=[], seeds=[0], resume="no")
    finetune(config, tmp_path / "stopped", folds=[], seeds=[0], resume="auto")
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")
    result = read_result(tmp_path / "whole/result.json")
    assert (result.folds, result.folds_total, result.subjects) == ((1,), 1, 20)
    table = (tmp_path / "whole/table.md").read_text("utf-8")
    assert "the official test part" in table and "fold 1 of" not in table
    (run,) = result.runs
    assert {int(subject[1:]) % 2 for subject in run.subjects} == {0}
    assert len(run.validation_subjects) == 4 and {int(s[1:]) % 2 for s in run.validation_subjects} == {1}
    coded = [sums[0] for sums in run.baseline_statistics]
    assert coded == [120, 120, 120, 80, 120], "frames whose AU14 is 9 do not count"
    text = evaluate_across(
        tmp_path / "whole/seed-0/fold-1",
        "disfa_intensity",
        str(write_labelled(tmp_path / "disfa", "disfa_intensity", frames=4)),
        tmp_path / "across",
    )
    assert "Trained on bp4d_intensity, tested on disfa_intensity" in text
    assert json.loads((tmp_path / "across/result.json").read_text())["outputs"] == ["AU6", "AU12", "AU17"]
