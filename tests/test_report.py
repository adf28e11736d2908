"""The report: its numbers are the ledger's, it needs nothing else, and no corpus breaks or swells it."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import build_arguments, run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facecorpus import ledger
from facecorpus.errors import UserError
from facecorpus.ledger import TERMINAL, SourceLedger
from facecorpus.pages import visible
from facecorpus.phases import corpus as corpora
from facecorpus.phases import inventory, select
from facecorpus.phases.corpus import Corpus
from facecorpus.reasons import REASONS
from facecorpus.record import State
from facecorpus.report import gallery, ledger_json, ledger_text, write_report
from facecorpus.report.charts import Measure, histogram, measure
from facecorpus.report.counts import total
from facecorpus.report.funnel import KEPT, OTHER, funnel
from facecorpus.report.page import short
from facecorpus.report.survey import Group, Row, Survey, survey
from facecorpus.report.tiles import THUMB_PX, crop_corners, data_uri


class Page(HTMLParser):
    """What a browser would see: the tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


def ledgers_of(corpus: Corpus) -> dict[str, SourceLedger]:
    return ledger.close(inventory.counts(corpus), select.read_selection(corpus))


@pytest.fixture(scope="module")
def opened(corpus: Path) -> Corpus:
    return corpora.load(str(corpus))


@pytest.fixture(scope="module")
def html(opened: Corpus, tmp_path_factory: pytest.TempPathFactory) -> str:
    to = str(tmp_path_factory.mktemp("page") / "page.html")
    assert write_report(opened, to) == to
    return Path(to).read_text("utf-8")


