"""A corpus from real photographs, odd files and pictures without a face."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import run
from PIL import Image

from facecorpus.ledger import close
from facecorpus.phases import corpus as corpora
from facecorpus.phases import inventory

pytestmark = pytest.mark.real

ARCHIVES = {"lfw": "lfw160.tar", "photos": "photos.tar", "nonfaces": "nonfaces.tar", "formats": "formats.tar"}
SOURCES = ",".join(f"{name}=archive:{file}" for name, file in ARCHIVES.items())
WORKER_LIMIT_MB = 1500


def build(real: Path, out: Path, sources: str, *more: str) -> list[dict[str, Any]]:
    """Build, and return selection rows joined with their scores."""
    run(
        "build",
        "--root",
        str(real),
        "--out",
        str(out),
        "--sources",
        sources,
        "--recipe",
        "sample",
        "--no-report",
        "--workers",
        "2",
        *more,
    )
    scores = pa.concat_tables(pq.read_table(path) for path in sorted(out.glob("scores/**/*.parquet")))
    by_id = {row["id"]: row for row in scores.to_pylist()}
    return [{**by_id[row["id"]], **row} for row in pq.read_table(out / "selection.parquet").to_pylist()]


@pytest.fixture(scope="module")
def built(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("real") / "out"
    return out, build(real_data, out, SOURCES)


@pytest.fixture(scope="module")
def derived(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Rows of `formats/derived` by file name, every face kept, any shape, so that the manifest's words
    apply."""
    out = tmp_path_factory.mktemp("formats") / "out"
    rows = build(
        real_data,
        out,
        "formats=archive:formats.tar",
        "--set",
        "limits.faces=all",
        "--set",
        "limits.max_aspect_ratio=null",
        "--set",
        "limits.min_side_px=1",
        "--set",
        "limits.min_interocular_px=0",
        "--set",
        "limits.max_padded=1",
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["member"].startswith("derived/"):
            found.setdefault(Path(row["member"]).name, []).append({**row, "out": out})
    return found


def test_the_ledger_closes_for_every_source(
    built: tuple[Path, list[dict[str, Any]]], real_data: Path
) -> None:
    out, rows = built
    counts = inventory.counts(corpora.load(str(out)))
    for name, count in counts.items():
        with tarfile.open(real_data / ARCHIVES[name]) as tar:
            assert count == sum(member.isfile() for member in tar), name
    ledgers = close(counts, pq.read_table(out / "selection.parquet"))
    assert all(entry.closes for entry in ledgers.values())
    assert len({row["id"] for row in rows}) == len(rows) == sum(counts.values())


def test_faces_are_kept_and_landscapes_are_not(built: tuple[Path, list[dict[str, Any]]]) -> None:
    _, rows = built
    states = Counter((row["source"], row["state"]) for row in rows)
    assert states["nonfaces", "kept"] <= 0.02 * sum(row["source"] == "nonfaces" for row in rows)
    assert states["lfw", "kept"] >= 0.98 * sum(row["source"] == "lfw" for row in rows)
    assert states["photos", "kept"] > 100


def test_no_photograph_ends_in_an_error_of_ours(built: tuple[Path, list[dict[str, Any]]]) -> None:
    assert not [row["id"] for row in built[1] if row["reason"] in ("error", "unreadable")]
    assert not [
        row["id"] for row in built[1] if row["source"] in ("lfw", "nonfaces") and row["state"] == "failed"
    ]


def test_every_odd_file_ends_as_its_manifest_says(
    derived: dict[str, list[dict[str, Any]]], real_data: Path
) -> None:
    with tarfile.open(real_data / "formats.tar") as tar:
        file = tar.extractfile("./derived/manifest.json")
        assert file is not None
        manifest = json.load(file)
    wrong: list[str] = []
    for name, entry in manifest.items():
        rows, expect = derived[name], entry["expect"]
        states, reasons = {row["state"] for row in rows}, {row["reason"] for row in rows}
        faces = 0 if reasons == {"no_face"} else len(rows)
        usable = states <= {"kept", "duplicate"}
        good = {
            "ok:1face": usable and faces == 1,
            "ok:1face(small)": usable and faces == 1,
            "ok:2faces": usable and faces == 2,
            "ok:0face": states == {"rejected"} and reasons == {"no_face"},
            "ok:maybe0": usable or reasons in ({"no_face"}, {"implausible_face"}),
            "corrupt": states == {"failed"} and reasons <= {"corrupt", "empty"},
            "reject": states == {"rejected"} and reasons == {"too_many_pixels"},
            "edge": len(rows) == 1 and states < {"kept", "duplicate", "failed"},
        }.get(expect, usable and ("duplicate" in expect or "identical" in expect))
        if not good:
            wrong.append(
                f"{name}: expected {expect}, is {[(r['state'], r['reason'], r['detail']) for r in rows]}"
            )
    assert not wrong, "\n".join(wrong)


def test_byte_identical_and_recompressed_copies_are_duplicates(
    derived: dict[str, list[dict[str, Any]]],
) -> None:
    same = ["rgb_baseline.jpg", "dup_bytes.jpg", "dup_exact.jpg", "rgb_progressive.jpg", "lossless.webp"]
    clusters = {derived[name][0]["cluster"] for name in same}
    assert len(clusters) == 1 and clusters != {None}


def crop_of(row: dict[str, Any]) -> np.ndarray:
    """The staged crop of a row, whether it was kept or a duplicate."""
    staged = (row["out"] / "staged" / f"{row['unit']}.crops").read_bytes()
    jpg = staged[row["crop_offset"] : row["crop_offset"] + row["crop_bytes"]]
    return np.asarray(Image.open(io.BytesIO(jpg)).convert("RGB")).astype(np.float64)


@pytest.mark.parametrize(
    ("name", "like", "within"),
    [
        ("cmyk.jpg", "rgb_baseline.jpg", 6.0),
        ("lossless.webp", "rgb_baseline.jpg", 4.0),
        ("rgb.tif", "rgb_baseline.jpg", 4.0),
        ("rgb.avif", "rgb_baseline.jpg", 6.0),
        ("rgb.jp2", "rgb_baseline.jpg", 4.0),
        ("palette.png", "rgb_baseline.jpg", 12.0),
        ("gray16.png", "gray.jpg", 4.0),
        ("la.png", "gray.jpg", 80.0),  # transparency lies over it; the mean stays near
        *((f"exif_orient_{n}.jpg", "exif_orient_1.jpg", 6.0) for n in range(2, 9)),
    ],
)
def test_colour_depth_and_orientation_come_out_right(
    derived: dict[str, list[dict[str, Any]]], name: str, like: str, within: float
) -> None:
    assert np.abs(crop_of(derived[name][0]) - crop_of(derived[like][0])).mean() < within


def test_exif_orientation_is_applied(derived: dict[str, list[dict[str, Any]]]) -> None:
    for number in range(1, 9):
        (row,) = derived[f"exif_orient_{number}.jpg"]
        assert (row["width_px"], row["height_px"], row["orientation"]) == (512, 409, number)
        assert abs(row["roll_deg"]) < 20


PEAK = """
import pathlib, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module("facecorpus", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
# Not getrusage: its peak includes that of the process which started this one.
status = pathlib.Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak_mb(arguments: list[str]) -> float:
    """Peak resident memory of the command, in MB."""
    measured = subprocess.run(
        [sys.executable, "-c", PEAK, "facecorpus", *arguments], capture_output=True, text=True, check=True
    )
    return int(measured.stdout.split()[-1]) / 1024


@pytest.mark.slow
def test_a_worker_stays_small_and_a_bomb_costs_nothing(real_data: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    bomb.mkdir()
    with tarfile.open(real_data / "formats.tar") as tar:
        for name in ("./derived/bomb_60000x60000.png", "./derived/rgb_baseline.jpg"):
            file = tar.extractfile(name)
            assert file is not None
            (bomb / Path(name).name).write_bytes(file.read())

    def build_arguments(root: Path, out: str, sources: str) -> list[str]:
        return [
            "build",
            "--root",
            str(root),
            "--out",
            str(tmp_path / out),
            "--sources",
            sources,
            "--recipe",
            "sample",
            "--workers",
            "1",
            "--no-report",
        ]

    with_bomb = peak_mb(build_arguments(bomb, "a", "f=folder:."))
    (bomb / "bomb_60000x60000.png").unlink()
    without = peak_mb(build_arguments(bomb, "b", "f=folder:."))
    assert with_bomb < without + 30
    assert (
        peak_mb(build_arguments(real_data, "c", "photos=archive:photos.tar,formats=archive:formats.tar"))
        < WORKER_LIMIT_MB
    )
