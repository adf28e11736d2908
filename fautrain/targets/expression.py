"""Which one of several expressions a face shows: probabilities that add up to 1, accuracy, confusions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from facecorpus.errors import UserError
from fautrain.targets.base import TARGETS, UNCODED, Floats, Measure, Statistics, Target, Words

if TYPE_CHECKING:
    from torch import Tensor

_ACCURACY = (
    "the share of all tested pictures whose expression is the one with the highest probability (overall), "
    "and of those of one expression (its column)"
)


@TARGETS.register("expression")
@dataclass(frozen=True, kw_only=True)
class Expression(Target):
    """1 for the expression that is shown and 0 for the others; mixed pictures have a share of each.

    Statistics are the rows of the confusion matrix: of the frames that show an expression, how many were
    taken for each.
    """

    headline = Measure("accuracy", digits=2, about=_ACCURACY)
    measures = (
        Measure(
            "mean accuracy",
            by_fold=True,
            digits=2,
            about="the mean over the expressions of the share of their pictures that is recognised (recall), "
            "rare ones and common ones alike; also called average or balanced accuracy",
        ),
        Measure("precision"),
        Measure("F1", by_fold=True),
    )
    loss = "ce"
    recipe = "fmae"
    words = Words(
        baseline="The commonest expression",
        baseline_short="commonest",
        baseline_phrase="always calling the one that is commonest among the tested",
        baseline_about="the accuracy reached without looking at the picture",
        support="Support: test frames that show the expression, and their share",
        output="expression",
        short="expression",
        whole="overall",
    )

    classes: tuple[str, ...]
    """Names of the expressions in the order of the model's outputs."""
    label: str
    """Key of the label in the shards."""
    codes: tuple[int, ...]
    """The label's code of each of `classes`."""
    missing: tuple[int, ...] = ()
    """Codes of frames that are neither trained on nor counted."""

    def __post_init__(self) -> None:
        if len({*self.classes}) != len(self.classes) or len(self.classes) < 2:
            raise UserError("classes must be two names or more, each once")
        if len(self.codes) != len(self.classes):
            raise UserError(
                f"codes has {len(self.codes)} numbers for {len(self.classes)} classes; give each its own"
            )
        every = [*self.codes, *self.missing]
        twice = [code for code in every if every.count(code) > 1]
        if twice:
            raise UserError(f"codes and missing hold {twice[0]} twice; keep it once")

    @property
    def outputs(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    def known(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Those of `codes` and `missing`."""
        return np.isin(codes, [*self.codes, *self.missing, UNCODED])

    def decode(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """1 in the column of the class that is shown, 0 in the others."""
        shown = codes == np.array(self.codes)
        return np.where(shown.any(axis=1, keepdims=True), shown, np.nan).astype(np.float32)

    def only(self, outputs: Sequence[str], benchmark: str) -> Self:
        """See `Target.only`: frames of other classes are left out."""
        unknown = [name for name in outputs if name not in self.classes]
        if unknown or len(outputs) == 1:
            raise UserError(
                f"{benchmark} cannot be reduced to {', '.join(outputs)}; "
                f"choose two or more of {', '.join(self.classes)}"
            )
        pairs = dict(zip(self.classes, self.codes, strict=True))
        kept = {name: code for name, code in pairs.items() if not outputs or name in outputs}
        left_out = (code for name, code in pairs.items() if name not in kept)
        missing = (*self.missing, *left_out)
        return replace(self, classes=tuple(kept), codes=tuple(kept.values()), missing=missing)

    @staticmethod
    def of_some(prediction: NDArray[Any]) -> NDArray[Any]:
        """Their probabilities, so that they add up to 1."""
        return prediction / prediction.sum(axis=1, keepdims=True).clip(np.finfo(prediction.dtype).tiny)

    @staticmethod
    def lacks(train: NDArray[Any], test: NDArray[Any]) -> Iterator[tuple[str, list[bool]]]:
        """Every expression must be shown to be learnt."""
        del test
        yield "no frame to train on", (train == 1).any(axis=0).tolist()

    @staticmethod
    def remarks(target: NDArray[Any], outputs: Sequence[str], where: str) -> Iterator[str]:
        """A sentence for each expression that no test frame shows."""
        for name, column in zip(outputs, target.T, strict=True):
            if not (column == 1).any():
                yield f"No test frame of {where} shows {name}: its accuracy is 0 by convention."

    @staticmethod
    def activation(logits: Tensor) -> Tensor:
        """The softmax."""
        return logits.softmax(dim=1)

    @staticmethod
    def check(prediction: NDArray[Any], target: NDArray[Any]) -> None:
        """See `Target.check`."""
        if prediction.size and (prediction.min() < 0 or abs(prediction.sum(axis=1) - 1).max() > 0.01):
            raise ValueError("probabilities do not add up to 1; give the softmax of the logits")
        one_hot = np.isin(target, (0, 1)).all(axis=1) & (target.sum(axis=1) == 1)
        if not (np.isnan(target).all(axis=1) | one_hot).all():
            raise ValueError("a target is neither one expression nor NaN")

    @classmethod
    def statistics(
        cls,
        prediction: NDArray[Any],
        target: NDArray[Any],
        group: NDArray[np.int64] | None = None,
        groups: int = 1,
    ) -> Statistics:
        """Confusion matrices. Of equal probabilities the first counts."""
        classes = prediction.shape[1]
        coded = ~np.isnan(target).any(axis=1)
        first = np.zeros(len(target), np.int64) if group is None else group
        cell = (first * classes + target.argmax(axis=1)) * classes + prediction.argmax(axis=1)
        counts = np.bincount(cell[coded], minlength=groups * classes**2)
        return counts.reshape(groups, 1, classes, classes)

    @staticmethod
    def score(statistics: Statistics) -> Floats:
        """Recall: hits by frames that show the expression; 0 where none does."""
        return _share(_hits(statistics), statistics.sum(axis=-1))

    @staticmethod
    def overall(scores: Floats, statistics: Statistics) -> Floats:
        """All hits by all frames, for every expression alike, so that equal numbers of hits stay equal."""
        accuracy = _share(_hits(statistics).sum(axis=-1), statistics.sum(axis=(-2, -1)))
        return np.broadcast_to(accuracy[..., None], scores.shape)

    @staticmethod
    def confusion(statistics: Statistics) -> Statistics:
        """The statistics themselves."""
        return statistics

    @staticmethod
    def measured(
        prediction: NDArray[Any], target: NDArray[Any], choice: float | None
    ) -> Mapping[str, Floats]:
        """nan where no frame shows the expression; precision is 0 where none is taken for it."""
        del choice
        matrix = Expression.statistics(prediction, target)[0, 0]
        hits, shown, called = _hits(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        recall = np.where(shown > 0, _share(hits, shown), np.nan)
        f1 = np.where(shown > 0, _share(2 * hits, shown + called), np.nan)
        return {"mean accuracy": recall, "precision": _share(hits, called), "F1": f1}

    @staticmethod
    def baseline(target: NDArray[Any]) -> NDArray[Any]:
        """The expression that most frames show, on every frame."""
        commonest = np.nansum(target, axis=0).argmax()
        return np.zeros_like(target) + (np.arange(target.shape[1]) == commonest)

    @staticmethod
    def support(statistics: Statistics) -> list[str]:
        """Frames, and their share of all."""
        shown, every = statistics.sum(axis=1).tolist(), int(statistics.sum())
        return [f"{count:,} ({100 * count / every:.1f} %)" for count in shown]


def _hits(matrix: Statistics) -> Statistics:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _share(part: Statistics, whole: Statistics) -> Floats:
    """`part` / `whole`, and 0 where there is nothing."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)
