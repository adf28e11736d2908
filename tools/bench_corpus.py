"""How fast `score` and the whole build are, beside their limit and beside what a user would write today.

    python tools/bench_corpus.py [--images 2000] [--workers 2] [--repeat 3] [--baseline 60]

Everything is measured in one run on the same images, so that the ratios hold on any machine:

- the build: `facecorpus build` of one source with N workers, wall time of `score` and of all phases, start-up
  included and excluded (a second source size gives the slope);
- the limit: every stage timed alone in this process over all images, summed, times the workers;
- by hand: what a user would write today: one image at a time with Pillow, RetinaFace and webdataset's
  ShardWriter.

Real photographs are used where FACE_REAL_DATA points to them (lfw160.tar), drawn ones otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from facecorpus import filters, recipes
from facecorpus.dedup import hashes
from facecorpus.faces import align, detector
from facecorpus.images import decode, encode_jpeg, read_header
from facecorpus.sources.base import parse_spec

SIZE_PX = 224


def collect(folder: Path, count: int) -> Path:
    """A tar of `count` pictures: LFW crops where there are real data, drawn CASIA pictures otherwise."""
    chosen = folder / "pictures.tar"
    real = os.environ.get("FACE_REAL_DATA")
    if real:
        with tarfile.open(Path(real) / "lfw160.tar") as source, tarfile.open(chosen, "w") as target:
            members = [m for m in source if m.isfile() and m.name.endswith(".jpg")][:count]
            for member in members:
                target.addfile(member, source.extractfile(member))
        return chosen
    from facecorpus.synth.datasets import write_datasets

    write_datasets(folder / "drawn", sources=("casia_webface",))
    with tarfile.open(chosen, "w") as target:
        for path in sorted((folder / "drawn" / "casia_webface").rglob("*.jpg"))[:count]:
            target.add(path, str(path.relative_to(folder)))
    return chosen


def best_of(repeat: int, run: Callable[[], Any]) -> tuple[float, Any]:
    """(shortest seconds, last result) of some runs."""
    times: list[float] = []
    result: Any = None
    for _ in range(repeat):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return min(times), result


def measure_stages(tar: Path, repeat: int) -> dict[str, float]:
    """Milliseconds per image of every stage of `score`, each alone over all images in this process."""
    recipe = recipes.recipe("sample")
    model = detector.make_detector("retinaface-mobilenet025", device="cpu")
    source = parse_spec(f"archive:{tar}", str(tar.parent))
    records = list(source.inventory())
    reader = source.reader()
    stages: dict[str, float] = {}

    def stage(name: str, run: Callable[[], list[Any]]) -> list[Any]:
        seconds, result = best_of(repeat, run)
        stages[name] = seconds / len(records) * 1000
        return result

    datas = stage("read", lambda: [reader.read(record) for record in records])
    stage("sha256", lambda: [hashlib.sha256(data).hexdigest() for data in datas])
    headers = stage("header", lambda: [read_header(data, "x.jpg") for data in datas])
    pictures = stage(
        "decode", lambda: [decode(d, h, min_side_px=640) for d, h in zip(datas, headers, strict=True)]
    )
    stage("hash", lambda: [(hashes.pixel_hash(p.rgb), hashes.image_hash(p.rgb)) for p in pictures])

    def detect() -> list[Any]:
        groups = [pictures[i : i + 32] for i in range(0, len(pictures), 32)]
        return [
            f
            for g in groups
            for f in detector.detect_many(model, [p.rgb for p in g], pyramid=recipe.pyramid_px)
        ]

    faces = stage("detect", detect)
    pairs = [(p, f[0]) for p, f in zip(pictures, faces, strict=True) if f]

    def cut() -> list[Any]:
        crops = []
        for picture, face in pairs:
            align.pose_degrees(face.points_px)
            matrix = align.align_similarity(face.points_px, SIZE_PX, template=recipe.template).matrix
            crops.append(align.warp(picture.rgb, matrix, SIZE_PX)[0])
        return crops

    crops = stage("align and warp", cut)
    stage("measure", lambda: [(filters.measure_crop(crop), hashes.crop_hash(crop)) for crop in crops])
    stage("encode", lambda: [encode_jpeg(crop, quality=recipe.jpeg_quality, chroma="444") for crop in crops])
    return stages


def build(tar: Path, out: Path, workers: int, phases: Sequence[str]) -> dict[str, float]:
    """Seconds of each phase of a fresh corpus, each in a process of its own as a user runs it."""
    command = [sys.executable, "-m", "facecorpus"]
    seconds: dict[str, float] = {}
    for phase in phases:
        if phase == "inventory":
            arguments = [
                "inventory",
                "--root",
                str(tar.parent),
                "--sources",
                f"pictures=archive:{tar.name}",
                "--out",
                str(out),
                "--recipe",
                "sample",
                "--workers",
                str(workers),
            ]
        else:
            arguments = [phase, str(out), *([] if phase == "select" else ["--workers", str(workers)])]
        start = time.perf_counter()
        subprocess.run([*command, *arguments], check=True, capture_output=True)
        seconds[phase] = time.perf_counter() - start
    return seconds


def by_hand(tar: Path, out: Path, count: int) -> dict[str, float]:
    """Images per second of two loops a user would write: one image at a time, Pillow, RetinaFace,
    ShardWriter."""
    import webdataset as wds

    model = detector.make_detector("retinaface-mobilenet025", device="cpu")
    with tarfile.open(tar) as source:
        datas = [source.extractfile(m).read() for m in source if m.isfile()][:count]  # type: ignore[union-attr]

    def loop(name: str, find: Callable[[np.ndarray], np.ndarray | None]) -> float:
        start = time.perf_counter()
        with wds.ShardWriter(str(out / f"{name}-%06d.tar"), verbose=0) as writer:
            for number, data in enumerate(datas):
                rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
                points = find(rgb)
                if points is None:
                    points = np.array([[50, 60], [110, 60], [80, 90], [55, 120], [105, 120]], np.float32)
                matrix = align.align_similarity(points, SIZE_PX).matrix
                crop = cv2.warpAffine(rgb, matrix, (SIZE_PX, SIZE_PX), flags=cv2.INTER_LINEAR)
                writer.write({"__key__": f"{number:08d}", "jpg": Image.fromarray(crop)})
        return len(datas) / (time.perf_counter() - start)

    def mobilenet(rgb: np.ndarray) -> np.ndarray | None:
        scale = 640 / max(rgb.shape[:2])
        large = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        faces = model.detect_batch([large])[0]
        return faces[0].points_px / scale if faces else None

    rates = {"RetinaFace mobilenet0.25 at 640 px": loop("mobilenet", mobilenet)}
    try:
        rates["retinaface-pytorch ResNet-50, its predict_single steps"] = loop("resnet50", resnet50())
    except ImportError as error:
        print(f"(ResNet-50 left out: {error})", file=sys.stderr)
    return rates


def resnet50() -> Callable[[np.ndarray], np.ndarray | None]:
    """`retinaface-pytorch`'s network and post-processing in the order its `predict_single` has (max_size
    1024).

    Random weights: the published ones need a connection, and the time does not depend on them. What they find
    is ignored.
    """
    import torch
    from retinaface.box_utils import decode as decode_boxes
    from retinaface.box_utils import decode_landm
    from retinaface.network import RetinaFace
    from retinaface.prior_box import priorbox
    from torchvision.ops import nms

    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = RetinaFace(
        name="Resnet50",
        pretrained=False,
        return_layers={"layer2": 1, "layer3": 2, "layer4": 3},
        in_channels=256,
        out_channels=256,
    ).eval()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    variance = [0.1, 0.2]

    def find(rgb: np.ndarray) -> np.ndarray | None:
        scale = 1024 / max(rgb.shape[:2])
        large = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        tensor = torch.from_numpy(((large / 255 - mean) / std).astype(np.float32)).permute(2, 0, 1)[None]
        with torch.no_grad():
            loc, conf, land = network(tensor)
        priors = priorbox(
            min_sizes=[[16, 32], [64, 128], [256, 512]],
            steps=[8, 16, 32],
            clip=False,
            image_size=large.shape[:2],
        )
        scores = torch.softmax(conf, dim=-1)[0][:, 1]
        best = scores.topk(200).indices
        boxes = decode_boxes(loc[0], priors, variance)[best]
        decode_landm(land[0], priors, variance)
        nms(boxes, scores[best], 0.4)
        return None

    return find


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--baseline", type=int, default=60, help="images for the loops written by hand")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        tar = collect(Path(folder), options.images)
        with tarfile.open(tar) as archive:
            count = sum(1 for m in archive if m.isfile())
        # Half the images as well: the difference is the rate without start-up, which a large corpus has.
        (Path(folder) / "half").mkdir()
        half = collect(Path(folder) / "half", count // 2)
        phases = ("inventory", "score", "select", "materialise", "verify")
        runs: list[tuple[dict[str, float], dict[str, float]]] = []
        stages: dict[str, float] = {}
        for number in range(options.repeat):
            whole = build(tar, Path(folder) / f"whole-{number}", options.workers, phases)
            part = build(half, Path(folder) / f"part-{number}", options.workers, phases)
            runs.append((whole, part))
            for name, value in measure_stages(
                tar, 1
            ).items():  # interleaved: both see the same state of the machine
                stages[name] = min(value, stages.get(name, value))
        hand = by_hand(tar, Path(folder), options.baseline)
    whole = {phase: min(run[0][phase] for run in runs) for phase in phases}
    part = {phase: min(run[1][phase] for run in runs) for phase in phases}
    report(options, count, stages, whole, part, hand)


def report(
    options: argparse.Namespace,
    count: int,
    stages: dict[str, float],
    whole: dict[str, float],
    part: dict[str, float],
    hand: dict[str, float],
) -> None:
    """Print the tables."""
    per_image = sum(stages.values())
    limit = 1000 / per_image * options.workers
    grown = count - count // 2
    steady = grown / (whole["score"] - part["score"])
    everything = sum(whole.values())
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in (
            "numpy",
            "opencv-python-headless",
            "onnxruntime",
            "simplejpeg",
            "pillow",
            "webdataset",
            "pyarrow",
        )
    )
    real = "lfw160 (160 px)" if os.environ.get("FACE_REAL_DATA") else "drawn CASIA-WebFace (250 px)"
    flags = f"--images {count} --workers {options.workers} --repeat {options.repeat}"
    print(f"`python tools/bench_corpus.py {flags}`, {real}\n")
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}\n")
    print("| stage, alone, one process | ms per image |\n|---|---|")
    for name, value in stages.items():
        print(f"| {name} | {value:.2f} |")
    print(f"| sum | {per_image:.2f} |\n")
    print("| what | images/s | of the limit |\n|---|---|---|")
    rows = {
        f"limit: stages summed, x {options.workers} workers": limit,
        f"`score`, {options.workers} workers, without start-up": steady,
        f"`score`, {options.workers} workers, start-up included": count / whole["score"],
        "whole build, five commands, start-ups included": count / everything,
        **{f"by hand: {name}": rate for name, rate in hand.items()},
    }
    for name, rate in rows.items():
        print(f"| {name} | {rate:.1f} | {rate / limit:.0%} |")


if __name__ == "__main__":
    main()
