"""Nothing of the user's is lost: what the commands remove or replace, the records say that they wrote."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from bystanders import assert_there, put
from conftest import SOURCES, build_arguments, command, run, tree

from facecorpus import pipeline, recipes, storage, typed, units
from facecorpus.errors import UserError
from facecorpus.phases import corpus as corpora
from facecorpus.phases import inventory
from facecorpus.phases.corpus import Corpus
from facecorpus.synth.datasets import write_datasets
from facecorpus.synth.records import either, files_of, read_record, write_record
from facecorpus.synth.truth import read_truth
from facecorpus.units import Done, Output, Unit

BYSTANDERS = (
    "notes.txt",
    ".notes.part-00000000-1",
    "shards/mine.tar",
    "shards/sub/mine.parquet",
    "shards/.mine.tar.part-00000000-1",
    "scores/mine.parquet",
    "scores/celeba/.mine.part-00000000-1",
    "staged/celeba/mine.crops",
    "inventory/mine.parquet",
    "done/mine.json",
    "done/score/mine.json",
    "done/materialise/sample-000900.tar.json",
)
"""Places in a corpus where somebody might keep a file."""


def opened(drawn: Path, out: Path, *settings: str, sources: str = SOURCES) -> Corpus:
    chosen = typed.override(
        recipes.recipe("sample"), ["inputs_per_unit=12", "samples_per_shard=10", *settings]
    )
    opened = pipeline.open_sources(sources, str(drawn))
    return pipeline.prepare(chosen, opened, str(drawn), str(out), weights=None, device="auto")


def rebuilt(corpus: Corpus) -> None:
    corpora.settle(corpus, rebuild=True)
    pipeline.build(corpus)


def test_builds_that_change_a_corpus_keep_what_is_not_theirs(
    drawn: Path, corpus: Path, tmp_path: Path
) -> None:
    """The same again, other shards, other units, a source less: all that discards something."""
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    made = put(out, *BYSTANDERS)
    for settings, sources in (
        ((), SOURCES),
        (("inputs_per_unit=30",), "celeba,folder"),
        (("samples_per_shard=40",), SOURCES),
    ):
        rebuilt(opened(drawn, out, *settings, sources=sources))
        assert_there(made)
    for path in made:
        path.unlink()
    (out / "shards/sub").rmdir()
    rebuilt(opened(drawn, out))
    assert tree(out) == tree(corpus), "what belonged to the other plans has stayed"


def test_a_file_in_the_place_of_a_discarded_one_is_left(tmp_path: Path) -> None:
    """The mark says what the unit wrote; this is no longer it."""
    out = str(tmp_path)
    units.claim(Done(out), "score", {"old": ["kept"], "older": ["gone"]})
    (tmp_path / "kept").write_bytes(b"mine")
    (tmp_path / "gone").write_bytes(b"rows")
    sha = "8d4f2e1c"  # of neither
    unit = Unit("score", "old", "d", 1)
    units.publish_mark(out, unit, units.mark_of(unit, [Output("kept", 4, sha)]))
    assert units.claim(Done(out), "score", {}) == ["old"]
    assert (tmp_path / "kept").read_bytes() == b"mine"
    assert not (tmp_path / "gone").exists(), "on record and never finished: left over of a kill"


def test_a_foreign_file_in_the_way_is_named_and_kept(drawn: Path, tmp_path: Path) -> None:
    corpus = opened(drawn, tmp_path / "out", sources="folder")
    corpora.settle(corpus, rebuild=False)
    made = put(tmp_path / "out", "shards/sample-000000.tar")
    with pytest.raises(UserError, match=r"shards/sample-000000\.tar is in the way.*move it"):
        pipeline.build(corpus)
    assert_there(made)


def test_shards_of_a_killed_build_go_when_the_next_plan_lacks_them(
    drawn: Path, corpus: Path, tmp_path: Path
) -> None:
    """A tar without a mark is the tool's where the record says so; a glob must not find it among the new."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(*build_arguments(drawn, out)), start_new_session=True, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(out.glob("shards/*")):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    rebuilt(opened(drawn, out, "name=other"))
    assert {path.name.split("-")[0] for path in out.glob("shards/*")} == {"other"}
    assert not list(out.rglob(".*.part-*"))


@pytest.mark.parametrize("found", ["notes.txt", "shards/holiday.jpg", ".hidden", "corpus.json"])
def test_a_build_begins_only_in_an_empty_or_its_own_folder(drawn: Path, tmp_path: Path, found: str) -> None:
    made = put(tmp_path / "out", found)
    for more in ([], ["--rebuild"]):
        done = run(*build_arguments(drawn, tmp_path / "out", more=more), check=False)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert found.split("/")[0] in done.stderr and "give an empty" in done.stderr.replace(
            "choose another", "give an empty"
        )
        assert_there(made)
        assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == list(made)


