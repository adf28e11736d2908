"""Every adapter there is: one that draws its own layout (`Source.lay_out`) is tested here for nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from facecorpus import pipeline, schema
from facecorpus.errors import UserError
from facecorpus.phases import corpus as corpora
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.select import read_selection
from facecorpus.recipes import recipe
from facecorpus.record import Record, to_table
from facecorpus.sources.base import SOURCES, Source, make_source
from facecorpus.synth.datasets import drawable, write_datasets
from facecorpus.synth.studies import RECORDED
from facecorpus.synth.truth import TruthRow, check_selection, read_truth
from facecorpus.typed import override

COPIES = {"casia_webface_rec": "casia_webface", "disfa_frames": "disfa"}
"""Data sets that are drawn in a second layout of an adapter."""
DRAWN = sorted({*SOURCES, *COPIES})
PLACES = {"archive": "archive/pictures.zip"}
"""Where an adapter's data set lies below the root, if not in a folder of its name."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("all")
    write_datasets(root, sources=DRAWN, preset="tiny", frames=4, subjects=1)
    return root


@pytest.fixture(scope="module")
def truth(root: Path) -> dict[str, dict[str, TruthRow]]:
    found: dict[str, dict[str, TruthRow]] = {name: {} for name in DRAWN}
    for row in read_truth(root):
        found[row.source][row.id] = row
    return found


def opened(root: Path, name: str) -> Source:
    return make_source(COPIES.get(name, name), name, str(root / PLACES.get(name, name)))


def table(records: Iterator[Record]) -> pa.Table:
    return to_table(records, schema.INVENTORY)


def listed(name: str, root: Path) -> pa.Table:
    return table(opened(root, name).inventory())


def test_all_can_be_drawn() -> None:
    assert {*drawable()} == {*DRAWN}


@pytest.mark.parametrize("name", DRAWN)
def test_the_layout_is_found_and_every_input_listed_once(
    name: str, root: Path, truth: dict[str, dict[str, TruthRow]]
) -> None:
    """With the identity that the layout tells, and bytes that can be read or a reason why not."""
    source = opened(root, name)
    records = list(source.inventory())
    assert [r.id for r in records] == list(dict.fromkeys(r.id for r in records))
    assert {r.id for r in records} == {*truth[name]}
    who = {r.id: r.identity for r in records}
    pictures = [i for i in who if not i.endswith((".txt", ".db"))]
    assert {i: who[i] for i in pictures} == {i: truth[name][i].identity for i in pictures}
    with contextlib.closing(source.reader()) as reader:
        for record in records:
            if truth[name][record.id].reason not in ("missing_frame", "empty"):
                assert reader.read(record)


@pytest.mark.parametrize("name", DRAWN)
def test_ids_are_stable_wherever_it_lies_and_whoever_lists_it(name: str, root: Path, tmp_path: Path) -> None:
    """The rows are the same of a copy elsewhere, in another process, and at a second look."""
    shutil.copytree(root / name, tmp_path / name)
    source = opened(root, name)
    first, second = table(source.inventory()), table(source.inventory())
    assert first.equals(second)
    assert first.equals(listed(name, tmp_path))


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_missing_is_named(name: str, root: Path, tmp_path: Path) -> None:
    """In an empty folder: a sentence with the place and the layout."""
    place = tmp_path / PLACES.get(name, name)
    if name in PLACES:
        place.parent.mkdir(parents=True)
    else:
        place.mkdir()
    with pytest.raises(UserError) as told:
        list(opened(tmp_path, name).inventory())
    assert str(place) in str(told.value) and "\n" not in str(told.value)
    assert name in PLACES or f"the adapter {COPIES.get(name, name)} expects: " in str(told.value)


@pytest.mark.parametrize("name", DRAWN)
def test_a_changed_file_is_noticed(name: str, root: Path, tmp_path: Path) -> None:
    """Whatever an adapter reads has a stamp, and all of them change where all files are touched."""
    shutil.copytree(root / name, tmp_path / name)
    before = opened(tmp_path, name).stamps()
    assert before == opened(tmp_path, name).stamps()
    for path in (path for path in (tmp_path / name).rglob("*") if path.is_file()):
        os.utime(path, ns=(1, 1))
    after = opened(tmp_path, name).stamps()
    assert before.keys() == after.keys() and all(before[path] != after[path] for path in before)


def hashes(folder: Path) -> dict[str, str]:
    names = ("inventory/*.parquet", "scores/**/*.parquet", "shards/*", "selection.parquet")
    files = (path for pattern in names for path in folder.glob(pattern))
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.is_file()
    }


def built(root: Path, names: list[str], out: Path, workers: int) -> Corpus:
    specs = (f"{name}={COPIES.get(name, name)}:{PLACES.get(name, name)}" for name in names)
    sources = pipeline.open_sources(",".join(specs), str(root))
    chosen = override(recipe("au" if {*names} <= {*RECORDED} else "sample"), ["inputs_per_unit=60"])
    made = pipeline.prepare(chosen, sources, str(root), str(out), weights=None, device="cpu")
    corpora.settle(made, rebuild=False)
    pipeline.build(made, workers=workers)
    return made


@pytest.mark.parametrize("recorded", [False, True])
def test_the_truth_is_met_to_the_last_row_by_one_worker_and_by_two(
    recorded: bool, root: Path, tmp_path: Path
) -> None:
    """All data sets of pictures in one corpus, all recordings in another."""
    names = [name for name in DRAWN if (name in RECORDED) == recorded]
    made = built(root, names, tmp_path / "1", 1)
    said = check_selection(root, {*names}, read_selection(made), made.recipe.limits.faces)
    assert said.startswith(f"all {sum(row.source in names for row in read_truth(root))} inputs became what")
    built(root, names, tmp_path / "2", 2)
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")


def test_nothing_was_planted_in_vain(root: Path, truth: dict[str, dict[str, TruthRow]]) -> None:
    """Traps of the layouts are there."""
    assert any("#f3" in i for i in truth["umdfaces"] | truth["laion_face"])
    assert (root / "ffhq/thumbnails128x128.zip").stat().st_size > 1000
    assert (root / "megaface/identities_tight_cropped.tar.gz").stat().st_size > 1000
    assert len(list(root.glob("edface_celeb_1m/align/*/X8/*.png"))) > 3
    entries = json.loads((root / "ffhq/ffhq-dataset-v2.json").read_text()).values()
    photos = [entry["metadata"]["photo_url"] for entry in entries]
    assert len({*photos}) < len(photos)


def test_the_documents_diff_is_the_real_one() -> None:
    """`docs/add-a-source.md` shows a module and its section as they are."""
    here = Path(__file__).parent.parent
    document = (here / "docs/add-a-source.md").read_text("utf-8")
    shown = [[line[1:] for line in diff.splitlines()[1:-1]] for diff in document.split("```diff\n")[1:]]
    module = (here / "facecorpus/sources/lfw.py").read_text("utf-8").splitlines()
    section = (here / "manifests/sources.toml").read_text("utf-8").partition("[lfw]\n")[2].split("\n\n")[0]
    assert shown[0][: len(module)] == module
    assert shown[1][1 : 1 + len(section.splitlines())] == section.splitlines()
