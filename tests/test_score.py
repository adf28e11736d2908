"""Scoring: one guard around the whole of an input, whatever raises and whatever ends the process."""

from __future__ import annotations

import lzma
import os
import signal
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_corpus import draw_pictures, prepare

from facecorpus import pipeline
from facecorpus.errors import UserError
from facecorpus.faces.detector import Detector
from facecorpus.faces.face import Face, Image
from facecorpus.phases import inventory, judging, score
from facecorpus.phases.corpus import Corpus, SourceSpec
from facecorpus.phases.phase import Made
from facecorpus.record import Record, from_table
from facecorpus.sources.base import Reader
from facecorpus.units import Done, Unit

KILLED = "folder/1.jpg"


class Deadly(Reader):
    """Reads as ever; one input ends the process, as a codec's fault or the kernel's memory guard would."""

    def read(self, record: Record) -> bytes:
        if record.id == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(record)


def run_deadly(corpus: Corpus, unit: Unit) -> Made:
    def reader(spec: SourceSpec, out: str) -> Reader:
        return Deadly(spec.open(out))

    score._reader = reader  # type: ignore[assignment]
    return score.run(corpus, unit)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"))


def listed(root: Path, out: Path, *settings: str, sources: str = "folder") -> Corpus:
    corpus = prepare(root, out, *settings, sources=sources)
    pipeline.run(corpus, inventory.PHASE)
    return corpus


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    files = sorted(out.glob("scores/**/*.parquet"))
    return {row["id"]: row for path in files for row in pq.read_table(path).to_pylist()}


def scored(corpus: Corpus, reader: Reader | None = None) -> dict[str, tuple[Record, bytes | None]]:
    reader = reader or corpus.sources[0].open(corpus.out).reader()
    tables = [
        inventory.read_part(corpus, corpus.sources[0].name, number)
        for number in range(len(inventory.parts(corpus, Done(corpus.out), corpus.sources[0].name)))
    ]
    records = (record for table in tables for record in from_table(table))
    try:
        return {row.id: (row, crop) for row, crop in judging.judge(corpus, reader, records)}
    finally:
        reader.close()


def test_an_input_that_ends_its_process_is_left_out_and_costs_no_other(
    pictures: Path, tmp_path: Path
) -> None:
    deadly = score.PHASE._replace(run=run_deadly)
    outs = [tmp_path / "one", tmp_path / "two"]
    for workers, out in enumerate(outs, 1):
        corpus = listed(pictures, out)
        pipeline.run(corpus, deadly, workers=workers)
    files = [
        {
            str(p.relative_to(out)): p.read_bytes()
            for d in ("scores", "staged")
            for p in (out / d).glob("folder/part*")
        }
        for out in outs
    ]
    assert len(files[0]) == 8 and files[0] == files[1], "bytes depend on the number of workers"
    rows = rows_of(outs[0])
    ended = {i: (r["state"], r["reason"], r["detail"]) for i, r in rows.items() if r["reason"] == "crashed"}
    assert ended == {KILLED: ("failed", "crashed", "looking at it ended the process (SIGKILL), alone too")}
    whole = scored(corpus)
    for i, row in rows.items():
        if i not in ended:
            assert (row["state"], row["crop_hash"]) == (whole[i][0].state, whole[i][0].crop_hash)


def test_too_many_deaths_or_one_before_the_first_input_are_no_inputs_fault() -> None:
    unit = Unit("score", "folder/part-00000", "digest", 100, {"source": "folder", "group": 0})
    unit = score.revive(unit, None, "SIGKILL")
    with pytest.raises(UserError, match="part folder/part-00000 died before its first input"):
        score.revive(unit, None, "SIGKILL")
    for number in range(score.MOST_CRASHES):
        unit = score.revive(unit, f"folder/{number}", "SIGKILL")
    with pytest.raises(UserError, match=f"died at {score.MOST_CRASHES + 1} inputs"):
        score.revive(unit, "folder/one-more", "SIGKILL")


class Tripping:
    """The real detector, tripping over pictures of one width."""

    def __init__(self, real: Detector, width: int) -> None:
        self.real, self.name, self.build, self.width = real, real.name, real.build, width

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        if any(image.shape[1] == self.width for image in images):
            raise RuntimeError("the node Conv_3 has a shape of its own")
        return self.real.detect_batch(images)


