"""AUFormer from its recipe to tables: what learns, what a kill changes, and tests on another data set."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import forked
import pytest
from labelled_shards import SMALL, files_of, one_cpu, write_labelled
from safetensors.torch import load_file

from fautrain.recipes import finetuning_recipe
from fautrain.runlog import read_log

__all__ = ["one_cpu"]
TINY = (*SMALL, "model.size=tiny", "data.batch_per_step=24", "data.aus=1,2,4,6,12", "optim.lr=3e-3")
FOLDS = ("--fold", "1,2")
STEPS = ("train.checkpoint_every_steps=3", "train.epochs=2")


def arguments(dataset: str, out: str, *settings: str) -> list[str]:
    where = [
        "finetune",
        "--dataset",
        dataset,
        "--shards",
        dataset,
        "--recipe",
        "auformer",
        "--init",
        "none",
        "--out",
        out,
    ]
    return [*where, *FOLDS, *(part for setting in (*TINY, *STEPS, *settings) for part in ("--set", setting))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small DISFA and BP4D, and a run that nothing interrupted. Read only."""
    folder = tmp_path_factory.mktemp("place")
    write_labelled(folder / "disfa", "disfa", frames=5)
    write_labelled(folder / "bp4d", "bp4d", frames=1)
    done = forked.run(folder, *arguments("disfa", "whole"))
    assert done.code == 0, done.err[-3000:]
    return folder


def test_only_experts_and_heads_learn(place: Path) -> None:
    """The encoder of all checkpoints is the first one, and travels with the final model."""
    run = place / "whole" / "seed-0" / "fold-1"
    first, *_, last = (load_file(f / "model.safetensors") for f in sorted(run.glob("checkpoints/step-*")))
    moved = {name for name in first if not first[name].equal(last[name])}
    places = (".attn_adapter.", ".mlp_adapter.", "head.")
    assert moved == {name for name in first if any(place in name for place in places)}
    final = load_file(run / "final" / "model.safetensors")
    assert final.keys() == last.keys() and "auxiliary_head.weight" in final
    encoder = {name for name in final if name not in moved}
    assert "norm.weight" in encoder and all(final[name].equal(first[name]) for name in encoder)


def test_the_experts_loss_is_a_term_of_its_own(place: Path) -> None:
    lines = [line for line in read_log(place / "whole" / "seed-0" / "fold-1") if "aux_loss" in line.values]
    assert lines
    for line in lines:
        values = {name: float(value) for name, value in line.values.items() if name.endswith("loss")}
        assert values["loss"] == pytest.approx(values["au_loss"] + values["aux_loss"], rel=1e-5)


@pytest.mark.parametrize("after", [2, 7])
def test_a_kill_changes_no_number(place: Path, after: int) -> None:
    """In the first and in the second fold; dropped paths are drawn again as they were."""
    out = place / f"killed-{after}"
    running = forked.start(place, *arguments("disfa", out.name))
    while running.process.is_alive() and lines(out) < after:
        time.sleep(0.002)
    running.signal(signal.SIGKILL)
    assert running.end().code == -signal.SIGKILL
    assert forked.run(place, *arguments("disfa", out.name)).code == 0
    assert files_of(out) == files_of(place / "whole")


def lines(out: Path) -> int:
    return sum(path.read_text().count("\n") for path in out.glob("seed-*/fold-*/log.jsonl"))


def test_it_is_tested_on_another_data_set(place: Path) -> None:
    """The cross-domain study: five AUs that DISFA and BP4D share."""
    model = str(place / "whole" / "seed-0" / "fold-1" / "final")
    done = forked.run(place, "evaluate", model, "--dataset", "bp4d", "--shards", "bp4d", "--out", "across")
    assert done.code == 0, done.err
    result = json.loads((place / "across" / "result.json").read_text("utf-8"))
    assert result["outputs"] == ["AU1", "AU2", "AU4", "AU6", "AU12"]


@pytest.mark.parametrize(
    ("dataset", "margin"), [("bp4d", 0.1), ("disfa", 0.15), ("casme2", 0.3), ("gft", 0.1)]
)
def test_the_margin_is_the_papers(dataset: str, margin: float) -> None:
    config = finetuning_recipe("auformer", dataset)
    assert config.loss.margin == margin and (config.loss.kind, config.loss.plus) == ("mdwa", ("dice",))
