"""Drawn data sets: layouts that independent code can read, a truth that is complete, bytes that repeat."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import struct
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facecorpus.dedup.hashes import perceptual_hash
from facecorpus.errors import UserError
from facecorpus.record import State
from facecorpus.synth.datasets import write_datasets
from facecorpus.synth.entry import split_records
from facecorpus.synth.plan import SAMPLE, plan
from facecorpus.synth.truth import TruthRow, read_truth


def recordio(folder: Path) -> dict[str, tuple[float, bytes]]:
    """Label and image by key, read as InsightFace's loaders do: through the index and record 0's range."""
    rec = (folder / "train.rec").read_bytes()
    offsets = dict(map(int, line.split("\t")) for line in (folder / "train.idx").read_text().splitlines())

    def payload(key: int) -> bytes:
        magic, word = struct.unpack_from("<II", rec, offsets[key])
        assert magic == 0xCED7230A and word >> 29 == 0
        return rec[offsets[key] + 8 : offsets[key] + 8 + (word & (1 << 29) - 1)]

    flag, _, _, _, first, last = struct.unpack("<IfQQff", payload(0))
    assert flag == 2 and sorted(offsets) == list(range(int(last)))
    covered: list[int] = []
    found = {}
    for key in range(int(first), int(last)):
        flag, label, _, _, start, stop = struct.unpack("<IfQQff", payload(key))
        covered += range(int(start), int(stop))
        for image in range(int(start), int(stop)):
            flag, image_label = struct.unpack_from("<If", payload(image))
            assert flag == 0 and image_label == label
            found[str(image)] = (image_label, payload(image)[24:])
    assert covered == list(range(1, int(first)))
    assert (folder / "property").read_text().split(",")[0] == str(int(last) - int(first))
    return found


def inputs(root: Path) -> dict[str, bytes]:
    """Every input of every drawn set by id."""
    found: dict[str, bytes] = {}
    with zipfile.ZipFile(root / "celeba" / "Img" / "img_align_celeba.zip") as archive:
        for info in archive.infolist():
            if not info.is_dir():
                found[f"celeba/{info.filename}"] = archive.read(info)
    for split in ("train", "test"):
        with tarfile.open(root / "vggface2" / f"vggface2_{split}.tar.gz") as archive:
            for member in archive.getmembers():
                stream = archive.extractfile(member)
                if stream is not None:
                    found[f"vggface2/{member.name}"] = stream.read()
    for source in ("casia_webface", "folder"):
        for path in (root / source).rglob("*"):
            if path.is_file() and path.name != "origin.json":
                found[f"{source}/{path.relative_to(root / source).as_posix()}"] = path.read_bytes()
    for key, (_, data) in recordio(root / "casia_webface_rec").items():
        found[f"casia_webface_rec/{key}"] = data
    return found


@pytest.fixture(scope="module")
def data(drawn: Path) -> dict[str, bytes]:
    return inputs(drawn)


@pytest.fixture(scope="module")
def rows(drawn: Path) -> dict[str, TruthRow]:
    return {row.id: row for row in read_truth(drawn)}


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def test_truth_names_every_input_once(drawn: Path, data: dict[str, bytes]) -> None:
    ids = [row.id for row in read_truth(drawn)]
    assert Counter(ids) == Counter(data.keys())
    assert all(row.id.startswith(f"{row.source}/") for row in read_truth(drawn))


def test_every_fate_is_planted(rows: dict[str, TruthRow]) -> None:
    fates = {(row.outcome, row.reason) for row in rows.values()}
    reasons = {"several_faces", "no_face", "aspect_ratio", "too_small", "not_an_image"}
    assert fates == {("kept", None), ("duplicate", None), ("failed", "corrupt"), ("failed", "empty")} | {
        ("rejected", reason) for reason in reasons
    }


def test_damage_is_damage(rows: dict[str, TruthRow], data: dict[str, bytes]) -> None:
    for row in rows.values():
        if row.outcome == State.FAILED:
            assert (data[row.id] == b"") == (row.reason == "empty")
            with pytest.raises((OSError, SyntaxError)):
                pixels(data[row.id])
        elif row.reason != "not_an_image":
            height, width = pixels(data[row.id]).shape[:2]
            assert (max(height, width) / min(height, width) > 1.5) == (row.reason == "aspect_ratio")
            assert (min(height, width) < 64) == (row.reason == "too_small")


def test_pictures_are_alike_exactly_within_groups(rows: dict[str, TruthRow], data: dict[str, bytes]) -> None:
    shown = [
        i
        for i, row in rows.items()
        if row.outcome != "failed" and row.reason not in ("not_an_image", "too_small")
    ]
    codes = np.stack([np.frombuffer(perceptual_hash(pixels(data[i]))[0], dtype=np.uint8) for i in shown])
    group = [rows[i].duplicate_group or i for i in shown]
    for k in range(len(shown)):
        distance = np.bitwise_count(codes[:k] ^ codes[k]).sum(axis=1)
        for other in range(k):
            if group[other] == group[k]:
                assert distance[other] <= 28, (shown[other], shown[k])
            else:
                assert distance[other] > 42, (shown[other], shown[k])


def test_groups_hold_one_survivor_and_copies_within_and_across(
    rows: dict[str, TruthRow], data: dict[str, bytes]
) -> None:
    groups: dict[str, list[TruthRow]] = {}
    for row in rows.values():
        if row.duplicate_group:
            groups.setdefault(row.duplicate_group, []).append(row)
    assert groups
    for members in groups.values():
        assert sorted(m.outcome for m in members) == ["duplicate"] * (len(members) - 1) + ["kept"]
        for a in members:  # one set never shows a near duplicate under two labels: that would be for a veto
            for b in members:
                if a.source == b.source and a.identity != b.identity:
                    assert data[a.id] == data[b.id]
    kinds = {(len({m.source for m in g}) > 1, len({data[m.id] for m in g}) == 1) for g in groups.values()}
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}


def test_truth_knows_the_action_units_of_single_people(rows: dict[str, TruthRow]) -> None:
    for row in rows.values():
        single = row.outcome in ("kept", "duplicate") or row.reason in ("aspect_ratio", "too_small")
        assert (row.au is not None) == single
        assert all(0 <= level <= 5 for level in (row.au or {}).values())


def test_celeba_annotations(drawn: Path, rows: dict[str, TruthRow], data: dict[str, bytes]) -> None:
    folder = drawn / "celeba"
    names = [i.rpartition("/")[2] for i in sorted(data) if i.startswith("celeba/") and i.endswith(".jpg")]
    assert names[0] == "000001.jpg"
    identity = dict(line.split() for line in (folder / "Anno/identity_CelebA.txt").read_text().splitlines())
    assert list(identity) == names
    assert all(rows[f"celeba/img_align_celeba/{name}"].identity == label for name, label in identity.items())
    partition = dict(
        line.split() for line in (folder / "Eval/list_eval_partition.txt").read_text().splitlines()
    )
    assert list(partition) == names and set(partition.values()) == {"0", "1", "2"}
    for name, columns in (("attr", 40), ("bbox", 4), ("landmarks_align", 10)):
        count, head, *body = (folder / f"Anno/list_{name}_celeba.txt").read_text().splitlines()
        assert int(count) == len(names) == len(body)
        assert len(head.split()) == columns + (name == "bbox")
        assert [line.split()[0] for line in body] == names
        assert all(len(line.split()) == columns + 1 for line in body)
        if name == "attr":
            assert {value for line in body for value in line.split()[1:]} == {"-1", "1"}
        if name == "landmarks_align":
            points = np.array([line.split()[1:] for line in body], dtype=int).reshape(-1, 5, 2)
            eyes = points[:, :2].mean(axis=1)
            assert np.all(np.abs(eyes - (88.5, 111.5)) < 14)
            assert np.all(points[:, 0, 0] < points[:, 1, 0]) and np.all(points[:, 3, 1] > points[:, 2, 1])


def test_vggface2_annotations(drawn: Path, data: dict[str, bytes]) -> None:
    folder = drawn / "vggface2"
    listed = 0
    for split in ("train", "test"):
        names = (folder / f"{split}_list.txt").read_text().splitlines()
        assert {f"vggface2/{split}/{name}" for name in names} == {
            i for i in data if i.startswith(f"vggface2/{split}/") and i.endswith(".jpg")
        }
        listed += len(names)
        for kind, columns in (("bb", 5), ("landmark", 11)):
            text = (folder / f"bb_landmark/loose_{kind}_{split}.csv").read_text()
            head, *body = csv.reader(io.StringIO(text))
            assert head[0] == "NAME_ID" and len(head) == columns
            assert [row[0] + ".jpg" for row in body] == names
            assert text.splitlines()[1].startswith('"n')
            assert all(float(value) == float(value) for row in body for value in row[1:])
    classes = (folder / "identity_meta.csv").read_text().splitlines()
    assert classes[0] == "Class_ID, Name, Sample_Num, Flag, Gender"
    assert sum(int(line.split(", ")[2]) for line in classes[1:]) == listed


def test_recordio_labels(drawn: Path, rows: dict[str, TruthRow]) -> None:
    for key, (label, _) in recordio(drawn / "casia_webface_rec").items():
        assert rows[f"casia_webface_rec/{key}"].identity == str(int(label))


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_for_any_workers_and_again(drawn: Path, tmp_path: Path) -> None:
    write_datasets(tmp_path, preset="tiny", workers=2)
    assert digests(tmp_path) == digests(drawn)
    write_datasets(tmp_path, preset="tiny", seed=1)
    other = digests(tmp_path)
    assert set(other) != set(digests(drawn)) and "truth.jsonl" in other
    write_datasets(tmp_path, preset="tiny")
    assert digests(tmp_path) == digests(drawn)


def test_archives_carry_no_time(drawn: Path) -> None:
    path = drawn / "vggface2" / "vggface2_train.tar.gz"
    assert path.read_bytes()[4:8] == bytes(4)
    with gzip.open(path) as stream, tarfile.open(fileobj=io.BytesIO(stream.read())) as archive:
        assert {(m.mtime, m.uid, m.gid, m.uname) for m in archive.getmembers()} == {(0, 0, 0, "")}


def test_part_of_the_sources(tmp_path: Path) -> None:
    write_datasets(tmp_path, ["casia_webface"], preset="tiny")
    rows = read_truth(tmp_path)
    assert {row.source for row in rows} == {"casia_webface"}
    groups = Counter(row.duplicate_group for row in rows if row.duplicate_group)
    assert all(count > 1 for count in groups.values())


def test_default_plan_is_large_and_complete() -> None:
    items = plan(SAMPLE, 0, "sample")
    assert 1400 <= len(items) <= 1600
    kept = sum(item.outcome == State.KEPT for item in items)
    assert kept > 0.7 * len(items)
    assert {item.reason for item in items} >= {"several_faces", "no_face", "empty", None}


def test_folders_that_were_not_drawn_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "celeba").mkdir()
    with pytest.raises(UserError, match="was not drawn"):
        write_datasets(tmp_path, preset="tiny")
    assert list(tmp_path.rglob("*")) == [tmp_path / "celeba"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"sources": ["sketches"]}, "sketches"), ({"sources": []}, "none"), ({"preset": "huge"}, "huge")],
)
def test_wrong_arguments_are_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        write_datasets(tmp_path, **change)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from([b"\x0a\x23\xd7\xce", b"abcd", b"\x0a\x23", b"x"]), max_size=9).map(b"".join))
def test_payloads_with_the_magic_word_come_back(payload: bytes) -> None:
    data, position, parts, flags = split_records(payload), 0, [], []
    while position < len(data):
        magic, word = struct.unpack_from("<II", data, position)
        assert magic == 0xCED7230A and position % 4 == 0
        length = word & ((1 << 29) - 1)
        parts.append(data[position + 8 : position + 8 + length])
        flags.append(word >> 29)
        assert all(parts[-1][k : k + 4] != b"\x0a\x23\xd7\xce" for k in range(0, length, 4))
        position += 8 + length + -length % 4
    assert b"\x0a\x23\xd7\xce".join(parts) == payload
    assert flags == ([0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3])