def test_a_detector_that_trips_over_one_picture_costs_that_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    draw_pictures(tmp_path)
    odd = cv2.imread(str(tmp_path / "folder/3.jpg"))
    cv2.imwrite(str(tmp_path / "folder/3.jpg"), odd[:, :150])
    corpus = listed(tmp_path, tmp_path / "out", "limits.max_aspect_ratio=none")
    whole = scored(corpus)
    real = judging._detector_of(corpus)
    monkeypatch.setattr(judging, "_detector_of", lambda _: Tripping(real, 100))  # 150 x 240 is looked at so
    found = scored(corpus)
    row, crop = found.pop("folder/3.jpg")
    assert (row.state, row.reason, crop) == ("failed", "error", None)
    assert row.detail == "RuntimeError: the node Conv_3 has a shape of its own"
    del whole["folder/3.jpg"]
    assert found == whole


class Odd(Reader):
    """Raises what no reader should."""

    def read(self, record: Record) -> bytes:
        if record.id == "folder/2.jpg":
            raise lzma.LZMAError("Corrupt input data")
        if record.id == "folder/5.jpg":
            raise MemoryError
        return super().read(record)


def test_what_escapes_a_reader_costs_its_input(pictures: Path, tmp_path: Path) -> None:
    corpus = listed(pictures, tmp_path / "out")
    found = scored(corpus, Odd(corpus.sources[0].open(corpus.out)))
    ended = {i: (row.reason, row.detail) for i, (row, _) in found.items() if row.state == "failed"}
    assert ended == {
        "folder/2.jpg": ("error", "LZMAError: Corrupt input data"),
        "folder/5.jpg": ("error", "MemoryError: "),
    }


def test_a_damaged_lzma_member_is_built_around(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for number in range(3):
            archive.write(pictures / f"folder/{number}.jpg", f"{number}.jpg")
        start = archive.getinfo("1.jpg").header_offset
    data = bytearray(path.read_bytes())
    data[start + 60 : start + 90] = bytes(np.random.default_rng(0).integers(0, 256, 30, np.uint8))
    path.write_bytes(data)
    corpus = listed(tmp_path, tmp_path / "out", sources="photos=archive:photos.zip")
    states = {i: str(row.state) for i, (row, _) in scored(corpus).items()}
    assert states == {"photos/0.jpg": "candidate", "photos/1.jpg": "failed", "photos/2.jpg": "candidate"}


def test_weights_that_cannot_be_had_are_no_inputs_fault(pictures: Path, tmp_path: Path) -> None:
    corpus = replace(listed(pictures, tmp_path / "out"), weights=str(tmp_path / "none.onnx"))
    with pytest.raises(UserError, match=r"there is no weights file"):
        scored(corpus)


class Mirrored:
    """The real detector, with the eyes of every face swapped in pictures of one width."""

    def __init__(self, real: Detector, width: int) -> None:
        self.real, self.name, self.build, self.width = real, real.name, real.build, width

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        return [
            [replace(face, points_px=face.points_px[[1, 0, 2, 4, 3]]) for face in faces]
            if image.shape[1] == self.width
            else faces
            for image, faces in zip(images, self.real.detect_batch(images), strict=True)
        ]


def test_a_face_with_impossible_points_is_not_no_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    draw_pictures(tmp_path)
    odd = cv2.imread(str(tmp_path / "folder/3.jpg"))
    cv2.imwrite(str(tmp_path / "folder/3.jpg"), odd[:, 30:-30])
    corpus = listed(tmp_path, tmp_path / "out", "limits.max_aspect_ratio=none")
    real = judging._detector_of(corpus)
    monkeypatch.setattr(judging, "_detector_of", lambda _: Mirrored(real, 120))
    row, crop = scored(corpus)["folder/3.jpg"]
    assert (row.state, row.reason, crop) == ("rejected", "implausible_face", None)
    assert row.points_px is not None and row.face_score is not None
    assert row.detail is not None and f"{row.face_score:.3f}" in row.detail


def test_a_score_asked_for_beyond_the_usual_is_looked_for_more_closely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.93 needs no closer look, unless the recipe asks for 0.95."""
    from test_faces_detector import Scripted

    draw_pictures(tmp_path)
    scripted = Scripted({160: [(0.0, 400.0, 0.93)], 240: [(0.0, 400.0, 0.97)]})
    monkeypatch.setattr(judging, "_detector_of", lambda _: scripted)
    for asked, seen in ((0.8, 0.93), (0.95, 0.97)):
        corpus = listed(tmp_path, tmp_path / str(asked), f"limits.min_face_score={asked}")
        assert {row.face_score for row, _ in scored(corpus).values()} - {None} == {seen}
