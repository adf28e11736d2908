"""Crops that are put together by shard before the shards are written: the same corpus, with few openings."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from small_corpus import draw_pictures, prepare

from facecorpus import pipeline, storage
from facecorpus.phases import gather, materialise, score
from facecorpus.phases.corpus import Corpus
from facecorpus.units import Done

SETTINGS = ("inputs_per_unit=2", "samples_per_shard=6")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Root of pictures and a corpus made of them without gathering. Read only."""
    root = tmp_path_factory.mktemp("gather")
    out = root / "out"
    pipeline.build(prepare(draw_pictures(root, 30), out, *SETTINGS))
    return root, out


def unwritten(built: tuple[Path, Path], out: Path) -> Corpus:
    """A copy without shards, in which crops will be gathered in several groups."""
    shutil.copytree(built[1], out)
    for path in ("shards", "done/materialise", "done/list", "done/verify"):
        shutil.rmtree(out / path)
    return prepare(built[0], out, *SETTINGS)


def holding(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file())
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in files
        if not path.is_relative_to(out / "done/verify") and path.name != "gather-files.json"
    }


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MANY", 3)
    monkeypatch.setattr(gather, "GROUP_BYTES", 60_000)


def test_the_shards_are_the_same_and_each_staged_file_is_opened_once(
    built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = unwritten(built, tmp_path / "out")
    opened, real = Counter[str](), storage.open_read

    def counted(url: str) -> object:
        opened[url] += url.endswith(".crops") and "/staged/" in url
        return real(url)

    monkeypatch.setattr(storage, "open_read", counted)
    pipeline.run(corpus, materialise.GATHER)
    groups = Done(corpus.out).marks(gather.NAME)
    assert len(groups) > 2 and {*Counter(opened).values()} <= {0, 1}
    before = opened.total()
    pipeline.run(corpus, materialise.PHASE)
    assert opened.total() == before == len(list((built[1] / score.STAGED).rglob("*.crops")))
    monkeypatch.undo()
    pipeline.build(corpus)
    assert holding(tmp_path / "out") == holding(built[1])


def test_a_few_shards_are_written_from_where_the_crops_are(built: tuple[Path, Path], tmp_path: Path) -> None:
    corpus = unwritten(built, tmp_path / "out")
    done = Done(corpus.out)
    assert materialise.plan_gather(corpus, done)
    assert not gather.plan(corpus, done, shards=100, missing=12)
    pipeline.build(corpus)
    assert not materialise.plan_gather(corpus, Done(corpus.out))


@pytest.mark.parametrize("after", [1, 2])
def test_what_a_kill_left_is_used_or_removed(
    built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Killed while gathering; and then the shards are written by themselves, or the build goes on."""
    corpus = unwritten(built, tmp_path / "out")
    units = iter(range(after))

    def some(*arguments: object) -> object:
        if next(units, None) is None:
            raise KeyboardInterrupt
        return real(*arguments)  # pyright: ignore

    real = gather.run
    killed = materialise.GATHER._replace(run=some)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(corpus, killed)
    assert len(Done(corpus.out).marks(gather.NAME)) == after
    if after == 1:
        pipeline.run(corpus, materialise.PHASE)
    pipeline.build(corpus)
    assert holding(tmp_path / "out") == holding(built[1])


def test_what_was_gathered_for_other_shards_is_not_taken(built: tuple[Path, Path], tmp_path: Path) -> None:
    corpus = unwritten(built, tmp_path / "out")
    pipeline.run(corpus, materialise.GATHER)
    other = prepare(built[0], tmp_path / "out", *SETTINGS, "seed=5", rebuild=True)
    pipeline.build(other)
    fresh = prepare(built[0], tmp_path / "fresh", *SETTINGS, "seed=5")
    pipeline.build(fresh)
    both = [
        {p: data for p, data in holding(out).items() if p.startswith("shards")}
        for out in (tmp_path / "out", tmp_path / "fresh")
    ]
    assert both[0] == both[1]
