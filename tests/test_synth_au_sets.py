"""Drawn DISFA+, GFT, Aff-Wild2, CASME II and extracted frames of DISFA: built, their truth is met."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from facecorpus import pipeline
from facecorpus.phases import corpus as corpora
from facecorpus.phases.select import read_selection
from facecorpus.recipes import recipe
from facecorpus.report import labels_of
from facecorpus.synth.datasets import write_datasets
from facecorpus.synth.recordings import levels, plan_recordings
from facecorpus.synth.studies import STUDIES
from facecorpus.synth.truth import check_selection, read_truth

SETS = ("disfa_frames", "disfa_plus", "gft", "aff_wild2", "casme2")
SUBJECTS, FRAMES = 2, 5


def draw(root: Path, sets: tuple[str, ...] = SETS, workers: int = 1) -> Path:
    write_datasets(root, sets, frames=FRAMES, subjects=SUBJECTS, workers=workers)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openpyxl")
    return draw(tmp_path_factory.mktemp("au_sets"))


@pytest.fixture(scope="module")
def corpus(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Built as extracted frames would be: under the data set's own name."""
    opened = pipeline.open_sources(
        "disfa_frames=disfa:disfa_frames,disfa_plus,gft,aff_wild2,casme2", str(root)
    )
    out = str(tmp_path_factory.mktemp("built") / "corpus")
    made = pipeline.prepare(recipe("au"), opened, str(root), out, weights=None, device="cpu")
    corpora.settle(made, rebuild=False)
    pipeline.build(made)
    return made


@pytest.fixture(scope="module")
def kept(corpus: Any) -> list[dict[str, Any]]:
    paths = sorted(Path(corpus.out).glob("shards/*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_the_truth_is_met_to_the_last_row(root: Path, corpus: Any) -> None:
    rows = read_truth(root)
    assert {(row.source, row.outcome) for row in rows} >= {(name, "kept") for name in SETS}
    assert {row.reason for row in rows} == {None, "no_face", "missing_frame"}
    assert check_selection(root, SETS, read_selection(corpus)) == (
        f"all {len(rows)} inputs became what {root / 'truth.jsonl'} says"
    )


def test_labels_are_what_was_drawn(kept: list[dict[str, Any]]) -> None:
    drawn = {
        (recording.study, recording.subject, recording.task, number): (recording, at)
        for name in SETS
        for recording in plan_recordings(STUDIES[name], 0, "mild", FRAMES, SUBJECTS)
        for at, number in enumerate(recording.numbers)
    }
    seen = set[str]()
    for row in kept:
        source, task = row["source"], row["video"] if row["source"] in ("casme2", "disfa_plus") else ""
        number = row["frame"] + (source == "disfa_plus")  # its pictures count from 0
        recording, at = drawn[source, row["identity"], task, number]
        for label, level in row["labels"]:
            if not label.startswith("AU") or level in (9, -1, -999):
                continue
            shown = levels(recording, int(label[2:]))[at]
            assert level == (shown if source.startswith("disfa") else shown >= 1), (row["id"], label)
            seen.add(source)
    assert seen == set(SETS)


def test_each_set_has_its_own_columns(kept: list[dict[str, Any]]) -> None:
    of = {name: [row for row in kept if row["source"] == name] for name in SETS}
    assert {row["split"] for row in of["gft"]} == {"train"}
    assert {row["split"] for row in of["disfa_plus"]} == {None}
    phases = [dict(row["labels"]) for row in of["casme2"]]
    assert {row["phase"] for row in phases} == {1, 2, 3}
    assert all((row["phase"] == 2) == (len(row) > 1) for row in phases)
    wild = [dict(row["labels"]) for row in of["aff_wild2"]]
    assert any("expression" in row for row in wild) and any("AU26" in row for row in wild)
    assert {row["identity"] for row in of["aff_wild2"]} == {"1-30-1280x720", "10-60-1280x720_left"}


def test_codes_that_mean_not_coded_are_not_counted(corpus: Any) -> None:
    found = {entry.source: entry for entry in labels_of(corpus)}
    assert [found[name].threshold("AU12") for name in ("gft", "aff_wild2", "casme2")] == [1, 1, 1]
    assert found["disfa_plus"].threshold("AU12") == 2
    assert set(found["casme2"].classes) == {"phase"}


def test_people_of_disfa_plus_are_people_of_disfa() -> None:
    of = {
        name: {r.subject: r.person for r in plan_recordings(STUDIES[name], 0, "mild", 4)}
        for name in ("disfa", "disfa_plus", "disfa_frames")
    }
    assert of["disfa_frames"] == of["disfa"]
    assert len(of["disfa_plus"]) == 9 and of["disfa_plus"].items() < of["disfa"].items()


def test_gft_is_parted_by_groups() -> None:
    """78 and 18 people, nobody apart from those they talk with."""
    train, test = STUDIES["gft"].groups
    assert (len(train), len(test)) == (78, 18)
    assert not {name[:3] for name in train} & {name[:3] for name in test}


def test_same_bytes_for_any_workers(root: Path, tmp_path: Path) -> None:
    draw(tmp_path, workers=2)
    for path in (p for p in sorted(root.rglob("*")) if p.is_file()):
        again = tmp_path / path.relative_to(root)
        assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest(), path
