"""One expression of several: decoding, accuracy over pictures and over expressions, confusions; by hand and
against plain loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facecorpus.errors import UserError
from fautrain.config import OutputLossConfig
from fautrain.data.benchmark import Benchmark, Published
from fautrain.evaluation import (
    Header,
    Predictions,
    Result,
    aggregate,
    evaluate_fold,
    markdown,
    write_predictions,
)
from fautrain.evaluation.page import render
from fautrain.evaluation.text import brief
from fautrain.losses import output_loss
from fautrain.targets import UNCODED
from fautrain.targets.expression import Expression

CLASSES = ("surprise", "fear", "anger")
TARGET = Expression(classes=CLASSES, label="expression", codes=(1, 2, 6), missing=(8, 9))
SHOWN = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
CALLED = [0, 0, 1, 2, 1, 2, 2, 2, 2, 0]
"""By hand: surprise 2 of 4, fear 1 of 2, anger 3 of 4; 6 of 10 in all."""


def one_hot(classes: list[int]) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[classes]


def confident(classes: list[int]) -> np.ndarray:
    return (0.7 * one_hot(classes) + 0.1).astype(np.float32)


def test_codes_become_one_class_or_none() -> None:
    codes = np.array([[6], [1], [8], [UNCODED], [2]], np.int16)
    nothing = [np.nan] * 3
    np.testing.assert_array_equal(TARGET.decode(codes), [[0, 0, 1], [1, 0, 0], nothing, nothing, [0, 1, 0]])
    assert TARGET.known(np.array([1, 6, 9, UNCODED])).all() and not TARGET.known(np.array([0, 7])).any()
    assert TARGET.outputs == CLASSES and TARGET.labels == ("expression",)


def test_fewer_classes_leave_the_others_pictures_out() -> None:
    some = TARGET.only(("anger", "surprise"), "made")
    assert (some.classes, some.codes, some.missing) == (("surprise", "anger"), (1, 6), (8, 9, 2))
    assert np.isnan(some.decode(np.array([[2]]))).all()
    np.testing.assert_allclose(
        Expression.of_some(np.array([[0.2, 0.6], [0.0, 0.0]])), [[0.25, 0.75], [0.0, 0.0]]
    )
    for names in (("anger",), ("anger", "joy")):
        with pytest.raises(UserError, match=f"made cannot be reduced to {', '.join(names)}"):
            TARGET.only(names, "made")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": ("a", "a", "b")}, "two names or more, each once"),
        ({"codes": (1, 2)}, "codes has 2 numbers for 3 classes"),
        ({"codes": (1, 2, 9)}, "codes and missing hold 9 twice"),
    ],
)
def test_a_coding_that_contradicts_itself_is_refused(
    changed: dict[str, tuple[int, ...]], message: str
) -> None:
    fields = {"classes": CLASSES, "label": "expression", "codes": (1, 2, 6), "missing": (8, 9)}
    with pytest.raises(UserError, match=message):
        Expression(**(fields | changed))


def test_accuracy_is_over_pictures_and_mean_accuracy_over_expressions() -> None:
    prediction, target = confident(CALLED), one_hot(SHOWN)
    matrix = Expression.statistics(prediction, target)
    assert matrix.tolist() == [[[[2, 1, 1], [0, 1, 1], [1, 0, 3]]]]
    scores = Expression.score(matrix[0, 0])
    assert scores.tolist() == [0.5, 0.5, 0.75]
    assert Expression.overall(scores, matrix[0, 0]) == pytest.approx([0.6] * 3)
    found = Expression.measured(prediction, target, None)
    assert found["mean accuracy"].tolist() == [0.5, 0.5, 0.75]
    assert found["precision"] == pytest.approx([2 / 3, 1 / 2, 3 / 5])
    assert found["F1"] == pytest.approx([4 / 7, 1 / 2, 6 / 9])
    everyone = Expression.statistics(Expression.baseline(target), target)[0, 0]
    assert everyone.tolist() == [[4, 0, 0], [2, 0, 0], [4, 0, 0]], "of equally common ones the first"
    assert Expression.support(everyone) == ["4 (40.0 %)", "2 (20.0 %)", "4 (40.0 %)"]


def test_matrices_of_groups_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    target = one_hot(rng.integers(0, 3, 200).tolist())
    target[::7] = np.nan
    logits = torch.from_numpy(rng.normal(size=(200, 3)).astype(np.float32))
    prediction, group = Expression.activation(logits).numpy(), rng.integers(0, 5, 200)
    expected = np.zeros((5, 1, 3, 3), np.int64)
    for place, row in enumerate(target):
        if not np.isnan(row).any():
            expected[
                group[place], 0, list(row).index(1.0), list(prediction[place]).index(max(prediction[place]))
            ] += 1
    np.testing.assert_array_equal(Expression.statistics(prediction, target, group, 5), expected)
    coded = ~np.isnan(target).any(axis=1)
    right = prediction[coded].argmax(1) == target[coded].argmax(1)
    total = expected.sum(axis=0)[0]
    assert Expression.overall(Expression.score(total), total).mean() == pytest.approx(right.mean(), abs=1e-12)
    Expression.check(prediction, target)
    with pytest.raises(ValueError, match="add up to 1"):
        Expression.check(logits.numpy(), target)
    with pytest.raises(ValueError, match="neither one expression"):
        Expression.check(prediction, np.full_like(target, 0.5))


def test_an_expression_that_nobody_shows_is_said() -> None:
    target = one_hot([0, 2, 0])
    assert [*Expression.remarks(target, CLASSES, "fold 1 of made")] == [
        "No test frame of fold 1 of made shows fear: its accuracy is 0 by convention."
    ]
    assert [*Expression.lacks(target, target)] == [("no frame to train on", [True, False, True])]
    assert np.isnan(Expression.measured(confident([0, 2, 0]), target, None)["mean accuracy"][1])


# -- the loss ----------------------------------------------------------------------------------------------


def cross_entropy(logits: np.ndarray, targets: np.ndarray, weights: tuple[float, ...]) -> float:
    """-sum_i w_i y_i log p_i of each row in float64, and the mean of the rows that say something."""
    costs = []
    for row, labels in zip(logits.astype(np.float64), targets.astype(np.float64), strict=True):
        if not np.isnan(labels).any():
            log_p = row - np.log(np.exp(row).sum())
            costs.append(-sum(w * y * value for w, y, value in zip(weights, labels, log_p, strict=True)))
    return float(np.mean(costs))


@pytest.mark.parametrize(
    ("kind", "weights"), [("ce", (1, 1, 1)), ("weighted-ce", (1 / 1.5, 1 / 0.9, 1 / 0.6))]
)
def test_cross_entropy_is_its_formula(kind: str, weights: tuple[float, ...]) -> None:
    """Rates 0.5, 0.3, 0.2: balanced weights are 1 / (3 r), one on average over the training frames."""
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    targets = torch.tensor([[1, 0, 0], [0, 0, 1], [0.25, 0.75, 0], [torch.nan] * 3, [0, 1, 0]])
    loss = output_loss(OutputLossConfig(kind=kind), "ce", torch.tensor([0.5, 0.3, 0.2]))
    logits.requires_grad_()
    found = loss(logits, targets)
    assert found.item() == pytest.approx(cross_entropy(logits.detach().numpy(), targets.numpy(), weights))
    found.backward()
    assert logits.grad is not None and not logits.grad[3].any() and logits.grad[[0, 1, 2, 4]].all()
    assert loss(logits, torch.full_like(targets, torch.nan)) == 0
    assert loss(logits.half(), targets).dtype == torch.float32
    assert Expression.loss == "ce"


# -- a result ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Two people in each of two folds; the second epoch is right more often."""
    folds = []
    for fold in (1, 2):
        out = tmp_path_factory.mktemp(f"fold-{fold}")
        people = [f"P{fold}", f"Q{fold}"] * 5
        for epoch, called in ((1, CALLED[::-1]), (2, CALLED)):
            header = Header("made", "expression", CLASSES, epoch, 2, fold, 2)
            frames = np.arange(10, dtype=np.int32)
            write_predictions(
                out,
                Predictions(
                    header, np.full(10, "test"), np.array([f"{fold}-{n}" for n in range(10)]),
                    np.array(people), np.full(10, ""), frames, confident(called), one_hot(SHOWN),
                ),
            )  # fmt: skip
        folds.append(evaluate_fold(out))
    return aggregate(folds, 50)


