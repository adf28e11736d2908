"""Labels of action units, one for each output: what a benchmark's file says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from facecorpus.errors import UserError
from fautrain.targets.base import UNCODED, Target


@dataclass(frozen=True, kw_only=True)
class ActionUnits(Target):
    """Targets with a label and an output for each action unit."""

    aus: tuple[int, ...]
    """Action units in the order of the model's outputs."""
    label: str
    """Key of an AU's label in the shards, with `{au}` for its number."""
    missing: tuple[int, ...]
    """Codes that say nothing about the AU; neither trained on nor counted."""
    codes: tuple[int, ...] = ()
    """Codes that a label may have besides `missing`, so that another coding is noticed; empty for any."""

    def __post_init__(self) -> None:
        if not self.aus or min(self.aus) < 1:
            raise UserError("aus must be positive numbers of action units, such as [1, 2, 4]")
        twice = [au for au, count in Counter(self.aus).items() if count > 1]
        if twice:
            raise UserError(f"aus: {twice[0]} is there twice; keep it once")
        if "{au}" not in self.label:
            raise UserError(
                f"label={self.label!r} must hold {{au}} in the number's place, such as 'AU{{au}}'"
            )
        both = sorted({*self.codes} & {*self.missing})
        if both:
            raise UserError(f"missing and codes both hold {both[0]}; keep it in one of them")

    @property
    def outputs(self) -> tuple[str, ...]:
        """`AU1`, ..."""
        return tuple(f"AU{au}" for au in self.aus)

    @property
    def labels(self) -> tuple[str, ...]:
        """One for each action unit."""
        return tuple(self.label.replace("{au}", str(au)) for au in self.aus)

    def known(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Those of `codes` and `missing`, or all."""
        return np.isin(codes, [*self.codes, *self.missing, UNCODED]) | (not self.codes)

    def coded(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which codes say something."""
        return ~np.isin(codes, [*self.missing, UNCODED])

    def only(self, outputs: Sequence[str], benchmark: str) -> Self:
        """See `Target.only`."""
        for name in outputs:
            if name not in self.outputs:
                known = ", ".join(map(str, self.aus))
                raise UserError(f"data.aus: {benchmark} has no {name}; choose among {known}")
        return replace(self, aus=tuple(au for au in self.aus if not outputs or f"AU{au}" in outputs))

    def option(self, outputs: Sequence[str]) -> str:
        """See `Target.option`."""
        return f"data.aus={','.join(name.removeprefix('AU') for name in outputs)}" if outputs else ""

    @staticmethod
    def listed(outputs: Sequence[str]) -> str:
        """`AU 1, 2`."""
        return f"AU {', '.join(name.removeprefix('AU') for name in outputs)}"
