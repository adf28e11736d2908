"""Nothing of the user's is lost while training either: what goes was written by the run."""

from __future__ import annotations

import json
from pathlib import Path

import forked
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bystanders import assert_there, put
from checkpoint_same import same_state
from checkpoint_writer import state_of
from labelled_shards import SMALL, write_labelled

from facecorpus.errors import UserError
from fautrain import recipes
from fautrain.checkpoint import latest, load, save, set_aside_after, steps
from fautrain.data.fetch import ShardCache
from fautrain.evaluation.predictions import forget_predictions
from fautrain.report import write_report
from fautrain.runs.finetuning import refuse_other_tables
from fautrain.runs.folder import settle


def test_files_beside_and_within_checkpoints_stay(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, state_of(step), keep=3)
    made = put(
        tmp_path / "checkpoints",
        "notes.txt",
        ".notes.gone-1",
        ".holiday.gone-1/picture.jpg",
        ".step-00000001.part-1/notes.txt",
        ".step-00000007.part-x/model.safetensors",
        "step-00000001/notes.txt",
        "step-00000001/sub/optimizer.json",
        "step-00000002/notes.txt",
        "step-00000009/notes.txt",
        "abandoned-step-00000004/notes.txt",
    )
    save(tmp_path, state_of(2), keep=3)  # over the one that is there
    for step in (3, 4):
        save(tmp_path, state_of(step), keep=1)
        assert_there(made)
    assert steps(tmp_path) == [4]
    (moved,) = set_aside_after(tmp_path, 3)
    assert same_state(load(moved), state_of(4)) and latest(tmp_path) is None
    assert_there(made)
    left = sorted(path.relative_to(tmp_path / "checkpoints") for path in made)
    now = [path.relative_to(tmp_path / "checkpoints") for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path for path in now if path.parts[0] != moved.name) == left, "of ours nothing stays"


def test_a_leftover_of_a_killed_writer_goes(tmp_path: Path) -> None:
    put(
        tmp_path / "checkpoints",
        ".step-00000001.part-1/model.safetensors",
        ".step-00000001.gone-1/config.json",
    )
    save(tmp_path, state_of(1), keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


@pytest.mark.parametrize(
    "name", ["config.json", "log.jsonl", "checkpoints/mine", "predictions/epoch-0001.parquet"]
)
def test_a_run_begins_over_nobody_elses_files(tmp_path: Path, name: str) -> None:
    made = put(tmp_path, "slurm-17.out", name)
    with pytest.raises(UserError, match=f"{name.split('/')[0]}.*choose another --out"):
        settle(recipes.pretraining_recipe("tiny"), tmp_path, None)
    assert_there(made)


def test_a_run_begins_beside_other_files_and_again_in_its_own(tmp_path: Path) -> None:
    made = put(tmp_path, "slurm-17.out", ".config.json.part-1")
    for _ in range(2):
        settle(recipes.pretraining_recipe("tiny"), tmp_path, None)
    assert_there(made)


def test_only_predictions_of_ours_are_forgotten(tmp_path: Path) -> None:
    ours = tmp_path / "predictions/epoch-0002.parquet"
    ours.parent.mkdir()
    pq.write_table(pa.table({"key": []}).replace_schema_metadata({b"fautrain": b"{}"}), ours)
    made = put(tmp_path, "predictions/notes.txt", "predictions/epoch-1.parquet", "predictions/best.parquet")
    forget_predictions(tmp_path)
    assert_there(made)
    assert not ours.exists()
    for data in (b"mine", None):
        path = tmp_path / "predictions/epoch-0001.parquet"
        if data is None:
            pq.write_table(pa.table({"key": ["mine"]}), path)
        else:
            path.write_bytes(data)
        with pytest.raises(UserError, match=r"epoch-0001\.parquet is in the way"):
            forget_predictions(tmp_path)
        assert path.exists()
        path.unlink()


@pytest.mark.parametrize("name", ["result.json", "table.md", "report.html"])
def test_tables_replace_only_tables(tmp_path: Path, name: str) -> None:
    made = put(tmp_path, name)
    with pytest.raises(UserError, match=f"{name} would be replaced, and no .* says that fautrain wrote it"):
        refuse_other_tables(tmp_path)
    assert_there(made)
    (tmp_path / "result.json").write_text(json.dumps({"runs": [], "notes": []}))
    refuse_other_tables(tmp_path)


def test_a_report_replaces_only_a_report(tmp_path: Path) -> None:
    settle(recipes.pretraining_recipe("tiny"), tmp_path / "run", None)
    (tmp_path / "run/log.jsonl").write_text(
        '{"kind": "train", "step": 1, "epoch": 0.5, "time": 1.0, "values": {"loss": 0.75, "lr": 0.0001}}\n'
    )
    made = put(tmp_path, "mine.html")
    with pytest.raises(UserError, match=r"mine\.html exists and is no report"):
        write_report(tmp_path / "run", tmp_path / "mine.html")
    assert_there(made)
    for _ in range(2):
        write_report(tmp_path / "run", tmp_path / "other.html")


def test_the_cache_evicts_only_its_copies(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 10)
    made = put(cache.folder, "mine.tar", "0123456789abcdef-mine.tar", "notes.txt", "0123456789abcdef-x.part")
    copy = put(cache.folder, "fedcba9876543210-x.tar", "fedcba9876543210-x.lock")
    cache._evict(1)
    assert_there(made)
    assert [path.suffix for path in copy if path.exists()] == [".lock"]


def test_a_run_that_goes_on_and_is_evaluated_again_keeps_what_is_not_its_own(tmp_path: Path) -> None:
    shards = write_labelled(tmp_path / "disfa", "disfa", frames=4)
    out = tmp_path / "run"
    command = [
        "finetune",
        "--dataset",
        "disfa",
        "--shards",
        str(shards),
        "--out",
        str(out),
        "--recipe",
        "tiny",
    ]
    settings = (*SMALL, "data.batch_per_step=24", "train.keep=1", "train.checkpoint_every_steps=1")
    command += ["--fold", "1", *(part for setting in settings for part in ("--set", setting))]
    fold = out / "seed-0/fold-1"
    first = forked.run(tmp_path, *command, "--set", "train.max_steps=2")
    assert first.code == 0, first.err[-2000:]
    made = put(out, "notes.txt", "seed-0/notes.txt")
    step = f"checkpoints/step-{steps(fold)[-1]:08d}"
    made |= put(
        fold,
        "notes.txt",
        "predictions/notes.txt",
        "predictions/epoch-mine.parquet",
        "weights/mine.safetensors",
        "checkpoints/notes.txt",
        f"{step}/notes.txt",
    )
    for arguments in (command, ["evaluate", str(out)]):
        done = forked.run(tmp_path, *arguments)
        assert done.code == 0, done.err[-2000:]
        assert_there(made)