BENCHMARK = Benchmark(
    name="made",
    title="Made up, 3 expressions",
    source="made",
    kind="expression",
    target=TARGET,
    videos=(),
    subjects=("P1", "Q1", "P2", "Q2"),
    folds=(("P1", "Q1"), ("P2", "Q2")),
    published=(Published("FMAE", "its paper, Table 4", (None,) * 3, 93.45),),
)


def test_the_score_of_all_is_no_mean_over_expressions(result: Result) -> None:
    assert result.last.mean == result.last.pooled_mean == pytest.approx(0.6)
    assert result.last.by_fold == result.last.by_seed * 2 == pytest.approx((0.6, 0.6))
    assert np.mean(result.last.scores) == pytest.approx(7 / 12)
    assert result.last.measures["mean accuracy"] == pytest.approx((0.5, 0.5, 0.75))
    assert result.published.mean == pytest.approx(0.6) and result.published.bounds is None
    assert result.last.bounds is not None
    low, high = result.last.bounds.mean
    assert low < 0.6 < high
    assert result.baseline.mean == pytest.approx(0.4)


def test_it_is_told_in_words_of_its_own(result: Result) -> None:
    text, page, short = markdown(result, BENCHMARK), render(result, BENCHMARK), brief(result, BENCHMARK)
    assert "the model reaches an overall accuracy of 60.00 %" in text
    assert (
        "over 3 expressions; always calling the one that is commonest among the tested reaches 40.00 %."
        in text
    )
    assert "| FMAE | its paper, Table 4 | – | – | – | 93.45 |" in text
    assert "| surprise | 50.0 | 25.0 | 25.0 | 8 |" in text, "the confusion matrix, over both folds"
    assert "mean accuracy" in text and "threshold" not in text
    assert "Overall accuracy" in page and "var(--bar) 25.0%" in page
    assert "overall" in short and "93.45" in short
