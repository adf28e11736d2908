"""The build as a whole: what is done again, and what is not."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest
from small_corpus import build, draw_pictures, part_of, prepare

from facecorpus import pipeline
from facecorpus.errors import UserError
from facecorpus.phases import corpus as corpora
from facecorpus.phases import inventory, score
from facecorpus.phases.corpus import Corpus


def scored(out: Path) -> dict[str, int]:
    """When each part was scored."""
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("done/score/**/*.json")}


def again(corpus: Corpus) -> None:
    """List the inputs and score what is not done."""
    pipeline.run(corpus, inventory.PHASE, score.PHASE)


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "tar"])
def test_a_touched_file_is_not_scored_again_and_a_changed_one_is(tmp_path: Path, archive: bool) -> None:
    root, out = draw_pictures(tmp_path / "root", 4), tmp_path / "out"
    changed = root / "folder/2.jpg"
    sources = source = "folder"
    if archive:
        sources, source = "photos=archive:photos.tar", "photos"
        changed = root / "photos.tar"
        with tarfile.open(changed, "w") as file:
            for number in range(4):
                file.add(root / f"folder/{number}.jpg", f"{number}.jpg")
    corpus = prepare(root, out, sources=sources)
    again(corpus)
    before = scored(out)
    for path in root.rglob("*"):
        os.utime(path, (10**9, 10**9))
    again(corpus)
    again(corpus)
    assert scored(out) == before, "touched files were scored again"

    data = bytearray(changed.read_bytes())
    data[2 * len(data) // 3] ^= 0x10
    changed.write_bytes(data)
    os.utime(changed, (10**9 + 5, 10**9 + 5))
    again(corpus)
    now = scored(out)
    assert now.keys() == before.keys()
    assert [name for name in now if now[name] != before[name]] == [
        f"done/score/{part_of(out, '2.jpg', source)}.json"
    ]


def test_an_update_of_pyarrow_redoes_nothing_and_one_of_opencv_is_refused(tmp_path: Path) -> None:
    root, out = draw_pictures(tmp_path / "root", 2), tmp_path / "out"
    corpus = build(root, out)
    before = scored(out)
    config = json.loads((out / "corpus.json").read_text())
    for library, refused in (("pyarrow", False), ("opencv-python-headless", True)):
        told = {**config, "libraries": {**config["libraries"], library: "1.0"}}
        (out / "corpus.json").write_text(json.dumps(told))
        if refused:
            with pytest.raises(UserError, match=r"libraries.opencv-python-headless was 1\.0"):
                corpora.settle(corpus, rebuild=False)
        else:
            corpora.settle(corpus, rebuild=False)
            again(corpus)
            assert scored(out) == before
            assert json.loads((out / "corpus.json").read_text()) == config
