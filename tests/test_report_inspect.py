"""`facecorpus inspect`: records are found by id and by key, and what is said is what the tables say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import build_arguments, run
from PIL import Image

from facecorpus.errors import UserError
from facecorpus.phases import corpus as corpora
from facecorpus.phases import select
from facecorpus.phases.corpus import Corpus
from facecorpus.record import State
from facecorpus.report import inspect_record
from facecorpus.report.inspection import nearest
from facecorpus.report.tiles import BOX, POINT, QUAD


@pytest.fixture(scope="module")
def opened(corpus: Path) -> Corpus:
    return corpora.load(str(corpus))


@pytest.fixture(scope="module")
def rows(opened: Corpus) -> list[dict[str, Any]]:
    return select.read_selection(opened).to_pylist()


def first(rows: list[dict[str, Any]], **fields: object) -> dict[str, Any]:
    return next(row for row in rows if all(row[name] == value for name, value in fields.items()))


def load(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def test_every_record_is_found_by_id_and_key_with_its_verdict_first(
    opened: Corpus, rows: list[dict[str, Any]]
) -> None:
    for row in rows:
        text = inspect_record(opened, row["id"], None)
        lines = text.splitlines()
        assert lines[0] == row["id"]
        assert lines[1].startswith(row["state"].upper())
        if row["reason"]:
            assert row["reason"].replace("_", " ") in lines[1]
            assert row["detail"] in lines[1]
        if row["duplicate_of"]:
            assert row["duplicate_of"] in lines[1]
        if row["key"]:
            assert inspect_record(opened, row["key"], None) == text
            assert inspect_record(opened, row["key"] + ".jpg", None) == text


def test_the_place_of_a_sample_is_where_its_bytes_are(
    opened: Corpus, rows: list[dict[str, Any]], corpus: Path
) -> None:
    row = first(rows, state=State.KEPT)
    line = next(
        line for line in inspect_record(opened, row["id"], None).splitlines() if line.startswith("sample")
    )
    words = line.replace(",", "").replace(";", "").split()
    shard, start, size = words[1], int(words[words.index("from") + 2]), int(words[words.index("JPEG") + 1])
    data = (corpus / "shards" / shard).read_bytes()[start : start + size]
    assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"


def test_a_cluster_is_listed_with_the_kept_record_first(opened: Corpus, rows: list[dict[str, Any]]) -> None:
    row = first(rows, state=State.DUPLICATE)
    text = inspect_record(opened, row["id"], None)
    cluster = text[text.index("cluster of") :].splitlines()
    members = [r for r in rows if r["cluster"] == row["cluster"]]
    assert cluster[0].startswith(f"cluster of {len(members)} ")
    assert cluster[1].split() == ["kept", row["duplicate_of"]]
    assert any(line.split()[:3] == [">", "duplicate", row["id"] + ":"] for line in cluster)


def test_an_input_with_several_faces_shows_them_all(drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(*build_arguments(drawn, out, more=("--set", "limits.faces=all")))
    corpus = corpora.load(str(out))
    table = select.read_selection(corpus).to_pylist()
    further = first(table, face_index=1)
    of_input = further["id"].removesuffix("#1")
    faces = [r["id"] for r in table if r["id"] == of_input or r["id"].startswith(of_input + "#")]
    text = inspect_record(corpus, of_input, None)
    assert [line for line in text.splitlines() if line in faces] == faces
    alone = inspect_record(corpus, further["id"], None)
    assert alone.splitlines()[0] == further["id"] and alone in text
    assert "number 2 of" in alone


def test_an_unknown_id_names_the_nearest(opened: Corpus, rows: list[dict[str, Any]]) -> None:
    wanted = first(rows, state=State.KEPT)["id"]
    for typo in (wanted + "x", wanted[:-1], wanted[1:], wanted.upper(), wanted.replace("/", "//", 1)):
        with pytest.raises(UserError, match="neither an id nor a sample key") as raised:
            inspect_record(opened, typo, None)
        assert wanted in str(raised.value)
    with pytest.raises(UserError, match="nearest"):
        inspect_record(opened, "0123456789abcdef", None)
    assert len(nearest(opened, "")) == 3


def test_the_saved_picture_shows_source_face_and_crop(
    opened: Corpus, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    row = first(rows, state=State.KEPT, source="celeba")
    to = tmp_path / "new folder" / "look.png"
    assert f"saved {to}" in inspect_record(opened, row["id"], to)
    picture = load(to)
    for colour in (BOX, POINT, QUAD):
        assert (np.abs(picture - colour).sum(axis=2) < 30).sum() > 4, colour
    side = opened.recipe.size_px
    assert picture.shape[1] > side
    gap = picture[:, -side - 8]
    assert (gap == 255).all(), "a white gap parts the source from the crop"


def test_rejected_and_failed_inputs_can_be_saved_as_far_as_they_have_pictures(
    opened: Corpus, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    small = first(rows, reason="too_small")
    inspect_record(opened, small["id"], tmp_path / "small.png")
    assert (tmp_path / "small.png").exists()
    empty = first(rows, reason="empty")
    with pytest.raises(UserError, match="no picture of") as raised:
        inspect_record(opened, empty["id"], tmp_path / "empty.png")
    assert empty["id"] in str(raised.value)
    assert not (tmp_path / "empty.png").exists()


def test_a_crop_that_was_never_stored_is_cut_again(drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ("--set", "limits.max_brightness=100", "--set", "dedup=null")
    run(*build_arguments(drawn, out, more=more))
    corpus = corpora.load(str(out))
    bright = first(select.read_selection(corpus).to_pylist(), reason="too_bright")
    text = inspect_record(corpus, bright["id"], tmp_path / "bright.png")
    assert "REJECTED, too bright: the mean luma is" in text
    crop = load(tmp_path / "bright.png")[:224, -224:]
    measured = float(text.partition("brightness ")[2].split(",")[0])
    assert abs((crop @ (0.299, 0.587, 0.114)).mean() - measured) < 0.5


def test_a_gone_source_leaves_the_crop(corpus: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(corpus, tmp_path / "copy"))
    config = (copy / "corpus.json").read_text()
    (copy / "corpus.json").write_text(config.replace('"location": "', '"location": "/nowhere'))
    row = first(rows, state=State.KEPT)
    text = inspect_record(corpora.load(str(copy)), row["id"], tmp_path / "crop.png")
    assert "without the source picture" in text
    assert load(tmp_path / "crop.png").shape == (224, 224, 3)


def test_the_command_prints_it(corpus: Path, rows: list[dict[str, Any]]) -> None:
    row = first(rows, state=State.KEPT)
    assert run("inspect", str(corpus), row["id"]).stdout.splitlines()[:2] == [row["id"], "KEPT"]
    wrong = run("inspect", str(corpus), "nobody", check=False)
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr
