"""The benchmarks' files against the published protocols, and the reader against bad files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facecorpus.errors import UserError
from facecorpus.typed import to_plain
from fautrain.data.benchmark import benchmark, benchmark_names, from_plain

TWELVE = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
AUS = {"disfa": (1, 2, 4, 6, 9, 12, 25, 26), "bp4d": TWELVE, "bp4d_plus": TWELVE}
FOLD_SIZES = {"disfa": [9] * 3, "bp4d": [14, 14, 13], "bp4d_plus": [35] * 4}
FOLDS_SHA256 = {
    "disfa": "a596ad9dc2658b4972c69b64fe107c6f32eb609461b650ec58a671a7caaab069",
    "bp4d": "13bfab3ed1e8d69d0eb66d0fa17f37407c84dd1f23b9c10b121b0e1b8d3d24fe",
    "bp4d_plus": "8dd5ccebe7207fa703a5599e6ed75c8e8d19803c15e0116ea10807a36720ce95",
}
"""Of the published lists in the published order: subjects joined by " ", folds by " / "."""
SUBJECTS_SHA256 = {
    "disfa": "76e25e7341e236638133b40ee6c707186b9779fc67bbcbe6c39ac360cb4a133c",
    "bp4d": "153613e47a2f1790a8bd8401894515314fdbec7a280cc629928474fe9310fa5b",
    "bp4d_plus": "d427da0f3dca709dfaf03e7f68c37584ced6296773cddf7ef2ed5cd8eaf2f5b4",
}
"""Of FMAE's identity-head order, joined by " "."""
MEANS_PRINTED_WRONG = {("disfa", "GPT-4V"), ("bp4d_plus", "ViT"), ("bp4d_plus", "CLEF")}

TOML = """
title = "A toy"
kind = "occurrence"
source = "toy"
aus = [1, 12]
label = "AU{au}"
codes = [0, 1]
positive = "== 1"
missing = [9]
videos = []
subjects = ["A", "B", "C"]
folds = [["A"], ["B", "C"]]

[[published]]
system = "Someone"
where = "a paper, Table 1"
scores = [50.0, nan]
mean = 50.0
"""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def written(folder: Path, text: str) -> str:
    path = folder / "toy.toml"
    path.write_text(text)
    return str(path)


def test_only_benchmarks_are_listed() -> None:
    assert {*benchmark_names()} >= {*AUS} and "sources" not in benchmark_names()


@pytest.mark.parametrize("name", benchmark_names())
def test_parts_are_disjoint_and_complete(name: str) -> None:
    known = benchmark(name)
    named = known.parts or tuple(subject for fold in known.folds for subject in fold)
    assert known.name == name and len({*named}) == len(named) > 0
    assert known.by != "subject" or {*named} == {*known.subjects}
    assert known.title and known.source


@pytest.mark.parametrize("name", AUS)
def test_folds_and_orders_are_the_published_ones(name: str) -> None:
    known = benchmark(name)
    assert known.outputs == tuple(f"AU{au}" for au in AUS[name]) and known.frames and known.used_by
    assert [len(fold) for fold in known.folds] == FOLD_SIZES[name]
    assert sha256(" / ".join(" ".join(fold) for fold in known.folds)) == FOLDS_SHA256[name]
    assert sha256(" ".join(known.subjects)) == SUBJECTS_SHA256[name]


def test_subjects_are_named_as_in_the_releases() -> None:
    assert benchmark("disfa").videos == ("right",)
    for name, women, men in (("bp4d", 23, 18), ("bp4d_plus", 82, 58)):
        subjects = benchmark(name).subjects
        assert sum(s[0] == "F" for s in subjects) == women and sum(s[0] == "M" for s in subjects) == men
        assert all(len(s) == 4 for s in subjects) and benchmark(name).videos == ()
    assert [benchmark(n).frames for n in AUS] == [130_814, 146_847, 197_883]


@pytest.mark.parametrize("name", AUS)
def test_published_rows_are_whole(name: str) -> None:
    known = benchmark(name)
    means = {row.system: row.mean for row in known.published}
    paper = {"disfa": (68.7, 70.1, 70.8), "bp4d": (66.6, 67.1, 67.4), "bp4d_plus": (66.2, 66.8, 64.8)}
    assert (means["FMAE"], means["FMAE-IAT"], means["MAE-Face"]) == paper[name]
    assert len(means) == len(known.published) == {"disfa": 13, "bp4d": 13, "bp4d_plus": 10}[name]
    wrong = set()
    for row in known.published:
        figures = [f1 for f1 in row.scores if f1 is not None]
        assert len(row.scores) == len(known.outputs) and len(figures) in (0, len(known.outputs))
        # Figures and mean are each rounded by up to 0.05.
        if figures and abs(sum(figures) / len(figures) - row.mean) > 0.1 + 1e-9:
            wrong.add((name, row.system))
    assert wrong == {pair for pair in MEANS_PRINTED_WRONG if pair[0] == name}


def test_intensity_two_is_present_in_disfa() -> None:
    assert benchmark("disfa").target.decode(np.arange(6)).tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("name", ["bp4d", "bp4d_plus"])
