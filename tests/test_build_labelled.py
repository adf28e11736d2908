"""Annotated recordings through the whole build: labels on the disk, one person to a shard, the same bytes."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from conftest import command, run, tree
from PIL import Image
from recorded import face, write_levels, write_table, write_video
from small_corpus import part_of

from facecorpus import pipeline, schema
from facecorpus.errors import UserError
from facecorpus.recipes import recipe
from facecorpus.report import inspect_record, labels_json, labels_of, labels_text, write_report
from facecorpus.sources.disfa import AUS
from facecorpus.typed import override

PEOPLE = ("SN001", "SN002", "SN003")
FRAMES = 7
SMALL = ("samples_per_shard=4", "inputs_per_unit=5")


def level(unit: int, frame: int) -> int:
    return (unit + frame) % 4


def write_disfa(root: Path) -> None:
    """Three people, seven frames each; SN002's frame 3 shows nobody, SN003's video lacks the last one."""
    for number, subject in enumerate(PEOPLE):
        frames = [np.roll(face(number), step, axis=1) for step in range(FRAMES)]
        if subject == "SN002":
            frames[2] = np.full_like(frames[2], 90)
        if subject == "SN003":
            frames.pop()
        write_video(root / f"disfa/Video_RightCamera/RightVideo{subject}_comp.avi", frames)
        for unit in AUS:
            levels = [level(unit, frame) for frame in range(1, FRAMES + 1)]
            write_levels(root / f"disfa/ActionUnit_Labels/{subject}/{subject}_au{unit}.txt", levels)


def arguments(root: Path, out: Path, sources: str = "disfa", *more: str, workers: int = 1) -> list[str]:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    return ["build", "--root", str(root), "--out", str(out), "--sources", sources, "--workers", str(workers),
            "--no-report", *settings, *more]  # fmt: skip


def build(
    root: Path, out: Path, sources: str = "disfa", name: str | None = None, more: Sequence[str] = ()
) -> Any:
    """Built in this process; returns the corpus."""
    from facecorpus.phases import corpus as corpora

    opened = pipeline.open_sources(sources, str(root))
    chosen = override(recipe(pipeline.choose_recipe(name, opened)), [*SMALL, *more])
    corpus = pipeline.prepare(chosen, opened, str(root), str(out), weights=None, device="cpu")
    corpora.settle(corpus, rebuild=False)
    pipeline.build(corpus)
    return corpus


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a small DISFA. Read only."""
    root = tmp_path_factory.mktemp("recordings")
    write_disfa(root)
    return root


