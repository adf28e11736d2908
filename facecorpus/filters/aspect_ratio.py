"""Pictures much longer than wide, or wider than long."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

from facecorpus.filters.base import Limit, Limits, measured, rejects
from facecorpus.record import Record

MAX_ASPECT_RATIO = Limit(
    "max_aspect_ratio",
    float | None,
    1.5,
    "Longest side over shortest, either way round (Face9M's rule: 1.5); none keeps any shape.",
    low=1.0,
)


def _remedy(recipe: Any) -> str:
    whose = "the rule of the Face9M paper, which" if recipe.name.startswith("face9m") else "a rule that"
    rule = f"this is {whose} the recipe {recipe.name} follows"
    if recipe.align == "none":
        return f"{rule}, as a long picture is squashed here; --set limits.max_aspect_ratio=none lifts it"
    return f"{rule}; as faces are aligned here anyway, --set limits.max_aspect_ratio=none may lift it"


@rejects("header", MAX_ASPECT_RATIO, remedy=_remedy, order=30)
def aspect_ratio(record: Record, limits: Limits) -> str | None:
    """Longer than the recipe allows for its width, or wider for its height."""
    width, height = measured(record, "width_px"), measured(record, "height_px")
    short, long = sorted((width, height))
    if long <= _exact(limits.max_aspect_ratio) * short:
        return None
    ratio = f"a ratio of {long / short:.4g}, above {limits.max_aspect_ratio:g}"
    return f"the image is {width} x {height} px, {ratio}"


@functools.lru_cache(maxsize=16)
def _exact(ratio: float) -> Fraction:
    """The number as written: in binary, 1.15 x 100 is a little less than 115."""
    return Fraction(repr(ratio))
