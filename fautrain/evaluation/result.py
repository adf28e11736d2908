"""The result of a benchmark over its folds and seeds, as plain data: `result.json`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fautrain.errors import UserError
from fautrain.evaluation.columns import FoldResult
from fautrain.evaluation.files import publish
from fautrain.typed import build, to_plain

Interval = tuple[float, float]
"""Lower and upper end of the 95 % percentile interval."""


@dataclass(frozen=True)
class Bounds:
    """95 % intervals on subjects drawn anew."""

    f1: tuple[Interval, ...]
    mean: Interval
    pooled_f1: tuple[Interval, ...]
    pooled_mean: Interval


@dataclass(frozen=True)
class Summary:
    """One column over folds and seeds. Tuples are per AU unless said otherwise; values are fractions."""

    f1: tuple[float, ...]
    """Mean over folds."""
    mean: float
    """Mean of `f1` over the AUs."""
    pooled_f1: tuple[float, ...]
    """All folds' test frames together, each at its own fold's epoch and threshold."""
    pooled_mean: float
    bounds: Bounds | None
    """None where a fold tests one subject only, and for `published`: its choice on the test subjects would
    have to be made anew with every draw."""
    by_fold: tuple[float, ...]
    """Mean F1 of each fold."""
    fold_sd: float | None
    """Standard deviation (n - 1) of `by_fold`; None with fewer than two."""
    by_seed: tuple[float, ...]
    """`mean` of each seed alone."""
    seed_sd: float | None
    """Standard deviation (n - 1) of `by_seed`; None with fewer than two."""
    precision: tuple[float, ...]
    """Mean over folds, as the three below."""
    recall: tuple[float, ...]
    accuracy: tuple[float, ...]
    auc: tuple[float | None, ...]
    """None where a fold has none."""


@dataclass(frozen=True)
class Result:
    """What is known of a benchmark. With several seeds every value is the mean over them."""

    dataset: str
    trained_on: str
    """The data set that was trained on, where it is another one; else empty."""
    aus: tuple[int, ...]
    drawn: bool
    """Whether the faces are drawn ones."""
    folds: tuple[int, ...]
    """Folds that are in the means; empty where the data set is tested as a whole."""
    folds_total: int
    """Folds of the benchmark."""
    seeds: tuple[int, ...]
    """Seeds that are in the means."""
    subjects: int
    """Test subjects."""
    frames: int
    """Test frames."""
    all_positive: tuple[float, ...]
    """F1 of calling every AU present, mean over folds."""
    all_positive_mean: float
    all_positive_pooled: tuple[float, ...]
    all_positive_pooled_mean: float
    last: Summary
    selected: Summary | None
    published: Summary
    resamples: int
    """Draws of subjects behind each interval."""
    runs: tuple[FoldResult, ...]
    """Every run, by seed and fold, those left out of the means included."""
    notes: tuple[str, ...]
    """Sentences on what limits these numbers."""
    absent: tuple[str, ...] = ()
    """Subjects of the benchmark of whom some run's shards held no frame."""


Kind = TypeVar("Kind", Result, FoldResult)


def coverage(result: Result) -> str:
    """Which folds are in the means.

    Such as `mean over the 3 folds`, `folds 1, 2 of 3 only` or `the whole data set`.
    """
    if not result.folds:
        return "the whole data set"
    if len(result.folds) == result.folds_total:
        return f"mean over the {result.folds_total} folds"
    word = "fold" if len(result.folds) == 1 else "folds"
    return f"{word} {', '.join(map(str, result.folds))} of {result.folds_total} only"


def write_result(result: Result | FoldResult, path: Path) -> None:
    """Writes the result, of a benchmark or of one fold, as JSON in one move.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(to_plain(result), indent=1, allow_nan=False)
    # Innermost lists on one line each: thousands of counts would otherwise hide the numbers that are read.
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\n\s*", " ", found[0]), text)
    publish(path, lambda aside: aside.write_text(text + "\n", "utf-8"))


def read_result(path: Path) -> Result:
    """The result of a benchmark in a file.

    Raises:
        UserError: the file is missing, or holds no such result.
    """
    return _read(Result, path)


def read_fold(path: Path) -> FoldResult:
    """The result of one fold in a file.

    Raises:
        UserError: the file is missing, or holds no such result.
    """
    return _read(FoldResult, path)


def _read(kind: type[Kind], path: Path) -> Kind:
    try:
        return build(kind, json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"there is no {path}; evaluate the run first") from None
    except (OSError, ValueError, ArithmeticError, RecursionError, UserError) as error:
        raise UserError(
            f"{path} holds no result ({str(error)[:300]}); delete it and evaluate the run again"
        ) from None
