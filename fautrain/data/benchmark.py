"""Benchmarks as data: which AUs, what counts as present, whose frames are tested in which fold, and what the
papers report.

A benchmark is a TOML file: those of `manifests/` by name (`disfa`), anyone's own by path (`my/set.toml`). Its
keys are the fields of `Benchmark`; `manifests/disfa.toml` explains them. Nothing here knows a data set.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecorpus import manifests
from fautrain import typed
from fautrain.errors import UserError

_RULE = re.compile(r"(>=|==)\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Published:
    """One system's row of a paper's table."""

    system: str
    where: str
    """Paper and table that the figures were read from."""
    f1: tuple[float | None, ...]
    """F1 in percent per AU, in the benchmark's order; None (in TOML: nan) where the table has none."""
    mean: float
    """As printed, in percent."""

    def __post_init__(self) -> None:
        known = tuple(None if f is None or math.isnan(f) else f for f in self.f1)
        object.__setattr__(self, "f1", known)
        if not all(0 <= f <= 100 for f in (self.mean, *known) if f is not None):
            raise UserError(f"published.f1 of {self.system} is not within 0 to 100; give F1 in percent")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A protocol of action-unit detection with subject-exclusive folds."""

    name: str
    title: str
    source: str
    """The data set, as its shards name it in their column `source`."""
    aus: tuple[int, ...]
    """Action units in the order of the model's outputs."""
    label: str
    """Key of an AU's label in the shards, with `{au}` for its number."""
    positive: str
    """`>= N` or `== N`: the codes that count as present."""
    missing: tuple[int, ...]
    """Codes that say nothing about the AU; neither trained on nor counted."""
    videos: tuple[str, ...]
    """Values of the shards' column `video` that take part; empty for all."""
    subjects: tuple[str, ...]
    """Everybody; the order is that of the identity head's outputs."""
    folds: tuple[tuple[str, ...], ...]
    """Test subjects of fold 1, 2, ...; the others train."""
    published: tuple[Published, ...] = ()
    codes: tuple[int, ...] = ()
    """Codes that a label may have besides `missing`, so that another coding is noticed; empty for any."""
    frames: int | None = None
    """Annotated frames, as published."""
    used_by: tuple[str, ...] = ()
    """Systems evaluated on these AUs and folds."""

    def __post_init__(self) -> None:
        """Check what can be checked without data.

        Raises:
            UserError: a field is wrong; the message names it.
        """
        if not self.aus or min(self.aus) < 1:
            raise UserError("aus must be positive numbers of action units, such as [1, 2, 4]")
        _once("aus", self.aus)
        if "{au}" not in self.label:
            raise UserError(
                f"label={self.label!r} must hold {{au}} in the number's place, such as 'AU{{au}}'"
            )
        self._check_codes()
        self._check_folds()
        for row in self.published:
            if len(row.f1) != len(self.aus):
                raise UserError(
                    f"published.f1 of {row.system} has {len(row.f1)} values for {len(self.aus)} AUs; "
                    "give one each, nan where there is none"
                )

    def targets(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """1 where the AU is present, 0 where it is absent, nan where the code says nothing; any shape."""
        sign, number = _rule(self.positive)
        present = codes >= number if sign == ">=" else codes == number
        return np.where(np.isin(codes, self.missing), np.nan, present).astype(np.float32)

    def _check_codes(self) -> None:
        _rule(self.positive)
        both = sorted({*self.codes} & {*self.missing})
        if both:
            raise UserError(f"missing and codes both hold {both[0]}; keep it in one of them")
        if self.codes and len({*self.targets(np.array(self.codes)).tolist()}) == 1:
            raise UserError(f"positive={self.positive!r} does not divide the codes {[*self.codes]}; mend one")

    def _check_folds(self) -> None:
        _once("subjects", self.subjects)
        if len(self.folds) < 2:
            raise UserError("folds must be two lists of test subjects or more")
        if not all(self.folds):
            raise UserError(f"folds: fold {self.folds.index(()) + 1} is empty; name its test subjects")
        _once("folds", [subject for fold in self.folds for subject in fold])
        tested = {subject for fold in self.folds for subject in fold}
        for subject in sorted(tested - {*self.subjects}):
            raise UserError(f"folds: {subject!r} is not in subjects; {typed.nearest(subject, self.subjects)}")
        for subject in sorted({*self.subjects} - tested):
            raise UserError(f"folds: {subject!r} of subjects is in no fold; add it to one")


def _once(field: str, items: Iterable[Any]) -> None:
    twice = [item for item, count in Counter(items).items() if count > 1]
    if twice:
        raise UserError(f"{field}: {twice[0]!r} is there twice; keep it once")


def _rule(text: str) -> tuple[str, int]:
    found = _RULE.fullmatch(text.strip())
    if not found:
        raise UserError(f"positive={text!r} is no rule; write '>= N' or '== N'")
    return found[1], int(found[2])


def benchmark_names() -> list[str]:
    """The benchmarks that come with the package, sorted."""
    return sorted(_included())


def benchmark(name_or_path: str | Path) -> Benchmark:
    """The benchmark of that name, or the one in a TOML file of your own.

    Raises:
        UserError: there is none of that name (the nearest is named) or no such file, or the file is wrong;
            the message names the file and the field.
    """
    text = str(name_or_path)
    if not text.endswith(".toml"):
        included = _included()
        if text not in included:
            raise UserError(f"--dataset {text}: there is no such benchmark; {typed.nearest(text, included)}")
        return _read(f"{text}.toml", text, included[text])
    try:
        return _read(text, Path(text).stem, Path(text).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"--dataset {text} cannot be read ({error.strerror}); mend the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--dataset {text} is no UTF-8 text ({error}); save it as UTF-8") from error


def _included() -> dict[str, str]:
    """Name -> text of the package's benchmarks: the files of `manifests/` that have folds."""
    files = (f for f in manifests.folder().iterdir() if f.name.endswith(".toml"))
    texts = {f.name.removesuffix(".toml"): f.read_text("utf-8") for f in files}
    return {name: text for name, text in texts.items() if re.search(r"^folds\b", text, re.MULTILINE)}


def _read(file: str, name: str, text: str) -> Benchmark:
    try:
        return typed.build(Benchmark, {"name": name, **tomllib.loads(text)})
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no TOML file ({error}); mend it there") from error
    except UserError as error:
        raise UserError(f"{file}: {str(error)[:1000]}") from error  # a field's name may be of any length
