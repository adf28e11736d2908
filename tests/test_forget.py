"""Forgetting: gone from every byte, nothing else touched, whatever is killed, and not brought back."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_corpus import draw_pictures, prepare

from facecorpus import pipeline
from facecorpus.errors import UserError
from facecorpus.phases import corpus as corpora
from facecorpus.phases import forgetting, forgotten, select, verify
from facecorpus.report import write_report
from facecorpus.storage import publishing

SETTINGS = ("inputs_per_unit=4", "samples_per_shard=4")
GONE = ["folder/3.jpg", "folder/0.jpg"]  # the latter is `again.jpg` too


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Root of pictures of twenty people, and a corpus with its report. Read only."""
    root = tmp_path_factory.mktemp("forget")
    corpus = prepare(draw_pictures(root, 20), root / "out", *SETTINGS)
    pipeline.build(corpus)
    write_report(corpus, None)
    return root, root / "out"


def holding(out: Path, *but: str) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file() and "done/verify" not in path.as_posix())
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.name not in but}


def forget(out: Path, words: list[str] = GONE) -> None:
    corpus, _ = forgetting.forget(str(out), words)
    pipeline.run(corpus, *forgetting.PHASES, verify.PHASE)


def test_nothing_is_left_and_no_other_shard_is_touched(built: tuple[Path, Path], tmp_path: Path) -> None:
    before = holding(Path(shutil.copytree(built[1], tmp_path / "out")))
    corpus = corpora.load(str(tmp_path / "out"))
    every = [*GONE, "folder/again.jpg"]
    left = list(forgetting.traces(corpus, every))
    assert any("report.html" in each for each in left) and any("scores" in each for each in left)
    with pytest.raises(UserError, match="still tells of what must be absent"):
        forgetting.check_absent(corpus, every)
    forget(tmp_path / "out")
    forgetting.check_absent(corpus, every)
    after = holding(tmp_path / "out")
    tars = {path for path in before if path.endswith(".tar")}
    changed = {path for path in tars if before[path] != after.get(path)}
    assert 1 <= len(changed) <= 2 < len(tars)
    entry = verify.ledgers(pipeline.run(corpus))["folder"]
    assert entry.closes and entry.inputs == 22 and entry.reasons[("rejected", "forgotten")] == 3
    assert "report.html" not in after


def test_no_later_build_brings_it_back_and_none_is_needed(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Forgetting without the sources gives, to the byte, what a build with the record gives."""
    out = Path(shutil.copytree(built[1], tmp_path / "out"))
    away = built[0].rename(built[0].with_name("away"))
    try:
        forget(out)
    finally:
        away.rename(built[0])
    done = holding(out)
    corpus = prepare(built[0], out, *SETTINGS)
    pipeline.build(corpus)
    assert holding(out) == done, "a build does something again"
    (fresh := tmp_path / "fresh").mkdir()
    other = prepare(built[0], fresh, *SETTINGS)
    shutil.copy(out / forgotten.FILE, fresh)
    pipeline.build(other)
    made = holding(fresh)
    same = [path for path in done if path.startswith(("inventory", "scores", "staged"))]
    assert len(same) > 10 and all(made[path] == done[path] for path in same)


def test_a_person_is_forgotten_and_stays_so_for_pictures_to_come(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "drawn", 8)
    for number in range(6):
        folder = tmp_path / f"casia_webface/{number % 2:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / f"drawn/folder/{number}.jpg", folder / f"{number:03d}.jpg")
    corpus = prepare(tmp_path, tmp_path / "out", *SETTINGS, sources="casia_webface")
    pipeline.build(corpus)
    forget(tmp_path / "out", ["casia_webface,0000001"])
    shutil.copy(tmp_path / "drawn/folder/6.jpg", tmp_path / "casia_webface/0000001/099.jpg")
    shutil.copy(tmp_path / "drawn/folder/7.jpg", tmp_path / "casia_webface/0000000/099.jpg")
    pipeline.build(corpus)
    rows = select.read_selection(corpus).to_pylist()
    kept = [row["id"] for row in rows if row["state"] == "kept"]
    assert sorted(kept) == [f"casia_webface/0000000/{name}.jpg" for name in ("000", "002", "004", "099")]
    assert sum(row["reason"] == "forgotten" for row in rows) == 4


@pytest.fixture(scope="module")
def whole(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus after it has forgotten. Read only."""
    out = Path(shutil.copytree(built[1], tmp_path_factory.mktemp("whole") / "out"))
    forget(out)
    return out


def told(out: Path) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
    """The ends of all inputs, and the tars."""
    rows = select.read_selection(corpora.load(str(out))).to_pylist()
    tars = {path: data for path, data in holding(out).items() if path.endswith(".tar")}
    return sorted((row["state"], row["reason"] or "") for row in rows), tars


MOMENTS = [1, 4, 9, *(pytest.param(n, marks=pytest.mark.slow) for n in range(16) if n not in (1, 4, 9))]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_costs_nothing(
    built: tuple[Path, Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Killed when so many files were published; then the same command again."""
    out = Path(shutil.copytree(built[1], tmp_path / "out"))
    real, count = publishing._publish_local, itertools.count()

    def publish(*given: Any) -> None:
        if next(count) >= moment:
            raise KeyboardInterrupt
        real(*given)

    monkeypatch.setattr(publishing, "_publish_local", publish)
    with pytest.raises(KeyboardInterrupt):
        forget(out)
    monkeypatch.undo()
    forget(out)
    assert not list(forgetting.traces(corpora.load(str(out)), GONE))
    assert told(out) == told(whole)


def test_what_is_not_there_is_refused(built: tuple[Path, Path], tmp_path: Path) -> None:
    out = Path(shutil.copytree(built[1], tmp_path / "out"))
    with pytest.raises(UserError, match=r"nothing in .* is called 'folder/nobody\.jpg'"):
        forget(out, ["folder/3.jpg", "folder/nobody.jpg"])
    assert holding(out) == holding(built[1])
    (out / forgotten.FILE).write_text("{}")
    with pytest.raises(UserError, match="a build would bring back"):
        forget(out)
