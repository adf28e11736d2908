"""The protocol of a target: what evaluation, labels, tables and training know of what is predicted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from facecorpus.errors import UserError
from facecorpus.plugins import Registry
from fautrain.metrics import Floats

if TYPE_CHECKING:  # at run time this would load torch, which a report does not need
    from torch import Tensor

Statistics = NDArray[Any]
"""(..., outputs, K) whole numbers or floats that add over frames, subjects and folds."""
UNCODED: Final = np.iinfo(np.int16).min
"""Stands for "this frame has no such label" among codes; no data set's code."""
NONE: Final = "–"


@dataclass(frozen=True)
class Measure:
    """A number that says how well a target is predicted, and how it is written."""

    name: str
    percent: bool = True
    """Written in percent with one decimal; else as it is, with three."""
    higher: bool = True
    """Whether more is better."""
    by_fold: bool = False
    """Whether the table of folds lists it."""
    digits: int | None = None
    """Decimals of a written value; none takes one in percent and three else."""
    about: str = ""
    """What it is, for somebody who has never seen it."""

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be written."""
        return 100.0 if self.percent else 1.0

    @property
    def unit(self) -> str:
        """What stands behind a written value: ` %` or nothing."""
        return " %" if self.percent else ""

    def written(self, value: float | None) -> str:
        """A value as it stands in a table.

        >>> Measure("F1").written(0.6666), Measure("MAE", percent=False).written(0.6666)
        ('66.7', '0.667')
        >>> Measure("F1").written(None), Measure("ICC", percent=False).written(-1e-5)
        ('–', '0.000')
        """
        return NONE if value is None else self.printed(self.scale * value)

    def printed(self, value: float | None) -> str:
        """A value that is in percent already, where it is written in percent."""
        digits = self.digits or (1 if self.percent else 3)
        return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # no "-0.000"

    def axis(self, value: float) -> str:
        """A round value beside an axis."""
        return f"{self.scale * value:.4g}"

    def gain(self, values: Floats) -> Floats:
        """The values so that more is better."""
        return values if self.higher else -values


@dataclass(frozen=True)
class Words:
    """How a kind is spoken of in tables and sentences."""

    baseline: str
    """Row of the baseline: `Every AU called present`."""
    baseline_short: str
    """Of at most twelve letters."""
    baseline_phrase: str
    """As the subject of a sentence: `calling every one present on every frame`."""
    baseline_about: str = ""
    """What its number is, as a sentence without an end."""
    support: str = "Support: test frames"
    """Title of the table of frames."""
    output: str = "output"
    """One output in full: `action unit`."""
    short: str = "output"
    """One output in short: `AU`."""
    whole: str = "mean"
    """What the score of all outputs is called in tables, and before the measure's name: `mean F1`."""
    choice: str = ""
    """What is chosen besides the epoch: `threshold`; empty where nothing is."""
    unchosen: str = ""
    """What holds at the last epoch, where nothing is chosen, as a part of a sentence."""


