"""Ablations: grids of rows, their table, and that a kill changes none of its bytes."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from labelled_shards import SMALL, one_cpu, write_labelled

from facecorpus.errors import UserError
from fautrain import metrics
from fautrain.ablations.grid import GRIDS, Grid, Row, chosen, crossed
from fautrain.ablations.measures import Cost
from fautrain.ablations.outcome import difference
from fautrain.config import override
from fautrain.data.benchmark import benchmark
from fautrain.evaluation import read_result
from fautrain.recipes import finetuning_recipe

__all__ = ["one_cpu"]  # a fixture, used by name

FILES = ("ablation.json", "table.md", "report.html", "figure.png")
VALUES = (*SMALL, "data.cache=.cache/fautrain", "train.epochs=1", "train.checkpoint_every_steps=2")
SETS = tuple(part for value in VALUES for part in ("--set", value))
LINE = (
    "ablation",
    "--dataset",
    "disfa",
    "--shards",
    "disfa",
    "--recipe",
    "tiny",
    "--out",
    "run",
    "--fold",
    "1,2",
)
OVER = ("--over", "identity.strength=0,0.5")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a small DISFA and BP4D, and a whole ablation of two rows. Read only."""
    folder = tmp_path_factory.mktemp("place")
    write_labelled(folder / "disfa", "disfa", frames=8)
    write_labelled(folder / "bp4d", "bp4d", frames=1)
    done = forked.run(folder, *LINE, *OVER, *SETS)
    assert done.code == 0, done.err[-3000:]
    assert "row 2 of 2: identity.strength 0.5" in done.out
    return folder


def test_every_row_is_an_ordinary_run(place: Path) -> None:
    rows = sorted(path.parent.name for path in (place / "run").glob("*/result.json"))
    assert rows == ["strength-0", "strength-0.5"]
    configs = [json.loads((place / "run" / row / "seed-0/fold-2/config.json").read_text()) for row in rows]
    assert [config["identity"]["strength"] for config in configs] == [0, 0.5]


def test_the_table_holds_the_rows_results(place: Path) -> None:
    found = json.loads((place / "run" / "ablation.json").read_text())["rows"]
    text = (place / "run" / "table.md").read_text()
    assert [row["row"]["identity.strength"] for row in found] == ["0", "0.5"]
    for row in found:
        result = read_result(place / "run" / row["folder"] / "result.json")
        assert (row["last"], row["published"]) == (result.last.mean, result.published.mean)
        assert f"| {100 * result.last.mean:.1f} |" in text
    assert "drawn by a program" in text and "folds 1, 2 of 3 only" in text
    assert (
        found[0]["against_first"] is None and found[1]["against_first"] == found[1]["last"] - found[0]["last"]
    )


def test_a_difference_draws_the_same_people_for_both_rows(place: Path) -> None:
    """Against draws written out here: subjects with replacement in each fold, both rows on the same ones."""
    first = read_result(place / "run" / "strength-0" / "result.json")
    other = read_result(place / "run" / "strength-0.5" / "result.json")
    means: list[list[float]] = []
    for result in (first, other):
        folds: list[np.ndarray] = []
        for number, run in enumerate(result.runs, start=1):
            counts = np.array(run.last.statistics, np.int64)  # (subjects, AUs, 4)
            people = len(counts)
            lots = np.random.default_rng((0, number)).multinomial(people, np.full(people, 1 / people), 2000)
            tp, fp, fn = (np.einsum("rs,sa->ra", lots, counts[..., k]) for k in range(3))
            folds.append((2 * tp / np.maximum(2 * tp + fp + fn, 1)).mean(axis=1))
        means.append(np.mean(folds, axis=0).tolist())
    apart = np.array(means[1]) - np.array(means[0])
    found = difference(other, first)
    assert found is not None and found.value == other.last.mean - first.last.mean
    assert found.interval == pytest.approx(tuple(np.percentile(apart, [2.5, 97.5])), abs=1e-12)
    alone = metrics.interval(np.array(means[1])[:, None])[0]
    assert other.last.bounds and other.last.bounds.mean == pytest.approx(tuple(alone), abs=1e-12)


def test_rows_on_other_people_have_no_difference(place: Path, tmp_path: Path) -> None:
    first = read_result(place / "run" / "strength-0" / "result.json")
    line = ("finetune", "--dataset", "disfa", "--shards", "disfa", "--recipe", "tiny", "--fold", "3", *SETS)
    assert forked.run(place, *line, "--out", str(tmp_path / "other")).code == 0
    assert difference(read_result(tmp_path / "other" / "result.json"), first) is None


