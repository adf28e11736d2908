"""RAF-DB, AffectNet, GFT, Aff-Wild2, CASME II and DISFA+: the files against the facts, and partial copies."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled_shards import small, write_labelled

from facecorpus.errors import UserError
from facecorpus.typed import to_plain
from fautrain.data.benchmark import Benchmark, benchmark, from_plain
from fautrain.data.folds import refuse_shared_subjects
from fautrain.data.labels import LabelledSet
from fautrain.data.published import differences
from fautrain.tasks.labelled import open_labels

PUBLISHED = {
    "rafdb": ("FMAE", 93.45, 6),
    "affectnet8": ("FMAE", 64.79, 4),
    "gft": ("AUNCE", 63.0, 14),
    "aff_wild2": ("AUNCE", 62.2, 6),
    "casme2": ("AUFormer", 70.4, 9),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rows_are_whole(name: str) -> None:
    known, (system, mean, rows) = benchmark(name), PUBLISHED[name]
    means = {row.system: row.mean for row in known.published}
    assert means[system] == mean and len(means) == len(known.published) == rows
    for row in known.published:
        scores = [score for score in row.scores if score is not None]
        assert len(scores) in (0, len(known.outputs))
        # HCL's figures of CASME II are printed without decimals.
        assert not scores or abs(sum(scores) / len(scores) - row.mean) < (
            0.13 if row.system == "HCL" else 0.1
        )


@pytest.mark.parametrize("name", ["rafdb", "affectnet8", "affectnet7", "gft", "aff_wild2"])
def test_parts_add_up_to_the_published_frames(name: str) -> None:
    known = benchmark(name)
    assert known.frames_train is not None and known.frames_test is not None
    assert known.frames == known.frames_train + known.frames_test
    assert known.split == "official" and known.by == "split" and [*known.numbers] == [1]
    assert len(known.rates) == len(known.outputs)
    if known.kind == "expression":
        assert known.unit == "picture" and sum(known.rates) == pytest.approx(100, abs=0.05)
    assert from_plain(to_plain(known)) == known


def test_expressions_have_the_numbers_of_their_data_sets() -> None:
    """RAF-DB's 1 is surprise, AffectNet's neutral is 0; contempt does not count among seven."""
    rafdb, eight, seven = (benchmark(name) for name in ("rafdb", "affectnet8", "affectnet7"))
    named = dict(zip(rafdb.outputs, np.eye(7).tolist(), strict=True))
    for code, name in enumerate(
        ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"), start=1
    ):
        assert rafdb.target.decode(np.array([[code]])).tolist() == [named[name]]
    for code, name in enumerate(
        ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
    ):
        assert eight.target.decode(np.array([[code]])).tolist()[0][eight.outputs.index(name)] == 1
    assert {*rafdb.outputs} == {*seven.outputs} == {*eight.outputs} - {"contempt"}
    assert np.isnan(seven.target.decode(np.array([[7], [8], [9]]))).all()
    assert not seven.target.known(np.array([10])).any(), "Non-Face is in no shard"


@pytest.mark.parametrize(("name", "folds"), [("casme2", 4), ("disfa_plus", 3), ("bp4d_plus_3folds", 3)])
def test_folds_that_nobody_published_are_our_draw(name: str, folds: int) -> None:
    known = benchmark(name)
    ranked = sorted(known.subjects, key=lambda s: hashlib.sha256(f"{name} {s}".encode()).hexdigest())
    assert known.folds == tuple(tuple(sorted(ranked[fold::folds])) for fold in range(folds))
    assert known.title.endswith("folds drawn by us")


def labelled(bench: Benchmark, subject: str) -> LabelledSet:
    one = np.zeros(1, np.int64)
    return LabelledSet(
        benchmark=bench, corpus=None, target=bench.target, rows=one, subject=one, video=np.array([""]),
        frame=np.ones(1, np.int32), targets=np.zeros((1, 1), np.float32), absent=(), subjects=(subject,),
        partition=np.array([""]),
    )  # pyright: ignore  # fmt: skip


def test_the_identity_trap_of_disfa_plus() -> None:
    """SN001 of DISFA+ is SN001 of DISFA; F001 of BP4D+ is not F001 of BP4D."""
    first = np.zeros(1, np.int64)

    def refuse(one: str, other: str, subject: str) -> None:
        trained, tested = labelled(benchmark(one), subject), labelled(benchmark(other), subject)
        refuse_shared_subjects(trained, first, tested, first)

    for pair in (("disfa", "disfa_plus"), ("disfa_plus", "disfa")):
        with pytest.raises(UserError, match=r"subject SN001 of disfa.* is in both train"):
            refuse(*pair, "SN001")
    refuse("bp4d", "bp4d_plus", "F001")


def test_a_partial_copy_is_said(tmp_path: Path) -> None:
    """Of 27 x 4 frames; the pictures of these shards show 40 % of each action unit."""
    shards = write_labelled(tmp_path / "shards", "disfa", frames=4)
    config = small("disfa", shards)
    whole = replace(benchmark("disfa"), frames=108, rates=())
    labels = open_labels(config, whole, 0, 1)
    assert [*differences(labels)] == []
    assert [*differences(replace(labels, benchmark=replace(benchmark("disfa"), rates=())))] == [
        "108 frames are in the shards, 130,814 are published of disfa."
    ]
    shares = (100 * labels.targets.mean(axis=0)).tolist()
    said = replace(whole, rates=(shares[0], shares[1] + 20, *shares[2:]))
    (sentence,) = differences(replace(labels, benchmark=said))
    assert sentence.startswith("Percent of positives (published: in brackets) differ: AU2 ")
    official = replace(
        whole, folds=(), split="official", train=whole.subjects[:20], test=whole.subjects[20:],
        frames_train=80, frames_test=60,
    )  # fmt: skip
    assert [*differences(replace(labels, benchmark=official))] == [
        "28 frames to test on are in the shards, 60 are published of disfa."
    ]


def test_rates_are_one_for_each_output() -> None:
    with pytest.raises(UserError, match="rates has 1 values for 8 outputs"):
        replace(benchmark("disfa"), rates=(5.0,))
