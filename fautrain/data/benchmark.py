"""Benchmarks as data: what is predicted, whose frames are tested in which fold, and what the papers report.

A benchmark is a TOML file: those of `manifests/` by name (`disfa`), anyone's own by path (`my/set.toml`). Its
keys are the fields of `Benchmark` and of the `Target` of its kind; `manifests/disfa.toml` explains them. One
that is `like` an included one holds only what differs from it. Nothing here knows a data set or a kind.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from facecorpus import manifests, typed
from facecorpus.errors import UserError
from fautrain.targets import TARGETS, Target

WHOLE: Final = 0.95
"""Share of the published frames from which a copy of a data set counts as whole. JAA-Net's DISFA, which
papers compare with, lacks 3.6 % of them."""
Part = Literal["all", "train", "test"]


@dataclass(frozen=True, slots=True)
class Published:
    """One system's row of a paper's table."""

    system: str
    where: str
    """Paper and table that the figures were read from."""
    scores: tuple[float | None, ...]
    """Headline measure per output, as printed, in the benchmark's order; None (in TOML: nan) where the table
    has none."""
    mean: float
    """As printed."""
    measures: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict[str, Any])
    """Others that the target has, by name: per output, and behind them the mean as printed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", _known(self.scores))
        measures = {name: _known(values) for name, values in self.measures.items()}
        object.__setattr__(self, "measures", measures)


def _known(values: Iterable[float | None]) -> tuple[float | None, ...]:
    return tuple(None if value is None or math.isnan(value) else value for value in values)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A protocol: what is predicted, and who trains and who is tested."""

    name: str
    title: str
    source: str
    """The data set, as its shards name it in their column `source`."""
    kind: str
    """What is predicted (`fautrain.targets`): `occurrence`."""
    target: Target
    """What is predicted, and how labels are read."""
    videos: tuple[str, ...] = ()
    """Values of the shards' column `video` that take part; empty for all."""
    subjects: tuple[str, ...] = ()
    """Everybody; the order is that of the identity head's outputs. Empty where only the shards know."""
    folds: tuple[tuple[str, ...], ...] = ()
    """Test subjects of fold 1, 2, ...; the others train."""
    split: Literal["folds", "official"] = "folds"
    """How frames are divided: each fold's test subjects are tested by a model of its own, or once, into the
    parts `train`, `validation` and `test` (which make "fold 1")."""
    by: Literal["subject", "video", "split"] = "subject"
    """What of a frame says its part: the subject, or the shards' column of that name."""
    train: tuple[str, ...] = ()
    """Values of `by` whose frames train."""
    validation: tuple[str, ...] = ()
    """Values of `by` whose frames epoch and choice are chosen on, always; where there are none,
    `data.validation` keeps some of those that train."""
    test: tuple[str, ...] = ()
    """Values of `by` whose frames are tested."""
    unit: Literal["subject", "video", "picture"] = "subject"
    """What is never in two parts and is drawn anew for the intervals: the subject (the shards' `identity`),
    or where nobody knows who is shown the video, or each picture for itself."""
    published: tuple[Published, ...] = ()
    frames: int | None = None
    """Annotated frames, as published."""
    frames_train: int | None = None
    """Of the training part of an official split."""
    frames_test: int | None = None
    """Of its test part."""
    rates: tuple[float, ...] = ()
    """Share in percent of the coded frames of each output that are positive, as published: of all frames, or
    of those that train in an official split."""
    people: str = ""
    """The data set in which subjects of these names are the same people; empty for `source` alone."""
    used_by: tuple[str, ...] = ()
    """Systems evaluated on these outputs and folds."""

    def __post_init__(self) -> None:
        """Check what can be checked without data.

        Raises:
            UserError: a field is wrong; the message names it.
        """
        if self.split == "folds":
            self._check_folds()
        else:
            self._check_parts()
        for row in self.published:
            self._check_published(row)
        if self.rates and len(self.rates) != len(self.outputs):
            raise UserError(
                f"rates has {len(self.rates)} values for {len(self.outputs)} outputs; give one each"
            )

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the model's outputs are, in order: `AU1`, ..."""
        return self.target.outputs

    @property
    def numbers(self) -> range:
        """Numbers of the folds, from 1."""
        return range(1, 1 + (len(self.folds) or 1))

    def part_named(self, fold: int) -> str:
        """What is tested, in a sentence."""
        return f"fold {fold} of {self.name}" if self.folds else f"the official split of {self.name}"

    @property
    def parts(self) -> tuple[str, ...]:
        """All values of `by` that take part, of an official split."""
        return (*self.train, *self.validation, *self.test)

    def tested(self, fold: int) -> tuple[str, ...]:
        """Values of `by` whose frames fold `fold` tests."""
        return self.folds[fold - 1] if self.folds else self.test

    @property
    def population(self) -> str:
        """Benchmarks with the same one have the same people under the same names."""
        return self.people or self.source

    def published_frames(self, part: Part) -> int | None:
        """How many frames are published; None where nobody says."""
        return {"all": self.frames, "train": self.frames_train, "test": self.frames_test}[part]

    def is_whole(self, frames: int, part: Part) -> bool:
        """Whether so many may be the published ones: where no face is found, a frame is lost."""
        known = self.published_frames(part)
        return known is None or WHOLE * known <= frames <= known / WHOLE

    def _check_parts(self) -> None:
        if self.folds:
            raise UserError('folds and split = "official" exclude each other; keep one of them')
        for name in ("train", "test"):
            if not getattr(self, name):
                raise UserError(f"{name} is empty; name each {self.by} of that part of the official split")
        _once("train, validation and test", self.parts)
        if self.unit != "subject" and (self.subjects or self.by == "subject"):
            raise UserError(f'unit = "{self.unit}" knows no subjects; leave them out, and divide by another')
        if self.by == "subject":
            object.__setattr__(self, "subjects", self.subjects or self.parts)
            self._check_subjects("train, validation and test", self.parts, "part")

    def _check_published(self, row: Published) -> None:
        if len(row.scores) != len(self.outputs):
            raise UserError(
                f"published.scores of {row.system} has {len(row.scores)} values for {len(self.outputs)} "
                "outputs; give one each, nan where there is none"
            )
        for name, values in row.measures.items():
            if name not in [measure.name for measure in self.target.measures]:
                raise UserError(
                    f"published.measures of {row.system}: {self.kind} has no {name}; leave it out"
                )
            if len(values) != len(self.outputs) + 1:
                raise UserError(
                    f"published.measures.{name} of {row.system} has {len(values)} values for "
                    f"{len(self.outputs)} outputs and their mean; give one each, nan where there is none"
                )
        measure, figures = self.target.headline, [f for f in (row.mean, *row.scores) if f is not None]
        if measure.percent and not all(0 <= figure <= 100 for figure in figures):
            raise UserError(
                f"published.scores of {row.system} is not within 0 to 100; give {measure.name} in percent"
            )

    def _check_folds(self) -> None:
        if self.by != "subject" or self.unit != "subject" or self.parts:
            raise UserError('by, unit, train, validation and test are of split = "official"; leave them out')
        if len(self.folds) < 2:
            raise UserError("folds must be two lists of test subjects or more")
        if not all(self.folds):
            raise UserError(f"folds: fold {self.folds.index(()) + 1} is empty; name its test subjects")
        tested = tuple(subject for fold in self.folds for subject in fold)
        _once("folds", tested)
        self._check_subjects("folds", tested, "fold")

    def _check_subjects(self, field: str, named: tuple[str, ...], part: str) -> None:
        """Everybody of `subjects` is in one of the parts, and nobody else."""
        _once("subjects", self.subjects)
        for subject in sorted({*named} - {*self.subjects}):
            known = typed.nearest(subject, self.subjects)
            raise UserError(f"{field}: {subject!r} is not in subjects; {known}")
        for subject in sorted({*self.subjects} - {*named}):
            raise UserError(f"{field}: {subject!r} of subjects is in no {part}; add it to one")