@dataclass(frozen=True, kw_only=True)
class Target(ABC):
    """A kind of target, as a benchmark's file describes it; n frames, A outputs.

    The fields of a kind are the keys of the file that say how labels are read. What is measured is static, so
    that predictions on disk need no benchmark to be evaluated.
    """

    headline: ClassVar[Measure]
    """What epochs and choices are chosen by and papers are compared in."""
    measures: ClassVar[tuple[Measure, ...]] = ()
    """Others that are listed."""
    choices: ClassVar[tuple[float | None, ...]] = (None,)
    """What may be chosen on validation frames, such as thresholds; one, None, where there is no choice."""
    default: ClassVar[int] = 0
    """Index of the choice where nothing is chosen."""
    loss: ClassVar[str]
    """Name of the loss that it is learnt by, if the configuration names none (`fautrain.losses`)."""
    recipe: ClassVar[str] = "fmae-iat"
    """Name of the recipe that is taken where none is asked for (`fautrain.recipes`)."""
    words: ClassVar[Words]

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs, in order."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Keys of the labels that are decoded, as the shards have them."""

    @abstractmethod
    def known(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which codes of labels are of this coding."""

    @abstractmethod
    def decode(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Targets (n, A) of codes (n, len(labels)); nan where a code says nothing or is `UNCODED`."""

    def only(self, outputs: Sequence[str], benchmark: str) -> Target:
        """The target of some of the outputs, in its own order; of all for none.

        Raises:
            UserError: it has no such output, or none can be left out.
        """
        if outputs:
            raise UserError(f"data.aus: the outputs of {benchmark} cannot be chosen; leave it out")
        return self

    def option(self, outputs: Sequence[str]) -> str:
        """What `--set` takes to learn these outputs only; empty where that cannot be."""
        del outputs
        return ""

    @staticmethod
    def listed(outputs: Sequence[str]) -> str:
        """Outputs in a sentence."""
        return ", ".join(outputs)

    @staticmethod
    def lacks(train: NDArray[Any], test: NDArray[Any]) -> Iterator[tuple[str, list[bool]]]:
        """What outputs may lack to be learnt and tested, and which of the A do not, of targets (n, A)."""
        for part, target in (("train", train), ("test", test)):
            yield f"no coded frame to {part} on", [not np.isnan(column).all() for column in target.T]

    @staticmethod
    def remarks(target: NDArray[Any], outputs: Sequence[str], where: str) -> Iterator[str]:
        """Sentences on what test targets (n, A) do to the headline measure, whatever is predicted."""
        del target, outputs, where
        yield from ()

    @staticmethod
    @abstractmethod
    def activation(logits: Tensor) -> Tensor:
        """Predictions (n, A) of a model's logits (n, A)."""

    @staticmethod
    def of_some(prediction: NDArray[Any]) -> NDArray[Any]:
        """Predictions (n, B) of B outputs of a model that has more, as if it had these alone."""
        return prediction

    @staticmethod
    @abstractmethod
    def check(prediction: NDArray[Any], target: NDArray[Any]) -> None:
        """Raises a ValueError for finite predictions or targets (n, A) that cannot be of this kind."""

    @classmethod
    @abstractmethod
    def statistics(
        cls,
        prediction: NDArray[Any],
        target: NDArray[Any],
        group: NDArray[np.int64] | None = None,
        groups: int = 1,
    ) -> Statistics:
        """Numbers (groups, choices, A, K) that add up, of frames with a group each (a subject, say)."""

    @staticmethod
    @abstractmethod
    def score(statistics: Statistics) -> Floats:
        """The headline measure (..., A) of statistics (..., A, K), finite; by convention where undefined."""

    @staticmethod
    def overall(scores: Floats, statistics: Statistics) -> Floats:
        """Numbers (..., A) whose mean is the score of all outputs, of their scores (..., A) and statistics
        (..., A, K): the scores themselves, where every output weighs the same."""
        del statistics
        return scores

    @staticmethod
    def confusion(statistics: Statistics) -> Statistics | None:
        """How many frames of each output (rows) were taken for each (columns), (A, A), of statistics (A, K);
        None where outputs do not exclude each other."""
        del statistics
        return None

    @staticmethod
    @abstractmethod
    def measured(
        prediction: NDArray[Any], target: NDArray[Any], choice: float | None
    ) -> Mapping[str, Floats]:
        """The `measures` by name, (A,) each, nan where undefined."""

    @staticmethod
    @abstractmethod
    def baseline(target: NDArray[Any]) -> NDArray[Any]:
        """What somebody would predict (n, A) who does not look at the picture."""

    @staticmethod
    @abstractmethod
    def support(statistics: Statistics) -> list[str]:
        """How many frames each output has, as text, of the baseline's statistics (A, K)."""


TARGETS: Registry[type[Target]] = Registry("there is no kind of target {}", "fautrain.targets")
"""The kinds by name: `kind` of a benchmark's file."""