@pytest.fixture(scope="module")
def corpus(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A corpus built from it by one worker. Read only."""
    return build(recordings, tmp_path_factory.mktemp("labelled") / "out")


def manifests(out: str | Path) -> list[list[dict[str, Any]]]:
    return [pq.read_table(path).to_pylist() for path in sorted(Path(out).glob("shards/*.parquet"))]


def test_every_annotated_frame_is_in_the_ledger(corpus: Any) -> None:
    rows = {row["id"]: row for row in pq.read_table(Path(corpus.out) / "selection.parquet").to_pylist()}
    assert len(rows) == len(PEOPLE) * FRAMES
    ended = {i: (r["state"], r["reason"]) for i, r in rows.items() if r["state"] != "kept"}
    assert ended == {
        "disfa/RightVideoSN002_comp.avi/00003": ("rejected", "no_face"),
        "disfa/RightVideoSN003_comp.avi/00007": ("failed", "missing_frame"),
    }
    scores = [
        r for p in Path(corpus.out).glob("scores/disfa/*.parquet") for r in pq.read_table(p).to_pylist()
    ]
    (missing,) = (row for row in scores if row["reason"] == "missing_frame")
    assert missing["detail"].endswith("there is no frame 7: the video has 6 frames")
    assert "RightVideoSN003_comp.avi" in missing["detail"]
    assert (missing["frame"], missing["identity"]) == (7, "SN003")


def test_labels_are_stored_as_annotated(corpus: Any) -> None:
    rows = [row for shard in manifests(corpus.out) for row in shard]
    assert len(rows) == len(PEOPLE) * FRAMES - 2
    for row in rows:
        assert row["labels"] == [(f"AU{unit}", level(unit, row["frame"])) for unit in AUS], "numeric order"
        assert row["video"] == "right"
        assert row["id"] == f"disfa/RightVideo{row['identity']}_comp.avi/{row['frame']:05d}"
    for path in Path(corpus.out).glob("shards/*.parquet"):
        assert pq.read_schema(path).equals(schema.MANIFEST)


def test_each_shard_holds_one_person(corpus: Any) -> None:
    shards = manifests(corpus.out)
    assert [len(shard) for shard in shards] == [4, 3, 4, 2, 4, 2]
    people = [{row["identity"] for row in shard} for shard in shards]
    assert people == [{"SN001"}] * 2 + [{"SN002"}] * 2 + [{"SN003"}] * 2
    order = [row["frame"] for row in shards[0] + shards[1]]
    assert sorted(order) == list(range(1, FRAMES + 1)) != order, "shuffled within a person"


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # webdataset leaves shards open
def test_stock_webdataset_reads_crop_and_labels(corpus: Any) -> None:
    shards = sorted(str(path) for path in Path(corpus.out).glob("shards/*.tar"))
    rows = {row["key"]: row for shard in manifests(corpus.out) for row in shard}
    read = 0
    for sample in wds.WebDataset(shards, shardshuffle=False):
        row, told = rows[sample["__key__"]], json.loads(sample["json"])
        assert Image.open(io.BytesIO(sample["jpg"])).size == (224, 224)
        names = ("id", "source", "identity", "video", "frame")
        assert told == {**{name: row[name] for name in names}, "labels": dict(row["labels"])}
        read += 1
    assert read == len(rows)


def test_two_workers_a_kill_and_a_second_run_give_the_same_bytes(
    recordings: Path, corpus: Any, tmp_path: Path
) -> None:
    expected, out = tree(Path(corpus.out)), tmp_path / "out"
    asked = arguments(recordings, out, workers=2)
    process = subprocess.Popen(
        command(*asked), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (out / "done/score").exists():
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run(*asked)
    assert tree(out) == expected
    stamps = {path: path.stat().st_mtime_ns for path in (out / "scores").rglob("*.parquet")}
    run(*asked)
    assert tree(out) == expected
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "finished parts were done again"


def test_a_changed_label_touches_its_own_part(recordings: Path, corpus: Any, tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(recordings, root)
    build(root, out)
    before = {path: path.stat().st_mtime_ns for path in sorted((out / "scores").rglob("*.parquet"))}
    assert len(before) == 3
    path = root / "disfa/ActionUnit_Labels/SN003/SN003_au26.txt"
    path.write_text(path.read_text().replace("6,0\n", "6,5\n"))
    build(root, out)
    touched = [path.name for path, stamp in before.items() if path.stat().st_mtime_ns != stamp]
    assert touched == [f"{part_of(out, 'RightVideoSN003_comp.avi/00006', 'disfa')}.parquet".split("/")[1]]
    (row,) = (r for s in manifests(out) for r in s if (r["identity"], r["frame"]) == ("SN003", 6))
    assert dict(row["labels"])["AU26"] == 5


def test_other_groups_need_no_new_scores(recordings: Path, corpus: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(corpus.out, out)
    stamps = {path: path.stat().st_mtime_ns for path in (out / "scores").rglob("*.parquet")}
    mixed = ("--set", "group_by=none")
    refused = run(*arguments(recordings, out, "disfa", *mixed), check=False)
    assert refused.returncode == 2 and "recipe.group_by was identity and is none" in refused.stderr
    run(*arguments(recordings, out, "disfa", *mixed, "--rebuild"))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert [len(shard) for shard in manifests(out)] == [4, 4, 4, 4, 3]
    assert max(len({row["identity"] for row in shard}) for shard in manifests(out)) > 1


def test_damage_is_told_once_and_quietly(recordings: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(recordings, root)
    video = root / "disfa/Video_RightCamera/RightVideoSN002_comp.avi"
    data = bytearray(video.read_bytes())
    start = data.index(b"00dc", data.index(b"movi"))
    data[start + 8 : start + 1000] = bytes(992)  # within the first frame: its decoding fails
    video.write_bytes(data)
    done = run(*arguments(root, tmp_path / "out"))
    assert "mjpeg" not in done.stderr and "ERROR" not in done.stderr and "WARN" not in done.stderr
    rows = pq.read_table(tmp_path / "out/selection.parquet").to_pylist()
    failed = [row["id"] for row in rows if row["reason"] in ("missing_frame", "corrupt")]
    assert len(failed) == FRAMES + 1
    assert all("SN002" in i or i.endswith("SN003_comp.avi/00007") for i in failed)
    assert {row["id"].split("/")[1] for row in rows if row["state"] == "kept"} == {
        "RightVideoSN001_comp.avi",
        "RightVideoSN003_comp.avi",
    }


@pytest.mark.parametrize(("name", "alignment"), [("au-eyes", "eyes/square"), ("au-box", "box/squash")])
def test_the_other_crops(name: str, alignment: str, recordings: Path, tmp_path: Path) -> None:
    build(recordings, tmp_path / "out", name=name)
    rows = [row for shard in manifests(tmp_path / "out") for row in shard]
    assert {row["alignment"] for row in rows} == {alignment}
    assert len(rows) == len(PEOPLE) * FRAMES - 2
    if name == "au-box":
        x0, y0, x1, y1 = rows[0]["box_xyxy_px"]
        across, _, _, _, down, _ = rows[0]["matrix"]
        assert across == pytest.approx(224 / (1.1 * (x1 - x0)))
        assert down == pytest.approx(224 / (1.1 * (y1 - y0)))


def test_labelled_and_unlabelled_sources_are_not_mixed_by_accident(recordings: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(recordings, root)
    (root / "folder").mkdir()
    Image.fromarray(face(9)).save(root / "folder/one.png")
    refused = run(*arguments(root, tmp_path / "out", "folder,disfa"), check=False)
    assert refused.returncode == 2
    assert "(disfa wants au and folder wants face9m)" in refused.stderr and "--recipe" in refused.stderr
    assert not (tmp_path / "out").exists()
    build(root, tmp_path / "out", "folder,disfa", "au")
    people = [{(row["source"], row["identity"]) for row in shard} for shard in manifests(tmp_path / "out")]
    assert all(len(found) == 1 for found in people)
    assert {("folder", None)} in people
    for sources, chosen in (("folder", "face9m"), ("mine=disfa:disfa", "au")):
        assert pipeline.choose_recipe(None, pipeline.open_sources(sources, str(root))) == chosen
    assert pipeline.choose_recipe(None, []) == "face9m"
    with pytest.raises(UserError, match="does not exist"):
        pipeline.open_sources("bp4d", str(root))


def test_people_of_two_sources_keep_shards_of_their_own(tmp_path: Path) -> None:
    """F001 of BP4D is somebody else than F001 of BP4D+."""
    for source, person in (("bp4d", 1), ("bp4d_plus", 2)):
        header = [0, 1, 2, 4]
        write_table(tmp_path / source / "AU_OCC/F001_T1.csv", header, [[1, 0, 1, 9], [2, 1, 1, 0]])
        write_video(tmp_path / source / "F001_T1.avi", [face(person)] * 2)
    build(tmp_path, tmp_path / "out", "bp4d,bp4d_plus")
    shards = manifests(tmp_path / "out")
    assert [{row["source"] for row in shard} for shard in shards] == [{"bp4d"}, {"bp4d_plus"}]
    assert sorted(dict(row["labels"])["AU4"] for row in shards[0]) == [0, 9]


def test_report_stats_and_inspect_show_labels(corpus: Any, tmp_path: Path) -> None:
    (found,) = labels_of(corpus)
    assert dict(found.frames) == {"SN001": 7, "SN002": 6, "SN003": 6}
    assert found.labels == [f"AU{unit}" for unit in AUS]
    shown = [frame for frame in range(1, FRAMES + 1) for who in PEOPLE if (who, frame) not in
             {("SN002", 3), ("SN003", 7)}]  # fmt: skip
    assert found.cell("AU12") == (19, sum(level(12, frame) >= 2 for frame in shown))
    assert found.cell("AU12", "SN001") == (7, sum(level(12, frame) >= 2 for frame in range(1, FRAMES + 1)))
    assert found.threshold("AU12") == 2
    text = labels_text([found])
    assert "disfa: 19 labelled frames of 3 people" in text
    cell = found.cell("AU1")
    (line,) = (line for line in text.splitlines() if line.split()[:1] == ["AU1"])
    assert line.split() == ["AU1", "19", "coded", f"{100 * cell.share:.1f}", "%", ">=", "2"]
    told = labels_json([found])["disfa"]["labels"]["AU1"]
    assert told == {"coded": 19, "positive": cell.positive, "threshold": 2}

    page = Path(write_report(corpus, str(tmp_path / "report.html"))).read_text()
    assert "19 labelled frames" in page and "SN002" in page and "missing frame" in page
    assert "cannot be read as it was" not in page

    what = inspect_record(corpus, "disfa/RightVideoSN001_comp.avi/00004", tmp_path / "one.png")
    assert "identity SN001, video right, frame 4" in what and f"AU12 {level(12, 4)}" in what
    assert (tmp_path / "one.png").stat().st_size > 0


def test_labels_of_a_corpus_without_any(corpus: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    Image.fromarray(face(9)).save(tmp_path / "folder/one.png")
    plain = build(tmp_path, tmp_path / "out", "folder")
    assert labels_of(plain) == []
    assert labels_text([]) == ""
    assert 'id="labels"' not in Path(write_report(plain, None)).read_text()


def test_an_occurrence_counts_from_1_and_nine_not_at_all(tmp_path: Path) -> None:
    write_table(tmp_path / "bp4d/AU_OCC/F001_T1.csv", [0, 1, 12], [[1, 0, 1], [2, 1, 9], [3, 1, 9]])
    write_levels(tmp_path / "bp4d/AU_INT/AU12/F001_T1_AU12.csv", [1, 2, 9])
    write_video(tmp_path / "bp4d/F001_T1.avi", [face(1)] * 3)
    (found,) = labels_of(build(tmp_path, tmp_path / "out", "bp4d"))
    assert found.labels == ["AU1", "AU12", "AU12_intensity"]
    assert [found.threshold(label) for label in found.labels] == [1, 1, 2]
    assert [tuple(found.cell(label)) for label in found.labels] == [(3, 2), (1, 1), (2, 1)]


def test_sources_describes_the_recorded_sets() -> None:
    for name, words in (("disfa", "SN001_au1.txt"), ("bp4d", "AU_INT"), ("bp4d_plus", "140")):
        assert words in run("sources", name).stdout