def _once(field: str, items: Iterable[Any]) -> None:
    twice = [item for item, count in Counter(items).items() if count > 1]
    if twice:
        raise UserError(f"{field}: {twice[0]!r} is there twice; keep it once")


def from_plain(data: Mapping[str, Any]) -> Benchmark:
    """The benchmark of a file's keys, or of what `facecorpus.typed.to_plain` made of one.

    Raises:
        UserError: a key is unknown, missing or wrong; the message names it.
    """
    data = {**data, **data.get("target", {})}
    if "kind" not in data:
        raise UserError('kind is missing; say what is predicted, such as kind = "occurrence"')
    kind = TARGETS.get(str(data["kind"]))
    own, common = ({field.name for field in dataclasses.fields(cls)} for cls in (kind, Benchmark))
    typed.refuse_unknown(data, own | common)
    target = typed.build(kind, {name: data[name] for name in own if name in data})
    return typed.build(Benchmark, {**{n: v for n, v in data.items() if n in common}, "target": target})


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
    """Name -> text of the package's benchmarks: the files of `manifests/` that say what is predicted."""
    files = (f for f in manifests.folder().iterdir() if f.name.endswith(".toml"))
    texts = {f.name.removesuffix(".toml"): f.read_text("utf-8") for f in files}
    return {name: text for name, text in texts.items() if re.search(r"^kind\b", text, re.MULTILINE)}


def _told_of(like: str) -> dict[str, Any]:
    """What an included benchmark's file says."""
    if like not in (included := _included()):
        raise UserError(f"like={like}: there is no such benchmark; {typed.nearest(like, included)}")
    return tomllib.loads(included[like])


def _read(file: str, name: str, text: str) -> Benchmark:
    try:
        told = tomllib.loads(text)
        if (like := told.pop("like", None)) is not None:
            told = {**_told_of(str(like)), **told}
        return from_plain({"name": name, **told})
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no TOML file ({error}); mend it there") from error
    except UserError as error:
        raise UserError(f"{file}: {str(error)[:1000]}") from error  # a field's name may be of any length
