"""Whether action units are present: probabilities, 99 thresholds, F1."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facecorpus.errors import UserError
from fautrain import metrics
from fautrain.targets.action_units import ActionUnits
from fautrain.targets.base import TARGETS, Floats, Measure, Statistics, Words

if TYPE_CHECKING:
    from torch import Tensor

_RULE = re.compile(r"(>=|==)\s*(\d+)")
_F1 = (
    "the harmonic mean of precision (how many of the detections are right) and recall (how many of the "
    'frames with the AU are found), from 0 to 100 %; "mean" is over the AUs. An action unit (AU) is the '
    "movement of one facial muscle or a few, such as AU12, the raised corners of the mouth"
)


@TARGETS.register("occurrence")
@dataclass(frozen=True, kw_only=True)
class Occurrence(ActionUnits):
    """1 where an action unit is present, 0 where it is absent; its prediction is a probability.

    Statistics are counts: true positives, false positives, false negatives, true negatives.
    """

    headline = Measure("F1", about=_F1)
    measures = (
        Measure("precision"),
        Measure("recall"),
        Measure("accuracy", by_fold=True),
        Measure("AUC", by_fold=True),
    )
    choices = tuple(metrics.THRESHOLDS.tolist())
    default = metrics.HALF
    loss = "bce"
    words = Words(
        baseline="Every AU called present",
        baseline_short="all present",
        baseline_phrase="calling every one present on every frame",
        baseline_about=(
            "the F1 reached without looking at the picture. The more often an AU is present, the higher"
        ),
        support="Support: test frames with the AU present, and their share of the coded ones",
        output="action unit",
        short="AU",
        choice="threshold",
        unchosen="an AU counts as detected from a probability of 0.5",
    )

    positive: str
    """`>= N` or `== N`: the codes that count as present."""

    def __post_init__(self) -> None:
        super().__post_init__()
        codes = np.array(self.codes, np.int64)
        if len({*self._present(codes).tolist()}) == 1:
            raise UserError(f"positive={self.positive!r} does not divide the codes {[*self.codes]}; mend one")

    def decode(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """1 present, 0 absent."""
        return np.where(self.coded(codes), self._present(codes), np.nan).astype(np.float32)

    def _present(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        found = _RULE.fullmatch(self.positive.strip())
        if not found:
            raise UserError(f"positive={self.positive!r} is no rule; write '>= N' or '== N'")
        number = int(found[2])
        return codes >= number if found[1] == ">=" else codes == number

    @staticmethod
    def lacks(train: NDArray[Any], test: NDArray[Any]) -> Iterator[tuple[str, list[bool]]]:
        """Every AU needs frames to learn from, present and absent, and present ones to be tested on."""
        yield "no positive frame to train on", (train == 1).any(axis=0).tolist()
        yield "no negative frame to train on", (train == 0).any(axis=0).tolist()
        yield "no positive frame to test on", (test == 1).any(axis=0).tolist()

    @staticmethod
    def remarks(target: NDArray[Any], outputs: Sequence[str], where: str) -> Iterator[str]:
        """A sentence for each AU that has no positive frame."""
        for name, column in zip(outputs, target.T, strict=True):
            if (column == 1).any():
                continue
            yield (
                f"{Occurrence.listed([name])} is present on no test frame of {where}: its F1 there "
                "is 0 by convention and counts in the mean."
            )

    @staticmethod
    def activation(logits: Tensor) -> Tensor:
        """The sigmoid."""
        return logits.sigmoid()

    @staticmethod
    def check(prediction: NDArray[Any], target: NDArray[Any]) -> None:
        """See `Target.check`."""
        if prediction.size and not 0 <= prediction.min() <= prediction.max() <= 1:
            raise ValueError("a probability is outside 0 to 1; give the sigmoid of the logits")
        if not (np.isnan(target) | (target == 0) | (target == 1)).all():
            raise ValueError("a target is not 0, 1 or NaN")

    @classmethod
    def statistics(
        cls,
        prediction: NDArray[Any],
        target: NDArray[Any],
        group: NDArray[np.int64] | None = None,
        groups: int = 1,
    ) -> Statistics:
        """Counts at every threshold."""
        return metrics.sweep(metrics.histogram(prediction, target, group, groups))

    @staticmethod
    def score(statistics: Statistics) -> Floats:
        """F1."""
        return metrics.f1(statistics)

    @staticmethod
    def measured(
        prediction: NDArray[Any], target: NDArray[Any], choice: float | None
    ) -> Mapping[str, Floats]:
        """At a threshold, but for the AUC."""
        counts = metrics.confusion(prediction, target, 0.5 if choice is None else choice)
        return {
            "precision": metrics.precision(counts),
            "recall": metrics.recall(counts),
            "accuracy": metrics.accuracy(counts),
            "AUC": metrics.roc_auc(prediction, target),
        }

    @staticmethod
    def baseline(target: NDArray[Any]) -> NDArray[Any]:
        """Every AU present on every frame: F1 is 2p / (1 + p) with p the share of positives."""
        return np.ones_like(target)

    @staticmethod
    def support(statistics: Statistics) -> list[str]:
        """Positives, and their share of the coded frames."""
        positives, coded = statistics[:, 0] + statistics[:, 2], statistics.sum(axis=1)
        return [
            f"{p:,} ({100 * (p / n):.1f} %)" for p, n in zip(positives.tolist(), coded.tolist(), strict=True)
        ]