def test_killed_again_and_again(place: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments, into training, evaluation and the table: the same bytes at the end."""
    lots = random.Random(3)
    (tmp_path / "disfa").symlink_to(place / "disfa")
    killed = 0
    for _ in range(4):
        running = forked.start(tmp_path, *LINE, *OVER, *SETS)
        time.sleep(lots.uniform(0.2, 1.2))
        running.signal(signal.SIGKILL)
        killed += running.end().code == -signal.SIGKILL
    assert killed >= 2
    done = forked.run(tmp_path, *LINE, *OVER, *SETS)
    assert done.code == 0, done.err[-3000:]
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (place / "run" / name).read_bytes(), name


def test_a_signal_stops_and_the_same_command_goes_on(place: Path, tmp_path: Path) -> None:
    (tmp_path / "disfa").symlink_to(place / "disfa")
    running = forked.start(tmp_path, *LINE, *OVER, *SETS)
    while running.process.is_alive() and not list(tmp_path.glob("run/*/seed-0/fold-1/log.jsonl")):
        time.sleep(0.01)
    running.signal(signal.SIGTERM)
    stopped = running.end()
    assert stopped.code == 143 and "the same command goes on" in stopped.err
    assert not (tmp_path / "run" / "strength-0.5" / "result.json").exists()


def test_chosen_rows_and_tables_of_what_is_done(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "disfa").symlink_to(place / "disfa")
    for name in FILES:
        (tmp_path / "run" / name).unlink()
    shutil.rmtree(tmp_path / "run" / "strength-0.5")
    done = forked.run(tmp_path, *LINE, *OVER, *SETS, "--tables")
    assert (
        done.code == 0
        and "1 of the grid's 2 rows are not done yet" in (tmp_path / "run/table.md").read_text()
    )
    assert not (tmp_path / "run" / "strength-0.5").exists()
    done = forked.run(tmp_path, *LINE, *OVER, *SETS, "--rows", "2")
    assert done.code == 0 and "row 2 of 2" in done.out and "row 1 of 2" not in done.out
    assert (tmp_path / "run" / "table.md").read_bytes() == (place / "run" / "table.md").read_bytes()


def test_more_is_measured_once(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe, identity loss, epoch, cost and another data set, of one row; a second call measures nothing."""
    from fautrain.cli import app

    for name in ("disfa", "bp4d"):
        (tmp_path / name).symlink_to(place / name)
    shutil.copytree(place / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Cost, "seconds", 0.1)
    line = [*LINE, *OVER, *SETS, "--rows", "2", "--on", "bp4d=bp4d"]
    line += [part for name in ("probe", "identity-loss", "epoch", "cost") for part in ("--also", name)]
    app(line, standalone_mode=False)
    row = json.loads((tmp_path / "run" / "ablation.json").read_text())["rows"][1]["measured"]
    assert row["its epoch"] == "1, 1" and float(row["identity loss"]) > 0
    assert 1.8 < float(row["learnt, M"]) <= float(row["of all, M"]) < 2 and int(row["peak memory, MB"]) > 0
    folder = tmp_path / "run" / "strength-0.5"
    on = [read_result(path) for path in sorted(folder.glob("seed-0/*/on-bp4d/result.json"))]
    assert on[0].outputs == ("AU1", "AU2", "AU4", "AU6", "AU12") and on[0].trained_on == "disfa"
    assert row["on bp4d"] == f"{50 * (on[0].last.mean + on[1].last.mean):.1f}"
    probes = [json.loads(path.read_text()) for path in folder.glob("seed-0/*/probe/probe.json")]
    shares = [probe["1"]["videos"]["logistic"]["accuracy"]["value"] for probe in probes]
    assert row["id. apart, logistic"] == f"{100 * np.mean(shares):.1f}"
    measured = [folder / "cost.json", *folder.glob("seed-0/*/probe/*"), *folder.glob("seed-0/*/on-bp4d/*")]
    before = {path: path.stat().st_mtime_ns for path in measured}
    app(line, standalone_mode=False)
    assert {path: path.stat().st_mtime_ns for path in measured} == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--over", "optim.lr"), ("--over optim.lr", "give a name and its values")),
        (("--over", "optim.lr=1e-3,1e-3"), ("--over", "lr-1e-3", "once")),
        (("--over", "optim.lr=1e-3", "--over", "optim.lr=1e-4"), ("optim.lr is there twice",)),
        (("--over", "identity.layers=1,9"), ("identity.layers=9", "1, 2 or 3")),
        (("--over", "identity.layerz=1,2"), ("identity.layerz", "identity.layers")),
        (("--over", "subset=100%,30%"), ("--subset 30%", "1/3")),
        (
            ("--over", "identity.layers=1,2", "--set", "identity.layers=3"),
            ("--set identity.layers=3", "leave it out"),
        ),
        (("--over", "subset=100%,10%", "--subset", "10%"), ("--subset 10%", "leave it out")),
        (("--over", "identity.layers=1,2", "--rows", "3"), ("--rows 3", "1 to 2")),
        (("--over", "identity.layers=1,2", "--also", "probes"), ("--also probes", "did you mean 'probe'?")),
        (("--over", "recipe=tiny,fmae-itt"), ("fmae-itt", "fmae-iat")),
        (("lambada",), ("lambada", "did you mean 'lambda'?")),
        (("lambda", "--tables"), ("holds no row that is done",)),
        (("--over", "train.precision=fp32,bf16"), ("train.precision", "--rows")),
    ],
)
def test_what_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """One sentence, before anything is trained."""
    from fautrain.cli import app

    monkeypatch.chdir(place)
    line = ("ablation", "--dataset", "disfa", "--shards", "disfa", "--recipe", "tiny", "--out", "refused")
    with pytest.raises(UserError) as caught:
        app([*line, *more], standalone_mode=False)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)
    assert not (place / "refused").exists()


