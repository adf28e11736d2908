"""Photographs of several people, of whom some are annotated: the annotated face is the one cut."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from test_sources_umdfaces import line, table

from facecorpus import pipeline
from facecorpus.phases import corpus as corpora
from facecorpus.phases.corpus import Corpus
from facecorpus.recipes import recipe
from facecorpus.synth.identity import Identity
from facecorpus.synth.scene import draw_group
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
