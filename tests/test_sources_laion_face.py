"""LAION-Face: img2dataset's shards, and the published faces, whose pickle is never run."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Source, make_source
from facecorpus.sources.detections import pairs, read_detections

BOX, POINTS = (10.0, 20.0, 30.0, 44.0), tuple(float(v) for v in range(11, 21))


def face(scale: float = 1, shift: float = 0) -> tuple[Any, Any, Any]:
    box, points = np.array(BOX, np.float32), np.array(POINTS, np.float32).reshape(5, 2)
    return box * scale + shift, points * scale + shift, np.float32(0.98)


def saved(value: Any, protocol: int = 2) -> bytes:
    """As torch.save writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("sample2detect_0/data.pkl", pickle.dumps(value, protocol=protocol))
        archive.writestr("sample2detect_0/version", b"3\n")
    return out.getvalue()


def write_shard(root: Path, samples: dict[int, tuple[int, int]], split: int = 0) -> None:
    """A shard; samples: number -> width and height now."""
    path = root / f"split_{split}/00000.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for place, (number, (width, height)) in enumerate(samples.items()):
            row = {"SAMPLE_ID": number, "url": f"https://x/{number}", "width": width, "height": height}
            members = {"jpg": b"x", "txt": b"a caption", "json": json.dumps(row).encode()}
            for ending, data in members.items():
                info = tarfile.TarInfo(f"{place:09d}.{ending}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def detections(root: Path, found: Any, split: int = 0) -> None:
    (root / "detection_metadata").mkdir(exist_ok=True)
    (root / f"detection_metadata/sample2detect_{split}.pth").write_bytes(saved(found))


def sizes(root: Path, said: dict[int, tuple[float, float]], split: int = 0) -> None:
    (root / "laion_face_meta").mkdir(exist_ok=True)
    columns = {
        "SAMPLE_ID": list(said),
        "WIDTH": [width for width, _ in said.values()],
        "HEIGHT": [height for _, height in said.values()],
        "TEXT": ["x" for _ in said],
    }
    pq.write_table(pa.table(columns), root / f"laion_face_meta/laion_face_part_{split:05d}.parquet")


def laion(root: Path) -> Source:
    return make_source("laion_face", "laion", str(root))


def listed(source: Source) -> list[Record]:
    return list(source.inventory())


def test_shards_without_detections(tmp_path: Path) -> None:
    write_shard(tmp_path, {5: (100, 100)})
    write_shard(tmp_path, {6: (100, 100)}, split=11)
    records = listed(laion(tmp_path))
    assert [r.id for r in records] == [
        "laion/split_0/00000.tar/000000000.jpg",
        "laion/split_11/00000.tar/000000000.jpg",
    ]
    assert [(r.photo_id, r.identity, r.given_box_xyxy_px) for r in records] == [
        ("https://x/5", None, None),
        ("https://x/6", None, None),
    ]


def test_each_published_face_is_an_input(tmp_path: Path) -> None:
    write_shard(tmp_path, {5: (100, 100), 6: (100, 100), 7: (100, 100)})
    write_shard(tmp_path, {5: (100, 100)}, split=1)
    detections(tmp_path, {5: [face()], 6: [face(), face(shift=50)], 99: []})
    detections(tmp_path, {5: [face(shift=1)]}, split=1)
    source = laion(tmp_path)
    records = listed(source)
    assert [r.id.partition("/")[2] for r in records] == [
        "split_0/00000.tar/000000000.jpg",
        "split_0/00000.tar/000000001.jpg#f1",
        "split_0/00000.tar/000000001.jpg#f2",
        "split_0/00000.tar/000000002.jpg",
        "split_1/00000.tar/000000000.jpg",
    ]
    moved = tuple(v + 50 for v in BOX)
    assert [r.given_box_xyxy_px for r in records] == [BOX, BOX, moved, None, tuple(v + 1 for v in BOX)]
    assert records[0].given_points_px == POINTS
    assert "detection_metadata/sample2detect_1.pth" in source.stamps()


def test_boxes_of_a_picture_that_was_fetched_in_another_size(tmp_path: Path) -> None:
    """They are scaled where the shape is the same, and left out where it is not."""
    write_shard(tmp_path, {5: (100, 100), 6: (100, 100), 7: (100, 100), 8: (20, 20)})
    detections(tmp_path, {5: [face(2)], 6: [face()], 7: [face()], 8: [face()]})
    sizes(tmp_path, {5: (200, 200), 6: (100, 150), 7: (float("nan"), 0)})
    source = laion(tmp_path)
    assert [r.given_box_xyxy_px for r in listed(source)] == [BOX, None, BOX, None]
    assert source.notes == [
        "the published faces of 2 photographs are left out, since those have another shape or size now"
    ]


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    """Whatever it calls, nothing is called and the file is named."""
    trap = tmp_path / "trap"

    class Run:
        def __reduce__(self) -> Any:
            return Path.touch, (trap,)

    write_shard(tmp_path, {5: (100, 100)})
    for protocol in (2, 3, 4):
        place = tmp_path / "sample2detect_0.pth"
        place.write_bytes(saved({5: [Run()]}, protocol))
        with pytest.raises(UserError, match=r"sample2detect_0\.pth .* asks for .*, which is not run"):
            listed(laion(tmp_path))
    assert not trap.exists()


@pytest.mark.parametrize(
    "value",
    [
        [1],
        {"a": [face()]},
        {5: 6},
        {5: [(1, 2, 3)]},
        {5: [(BOX, POINTS, "x")]},
        {5: {6: 7}},
        {5: [(*face()[:2], np.float32("inf"))]},
        {5: [(np.zeros(4, object), *face()[1:])]},
        {5: [(np.zeros(1000, np.float32), *face()[1:])]},
        {5: [([[[[1.0]]]] * 4, POINTS, 1.0)]},
        {5: [face()] * 1001},
        {5: len},
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_other_contents_are_one_sentence(value: Any, tmp_path: Path) -> None:
    place = tmp_path / "sample2detect_0.pth"
    place.write_bytes(saved(value))
    with pytest.raises(UserError, match=r"sample2detect_0\.pth is not LAION-Face's file of detections"):
        read_detections(str(place))


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", [np.float32, np.float64, ">f4", np.float16, np.int64])
def test_every_way_of_saving(protocol: int, kind: Any, tmp_path: Path) -> None:
    """More samples than one batch of the pickler's, arrays of any number type and order, lists, tuples."""
    box, points = np.array(BOX).astype(kind), np.array(POINTS).reshape(5, 2).astype(kind)
    found: dict[int, Any] = {10**12 + 3 * n: [(box + 0, points + 0, 1.0)] * (n % 3) for n in range(2500)}
    found[1] = [(list(BOX), np.asfortranarray(points), np.float64(0.5)), [box, points.tolist(), 1]]
    place = tmp_path / "x.pth"
    place.write_bytes(saved(found, protocol))
    read = read_detections(str(place))
    for number, faces in found.items():
        assert read.of(number).shape == (len(faces), 15)
    assert read.of(1).tolist() == [[*BOX, *POINTS, 0.5], [*BOX, *POINTS, 1.0]]
    assert read.of(2).shape == (0, 15)


HEADS = (b"", b"\x80\x02}", b"\x80\x02}q\0(", pickle.dumps({5: [face()]}, 2)[:-40])


@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_any_bytes_end_in_a_documented_error(head: bytes, tail: bytes) -> None:
    with contextlib.suppress(ValueError, TypeError, LookupError, OverflowError, struct.error):
        list(pairs(io.BytesIO(head + tail)))


def test_a_cut_file_is_one_sentence(tmp_path: Path) -> None:
    place = tmp_path / "x.pth"
    place.write_bytes(saved({5: [face()]})[:-30])
    with pytest.raises(UserError, match="is not LAION-Face's file of detections"):
        read_detections(str(place))