def test_a_folder_of_others_is_left_alone(place: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "table.md").write_text("mine")
    (tmp_path / "disfa").symlink_to(place / "disfa")
    done = forked.run(tmp_path, *LINE, *OVER, *SETS)
    assert done.code == 2 and "table.md would be replaced" in done.err
    assert (tmp_path / "run" / "table.md").read_text() == "mine"


@pytest.mark.parametrize("dataset", ["disfa", "bp4d", "bp4d_plus"])
@pytest.mark.parametrize("name", [*GRIDS])
def test_named_grids_are_made_of_settings_that_exist(name: str, dataset: str) -> None:
    """Every row resolves to a configuration, and no two rows to the same one."""
    grid = GRIDS.get(name).of(dataset)
    assert grid.about and len({grid.folder(row) for row in grid.rows}) == len(grid.rows) > 1
    configs = [str(override(finetuning_recipe(row.recipe, dataset), list(row.settings))) for row in grid.rows]
    # Weights from faces are given on the command line, so that a row may differ in them alone.
    assert len(set(configs)) == len(configs)
    assert all(len(row.paper) in (0, len(grid.paper)) for row in grid.rows)
    assert all(benchmark(other) for other in grid.on)


def test_the_papers_figures_stand_in_their_rows() -> None:
    """Table 5, 6 and 7 of FMAE-IAT."""
    found = {row.values: row.paper for row in GRIDS.get("lambda").of("bp4d").rows}
    assert found["0",] == ("68.33 (2)", "68.81") and found["0.5",] == ("–", "69.22")
    assert found["3",] == ("69.47 (27)", "–")
    assert GRIDS.get("lambda").of("disfa").rows[2].paper == ("73.48",)
    heads = GRIDS.get("identity-head").of("bp4d").rows
    assert [row.paper[1] for row in heads] == ["0.152", "0.096", "0.085"]
    assert all("identity.strength=2" in row.settings for row in heads)


def test_a_subset_keeps_the_number_of_steps() -> None:
    """MAE-Face's 20 epochs of all frames are 200 of 10 % and 20,000 of 0.1 %."""
    settings = {row.values[0]: row.settings for row in GRIDS.get("subset").of("disfa").rows}
    assert {"data.every=10", "train.epochs=200", "optim.warmup_epochs=20"} <= {*settings["10%"]}
    assert {"data.every=1000", "train.epochs=20000"} <= {*settings["0.1%"]}


def test_a_named_grid_is_crossed_with_more() -> None:
    grid = chosen("identity-head", ["seedless=a; b,c"], "bp4d", "tiny")
    assert grid.axes == ("layers", "seedless") and len(grid.rows) == 6 and not grid.paper
    assert grid.rows[1].settings[-1] == "seedless=b,c" and grid.rows[1].recipe == "tiny"
    assert grid.varied == {"identity.layers", "seedless"}  # lambda is the same in all


def test_its_report_is_the_page_that_is_there(place: Path) -> None:
    from fautrain.report.reading import read_run

    with pytest.raises(UserError, match="holds an ablation"):
        read_run(place / "run")


def test_rows_that_would_share_a_folder_are_refused() -> None:
    alone = Grid("", (), (Row((), "fmae"),))
    with pytest.raises(UserError, match="the folder"):
        crossed(alone, "model.init=a/b,a b")


GRID = """
from fautrain.ablations.grid import Grid, Row, grid
from fautrain.ablations.measures import MEASURES, Measure

@grid("toy", recipe="tiny")
def toy(dataset, recipe):
    \"\"\"Two seeds of order.\"\"\"
    rows = tuple(Row((lr,), recipe, (f"optim.lr={lr}",)) for lr in ("1e-3", "2e-3"))
    return Grid("A toy", ("rate",), rows, measures=("subjects",))

@MEASURES.register("subjects")
class Subjects(Measure):
    heads = ("people",)
    about = "test subjects"

    def cells(self, finished):
        return (str(finished.result.subjects),)
"""


def test_a_grid_and_a_measure_of_ones_own(place: Path, tmp_path: Path) -> None:
    """One file each, through FACE_PLUGINS."""
    (tmp_path / "toy.py").write_text(GRID)
    (tmp_path / "disfa").symlink_to(place / "disfa")
    environment = {"FACE_PLUGINS": str(tmp_path / "toy.py")}
    line = ("ablation", "toy", "--dataset", "disfa", "--shards", "disfa", "--out", "run", "--fold", "3")
    values = [value for value in VALUES if not value.startswith("optim.lr=")]
    sets = [part for value in values for part in ("--set", value)]
    done = forked.start(tmp_path, *line, *sets, environment=environment).end()
    assert done.code == 0, done.err[-3000:]
    found = json.loads((tmp_path / "run" / "ablation.json").read_text())["rows"]
    assert [row["measured"] for row in found] == [{"people": "9"}] * 2
