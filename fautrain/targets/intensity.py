"""How strongly action units are active: levels 0 to 5, ICC(3,1), MSE and MAE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from facecorpus.errors import UserError
from fautrain import metrics
from fautrain.targets.action_units import ActionUnits
from fautrain.targets.base import TARGETS, Floats, Measure, Statistics, Words

if TYPE_CHECKING:
    from torch import Tensor

LEVELS: Final = 5
"""The highest level: FACS' A (trace) to E (maximum) are 1 to 5, and 0 is absent."""
_ICC = (
    "the intraclass correlation ICC(3,1) of prediction and annotation (Shrout and Fleiss, 1979): 1 where "
    "they agree but for a constant, 0 for whoever says the same of every frame, down to -1; "
    '"mean" is over the AUs. An action unit (AU) is the movement of one facial muscle or a few, and its '
    "level says how strong it is, from 0 (absent) to 5 (at its strongest)"
)


@TARGETS.register("intensity")
@dataclass(frozen=True, kw_only=True)
class Intensity(ActionUnits):
    """The level of each action unit, and its prediction, both from 0 to 5; predictions may lie beyond.

    Statistics are sums over the coded frames, of `metrics.pair_sums`, and how many have a level above 0.
    """

    headline = Measure("ICC", percent=False, about=_ICC)
    measures = (
        Measure("MSE", percent=False, higher=False, by_fold=True),
        Measure("MAE", percent=False, higher=False, by_fold=True),
    )
    loss = "intensity"
    recipe = "mae-face"
    words = Words(
        baseline="Always the mean level",
        baseline_short="mean level",
        baseline_phrase="saying an AU's mean level on every frame",
        baseline_about="the ICC reached without looking at the picture, which is 0",
        support="Support: test frames with a level above 0, and their share of the coded ones",
        output="action unit",
        short="AU",
    )

    zero: tuple[int, ...] = ()
    """Codes that count as level 0 though they say "unknown", as 9 does in FERA 2015's own baseline."""

    def __post_init__(self) -> None:
        super().__post_init__()
        beyond = sorted(code for code in self.codes if not 0 <= code <= LEVELS)
        if beyond:
            raise UserError(f"codes: {beyond[0]} is no level from 0 to {LEVELS}; name it in missing or zero")
        both = sorted({*self.zero} & {*self.missing})
        if both:
            raise UserError(f"missing and zero both hold {both[0]}; keep it in one of them")

    def known(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Those of `codes`, `missing` and `zero`, or without `codes` all levels besides."""
        levels = self.codes or tuple(range(LEVELS + 1))
        return np.isin(codes, self.zero) | (
            super().known(codes) & (np.isin(codes, levels) | ~self.coded(codes))
        )

    def decode(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """The level, 0 to 5."""
        levels = np.where(np.isin(codes, self.zero), 0, codes)
        return np.where(self.coded(codes), levels, np.nan).astype(np.float32)

    @staticmethod
    def lacks(train: NDArray[Any], test: NDArray[Any]) -> Iterator[tuple[str, list[bool]]]:
        """Every AU needs frames of different levels."""
        for part, target in (("train", train), ("test", test)):
            yield f"no two levels to {part} on", [_varies(column) for column in target.T]

    @staticmethod
    def remarks(target: NDArray[Any], outputs: Sequence[str], where: str) -> Iterator[str]:
        """A sentence for each AU that has one level only."""
        for name, column in zip(outputs, target.T, strict=True):
            if not _varies(column):
                yield (
                    f"{Intensity.listed([name])} has one level on all test frames of {where}: its ICC there "
                    "is 0 and counts in the mean."
                )

    @staticmethod
    def activation(logits: Tensor) -> Tensor:
        """The linear output, which learns level / 5, on the scale 0 to 5 (MAE-Face, section 3.3)."""
        return LEVELS * logits

    @staticmethod
    def check(prediction: NDArray[Any], target: NDArray[Any]) -> None:
        """See `Target.check`."""
        if not (np.isnan(target) | ((target >= 0) & (target <= LEVELS))).all():
            raise ValueError(f"a target is neither a level from 0 to {LEVELS} nor NaN")

    @classmethod
    def statistics(
        cls,
        prediction: NDArray[Any],
        target: NDArray[Any],
        group: NDArray[np.int64] | None = None,
        groups: int = 1,
    ) -> Statistics:
        """Sums (groups, 1, A, 8)."""
        active = (target > 0).astype(np.float64)[..., None]
        sums = np.concatenate([metrics.pair_sums(prediction, target), active], axis=-1)
        if group is None:
            return sums.sum(axis=0)[None, None]
        found = np.zeros((groups, *sums.shape[1:]))
        np.add.at(found, group, sums)
        return found[:, None]

    @staticmethod
    def score(statistics: Statistics) -> Floats:
        """ICC(3,1); 0 where neither prediction nor annotation varies."""
        return metrics.icc(statistics)

    @staticmethod
    def measured(
        prediction: NDArray[Any], target: NDArray[Any], choice: float | None
    ) -> Mapping[str, Floats]:
        """On the scale 0 to 5."""
        del choice
        sums = metrics.pair_sums(prediction, target).sum(axis=0)
        return {"MSE": metrics.mse(sums), "MAE": metrics.mae(sums)}

    @staticmethod
    def baseline(target: NDArray[Any]) -> NDArray[Any]:
        """Each AU's mean level on every frame."""
        coded = ~np.isnan(target)
        mean = np.where(coded, target, 0).sum(axis=0, dtype=np.float64) / np.maximum(coded.sum(axis=0), 1)
        return np.broadcast_to(mean, target.shape).astype(target.dtype)

    @staticmethod
    def support(statistics: Statistics) -> list[str]:
        """Frames above level 0, and their share of the coded ones."""
        coded, active = statistics[:, 0].astype(int).tolist(), statistics[:, -1].astype(int).tolist()
        return [f"{a:,} ({100 * a / max(n, 1):.1f} %)" for a, n in zip(active, coded, strict=True)]


def _varies(column: NDArray[Any]) -> bool:
    """Whether the coded levels (n,) are not all the same one."""
    coded = column[~np.isnan(column)]
    return bool((coded != coded[:1]).any())
