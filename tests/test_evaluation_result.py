"""From folds to a result, its tables, words and page."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from facecorpus.errors import UserError
from fautrain import metrics
from fautrain.data.benchmark import Benchmark, Published
from fautrain.evaluation import (
    FoldResult,
    Header,
    Predictions,
    Result,
    aggregate,
    coverage,
    evaluate_fold,
    markdown,
    read_fold,
    read_result,
    write_predictions,
    write_result,
)
from fautrain.evaluation.page import render
from fautrain.evaluation.text import brief
from fautrain.files import publish
from fautrain.targets.occurrence import Occurrence

FOLDS = (("A", "B", "C"), ("D", "E"), ("F", "G", "H"))
PEOPLE = tuple(subject for fold in FOLDS for subject in fold)
BENCHMARK = Benchmark(
    name="made",
    title="Made | up, 2 AUs, 3 folds",
    source="made",
    kind="occurrence",
    target=Occurrence(aus=(1, 12), label="AU{au}", positive=">= 2", missing=()),
    videos=(),
    subjects=PEOPLE,
    folds=FOLDS,
    published=(
        Published("OTHER", "a paper, Table 9", (None, None), 61.4),
        Published("FMAE-IAT", "its paper, Table 3", (64.7, 79.9), 72.3),
    ),
)


def run(
    folder: Path,
    fold: int | None,
    seed: int = 0,
    *,
    validation: bool = True,
    frames: int = 60,
    epochs: int = 2,
    folds: tuple[tuple[str, ...], ...] = FOLDS,
    folds_total: int = 3,
    **header: object,
) -> FoldResult:
    """Evaluates made-up predictions on the subjects of a fold, or on everybody."""
    test = PEOPLE if fold is None else folds[fold - 1]
    others = [subject for subject in PEOPLE if subject not in test][:2] if validation else []
    subject = np.repeat([*test, *others], frames)
    truth = np.random.default_rng(fold)
    target = (truth.random((len(subject), 2)) < (0.2, 0.5)).astype(np.float32)
    for epoch in range(1, epochs + 1):
        noise = np.random.default_rng([fold or 0, seed, epoch]).normal(size=target.shape)
        place = np.repeat(np.arange(len(subject) // frames) % 3 - 1, frames)[:, None]
        logits = (2 * target - 1) * epoch + noise + place
        given = {
            "dataset": "made",
            "kind": "occurrence",
            "outputs": ("AU1", "AU12"),
            "epochs": 2,
            "folds": folds_total if fold else 0,
            **header,
        }
        write_predictions(
            folder / f"{seed}-{fold}",
            Predictions(
                Header(epoch=epoch, fold=fold, seed=seed, **given),  # type: ignore[arg-type]
                part=np.where(np.isin(subject, others), "validation", "test"),
                key=np.array([f"{s}{i}" for i, s in enumerate(subject)]),
                subject=subject,
                video=np.full(len(subject), "T1"),
                frame=np.arange(len(subject), dtype=np.int32),
                prediction=(1 / (1 + np.exp(-logits))).astype(np.float32),
                target=target,
            ),
        )
    return evaluate_fold(folder / f"{seed}-{fold}")


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> list[FoldResult]:
    folder = tmp_path_factory.mktemp("folds")
    return [run(folder, fold) for fold in (1, 2, 3)]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[FoldResult]:
    folder = tmp_path_factory.mktemp("seeds")
    return [run(folder, fold, seed) for seed in (4, 7) for fold in (1, 2, 3)]


def test_means_are_over_folds_and_pooled_counts_are_added(folds: list[FoldResult]):
    result = aggregate(folds, 200)
    for name in ("last", "selected", "published"):
        summary, columns = getattr(result, name), [getattr(fold, name) for fold in folds]
        assert summary.scores == pytest.approx(np.mean([c.scores for c in columns], axis=0))
        assert summary.mean == pytest.approx(np.mean([c.mean for c in columns]))
        assert summary.by_fold == pytest.approx([c.mean for c in columns])
        assert summary.fold_sd == pytest.approx(np.std([c.mean for c in columns], ddof=1))
        for name in ("precision", "recall", "accuracy", "AUC"):
            mean = np.mean([c.measures[name] for c in columns], axis=0)
            assert summary.measures[name] == pytest.approx(mean)
        tp, fp, fn, _ = np.concatenate([np.array(c.statistics) for c in columns]).sum(axis=0).T
        assert summary.pooled == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert summary.pooled_mean == pytest.approx(np.mean(summary.pooled))
        assert summary.seed_sd is None
    assert result.published.bounds is None
    assert (result.folds, result.folds_total, result.seeds) == ((1, 2, 3), 3, (0,))
    assert (result.subjects, result.frames) == (8, 8 * 60)
    assert result.baseline.scores == pytest.approx(np.mean([f.baseline for f in folds], axis=0))
    tp, fp, fn, _ = np.sum([f.baseline_statistics for f in folds], axis=0).T
    assert result.baseline.pooled == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert coverage(result) == "mean over the 3 folds"
    assert result.notes == ()


def test_an_official_split_of_pictures_is_told_of_pictures(tmp_path: Path) -> None:
    """Nobody knows who is shown: each picture is drawn anew for itself, and the words say so."""
    found = run(tmp_path, 1, frames=1, folds=(PEOPLE[:6],), folds_total=1)
    pictures = dataclasses.replace(
        BENCHMARK, subjects=(), folds=(), split="official", by="split", train=("train",), test=("test",),
        unit="picture",
    )  # fmt: skip
    result = aggregate([found], 50)
    assert (result.subjects, coverage(result)) == (6, "the official test part")
    text, page = markdown(result, pictures), render(result, pictures)
    for told in (text, page):
        assert "On 6 pictures that it has not seen" in told and "test pictures" in told
        assert "Nobody knows who is shown, so each picture counts as a person of its own." in told
        assert "Selected on held-out training pictures" in told and "subject" not in told
    assert "Test pictures</dt><dd>6" in page


BRIEF = """\
Made | up, 2 AUs, 3 folds; F1 in percent, mean over the 3 folds

        F1@0.5 last     selected    published  all present     FMAE-IAT
AU1            88.0         87.8         91.9         35.7         64.7
AU12           93.9         93.7         93.8         67.2         79.9
mean           91.0         90.7         92.9         51.5         72.3
"""
TEXTS_SHA256 = (
    "15d903c14a57de742c66b9459c895a828b91b45ade057a7be235b5e59d948c8c",
    "c1716bf2222b2666bb8dba511b339934a16f5aeedea5de63bd72f1e4e06b23b3",
)
"""Of table and page, as they were before targets had kinds."""


def test_occurrence_is_told_as_ever(folds: list[FoldResult]):
    result = aggregate(folds, 200)
    assert brief(result, BENCHMARK) == BRIEF
    texts = markdown(result, BENCHMARK), render(result, BENCHMARK)
    assert tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts) == TEXTS_SHA256


def slow_f1(counts: np.ndarray) -> list[float]:
    return [2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0 for tp, fp, fn, _ in counts]


def test_intervals_are_those_of_resampling_within_each_fold(folds: list[FoldResult]):
    result = aggregate(folds, 300)
    per_fold = []
    for place, fold in enumerate(folds, start=1):
        counts = np.array(fold.last.statistics)
        n = len(counts)
        drawn = np.random.default_rng((0, place)).multinomial(n, [1 / n] * n, 300)
        per_fold.append([slow_f1(counts[np.repeat(np.arange(n), row)].sum(axis=0)) for row in drawn])
    f1 = np.mean(per_fold, axis=0)
    bounds = result.last.bounds
    assert bounds is not None
    assert np.array(bounds.scores) == pytest.approx(np.percentile(f1, [2.5, 97.5], axis=0).T)
    assert bounds.mean == pytest.approx(np.percentile(f1.mean(axis=1), [2.5, 97.5]))
    assert bounds.mean[0] < result.last.mean < bounds.mean[1]
    assert bounds.pooled_mean[0] < result.last.pooled_mean < bounds.pooled_mean[1]


def test_seeds_give_a_mean_and_a_deviation(seeds: list[FoldResult]):
    result = aggregate(reversed(seeds), 50)
    by_seed = [np.mean([f.last.mean for f in seeds if f.seed == seed]) for seed in (4, 7)]
    assert result.last.by_seed == pytest.approx(by_seed)
    assert result.last.mean == pytest.approx(np.mean(by_seed))
    assert result.last.seed_sd == pytest.approx(np.std(by_seed, ddof=1))
    assert result.subjects == 8
    assert [(f.seed, f.fold) for f in result.runs] == [(s, f) for s in (4, 7) for f in (1, 2, 3)]
    counts = np.stack([np.array(f.last.statistics) for f in seeds if f.fold == 1], axis=1)
    both = metrics.f1(metrics.resample(counts, 50, (0, 1))).mean(axis=1)
    one = aggregate([f for f in seeds if f.fold == 1], 50)
    assert one.last.bounds is not None
    assert np.array(one.last.bounds.scores) == pytest.approx(np.percentile(both, [2.5, 97.5], axis=0).T)
    assert one.last.bounds.scores == one.last.bounds.pooled  # of one fold they are the same
    text = markdown(result, BENCHMARK)
    assert "means over 2 runs that differ in their seed (4, 7)" in text
    assert f"{100 * result.last.mean:.1f} ± {100 * np.std(by_seed, ddof=1):.1f}" in text


def test_missing_folds_are_said(seeds: list[FoldResult]):
    result = aggregate(seeds[:2])
    assert coverage(result) == "folds 1, 2 of 3 only"
    assert result.notes == ("Only folds 1, 2 of 3 are in: the mean over all folds may differ.",)
    text = markdown(result, BENCHMARK)
    assert "| **F1@0.5, last epoch** | folds 1, 2 of 3 only |" in text
    assert "Only folds 1, 2 of 3 are in" in text
    assert "means over all 3 folds; here: folds 1, 2 of 3 only" in text
    short = aggregate(seeds[:5])
    assert short.seeds == (4,)
    assert short.notes == ("Seed 7 is left out of the means: it has folds 1, 2 of 3 only.",)
    assert short.last.mean == pytest.approx(np.mean([f.last.mean for f in seeds[:3]]))
    assert len(short.runs) == 5


def test_without_validation_in_every_run_nothing_is_selected(folds: list[FoldResult], tmp_path: Path):
    other = run(tmp_path, 2, validation=False)
    mixed = aggregate([folds[0], other, folds[2]])
    assert mixed.selected is None
    assert "no validation subjects" in mixed.notes[0]
    assert aggregate([other]).notes == ("Only fold 2 of 3 are in: the mean over all folds may differ.",)


def test_what_does_not_belong_together_is_refused(folds: list[FoldResult], tmp_path: Path):
    first = folds[0]

    def refused(says: str, *runs: FoldResult) -> None:
        with pytest.raises(UserError, match=says):
            aggregate(runs)

    change = dataclasses.replace
    refused("no evaluated fold")
    refused("fold 1 of made of seed 0 comes twice", first, first)
    refused(r"differ in outputs \(\('AU1', 'AU12'\) and", first, change(folds[1], outputs=("AU1", "AU4")))
    refused("differ in dataset", first, change(folds[1], dataset="bp4d"))
    refused("differ in drawn", first, change(folds[1], drawn=True))
    refused("the whole data set", first, change(folds[1], fold=None))
    refused(
        "tests other frames in seed 3 than in seed 0",
        first,
        change(first, seed=3, baseline_statistics=((1, 2),)),
    )
    overlapping = run(tmp_path, 2, folds=(FOLDS[0], ("A", "E"), FOLDS[2]))
    refused("subject A is tested in two folds of made", first, overlapping)


def test_results_come_back_from_json(folds: list[FoldResult], tmp_path: Path):
    result = aggregate(folds, 20)
    write_result(result, tmp_path / "result.json")
    assert read_result(tmp_path / "result.json") == result
    write_result(folds[0], tmp_path / "fold.json")
    assert read_fold(tmp_path / "fold.json") == folds[0]
    text = (tmp_path / "result.json").read_text()
    assert json.loads(text)["last"]["mean"] == result.last.mean
    assert re.search(r'"scores": \[ [\d.]+, [\d.]+ \]', text)  # an innermost list is a line
    with pytest.raises(UserError, match="holds no result"):
        read_result(tmp_path / "fold.json")
    (tmp_path / "result.json").write_text(text[:100])
    with pytest.raises(UserError, match="holds no result"):
        read_result(tmp_path / "result.json")
    with pytest.raises(UserError, match="there is no"):
        read_result(tmp_path / "none.json")


def cells(text: str, label: str) -> list[list[str]]:
    """The cells after the label, of every line of a Markdown table that begins with it."""
    lines = [
        [c.strip(" *") for c in line.strip("|").split(" | ")] for line in text.splitlines() if "|" in line
    ]
    return [line[1:] for line in lines if line[0] == label]


def test_the_markdown_table_holds_our_rows_then_the_papers(folds: list[FoldResult]):
    result = aggregate(folds)
    text = markdown(result, BENCHMARK)
    percents = [f"{100 * v:.1f}" for v in (*result.last.scores, result.last.mean)]
    assert cells(text, "F1@0.5, last epoch")[0] == ["mean over the 3 folds", *percents]
    assert result.last.bounds is not None
    low, high = result.last.bounds.mean
    assert f"{100 * low:.1f}–{100 * high:.1f} |\n| **Selected on held-out" in text
    assert cells(text, "Published protocol")[0][-1] == f"{100 * result.published.mean:.1f}"
    assert cells(text, "Every AU called present")[0][-1] == f"{100 * result.baseline.mean:.1f}"
    assert cells(text, "FMAE-IAT") == [["its paper, Table 3", "64.7", "79.9", "72.3"]]
    assert cells(text, "OTHER") == [["a paper, Table 9", "–", "–", "61.4"]]
    names = [line.split("|")[1].strip(" *") for line in text.splitlines() if line.startswith("| ")]
    order = ["F1@0.5, last epoch", "Selected on held-out training subjects", "Published protocol"]
    order += ["Every AU called present", "OTHER", "FMAE-IAT"]
    assert [name for name in names[:10] if name in order] == order
    assert 'Of our rows only "Published protocol" is comparable' in text
    assert "It is optimistic" in text
    assert text.startswith("# Made | up")
    fold = folds[1]
    assert fold.selected is not None
    row = ["0", "Selected on held-out training subjects", str(fold.selected.epoch)]
    row += [f"{fold.selected.choice:.2f}", f"{100 * fold.selected.mean:.1f}"]
    assert row in [line[:5] for line in cells(text, "2")]
    counts = [f"{p} ({100 * p / (p + n):.1f} %)" for p, n, _, _ in fold.baseline_statistics]
    assert ["2", "120", *counts] in cells(text, "2")
    widths = {line.count(" | ") for line in text.split("## Each fold")[0].splitlines() if line[:2] == "| "}
    assert widths == {4}


def test_drawn_faces_are_not_compared(tmp_path: Path):
    result = aggregate([run(tmp_path, fold, drawn=True) for fold in (1, 2, 3)])
    text = markdown(result, BENCHMARK)
    assert "**The faces are drawn by a program: nothing here can be compared" in text
    assert "None of our rows is comparable" in text
    heading = text.index("**Not comparable, as the faces above are drawn")
    assert text.index("| Every AU called present") < heading < text.index("| FMAE-IAT")
    html = render(result, BENCHMARK)
    assert "drawn faces" in html and "Not comparable" in html
    assert '"diamond"' not in html


def test_missing_subjects_are_told_wherever_the_papers_rows_are(tmp_path: Path):
    result = aggregate([run(tmp_path, fold, absent=("C", "E") if fold == 1 else ("C",)) for fold in (1, 2)])
    assert result.absent == ("C", "E")
    said = "2 of the benchmark's 8 subjects (C, E) are not in the shards: the scores do not compare"
    text, html = markdown(result, BENCHMARK), render(result, BENCHMARK)
    assert f"**{said}" in text and "None of our rows is comparable" in text
    heading = text.index("**Not comparable, as 2 of the 8 subjects are missing above")
    assert text.index("| Every AU called present") < heading < text.index("| FMAE-IAT")
    assert said.replace("'", "&#39;") in html and '"diamond"' not in html
    assert f"warning: {said}" in brief(result, BENCHMARK) and "FMAE-IAT" not in brief(result, BENCHMARK)
    write_result(result, tmp_path / "result.json")
    assert read_result(tmp_path / "result.json") == result
    data = json.loads((tmp_path / "result.json").read_text())
    del data["absent"]  # as earlier versions wrote it
    (tmp_path / "result.json").write_text(json.dumps(data))
    assert read_result(tmp_path / "result.json").absent == ()


def test_a_terminal_shows_the_numbers_in_80_characters(tmp_path: Path):
    result = aggregate([run(tmp_path, fold) for fold in (1, 2, 3)])
    text = brief(result, BENCHMARK)
    lines = text.splitlines()
    assert max(map(len, lines)) < 80 and len(lines) < 10 and "warning" not in text
    head, au1, au12, mean = lines[2:6]
    assert head.split() == ["F1@0.5", "last", "selected", "published", "all", "present", "FMAE-IAT"]
    assert au1.split()[-1] == "64.7" and au12.split()[-1] == "79.9" and mean.split()[-1] == "72.3"
    assert mean.split()[1] == f"{100 * result.last.mean:.1f}" and au1.split()[0] == "AU1"


def test_another_data_set_has_no_papers_rows(tmp_path: Path):
    result = aggregate([run(tmp_path, None, validation=False, trained_on="bp4d", epochs=1)])
    text = markdown(result, BENCHMARK)
    assert text.startswith("# Trained on bp4d, tested on made\n")
    assert "FMAE-IAT" not in text
    assert "The papers' rows are left out" in text
    assert cells(text, "F1@0.5, last epoch")[0][0] == "the whole data set"
    assert "pooled" not in text.lower()
    html = render(result, BENCHMARK)
    assert "Trained on bp4d, tested on made" in html
    assert "over epochs" not in html.lower()


def test_a_part_of_the_aus_is_held_beside_the_same_aus(folds: list[FoldResult]):
    wider = dataclasses.replace(
        BENCHMARK,
        target=Occurrence(aus=(12, 4, 1), label="AU{au}", positive="== 1", missing=()),
        published=(Published("FMAE-IAT", "its paper", (79.9, 55.5, 64.7), 66.7),),
    )
    text = markdown(aggregate(folds), wider)
    assert cells(text, "FMAE-IAT") == [["its paper", "64.7", "79.9", "–"]]
    assert "Compare AU by AU" in text
    assert "of these AU 1, 12" in text


class Page(HTMLParser):
    """Checks that tags close and collects what could reach outside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.shapes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "rect", "line", "circle", "path") or tag == "rect":
            self.open.append(tag)
        self.shapes += [f"{tag}.{value}" for name, value in attrs if name == "class"]
        self.outside += [f"{name}={value}" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shapes += [f"{tag}.{value}" for name, value in attrs if name == "class"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_shows_every_part(folds: list[FoldResult]):
    result = aggregate(folds)
    html = render(result, BENCHMARK)
    page = Page()
    page.feed(html)
    assert page.open == [] and page.outside == []
    assert "http" not in html.replace("http-equiv", "") and "url(" not in html and "<script" not in html
    assert "Made | up, 2 AUs" in html
    assert page.shapes.count("rect.bar") == 3  # two AUs and their mean
    assert page.shapes.count("path.diamond") == 3
    assert page.shapes.count("line.whisker") == 9
    assert page.shapes.count("path.validation") == 6  # three folds, over epochs and over thresholds
    assert page.shapes.count("path.best") == 3
    for part in ("Other measures", "Each fold", "Support", "FMAE-IAT", "Of our rows only"):
        assert part in html
    assert re.findall(r'y="([\d.]+)%" width="[\d.]+%" height="([\d.]+)%"', html)[0] == (
        f"{100 - 100 * result.last.scores[0]:.2f}",
        f"{100 * result.last.scores[0]:.2f}",
    )


def test_names_cannot_break_the_page(folds: list[FoldResult]):
    hostile = dataclasses.replace(BENCHMARK, title="<b>x</b>", published=())
    assert "<b>x" not in render(aggregate(folds), hostile)
    assert "No papers' rows are known" in markdown(aggregate(folds), hostile)


def test_an_unwritable_place_is_named(folds: list[FoldResult], tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"result\.html cannot be written"):
        publish(tmp_path / "file" / "result.html", render(aggregate(folds), BENCHMARK))


def test_evaluation_needs_no_torch():
    code = "import sys, fautrain.evaluation; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_result_says_what_it_is(folds: list[FoldResult]):
    result = aggregate(folds)
    assert isinstance(result, Result)
    text = markdown(result, BENCHMARK)
    assert "On 480 frames of 8 people that it has not seen in training" in text
    assert f"a mean F1 of {100 * result.last.mean:.1f} % (95 % interval " in text