def test_what_a_kill_left_before_the_first_file_is_no_obstacle(drawn: Path, tmp_path: Path) -> None:
    put(tmp_path / "out", ".corpus.json.part-00000000-1")
    corpus = opened(drawn, tmp_path / "out", sources="folder")
    corpora.settle(corpus, rebuild=False)
    pipeline.run(corpus, inventory.PHASE)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_damaged_corpus_json_is_written_anew_by_rebuild_alone(
    drawn: Path, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    (out / "corpus.json").write_text('{"schema": ')
    for call in (lambda: corpora.load(str(out)), lambda: corpora.settle(opened(drawn, out), rebuild=False)):
        with pytest.raises(UserError, match=r"corpus\.json is damaged; .*--rebuild"):
            call()
    rebuilt(opened(drawn, out))
    assert tree(out) == tree(corpus)
    assert json.loads((out / "corpus.json").read_text()) == json.loads((corpus / "corpus.json").read_text())


@pytest.mark.parametrize(
    ("out", "source", "says"),
    [
        (".", "folder", "within --out"),
        ("folder", "folder", "within the source folder"),
        ("folder/deep/out", "folder", "within the source folder"),
        ("link/out", "folder", "within the source folder"),
        (".", "folder:/other", "is --root"),
    ],
)
def test_out_and_sources_do_not_share_a_folder(
    drawn: Path, tmp_path: Path, out: str, source: str, says: str
) -> None:
    root = tmp_path / "root"
    shutil.copytree(drawn / "folder", root / "folder")
    (root / "link").symlink_to(root / "folder")
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=says):
        opened(root, root / out, sources=source.replace("/other", str(tmp_path / "other")))


def test_clean_asides_asks_whose_they_are(tmp_path: Path) -> None:
    put(tmp_path, "a/.mine.part-00000000-1", "a/.ours.part-00000000-1")
    storage.clean_asides(str(tmp_path), lambda path: path == "a/ours")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".mine.part-00000000-1"]


def test_drawing_one_data_set_leaves_the_others(tmp_path: Path) -> None:
    write_datasets(tmp_path, ["disfa"], preset="tiny", subjects=3)
    before = {path: path.read_bytes() for path in (tmp_path / "disfa").rglob("*.txt")}
    made = put(tmp_path, "bp4d.txt", ".synth-part/mine", ".synth-part-mine/mine")
    write_datasets(tmp_path, ["bp4d"], preset="tiny", subjects=3)
    write_datasets(tmp_path, ["bp4d"], preset="tiny", subjects=3, seed=1)
    assert_there({**before, **made})
    assert {row.source for row in read_truth(tmp_path)} == {"disfa", "bp4d"}


@pytest.mark.parametrize(
    "name", ["disfa/notes.txt", "disfa/ActionUnit_Labels/mine.txt", "disfa", "drawn.json"]
)
def test_drawing_replaces_only_what_was_drawn(tmp_path: Path, name: str) -> None:
    if name != "disfa":
        write_datasets(tmp_path, ["disfa"], preset="tiny", subjects=3)
    made = put(tmp_path, name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=f"{name}.* give another --out"):
        write_datasets(tmp_path, ["disfa"], preset="tiny", subjects=3)
    assert_there({**made, **before})
    assert not list(tmp_path.glob(".synth-part*"))


def test_a_changed_drawn_file_and_a_foreign_truth_are_kept(tmp_path: Path) -> None:
    made = put(tmp_path, "truth.jsonl")
    with pytest.raises(UserError, match=r"truth\.jsonl is there without"):
        write_datasets(tmp_path, ["disfa"], preset="tiny", subjects=3)
    assert_there(made)
    (tmp_path / "truth.jsonl").unlink()
    write_datasets(tmp_path, ["disfa"], preset="tiny", subjects=3)
    changed = put(tmp_path, "disfa/ActionUnit_Labels/SN001/SN001_au1.txt")
    with pytest.raises(UserError, match=r"au1\.txt was not drawn, or was changed since"):
        write_datasets(tmp_path, ["disfa"], preset="tiny", subjects=3)
    assert_there(changed)


def test_drawing_goes_on_after_a_kill_between_the_moves(tmp_path: Path, drawn: Path) -> None:
    """The record then names the old and the new files, and either may be there."""
    write_datasets(tmp_path, ["disfa"], preset="tiny", subjects=3)
    old = read_record(tmp_path)["disfa"]
    other = {path: ["0" * 64] for path in [*old, "new.txt"]}
    write_record(tmp_path, {"disfa": either(old, other)})
    next((tmp_path / "disfa").rglob("*.txt")).unlink()
    write_datasets(tmp_path, ["disfa"], preset="tiny", subjects=3)
    assert read_record(tmp_path)["disfa"] == old == files_of(tmp_path / "disfa")


def test_picture_sets_share_their_duplicates_and_are_drawn_together(tmp_path: Path) -> None:
    write_record(tmp_path, {"celeba": {}})
    with pytest.raises(UserError, match=r"holds celeba, drawn before.*name these too"):
        write_datasets(tmp_path, ["folder"], preset="tiny")
