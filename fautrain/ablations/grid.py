"""Grids: what is varied, as the rows of a table.

`@grid("lambda", recipe="fmae-iat")` registers a function that makes one of a benchmark's name and a recipe's;
`crossed` varies one more value in a grid, as `--over optim.lr=1e-4,1e-3` does.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from facecorpus.errors import UserError
from facecorpus.plugins import Registry
from fautrain.data.folds import subset

RECIPE, SUBSET = "recipe", "subset"
"""Axes of `--over` that are no values of a configuration."""


@dataclass(frozen=True)
class Row:
    """One experiment: a run over folds and seeds."""

    values: tuple[str, ...]
    """On each axis, as the table shows it."""
    recipe: str
    settings: tuple[str, ...] = ()
    """`NAME=VALUE` as for `--set`, before those that the user gives."""
    paper: tuple[str, ...] = ()
    """Figures as printed, one for each of `Grid.paper`; empty where the paper has none."""


@dataclass(frozen=True)
class Grid:
    """Rows that are compared; the first is what the others are held against."""

    title: str
    axes: tuple[str, ...]
    """Heads of the columns that say what a row is."""
    rows: tuple[Row, ...]
    about: str = ""
    """What is asked, and where the values are from; Markdown."""
    paper: tuple[str, ...] = ()
    """Heads of the columns of the paper's figures."""
    measures: tuple[str, ...] = ()
    """What else is measured (`fautrain.ablations.measures`)."""
    on: tuple[str, ...] = ()
    """Benchmarks that every fold's model is tested on besides, if no others are asked for."""

    def __post_init__(self) -> None:
        """Refuse rows that could not be told apart.

        Raises:
            UserError: two rows would be run in one folder.
        """
        folder, count = Counter(map(self.folder, self.rows)).most_common(1)[0]
        if count > 1:
            raise UserError(f"--over: {count} rows would be run in the folder {folder}; name each value once")

    @property
    def varied(self) -> set[str]:
        """Names of values that differ between rows."""
        names = {setting.partition("=")[0] for row in self.rows for setting in row.settings}
        return {name for name in names if len({_value(row, name) for row in self.rows}) > 1}

    def folder(self, row: Row) -> str:
        """Where a row is run, within the ablation's folder: `lambda-0.5`."""
        words = (f"{a.rpartition('.')[2]}-{v}" for a, v in zip(self.axes, row.values, strict=True))
        return re.sub(r"[^A-Za-z0-9_.+%-]+", "-", "_".join(words)).strip("-.")[-100:]

    def named(self, row: Row) -> str:
        """A row in words: `lambda 0.5, layers 2`."""
        return ", ".join(f"{axis} {value}" for axis, value in zip(self.axes, row.values, strict=True))


class Named(NamedTuple):
    """A grid that has a name."""

    make: Callable[[str, str], Grid]
    """Of a benchmark's name and a recipe's."""
    recipe: str
    """What it is made of where no recipe is given; empty where the rows name their own."""

    @property
    def about(self) -> str:
        """What it is for."""
        return inspect.getdoc(self.make) or ""

    def of(self, dataset: str, recipe: str = "") -> Grid:
        """The grid, told about in the words of the function that makes it."""
        return replace(self.make(dataset, recipe or self.recipe), about=self.about)


GRIDS: Registry[Named] = Registry("there is no ablation {}", "fautrain.ablations.grids")
"""What `fautrain ablation NAME` knows."""


def grid(
    name: str, *, recipe: str = ""
) -> Callable[[Callable[[str, str], Grid]], Callable[[str, str], Grid]]:
    """Decorator that registers a function as the grid of that name."""

    def add(make: Callable[[str, str], Grid]) -> Callable[[str, str], Grid]:
        GRIDS.register(name)(Named(make, recipe))
        return make

    return add


def crossed(base: Grid, axis: str) -> Grid:
    """The grid with one more axis: every row with every value of `NAME=A,B,C`.

    Values that have commas themselves are parted by semicolons. The paper's figures are left out, which are
    of other settings.

    >>> alone = Grid("", (), (Row((), "fmae"),))
    >>> [row.settings for row in crossed(alone, "optim.betas=0.9,0.95; 0.9,0.999").rows]
    [('optim.betas=0.9,0.95',), ('optim.betas=0.9,0.999',)]

    Raises:
        UserError: it is not of that form, or names a value twice.
    """
    name, _, text = (part.strip() for part in axis.partition("="))
    values = [value.strip() for value in text.split(";" if ";" in text else ",") if value.strip()]
    if not name or not values:
        raise UserError(f"--over {axis}: give a name and its values, such as optim.lr=1e-4,1e-3")
    if name in base.axes:
        raise UserError(f"--over {name} is there twice; give all its values at once")
    rows = [
        replace(_set(row, name, v), values=(*row.values, v), paper=()) for row in base.rows for v in values
    ]
    return replace(base, axes=(*base.axes, name), rows=tuple(rows), paper=())


def _value(row: Row, name: str) -> str | None:
    """What a row sets a value to; the last of several."""
    found = [value for key, _, value in (setting.partition("=") for setting in row.settings) if key == name]
    return found[-1] if found else None


def _set(row: Row, name: str, value: str) -> Row:
    """The row with one value changed."""
    if name == RECIPE:
        return replace(row, recipe=value)
    setting = f"data.every={subset(value)}" if name == SUBSET else f"{name}={value}"
    return replace(row, settings=(*row.settings, setting))


def chosen(name: str | None, over: Sequence[str], dataset: str, recipe: str = "") -> Grid:
    """The grid of that name, or one row, crossed with what `--over` says.

    Raises:
        UserError: there is none of that name, or an axis is wrong.
    """
    alone = Row((), recipe or "fmae-iat")
    title = ", ".join(axis.partition("=")[0].strip() for axis in over)
    base = Grid(title, (), (alone,)) if name is None else GRIDS.get(name).of(dataset, recipe)
    return functools.reduce(crossed, over, base)


def folder_name(over: Sequence[str]) -> str:
    """Of a grid that has no name: what is varied in it."""
    return "-".join(axis.partition("=")[0].strip().rpartition(".")[2] for axis in over)


def listed() -> list[str]:
    """The named grids, a line each, and how to make one's own."""
    lines = [f"  {name:16s} {GRIDS.get(name).about.splitlines()[0]}" for name in GRIDS]
    own = "--over NAME=A,B,C [--over ...] varies any value of a recipe, the recipe or the subset"
    return [*lines, own]


def planned(grid: Grid) -> list[str]:
    """What would be run, a line for each row."""
    lines = [f"{grid.title}\n\n{grid.about}\n" if grid.about else f"{grid.title}\n"]
    for number, row in enumerate(grid.rows, start=1):
        sets = " ".join(f"--set {setting}" for setting in row.settings)
        lines.append(f"{number:3d}  {grid.named(row)}: --recipe {row.recipe} {sets}".rstrip())
    return lines
