"""Face9M's eight sources in miniature: the truth is met, and the annotated face is the one cut."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from test_sources_umdfaces import line, table

from facecorpus import pipeline
from facecorpus.phases import corpus as corpora
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.verify import read_selection
from facecorpus.recipes import FACE9M_SOURCES, recipe
from facecorpus.synth.datasets import write_datasets
from facecorpus.synth.identity import Identity
from facecorpus.synth.scene import draw_group
from facecorpus.synth.truth import check_selection, read_truth
from facecorpus.typed import override


def build(root: Path, out: Path, sources: str, *settings: str) -> Corpus:
    chosen = override(recipe("face9m"), list(settings))
    opened = pipeline.open_sources(sources, str(root))
    made = pipeline.prepare(chosen, opened, str(root), str(out), weights=None, device="cpu")
    corpora.settle(made, rebuild=False)
    pipeline.build(made)
    return made


def scores(out: Path) -> list[dict[str, object]]:
    tables = [pq.read_table(path).to_pylist() for path in out.rglob("scores/**/*.parquet")]
    return sorted((row for rows in tables for row in rows), key=lambda row: row["id"])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("face9m")
    write_datasets(root, sources=FACE9M_SOURCES, preset="tiny")
    return root


@pytest.fixture(scope="module")
def built(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return build(drawn, tmp_path_factory.mktemp("built") / "corpus", ",".join(FACE9M_SOURCES))


def test_the_truth_is_met_to_the_last_row(drawn: Path, built: Corpus) -> None:
    rows = read_truth(drawn)
    assert {row.source for row in rows} == set(FACE9M_SOURCES)
    said = check_selection(drawn, set(FACE9M_SOURCES), read_selection(built), faces="main")
    assert said.startswith(f"all {len(rows)} inputs became what")


def test_identities_and_ids_are_those_of_the_layouts(drawn: Path, built: Corpus) -> None:
    truth = {row.id: row.identity for row in read_truth(drawn)}
    listed = {
        row["id"]: row["identity"]
        for path in Path(built.out).glob("inventory/*.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    assert listed.keys() == truth.keys()
    of_pictures = {i: who for i, who in truth.items() if not i.endswith((".txt", ".db"))}
    assert {i: listed[i] for i in of_pictures} == of_pictures


def test_nothing_was_planted_in_vain(drawn: Path) -> None:
    """Each trap of the layouts is there."""
    rows = read_truth(drawn)
    assert any("#f3" in row.id for row in rows)
    assert (drawn / "ffhq/thumbnails128x128.zip").stat().st_size > 1000
    assert (drawn / "megaface/identities_tight_cropped.tar.gz").stat().st_size > 1000
    assert len(list(drawn.glob("edface_celeb_1m/align/*/X8/*.png"))) > 3
    photos = [
        entry["metadata"]["photo_url"]
        for entry in json.loads((drawn / "ffhq/ffhq-dataset-v2.json").read_text()).values()
    ]
    assert len(set(photos)) < len(photos)


def group(folder: Path) -> list[tuple[float, float, float, float]]:
    """A photograph of three people in UMDFaces' place; their boxes as x, y, width, height."""
    rgb, faces = draw_group([Identity.sample(5, k) for k in range(3)], (480, 340), 3)
    place = folder / "umdfaces_batch1/anna/a.jpg"
    place.parent.mkdir(parents=True)
    cv2.imwrite(str(place), rgb[:, :, ::-1])
    return [(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in (face.box_xyxy_px for face in faces)]


def write_table(folder: Path, *lines: str) -> None:
    (folder / "umdfaces_batch1/umdfaces_batch1_ultraface.csv").write_bytes(table(*lines))


def test_the_annotated_one_of_several_people_is_cut(tmp_path: Path) -> None:
    """A photograph with one annotated face: others in it, even larger ones, are not taken for that person."""
    for place in range(3):
        root = tmp_path / str(place) / "umdfaces"
        box = group(root)[place]
        write_table(root, line(1, "anna/a.jpg", box))
        out = tmp_path / str(place) / "corpus"
        build(root.parent, out, "umdfaces")
        [row] = scores(out)
        assert (row["id"], row["state"]) == ("umdfaces/umdfaces_batch1/anna/a.jpg", "candidate")
        nose = np.reshape(row["points_px"], (5, 2))[2]
        assert box[0] < nose[0] < box[0] + box[2] and box[1] < nose[1] < box[1] + box[3]


@pytest.mark.parametrize("faces", ["main", "all"])
def test_a_face_that_is_not_where_it_is_said_is_rejected_alone(faces: str, tmp_path: Path) -> None:
    """It is not given the face of somebody else in the photograph."""
    root = tmp_path / "umdfaces"
    boxes = group(root)
    lines = [line(k + 1, "anna/a.jpg", box) for k, box in enumerate(boxes)]
    write_table(root, *lines, line(9, "anna/a.jpg", (2, 300, 20, 20)))
    build(tmp_path, tmp_path / "corpus", "umdfaces", f"limits.faces={faces}")
    rows = scores(tmp_path / "corpus")
    assert [(str(row["id"]).rpartition("#")[2], row["state"], row["reason"]) for row in rows] == [
        ("f1", "candidate", None),
        ("f2", "candidate", None),
        ("f3", "candidate", None),
        ("f4", "rejected", "no_face"),
    ]
    selected = pq.read_table(tmp_path / "corpus/selection.parquet").to_pylist()
    assert [row["state"] for row in selected] == ["kept"] * 3 + ["rejected"]
