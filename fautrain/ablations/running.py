"""The rows of a grid one after the other, each an ordinary run, and the table of those that are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facecorpus.errors import Stopped, UserError
from facecorpus.typed import to_plain
from fautrain.ablations.figure import draw
from fautrain.ablations.grid import Grid, Row
from fautrain.ablations.measures import Finished, Measure
from fautrain.ablations.outcome import Outcome
from fautrain.ablations.page import render
from fautrain.ablations.tables import Compared, brief, figures, markdown
from fautrain.config import LabelledConfig
from fautrain.data.benchmark import benchmark
from fautrain.evaluation import read_result
from fautrain.files import json_bytes, publish, refuse_others
from fautrain.runs.asked import Asked
from fautrain.runs.finetuning import RESULT, prepare, train_folds
from fautrain.signals import Stop, stop_signals
from fautrain.trainer import Accelerator, make_accelerator

FILES = ("ablation.json", "table.md", "report.html", "figure.png")


@dataclass(frozen=True)
class Ablation:
    """A grid, and how its rows are run."""

    grid: Grid
    asked: Asked
    out: Path
    folds: tuple[int, ...]
    """None means all."""
    seeds: tuple[int, ...]
    measures: Sequence[Measure]
    only: tuple[int, ...] = ()
    """Numbers of the rows to run, from 1; none means all. Those of others that are done are in the table."""

    def __post_init__(self) -> None:
        """Refuse what would make the rows alike.

        Raises:
            UserError: an option sets what is varied.
        """
        named = {s.partition("=")[0].strip(): f"--set {s}" for s in self.asked.settings}
        named |= {"data.every": f"--subset {self.asked.subset}"} if self.asked.subset else {}
        if clash := sorted(self.grid.varied & named.keys()):
            raise UserError(
                f"{named[clash[0]]} would be the same in all rows, which differ in it; leave it out"
            )

    def config(self, row: Row) -> LabelledConfig:
        """A row's, but for fold and seed."""
        return self.asked.config(row.recipe, row.settings)

    def folder(self, row: Row) -> Path:
        """Of a row's run."""
        return self.out / self.grid.folder(row)

    @property
    def chosen(self) -> list[tuple[int, Row]]:
        """The rows to run, with their numbers.

        Raises:
            UserError: there is no row of a number.
        """
        count = len(self.grid.rows)
        if wrong := [number for number in self.only if not 1 <= number <= count]:
            raise UserError(f"--rows {wrong[0]}: there are rows 1 to {count}; see --plan")
        numbers = self.only or range(1, count + 1)
        return [(number, self.grid.rows[number - 1]) for number in numbers]


def run(ablation: Ablation, resume: str) -> None:
    """Train what is not done, measure it, and write the table after every row.

    Raises:
        Stopped: a signal ended it before its time; the same command goes on.
        UserError: a row's settings, the data, the weights or a folder are unusable, said before any training.
    """
    refuse_others(ablation.out, FILES, lambda keys: keys >= {"grid", "rows"})
    chosen = ablation.chosen
    configs = [ablation.config(row) for _, row in chosen]
    accelerator = _accelerator(configs)
    for (_, row), config in zip(chosen, configs, strict=True):
        prepare(config, ablation.folder(row), ablation.folds, ablation.seeds, resume, accelerator)
    with stop_signals() as stop:
        for (number, row), config in zip(chosen, configs, strict=True):
            if accelerator.is_main_process:
                print(f"row {number} of {len(ablation.grid.rows)}: {ablation.grid.named(row)}", flush=True)
            _row(ablation, row, config, resume, accelerator, stop)
    if accelerator.is_main_process:
        print(write(ablation), flush=True)
    accelerator.end_training()


def _accelerator(configs: Sequence[LabelledConfig]) -> Accelerator:
    """One for all rows, as processes are set up once."""
    first = configs[0].train
    for config in configs:
        if (config.train.precision, config.train.strategy) != (first.precision, first.strategy):
            raise UserError(
                "train.precision and train.strategy must be the same in all rows, as processes are set up "
                "once; run the rows apart with --rows"
            )
    return make_accelerator(configs[0])


def _row(
    ablation: Ablation,
    row: Row,
    config: LabelledConfig,
    resume: str,
    accelerator: Accelerator,
    stop: Stop,
) -> None:
    out = ablation.folder(row)
    folds = prepare(config, out, ablation.folds, ablation.seeds, resume, accelerator)
    train_folds(folds, resume, accelerator)
    if accelerator.is_main_process:
        _measure(ablation.measures, _finished(ablation, row), stop)
        write(ablation)
    accelerator.wait_for_everyone()


def _measure(measures: Sequence[Measure], finished: Finished, stop: Stop) -> None:
    """Measure what is not yet on disk."""
    for measure in measures:
        for path in measure.files(finished):
            if stop.signal is not None:
                raise Stopped(stop.signal)
            if not path.is_file():
                measure.measure(finished, path)


def _finished(ablation: Ablation, row: Row) -> Finished:
    config, out = ablation.config(row), ablation.folder(row)
    settings = (*row.settings, *ablation.asked.settings)
    return Finished(config, row.recipe, settings, out, read_result(out / RESULT))


def write(ablation: Ablation) -> str:
    """The table, the page and the picture of the rows that are done; returns what a terminal shows.

    Raises:
        UserError: no row is done.
    """
    grid, out = ablation.grid, ablation.out
    done = [row for row in grid.rows if (ablation.folder(row) / RESULT).is_file()]
    if not done:
        raise UserError(f"{out} holds no row that is done; run the ablation first")
    outcomes = [_outcome(ablation, row) for row in done]
    bench = benchmark(ablation.asked.dataset)
    compared = Compared(grid, bench, outcomes, [(m.heads, m.about) for m in ablation.measures])
    publish(out / FILES[0], json_bytes({"grid": to_plain(grid), "rows": figures(compared)}))
    publish(out / FILES[1], markdown(compared))
    publish(out / FILES[2], render(compared))
    draw(compared, out / FILES[3])
    return f"{brief(compared)}\nall tables: {out / FILES[1]}\nreport: {out / FILES[2]}"


def _outcome(ablation: Ablation, row: Row) -> Outcome:
    finished = _finished(ablation, row)
    measured: dict[str, str] = {}
    for measure in ablation.measures:
        if all(path.is_file() for path in measure.files(finished)):
            measured |= zip(measure.heads, measure.cells(finished), strict=True)
    return Outcome(row, finished.result, measured)
