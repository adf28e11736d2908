"""Evaluation sets and persons that stay out of a corpus."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest
from small_corpus import draw_pictures, prepare

from facecorpus import pipeline
from facecorpus.errors import UserError
from facecorpus.phases import exclusion, select, verify
from facecorpus.phases.corpus import Corpus, settle

BARE = set(exclusion.FINGERPRINTS.names)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root with seven people in `folder`, and `evaluation`: the first as it is, the second recoded and
    smaller, and somebody else; and the fingerprints of the latter. Read only."""
    root = tmp_path_factory.mktemp("exclusion")
    draw_pictures(root)
    draw_pictures(root / "more", 9)
    (root / "evaluation").mkdir()
    shutil.copy(root / "folder/0.jpg", root / "evaluation/z.jpg")
    smaller = cv2.resize(cv2.imread(str(root / "folder/1.jpg")), (200, 200), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(root / "evaluation/y.jpg"), smaller, [cv2.IMWRITE_JPEG_QUALITY, 70])
    shutil.copy(root / "more/folder/8.jpg", root / "evaluation/x.jpg")
    evaluation = prepare(root, root / "corpus", sources="evaluation=folder:evaluation")
    pipeline.build(evaluation)
    assert exclusion.write(evaluation, str(root / "lfw.parquet")) == 3
    return root


def built(
    root: Path, out: Path, *exclude: Path, settings: tuple[str, ...] = (), sources: str = "folder"
) -> Corpus:
    names, held = exclusion.named(map(str, exclude))
    corpus = prepare(root, out, *settings, sources=sources)
    corpus = dataclasses.replace(corpus, recipe=dataclasses.replace(corpus.recipe, exclude=names))
    settle(corpus, rebuild=True)
    exclusion.keep(corpus, held)
    pipeline.build(corpus)
    return corpus


def ends(corpus: Corpus) -> dict[str, tuple[str, str | None, str | None]]:
    rows = select.read_selection(corpus).to_pylist()
    return {
        row["member"] if "member" in row else row["id"]: (row["state"], row["reason"], row["detail"])
        for row in rows
    }


def test_what_an_evaluation_set_shows_stays_out(drawn: Path, tmp_path: Path) -> None:
    table = pq.read_table(drawn / "lfw.parquet")
    assert {*table.column_names} == BARE, "no name, no picture"
    assert table["sha256"].to_pylist() == sorted(table["sha256"].to_pylist()), "the order tells something"
    found = ends(corpus := built(drawn, tmp_path / "out", drawn / "lfw.parquet"))
    assert found["folder/0.jpg"] == ("rejected", "excluded", "shown in lfw.parquet (equal file)")
    assert found["folder/again.jpg"] == found["folder/0.jpg"]
    state, reason, detail = found["folder/1.jpg"]
    assert (state, reason) == ("rejected", "excluded") and detail in (
        "shown in lfw.parquet (equal image)",
        "shown in lfw.parquet (equal crop)",
    )
    assert [found[f"folder/{n}.jpg"][0] for n in range(2, 7)] == ["kept"] * 5
    rows = select.read_selection(corpus, ["id", "cluster", "duplicate_of"]).to_pylist()
    assert not any("\0" in str(row) or "\\x00" in repr(row) for row in rows)
    shutil.rmtree(tmp_path / "out" / "done" / "verify")
    pipeline.run(corpus, verify.PHASE)


def test_a_person_in_a_list_stays_out(drawn: Path, tmp_path: Path) -> None:
    people = tmp_path / "root/casia_webface"
    for number in range(4):
        folder = people / f"{number % 2:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn / f"folder/{number}.jpg", folder / f"{number:03d}.jpg")
    (listed := tmp_path / "gone.csv").write_text("casia_webface,0000001\ncasia_webface,0000009\n")
    corpus = built(tmp_path / "root", tmp_path / "out", listed, sources="casia_webface")
    found = ends(corpus)
    gone = ("rejected", "excluded", "the person is named in gone.csv")
    assert {i.split("/")[1] for i, end in found.items() if end == gone} == {"0000001"}
    assert sum(end[0] == "kept" for end in found.values()) == 2


def test_a_corpus_needs_the_files_no_more(drawn: Path, tmp_path: Path) -> None:
    shutil.copy(drawn / "lfw.parquet", here := tmp_path / "here.parquet")
    corpus = built(drawn, tmp_path / "out", here)
    here.unlink()
    shutil.rmtree(tmp_path / "out/done/select")
    pipeline.build(corpus)
    assert ends(corpus)["folder/0.jpg"][1] == "excluded"
    (kept,) = (tmp_path / "out/excluded").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1] + b"!")
    shutil.rmtree(tmp_path / "out/done/select")
    with pytest.raises(UserError, match="has changed; remove it and give it to --exclude again"):
        pipeline.build(corpus)
    kept.unlink()
    with pytest.raises(UserError, match="is missing; give it to --exclude again"):
        pipeline.build(corpus)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.csv", b"one,two,three\n", "line 1 is not SOURCE,IDENTITY"),
        ("a.csv", b"\xff\xfe,\n", "neither a fingerprint file nor a list of persons"),
        ("a.parquet", b"PAR1", "is not a whole Parquet file"),
        ("nowhere/*.parquet", None, "there is no such file"),
    ],
)
def test_what_is_no_exclusion_is_refused(tmp_path: Path, name: str, data: bytes | None, says: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=says):
        exclusion.named([str(tmp_path / name)])


def test_fingerprints_need_the_search_for_duplicates(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--exclude needs the search for duplicates"):
        built(drawn, tmp_path / "out", drawn / "lfw.parquet", settings=("dedup=none",))