@pytest.fixture(scope="module")
def every_face(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus with several rows of one input, and small row groups."""
    out = tmp_path_factory.mktemp("faces") / "out"
    run(*build_arguments(drawn, out, more=("--set", "limits.faces=all")))
    return corpora.load(str(out))


@pytest.fixture
def copy(corpus: Path, tmp_path: Path) -> Path:
    """The corpus, elsewhere and free to be damaged."""
    return Path(shutil.copytree(corpus, tmp_path / "copy"))


def move_sources(out: Path, change: Callable[[str], str]) -> Corpus:
    config = json.loads((out / "corpus.json").read_text())
    for source in config["sources"]:
        source["location"] = change(source["location"])
    (out / "corpus.json").write_text(json.dumps(config))
    return corpora.load(str(out))


@pytest.mark.parametrize("name", ["selection.parquet", "placement.parquet", "scores/**/*.parquet"])
def test_a_damaged_table_is_named_in_a_sentence(copy: Path, name: str) -> None:
    for path in copy.glob(name):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"\.parquet is not a whole Parquet file .*run again") as refusal:
        write_report(corpora.load(str(copy)), str(copy.parent / "page.html"))
    assert "\n" not in str(refusal.value)


# -- the numbers ------------------------------------------------------------------------------------


def test_the_headline_is_the_ledger(opened: Corpus, html: str) -> None:
    whole = total(ledgers_of(opened))
    headline = re.search(r'<p class="headline">([^<]*)</p>', html)
    assert headline
    numbers = [int(n.replace(",", "")) for n in re.findall(r"[\d,]+", headline[1])]
    assert numbers == [whole.inputs, *(whole.states[state] for state in TERMINAL)]
    assert numbers[0] == sum(numbers[1:])
    assert f"{whole.samples} face crops in" in Page(html).text


def test_the_funnel_of_every_source_ends_with_what_was_kept(opened: Corpus, html: str) -> None:
    section = html[html.index('id="funnel"') : html.index('id="kept"')]
    panels = re.split(r'<div class="panel">', section)[1:]
    ledgers = ledgers_of(opened)
    entries = [total(ledgers), *ledgers.values()]
    assert len(panels) == len(entries) == 6
    for panel, entry in zip(panels, entries, strict=True):
        assert f"{entry.inputs} inputs" in panel
        counts = [int(n.replace(",", "")) for n in re.findall(r"<b[^>]*>([\d,]+)</b>", panel)]
        lost = [int(n.replace(",", "")) for n in re.findall(r"−([\d,]+)", panel)]
        assert counts[0] == entry.inputs
        assert counts[-1] == entry.states[State.KEPT]
        assert counts == sorted(counts, reverse=True)
        assert sum(lost) == entry.inputs - entry.states[State.KEPT]


def test_every_reason_has_its_strip_with_its_count(opened: Corpus, html: str) -> None:
    whole = total(ledgers_of(opened))
    section = html[html.index('id="rejected"') : html.index('id="duplicates"')]
    strips = re.findall(r'-text">([a-z ]+)</span> <small>([\d,]+) (\w+):', section)
    shown = {(state, words.replace(" ", "_")): int(count) for words, count, state in strips}
    expected = {k: n for k, n in whole.reasons.items() if k[0] in (State.REJECTED, State.FAILED)}
    assert shown == expected
    assert len(expected) >= 5


def test_the_overlap_matrix_adds_up_to_the_duplicates(opened: Corpus, html: str) -> None:
    found = survey(opened, lambda group: 0)
    pairs = gallery.overlap(found)
    for name, entry in ledgers_of(opened).items():
        assert sum(n for (row, _), n in pairs.items() if row == name) == entry.states[State.DUPLICATE]
    table = html[html.index('<table class="matrix">') :].partition("</table>")[0]
    cells = [int(n.replace(",", "")) for n in re.findall(r"<td style[^>]*>([\d,]+)</td>", table)]
    assert sum(cells) == total(ledgers_of(opened)).states[State.DUPLICATE] > 0
    assert any(a != b for a, b in pairs)


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 7, 1000])
def test_the_survey_is_the_ledger_whatever_the_batch(every_face: Corpus, batch_rows: int) -> None:
    found = survey(every_face, lambda group: 3, batch_rows)
    expected = ledgers_of(every_face)
    assert found.ledgers == expected
    assert sum(entry.samples for entry in expected.values()) > total(expected).states[State.KEPT]
    again = survey(every_face, lambda group: 3)
    assert found.picked == again.picked and found.counts == again.counts and found.units == again.units


def test_every_face_counts_as_a_sample(every_face: Corpus, tmp_path: Path) -> None:
    text = Path(write_report(every_face, str(tmp_path / "page.html"))).read_text("utf-8")
    whole = total(ledgers_of(every_face))
    assert f"; {whole.samples} samples, as every face counts" in Page(text).text


def test_measurements_are_those_of_all_rows(opened: Corpus) -> None:
    found = survey(opened, lambda group: 0)
    read = measure(opened, found.units)
    scores = [pq.read_table(p).to_pylist() for p in sorted(Path(opened.out).glob("scores/**/*.parquet"))]
    rows = [row for part in scores for row in part]
    assert read.rows == read.all_rows == len(rows)
    states = {r["id"]: r["state"] for r in select.read_selection(opened).to_pylist()}
    yaw = next(m for m in read.measures if m.title == "Yaw")
    for fate, state in ((0, State.KEPT), (1, State.DUPLICATE)):
        expected = sorted(r["yaw_deg"] for r in rows if r["yaw_deg"] is not None and states[r["id"]] == state)
        assert sorted(yaw.values[fate].tolist()) == expected
        assert expected


# -- the file ---------------------------------------------------------------------------------------


def test_the_page_needs_nothing_outside_itself(html: str) -> None:
    page = Page(html)
    sources = [
        attributes[name] or ""
        for _, attributes in page.tags
        for name in ("src", "href", "srcset", "data", "poster", "action", "xlink:href", "background")
        if name in attributes
    ]
    assert len(sources) > 40
    assert all(source.startswith(("data:image/jpeg;base64,", "#")) for source in sources)
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert [a["rel"] for tag, a in page.tags if tag == "link"] == []
    css = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in css and "@import" not in css
    assert "://" not in html
    assert "default-src 'none'" in html


def test_all_pictures_are_small_jpegs(html: str) -> None:
    images = Page(html).images()
    assert images
    for attributes in images:
        picture = Image.open(io.BytesIO(base64.b64decode((attributes["src"] or "").partition(",")[2])))
        picture.load()
        assert picture.format == "JPEG"
        assert max(picture.size) <= 156
        assert str(picture.width) == attributes["width"]


def test_the_same_corpus_gives_the_same_bytes(opened: Corpus, html: str, copy: Path) -> None:
    shutil.rmtree(copy / "done" / "materialise")
    again = write_report(corpora.load(str(copy)), None)
    assert again == str(copy / "report.html")
    assert Path(again).read_bytes() == html.encode()


def test_the_command_writes_it(corpus: Path, tmp_path: Path, html: str) -> None:
    to = tmp_path / "from the command.html"
    assert str(to) in run("report", str(corpus), "--to", str(to)).stdout
    assert to.read_text("utf-8") == html


def test_hostile_names_are_shown_as_text(drawn: Path, opened: Corpus, tmp_path: Path) -> None:
    root = tmp_path / "<b>root"
    root.mkdir()
    rows = select.read_selection(opened).to_pylist()
    kept = next(r["id"] for r in rows if r["state"] == State.KEPT and r["source"] == "folder")
    picture = (drawn / kept).read_bytes()
    names = [
        "<img src=x onerror=alert(1)>.jpg",
        '"><script>alert(2)<',
        "a' onload='alert(3).jpg",
        "{{ 7*7 }}.jpg",
        "txt\u202egpj.exe",
        "new\nline.png",
        "long" * 50 + ".jpg",
    ]
    for number, name in enumerate(names):
        (root / name).write_bytes(b"no picture at all" if number % 2 else picture + bytes(number))
    out = tmp_path / "out"
    arguments = ["--sources", f"hostile=folder:{root.name}", "--recipe", "sample", "--no-report"]
    run("build", "--root", str(tmp_path), "--out", str(out), *arguments)
    page = Page(Path(write_report(corpora.load(str(out)), None)).read_text("utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all((image["src"] or "").startswith("data:") for image in page.images())
    titles = {attributes.get("title") for _, attributes in page.tags}
    for name in names:
        assert f"hostile/{visible(name)}" in titles
    assert "49.jpg" not in page.text
    assert "\u202e" not in page.text and "txt\\u202egpj.exe" in page.text


# -- what is missing or wrong -----------------------------------------------------------------------


def test_sources_that_are_gone_are_named(copy: Path, html: str) -> None:
    moved = move_sources(copy, lambda place: place + "-gone")
    text = Path(write_report(moved, None)).read_text("utf-8")
    page = Page(text)
    for spec in moved.sources:
        assert f"{spec.name} cannot be read as it was" in page.text
    assert "not readable now" in page.text
    kept = text[text.index('id="kept"') : text.index('id="rejected"')]
    assert kept == html[html.index('id="kept"') : html.index('id="rejected"')]
    clusters = Page(text[text.index('id="duplicates"') : text.index('id="measures"')])
    assert clusters.images(), "duplicates are shown by their staged crops"


def test_a_source_that_has_changed_is_not_passed_off_as_the_old_one(
    copy: Path, drawn: Path, tmp_path: Path
) -> None:
    changed = Path(shutil.copytree(drawn, tmp_path / "changed"))
    for path in (changed / "folder").rglob("*"):
        if path.is_file() and path.stat().st_size:
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
    moved = move_sources(copy, lambda place: place.replace(str(drawn), str(changed)))
    page = Page(Path(write_report(moved, None)).read_text("utf-8"))
    assert "folder cannot be read as it was" in page.text
    assert "has changed since it was scored" in page.text
    assert "celeba cannot be read" not in page.text


def test_it_says_whether_the_shards_were_verified(copy: Path, html: str) -> None:
    assert "verified from the bytes" in html

    def badge() -> str:
        text = Path(write_report(corpora.load(str(copy)), None)).read_text("utf-8")
        found = re.search(r'<span class="badge[^>]*>([^<]*)<', text)
        assert found
        return found[1]

    verified = json.loads((copy / "verified.json").read_text())
    verified["shards"][next(iter(verified["shards"]))] = "0" * 64
    (copy / "verified.json").write_text(json.dumps(verified))
    assert badge() == "changed since it was verified"
    (copy / "verified.json").unlink()
    assert badge() == "not verified yet"
    shutil.rmtree(copy / "shards")
    (copy / "shards.parquet").unlink()
    assert badge() == "no shards yet"


# -- bounds -----------------------------------------------------------------------------------------


def row(number: int, group: Group) -> Row:
    copied = f"{group.kept_source}/{number}" if group.kept_source else None
    cluster = f"{group.source}/c{number}" if copied else None
    reason = group.reason or None
    return Row(f"{group.source}/{number}", group.source, group.state, reason, 0, cluster, copied,
               None, None, None, None, "unit", number, None)  # fmt: skip


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 6), st.integers(1, 8))
def test_examples_are_bounded_and_every_reason_has_one(reasons: int, sources: int, each: int) -> None:
    groups = [
        Group(f"s{s}", State.REJECTED, f"reason {r}", "") for r in range(reasons) for s in range(sources)
    ]
    found = Survey(
        {}, Counter(dict.fromkeys(groups, 99)), {g: [row(n, g) for n in range(each)] for g in groups}
    )
    by_reason = {
        (State.REJECTED, f"reason {r}"): [g for g in groups if g.reason == f"reason {r}"]
        for r in range(reasons)
    }
    chosen = gallery._choose_examples(found, by_reason)
    assert sum(map(len, chosen.values())) <= gallery.EXAMPLES
    assert max(map(len, chosen.values())) <= 8
    assert sum(bool(rows) for rows in chosen.values()) == min(reasons, gallery.EXAMPLES)
    for rows in chosen.values():
        seen = Counter(r.source for r in rows)
        assert not seen or max(seen.values()) - min(seen.get(f"s{s}", 0) for s in range(sources)) <= 1


def test_clusters_across_sources_come_first() -> None:
    kinds = ("file", "crop", "image", "photo", "pixels")
    groups = [
        Group(a, State.DUPLICATE, kind, b) for kind in kinds for a in ("a", "b", "c") for b in ("a", "b", "c")
    ]
    picked = {group: [row(100 * i + n, group) for n in range(8)] for i, group in enumerate(groups)}
    chosen = gallery._choose_clusters(Survey({}, Counter(), picked))
    across = {r.cluster for group, rows in picked.items() for r in rows if group.source != group.kept_source}
    assert len(chosen) == len(set(chosen)) == gallery.CLUSTERS
    assert set(chosen[: gallery.ACROSS]) <= across and not across & set(chosen[gallery.ACROSS :])
    only_within = {g: rows for g, rows in picked.items() if g.source == g.kept_source}
    assert len(gallery._choose_clusters(Survey({}, Counter(), only_within))) == gallery.CLUSTERS


def test_the_worst_pictures_fit_the_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3)).astype(np.uint8)
    wide, high = THUMB_PX
    tiles = (gallery.EXAMPLES + gallery.CLUSTERS * gallery.MEMBERS) * len(data_uri(noise[:high, :wide]))
    crops = gallery.SOURCES_SHOWN * 13 * len(data_uri(noise[:104, :104]))
    means = gallery.SOURCES_SHOWN * len(data_uri(noise[:144, :144] // 8 + 112, 88))
    assert tiles + crops + means < 8_000_000


def test_a_drawn_page_is_small(html: str) -> None:
    assert len(html) < 1_500_000


# -- parts ------------------------------------------------------------------------------------------


ENDINGS = st.sampled_from([*REASONS, "a_rule_of_tomorrow"])


@settings(deadline=None)
@given(
    st.dictionaries(st.tuples(st.sampled_from(["rejected", "failed"]), ENDINGS), st.integers(1, 10**9)),
    st.dictionaries(st.sampled_from(["file", "image"]), st.integers(1, 10**6)),
    st.integers(0, 10**9),
)
def test_the_funnel_loses_nothing(
    ended: dict[tuple[str, str], int], copies: dict[str, int], kept: int
) -> None:
    reasons = Counter({**ended, **{("duplicate", kind): n for kind, n in copies.items()}})
    entry = SourceLedger("s", reasons.total() + kept, kept, Counter(), reasons)
    steps = funnel(entry)
    assert steps[0].count == entry.inputs and steps[-1].count == kept and steps[-1].name == KEPT
    assert all(a.count - b.lost == b.count for a, b in itertools.pairwise(steps))
    assert sum(step.lost for step in steps) == reasons.total()
    other = [loss.words for step in steps if step.name == OTHER for loss in step.losses]
    assert set(other) == {"a rule of tomorrow" for _, reason in ended if reason == "a_rule_of_tomorrow"}


def test_every_reason_has_a_step_and_a_sentence() -> None:
    assert len(list(REASONS)) >= 20
    for name in REASONS:
        steps = funnel(SourceLedger("s", 1, 0, Counter(), Counter({("rejected", name): 1})))
        assert [step.name for step in steps if step.lost] == [REASONS.get(name).step]
        assert REASONS.get(name).about.endswith(".")


FINITE = st.lists(st.floats(-1e6, 1e6), max_size=60).map(lambda v: np.array(v, np.float64))


@settings(deadline=None)
@given(FINITE, FINITE, FINITE, st.booleans(), st.lists(st.floats(0.01, 1e4), max_size=2))
def test_a_histogram_counts_every_value(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, log: bool, limits: list[float]
) -> None:
    series = tuple(np.abs(part) + 1e-3 if log else part for part in (a, b, c))
    svg = str(histogram(Measure("Title", "px", series, tuple(limits), log)))
    for name, part in zip(("kept", "duplicate", "rejected"), series, strict=True):
        titles = re.findall(r"<title>([^<]*)</title>", svg)
        found = [int(n.replace(",", "")) for title in titles for n in re.findall(rf"([\d,]+) {name}", title)]
        assert sum(found) == len(part)
    assert ("no input got far enough" in svg) == (sum(map(len, series)) == 0)
    assert svg.count("limit ") == (len(limits) if sum(map(len, series)) else 0)
    for box in re.finditer(r'<rect [^>]*y="([-\d.]+)" [^>]*height="([-\d.]+)"', svg):
        assert float(box[1]) >= 0 and float(box[2]) > 0


@settings(deadline=None)
@given(st.floats(-3.2, 3.2), st.floats(0.05, 20), st.floats(-5000, 5000), st.floats(-5000, 5000))
def test_crop_corners_are_mapped_back_to_the_crop(angle: float, scale: float, x: float, y: float) -> None:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin, x], [sin, cos, y]])
    corners = crop_corners(matrix.ravel().tolist(), 224)
    back = corners @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(back, [(-0.5, -0.5), (223.5, -0.5), (223.5, 223.5), (-0.5, 223.5)], atol=1e-5)


@settings(deadline=None)
@given(st.text(), st.integers(8, 60))
def test_shown_names_have_no_hidden_characters_and_a_bounded_length(name: str, limit: int) -> None:
    shown = visible(name)
    assert not re.search("[\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\x00-\x1f]", shown)
    assert len(short(shown, limit)) <= limit or len(shown) <= limit


# -- the ledger -------------------------------------------------------------------------------------


def test_the_table_is_aligned_and_adds_up(opened: Corpus) -> None:
    ledgers = ledgers_of(opened)
    lines = ledger_text(ledgers).splitlines()
    rows = [line.split() for line in lines[: len(ledgers) + 4] if not line.startswith("-")]
    assert rows[0] == ["source", "inputs", *map(str, TERMINAL), "samples"]
    assert [r[0] for r in rows[1:]] == [*ledgers, "total"]
    numbers = np.array([[int(n.replace(",", "")) for n in r[1:]] for r in rows[1:]])
    assert (numbers[:, 0] == numbers[:, 1:5].sum(axis=1)).all()
    assert (numbers[-1] == numbers[:-1].sum(axis=0)).all()
    assert len({len(line) for line in lines[: len(ledgers) + 4]}) == 1
    assert any(line.strip().startswith("2 rejected: ") for line in lines)


def test_a_ledger_that_does_not_close_is_said_to() -> None:
    entry = SourceLedger("torn", 5, 3, Counter({"kept": 3}))
    assert "NOT CLOSED: 5 inputs, but 3 accounted for" in ledger_text({"torn": entry})
    assert ledger_json({"torn": entry})["sources"]["torn"]["closes"] is False


def test_the_json_holds_the_same_numbers(opened: Corpus) -> None:
    ledgers = ledgers_of(opened)
    plain = json.loads(json.dumps(ledger_json(ledgers)))
    assert set(plain["sources"]) == set(ledgers)
    for entry in (*plain["sources"].values(), plain["total"]):
        assert entry["closes"] and entry["inputs"] == sum(entry[state] for state in TERMINAL)
        for state in (State.DUPLICATE, State.REJECTED, State.FAILED):
            assert sum(entry["reasons"].get(state, {}).values()) == entry[state]
    assert plain["total"]["kept"] == sum(entry.states["kept"] for entry in ledgers.values()) > 0
