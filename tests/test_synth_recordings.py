"""Drawn recordings: the layouts of DISFA, BP4D and BP4D+, units that come and go, a complete truth."""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from facecorpus import manifests
from facecorpus.errors import UserError
from facecorpus.faces.detector import make_detector
from facecorpus.faces.pyramid import detect
from facecorpus.synth.datasets import write_datasets
from facecorpus.synth.dynamics import AT, UNITS
from facecorpus.synth.filming import film
from facecorpus.synth.recordings import Recording, levels, plan_recordings
from facecorpus.synth.studies import STUDIES
from facecorpus.synth.truth import TruthRow, read_truth

RECORDED = ("disfa", "bp4d", "bp4d_plus")
SUBJECTS, FRAMES = 3, 4
DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
BP4D_UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
BP4D_PLUS_COLUMNS = (1, 2, 3, 5, 6, 8, 10, 12, 13, 15, 20, 21)
"""Positions of `BP4D_UNITS` in BP4D+'s files, as published code reads them."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    write_datasets(root, RECORDED, frames=FRAMES, subjects=SUBJECTS, cameras=("right", "left"))
    return root


@pytest.fixture(scope="module")
def rows(root: Path) -> dict[str, TruthRow]:
    return {row.id: row for row in read_truth(root)}


def planned(study: str) -> list[Recording]:
    return plan_recordings(STUDIES[study], 0, "mild", FRAMES, SUBJECTS)


def video(path: Path) -> list[np.ndarray]:
    """All frames, RGB, as OpenCV reads them one by one."""
    reader, frames = cv2.VideoCapture(str(path)), []
    while (read := reader.read())[0]:
        frames.append(read[1][..., ::-1])
    assert frames and len(frames) == reader.get(cv2.CAP_PROP_FRAME_COUNT)
    return frames


def table(path: Path) -> list[list[int]]:
    return [[int(value) for value in row] for row in csv.reader(path.read_text().splitlines())]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def assert_shows(frames: list[np.ndarray], recording: Recording, camera: str = "right") -> None:
    """The decoded frames are the drawn ones, in their order, each nearer to its own than to the next."""
    drawn = [rgb for _, rgb in film(recording, 0, camera)]
    assert len(frames) == len(drawn) == len(recording.recorded)
    for k, frame in enumerate(frames):
        others = [psnr(frame, other) for j, other in enumerate(drawn) if j != k]
        assert psnr(frame, drawn[k]) > max(33.0, *others) - 0.1  # empty rooms differ by noise alone


def test_subjects_are_those_of_the_sets() -> None:
    names = {name: study.subjects for name, study in STUDIES.items()}
    assert [len(names[n]) for n in RECORDED] == [27, 41, 140]
    assert names["disfa"][:3] == ["SN001", "SN002", "SN003"] and names["disfa"][-1] == "SN032"
    assert set(range(1, 33)) - {int(n[2:]) for n in names["disfa"]} == {14, 15, 19, 20, 22}
    assert (names["bp4d"][0], names["bp4d"][22:24], names["bp4d"][-1]) == ("F001", ["F023", "M001"], "M018")
    assert (names["bp4d_plus"][81:83], names["bp4d_plus"][-1]) == (["F082", "M001"], "M058")


def test_disfa_is_laid_out_as_published(root: Path) -> None:
    folder = root / "disfa"
    assert sorted(p.name for p in folder.iterdir()) == [
        "ActionUnit_Labels",
        "Video_RightCamera",
        "Videos_LeftCamera",
        "origin.json",
    ]
    for recording in planned("disfa"):
        subject = recording.subject
        coded = folder / "ActionUnit_Labels" / subject
        assert {p.name for p in coded.iterdir()} == {f"{subject}_au{unit}.txt" for unit in DISFA_UNITS}
        for unit in DISFA_UNITS:
            body = table(coded / f"{subject}_au{unit}.txt")
            assert body == [[k + 1, level] for k, level in enumerate(levels(recording, unit))]
            assert all(0 <= level <= 5 for _, level in body)
        right = video(folder / "Video_RightCamera" / f"RightVideo{subject}_comp.avi")
        assert_shows(right, recording)
        left = video(folder / "Videos_LeftCamera" / f"LeftVideo{subject}_comp.avi")
        assert_shows(left, recording, "left")
    counts = [len(r.recorded) - len(r.au) for r in planned("disfa")]
    assert sorted(counts) == [-2, 0, 1]  # one video is shorter than its labels, another longer


def test_bp4d_is_laid_out_as_published(root: Path) -> None:
    folder = root / "bp4d"
    starts, unknown = set(), 0
    for recording in planned("bp4d"):
        name = f"{recording.subject}_{recording.task}"
        header, *body = table(folder / "AUCoding/AU_OCC" / f"{name}.csv")
        assert header == list(range(100))
        assert [row[0] for row in body] == list(recording.numbers)
        for unit in range(1, 100):
            column = {row[unit] for row in body}
            assert column <= {0, 1} if unit in BP4D_UNITS else column <= {0, 1} or column == {9}
        assert {row[25] for row in body} == {row[99] for row in body} == {9}
        for unit in (6, 10, 12, 14, 17):
            coded = table(folder / f"AUCoding/AU_INT/AU{unit:02d}" / f"{name}_AU{unit:02d}.csv")
            assert [number for number, _ in coded] == list(recording.numbers)
            for (_, level), row, shown in zip(coded, body, levels(recording, unit), strict=True):
                assert level == 9 or (level == shown and row[unit] == (level >= 1))
                unknown += level == 9
        pictures = sorted((folder / "Sequences" / recording.subject / recording.task).iterdir())
        frames = [np.asarray(cv2.imread(str(path)))[..., ::-1] for path in pictures]
        assert [int(p.stem) for p in pictures] == [recording.first + at for at in recording.recorded]
        assert len({len(p.stem) for p in pictures}) == 1
        starts.add(recording.first)
        if recording.before or recording.lost:
            assert_shows(frames, recording)
    assert min(starts) > 1 and len(starts) > SUBJECTS and unknown > 0


def test_bp4d_plus_is_laid_out_as_published(root: Path) -> None:
    folder = root / "bp4d_plus"
    assert {p.name for p in (folder / "Videos").iterdir()} == {
        f"{subject}_{task}.mp4" for subject in ("F001", "F002", "F003") for task in ("T1", "T6", "T7", "T8")
    }
    for recording in planned("bp4d_plus"):
        name = f"{recording.subject}_{recording.task}"
        _, *body = table(folder / "AUCoding/AU_OCC" / f"{name}.csv")
        assert [row[0] for row in body] == list(recording.numbers) and recording.first > 1
        for unit, column in zip(BP4D_UNITS, BP4D_PLUS_COLUMNS, strict=True):
            assert [row[column] for row in body] == [int(level >= 1) for level in levels(recording, unit)]
        assert_shows(video(folder / "Videos" / f"{name}.mp4"), recording)


def test_truth_has_a_row_for_every_annotated_frame(root: Path, rows: dict[str, TruthRow]) -> None:
    expected: set[str] = set()
    for recording in planned("disfa"):
        for camera in ("Right", "Left"):
            expected |= {
                f"disfa/{camera}Video{recording.subject}_comp.avi/{n:05d}" for n in recording.numbers
            }
    for recording in planned("bp4d_plus"):
        name = f"{recording.subject}_{recording.task}"
        expected |= {f"bp4d_plus/{name}.mp4/{number:05d}" for number in recording.numbers}
    pictures = {p.relative_to(root / "bp4d/Sequences").as_posix() for p in (root / "bp4d").rglob("*.jpg")}
    for recording in planned("bp4d"):
        place = f"{recording.subject}/{recording.task}"
        for at, number in enumerate(recording.numbers):
            [name] = {i for i in rows if i.startswith(f"bp4d/{place}/") and int(Path(i).stem) == number}
            expected.add(name)
            assert (name.removeprefix("bp4d/") in pictures) == (at in recording.recorded)
            assert rows[name].identity == recording.subject
    assert set(rows) == expected
    for study in RECORDED:
        fates = Counter((row.outcome, row.reason) for row in rows.values() if row.source == study)
        assert set(fates) == {("kept", None), ("rejected", "no_face"), ("failed", "missing_frame")}
        assert fates["kept", None] > 0.6 * sum(fates.values())
    assert all((row.au is not None) == (row.outcome == "kept") for row in rows.values())


def test_truth_and_labels_agree(rows: dict[str, TruthRow]) -> None:
    for recording in planned("disfa"):
        for at, number in enumerate(recording.numbers):
            drawn = rows[f"disfa/RightVideo{recording.subject}_comp.avi/{number:05d}"].au
            if drawn is not None:
                shown = {unit: levels(recording, unit)[at] for unit in DISFA_UNITS}
                assert shown == {unit: int(drawn.get(str(unit), 0.0) + 0.5) for unit in DISFA_UNITS}


def test_detector_finds_whom_the_truth_says(root: Path, rows: dict[str, TruthRow]) -> None:
    detector = make_detector("retinaface-mobilenet025", device="cpu")
    seen = Counter[str]()
    for recording in planned("disfa"):
        name = f"RightVideo{recording.subject}_comp.avi"
        for number, frame in enumerate(video(root / "disfa/Video_RightCamera" / name), 1):
            row = rows.get(f"disfa/{name}/{number:05d}")
            fate = row.outcome if row else "not annotated"
            found = detect(detector, np.ascontiguousarray(frame), min_score=0.5)
            assert (max((f.score for f in found), default=0.0) >= 0.9) == (fate == "kept")
            assert fate == "kept" or not found
            seen[fate] += 1
    assert set(seen) == {"kept", "rejected", "not annotated"}


def shares(study: str, dependence: str, frames: int | None = None) -> tuple[list[str], np.ndarray]:
    """Subjects, and for each in what share of the frames each unit counts as there, (subjects, units)."""
    chosen = STUDIES[study]
    there: dict[str, list[np.ndarray]] = {}
    for r in plan_recordings(chosen, 0, dependence, frames or chosen.frames["sample"]):
        there.setdefault(r.subject, []).append(np.array([levels(r, u) for u in UNITS]) >= chosen.positive)
    return list(there), np.stack([np.concatenate(parts, axis=1).mean(axis=1) for parts in there.values()])


@pytest.mark.parametrize("study", RECORDED)
def test_rates_differ_by_subject_as_asked(study: str) -> None:
    _, mild = shares(study, "mild")
    _, strong = shares(study, "strong")
    frames = STUDIES[study].frames["sample"] * len(STUDIES[study].tasks)
    for unit, rate in STUDIES[study].rates.items():
        a, b = mild[:, AT[unit]], strong[:, AT[unit]]
        assert abs(a.mean() - rate) < 0.02 and abs(b.mean() - rate) < 0.02
        slack = 1.01 / frames  # rates are whole numbers of frames
        assert 0.66 * rate - slack < a.min() < 0.8 * rate + slack
        assert 1.25 * rate - slack < a.max() < 1.42 * rate + slack
        assert b.max() > 0.6 and np.quantile(b, 0.4) < 0.06
        assert b.std() > 3.5 * a.std()
    shown = [AT[unit] for unit in STUDIES[study].rates]
    assert np.delete(mild, shown, axis=1).max(initial=0) == 0


@pytest.mark.parametrize("study", RECORDED)
@pytest.mark.parametrize("dependence", ["mild", "strong"])
def test_published_folds_test_and_train_on_every_unit(study: str, dependence: str) -> None:
    names, there = shares(study, dependence)
    benchmark = tomllib.loads((manifests.folder() / f"{study}.toml").read_text())
    assert sorted(benchmark["subjects"]) == sorted(names)
    units = [AT[unit] for unit in benchmark["aus"]]
    for fold in benchmark["folds"]:
        inside = np.isin(names, fold)
        assert 0 < inside.sum() == len(fold)
        assert there[inside][:, units].mean(axis=0).min() > 0.05
        assert there[~inside][:, units].mean(axis=0).min() > 0.05
    if study == "disfa":
        common = there[:, units].mean(axis=0)
        assert common.min() > 0.15 and common.max() < 0.4


def test_units_rise_and_fall_and_go_together() -> None:
    recordings = plan_recordings(STUDIES["disfa"], 0, "mild", 200, 9)
    courses = np.stack([r.au for r in recordings])  # (subjects, frames, units)
    jumps = courses[:, np.random.default_rng(0).permutation(200)]
    assert np.abs(np.diff(courses, axis=1)).mean() < 0.4 * np.abs(np.diff(jumps, axis=1)).mean()
    assert courses.min() == 0 and 4.8 < courses.max() <= 5
    lengths, apexes = [], []
    for course in courses[:, :, AT[12]]:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], course >= 1.5, [0]])))
        lengths += list(np.diff(edges)[::2])
        apexes += [course[a:b].max() for a, b in edges.reshape(-1, 2)]
    assert np.quantile(lengths, 0.2) <= 2 and np.quantile(lengths, 0.9) >= 7
    assert np.mean(np.array(apexes) >= 3) > 0.7 and np.std(apexes) > 0.4
    both = np.corrcoef(courses.reshape(-1, len(UNITS)).T[[AT[u] for u in (1, 2, 6, 12, 15)]])
    assert both[0, 1] > 0.3 and both[2, 3] > 0.3 and both[3, 4] < 0
    dropped = courses[..., AT[26]] >= 1.5
    assert courses[..., AT[25]][dropped].min() >= 1.5  # a dropped jaw parts the lips


def test_pictures_move_smoothly_in_one_room() -> None:
    recordings = plan_recordings(STUDIES["disfa"], 0, "mild", 8)
    recording = next(r for r in recordings if not (r.away or r.lost or r.after))
    frames = np.stack([rgb.astype(float) for _, rgb in film(recording, 0)])
    assert len(frames) == 8 and np.abs(np.diff(frames, axis=0)).mean() < 6
    corner = frames[:, :60, :40]
    assert np.abs(corner.mean(axis=(1, 2)) - corner.mean(axis=(0, 1, 2))).max() < 1


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_arguments_same_bytes_for_any_workers(root: Path, tmp_path: Path) -> None:
    write_datasets(tmp_path, RECORDED, frames=FRAMES, subjects=SUBJECTS, cameras=("right", "left"), workers=2)
    assert digests(tmp_path) == digests(root)
    write_datasets(tmp_path, ["disfa"], frames=FRAMES, subjects=1, seed=1)
    video = "disfa/Video_RightCamera/RightVideoSN001_comp.avi"
    assert set(digests(tmp_path)) < set(digests(root)) and digests(tmp_path)[video] != digests(root)[video]


def test_pictures_and_recordings_in_one_call(drawn: Path, tmp_path: Path) -> None:
    write_datasets(tmp_path, ["casia_webface_rec", "disfa"], preset="tiny", frames=4, subjects=1)
    both, alone = digests(tmp_path), digests(drawn)
    pictures = {name for name in both if name.startswith("casia_webface_rec/")}
    assert pictures and all(both[name] == alone[name] for name in pictures)
    assert {row.source for row in read_truth(tmp_path)} == {"casia_webface_rec", "disfa"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dependence": "some"}, "mild, strong"),
        ({"frames": 3}, "at least 4"),
        ({"cameras": ("middle",)}, "middle"),
        ({"cameras": ()}, "empty"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        write_datasets(tmp_path, ["disfa"], **change)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