def test_nine_is_not_coded_in_bp4d(name: str) -> None:
    found = benchmark(name).target.decode(np.array([[0, 1], [9, 0]], np.int16))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0, 1], [np.nan, 0]])


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    known = benchmark(written(tmp_path, TOML))
    assert (known.name, known.outputs, known.folds) == ("toy", ("AU1", "AU12"), (("A",), ("B", "C")))
    assert known.published[0].scores == (50.0, None)
    assert known.target.decode(np.array([0, 1, 9])).tolist()[:2] == [0, 1]
    assert known == benchmark(tmp_path / "toy.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("positive =", "postive =", "postive is no value.*did you mean 'positive'"),
        ("aus = [1, 12]\n", "", "aus is missing"),
        ('kind = "occurrence"\n', "", "kind is missing; say what is predicted"),
        ('"occurrence"', '"occurence"', "there is no kind of target occurence; did you mean 'occurrence'"),
        ("videos = []", 'videos = []\nsplit = "random"', "split='random'; give one of folds"),
        ("aus = [1, 12]", "aus = [1, 0]", "aus must be positive numbers"),
        ("aus = [1, 12]", "aus = []", "aus must be positive numbers"),
        ("aus = [1, 12]", "aus = [12, 12]", "aus: 12 is there twice"),
        ("aus = [1, 12]", 'aus = ["brow"]', "aus='brow'; give a whole number"),
        ("aus = [1, 12]", "aus = [1, 12, 15]", "published.scores of Someone has 2 values for 3 outputs"),
        ('"AU{au}"', '"AU"', "label='AU' must hold {au}"),
        ('"== 1"', '"> 1"', "positive='> 1' is no rule; write '>= N' or '== N'"),
        ('"== 1"', '">= 2"', "positive='>= 2' does not divide the codes"),
        ("codes = [0, 1]", "codes = [0, 1, 9]", "missing and codes both hold 9"),
        ('["B", "C"]]', '["B", "A"]]', "folds: 'A' is there twice"),
        ('["B", "C"]]', '["B"]]', "folds: 'C' of subjects is in no fold"),
        ('["B", "C"]]', '["B", "C", "D"]]', "folds: 'D' is not in subjects"),
        ('["B", "C"]]', '["B", "C"], []]', "folds: fold 3 is empty"),
        ('[["A"], ["B", "C"]]', '[["A", "B", "C"]]', "folds must be two lists"),
        ('["A", "B", "C"]', '["A", "B", "C", "C"]', "subjects: 'C' is there twice"),
        (
            "scores = [50.0, nan]",
            "scores = [0.5, 500.0]",
            "scores of Someone is not within 0 to 100",
        ),
        ("scores = [50.0, nan]", "scores = [50.0, nan]\nyear = 2020", "published.year is no value"),
        ("title", "= title", "is no TOML file"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TOML
    path = written(tmp_path, TOML.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as caught:
        benchmark(path)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("disffa", "--dataset disffa: there is no such benchmark; did you mean 'disfa'?"),
        ("sources", f"--dataset sources: there is no such benchmark; known: {', '.join(benchmark_names())}"),
        ("bp4d+", "--dataset bp4d+: there is no such benchmark; did you mean 'bp4d'?"),
        ("lost.toml", "--dataset lost.toml cannot be read (No such file or directory); mend the path"),
    ],
)
def test_an_unknown_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        benchmark(name)
    assert str(caught.value).startswith(message)


OFFICIAL = TOML.replace('folds = [["A"], ["B", "C"]]', 'split = "official"\ntrain = ["A", "C"]\ntest = ["B"]')


def test_an_official_split_by_subjects_is_read(tmp_path: Path) -> None:
    known = benchmark(written(tmp_path, OFFICIAL))
    assert (known.split, known.by, known.unit, known.folds) == ("official", "subject", "subject", ())
    assert known.numbers == range(1, 2) and known.tested(1) == ("B",)
    assert known.part_named(1) == "the official split of toy"
    assert from_plain(json.loads(json.dumps(to_plain(known)))) == known
    without = benchmark(written(tmp_path, OFFICIAL.replace('subjects = ["A", "B", "C"]\n', "")))
    assert without.subjects == ("A", "C", "B"), "those of the parts"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('test = ["B"]', "test = []", "test is empty; name each subject of that part"),
        ('test = ["B"]', 'test = ["B", "A"]', "train, validation and test: 'A' is there twice"),
        ('test = ["B"]', 'test = ["D"]', "train, validation and test: 'D' is not in subjects"),
        ('["A", "C"]', '["A"]', "train, validation and test: 'C' of subjects is in no part"),
        ('test = ["B"]', 'test = ["B"]\nby = "camera"', "by='camera'; give one of subject, video, split"),
        ('test = ["B"]', 'test = ["B"]\nunit = "picture"', 'unit = "picture" knows no subjects'),
        ('test = ["B"]', 'test = ["B"]\nfolds = [["A"], ["B", "C"]]', "folds and split = .official. exclude"),
        ('split = "official"', 'folds = [["A"], ["B", "C"]]', "train, validation and test are of split ="),
    ],
)
def test_a_bad_official_split_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in OFFICIAL
    with pytest.raises(UserError, match=message):
        benchmark(written(tmp_path, OFFICIAL.replace(old, new, 1)))


def test_one_made_in_code_is_checked_too() -> None:
    known = benchmark("disfa")
    with pytest.raises(UserError, match="folds: 'SN003' of subjects is in no fold"):
        replace(known, folds=known.folds[:2])


@pytest.mark.parametrize("name", AUS)
def test_what_is_stored_of_one_gives_it_back(name: str) -> None:
    known = benchmark(name)
    assert from_plain(json.loads(json.dumps(to_plain(known)))) == known
