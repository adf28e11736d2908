"""What a filter is: a reason, the limits it applies, and a rule; and what a recipe sets of all limits."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from facecorpus.errors import UserError
from facecorpus.plugins import Registry
from facecorpus.reasons import REASONS, Reason, Remedy, declare
from facecorpus.record import Record, State

Stage = Literal["listed", "header", "faces", "crop"]
"""When a filter looks: before the file is read, before any pixel is decoded, after detection, or at the
finished crop."""
_STEP_OF: Mapping[Stage, str] = {
    "listed": "readable",
    "header": "right shape",
    "faces": "usable face",
    "crop": "clear crop",
}
Rule = Callable[..., str | None]


@dataclass(frozen=True, slots=True)
class Limit:
    """A value of the recipe that a filter applies: `--set limits.NAME=`."""

    name: str
    hint: Any
    """Its type: `int`, `float`, `float | None` or a `Literal` of words."""
    default: Any
    about: str
    """What it limits, in which unit, and which value is off."""
    low: float = 0.0
    high: float = math.inf
    above: str = ""
    """Name of a limit that it may not be less than."""

    def check(self, value: Any, limits: Mapping[str, Any]) -> None:
        """Raises `UserError` for a value that is out of range beside the others."""
        allowed = typing.get_args(self.hint)
        if value in allowed or (value is None and type(None) in allowed):
            return
        if isinstance(self.default, str):
            words = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
            raise UserError(f"limits.{self.name} is {value!r}; give {words}")
        low: float = limits.get(self.above, self.low)
        if value is None or not low <= value <= self.high or math.isinf(value):  # also refuses NaN
            bounds = f"from {low:g} to {self.high:g}" if self.high < math.inf else f"of at least {low:g}"
            raise UserError(f"limits.{self.name} is {value}; give a number {bounds}")


@dataclass(frozen=True, slots=True)
class Filter:
    """A rule that rejects records."""

    reason: Reason
    stage: Stage
    order: int
    """Filters of a stage judge in this order; equal ones as they were registered."""
    limits: tuple[Limit, ...]
    """The first turns the filter off when it is None."""
    rule: Rule


FILTERS: Registry[Filter] = Registry("there is no filter {}")
"""Every filter, by the name of its reason."""
LIMITS: Registry[Limit] = Registry("recipe value limits.{} is unknown")
"""Their limits."""
_AT: dict[Stage, list[Filter]] = {stage: [] for stage in _STEP_OF}
"""The filters of each stage in the order in which they judge, which they do for every picture."""


def rejects(
    stage: Stage, *limits: Limit, remedy: Remedy = "", step: str = "", order: int = 100
) -> Callable[[Rule], Rule]:
    """Register the decorated rule as a filter. Its name is that of the reason, its docstring what that means.

    The rule is called with (record, limits), at "faces" with (record, limits, others), where `others` are
    the (score, interocular_px) of the picture's further faces. It answers None to keep the record, or one
    sentence with the numbers. A value exactly at its limit is kept.

    Args:
        stage: when it looks.
        limits: what it applies. A plug-in's first one is None by default: the filter is then off, and the
            limit no part of a recipe that does not set it.
        remedy: see `Reason`; not asked for a reason that is declared already, as others give it too.
        step: of the funnel, where it is not the stage's own.
        order: see `Filter`.
    """

    def register(rule: Rule) -> Rule:
        name, about = rule.__name__, inspect.getdoc(rule) or ""
        if name not in REASONS:
            declare(name, State.REJECTED, step or _STEP_OF[stage], about, remedy)
        for limit in limits:
            LIMITS.register(limit.name)(limit)
            Limits.__annotations__[limit.name] = limit.hint
        _AT[stage].append(FILTERS.register(name)(Filter(REASONS.get(name), stage, order, limits, rule)))
        _AT[stage].sort(key=lambda known: known.order)
        return rule

    return register


class Limits(types.SimpleNamespace):
    """What a recipe keeps: a value for each of `LIMITS`, as attributes that do not change."""

    def __init__(self, **given: Any) -> None:
        """Check the values given; the others are the defaults.

        Raises:
            UserError: one is out of range, or no limit's.
        """
        values = {name: LIMITS.get(name).default for name in LIMITS}
        super().__init__(**values | given)
        for name, value in vars(self).items():
            LIMITS.get(name).check(value, vars(self))

    def __setattr__(self, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to limits.{name}")

    def plain(self) -> dict[str, Any]:
        """The values by name, without those of filters that are off unless a recipe asks for them."""
        return {n: v for n, v in vars(self).items() if v is not None or LIMITS.get(n).default is not None}


class Verdict(NamedTuple):
    """Why a filter rejects a record."""

    reason: Reason
    detail: str
    """One sentence with the numbers."""


def judge(
    stage: Stage, record: Record, limits: Limits, *others: Sequence[tuple[float, float]]
) -> Verdict | None:
    """What the first filter of the stage that rejects the record says; None where all keep it."""
    for known in _AT[stage]:
        if getattr(limits, known.limits[0].name, None) is not None:
            detail = known.rule(record, limits, *others)
            if detail is not None:
                return Verdict(known.reason, detail)
    return None


def measured(record: Record, name: str) -> Any:
    """A field of the record.

    Raises:
        ValueError: it is None, so that a filter looks before there is something to see.
    """
    value = getattr(record, name)
    if value is None:
        raise ValueError(f"{record.id}: a filter needs {name}, which is not measured yet")
    return value
