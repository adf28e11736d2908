"""How fast `score` and the whole build are, beside their limit and beside what a user would write today.

    python tools/bench_corpus.py [--images 6000] [--workers 2] [--repeat 3] [--baseline 60]

Everything is measured in one run on the same images, so that the ratios hold on any machine:

- `score` with N workers while they are busy, and `facecorpus build` as a user runs it, start-up included;
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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does, and before NumPy is imported

import cv2
import numpy as np
from PIL import Image

from facecorpus import pipeline, recipes
from facecorpus.dedup import hashes
from facecorpus.engines import local
from facecorpus.faces import align
from facecorpus.faces.detector import make_detector
from facecorpus.faces.framing import frame
from facecorpus.faces.pose import pose_degrees
from facecorpus.faces.pyramid import detect_many
from facecorpus.faces.warp import warp
from facecorpus.images import decode, encode_jpeg, read_header
from facecorpus.images.measures import measure_crop
from facecorpus.phases import inventory, judging, score
from facecorpus.sources.base import parse_spec
from facecorpus.units import Done

SIZE_PX = 224
LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "simplejpeg",
    "pillow",
    "webdataset",
    "pyarrow",
)


def collect(folder: Path, count: int) -> Path:
    """A tar of `count` pictures, repeated as needed: LFW crops where there are real data, else drawn ones."""
    chosen = folder / "pictures.tar"
    real = os.environ.get("FACE_REAL_DATA")
    if real:
        with tarfile.open(Path(real) / "lfw160.tar") as source:
            pictures = [source.extractfile(m).read() for m in source if m.name.endswith(".jpg")]  # type: ignore[union-attr]
    else:
        from facecorpus.synth.datasets import write_datasets

        write_datasets(folder / "drawn", sources=("casia_webface",))
        pictures = [path.read_bytes() for path in sorted((folder / "drawn" / "casia_webface").rglob("*.jpg"))]
    with tarfile.open(chosen, "w") as target:
        for number in range(count):
            member = tarfile.TarInfo(f"{number:06d}.jpg")
            member.size = len(pictures[number % len(pictures)])
            target.addfile(member, io.BytesIO(pictures[number % len(pictures)]))
    return chosen


def measure_stages(tar: Path) -> dict[str, float]:
    """Milliseconds per image of every stage of `score`, each alone over all images in this process."""
    recipe = recipes.recipe("sample")
    model = make_detector("retinaface-mobilenet025", device="cpu")
    source = parse_spec(f"archive:{tar}", str(tar.parent))
    records = list(source.inventory())
    reader = source.reader()
    stages: dict[str, float] = {}

    def stage(name: str, run: Callable[[], list[Any]]) -> list[Any]:
        start = time.perf_counter()
        result = run()
        stages[name] = (time.perf_counter() - start) / len(records) * 1000
        return result

    datas = stage("read", lambda: [reader.read(record) for record in records])
    stage("sha256", lambda: [hashlib.sha256(data).hexdigest() for data in datas])
    headers = stage("header", lambda: [read_header(data, "x.jpg") for data in datas])
    pictures = stage(
        "decode", lambda: [decode(d, h, min_side_px=640) for d, h in zip(datas, headers, strict=True)]
    )
    stage("hash", lambda: [(hashes.pixel_hash(p.rgb), hashes.perceptual_hash(p.rgb)) for p in pictures])

    def detect() -> list[Any]:
        groups = [pictures[i : i + 32] for i in range(0, len(pictures), 32)]
        return [f for g in groups for f in detect_many(model, [p.rgb for p in g], pyramid=recipe.pyramid_px)]

    faces = stage("detect", detect)
    pairs = [(p, f[0]) for p, f in zip(pictures, faces, strict=True) if f]

    def cut() -> list[Any]:
        crops = []
        for picture, face in pairs:
            pose_degrees(face.points_px)
            wanted = align.align_similarity(face.points_px, SIZE_PX, template=recipe.template).matrix
            size = picture.header.width_px, picture.header.height_px
            framing = frame(wanted, face.points_px, *size, SIZE_PX, recipe.limits.max_padded)
            crops.append((warp(picture.rgb, framing.matrix, SIZE_PX), framing, wanted, picture))
        return crops

    def measure() -> list[Any]:
        found = []
        for crop, framing, wanted, picture in crops:
            same = framing.zoom == 1.0 and framing.padded == 0.0
            whole = crop if same else judging.as_aligned(picture, wanted, SIZE_PX)
            found.append((measure_crop(crop), hashes.perceptual_hash(whole)))
        return found

    crops = stage("align, frame and warp", cut)
    stage("measure", measure)
    stage(
        "encode", lambda: [encode_jpeg(crop, quality=recipe.jpeg_quality, chroma="444") for crop, *_ in crops]
    )
    return stages


def score_rate(tar: Path, out: Path, workers: int) -> float:
    """Images per second of `score` while all workers are busy, between their first and last units.

    Start-up (a second a process) and the wait for the last unit are left out; a large corpus has neither.
    """
    corpus = pipeline.prepare(
        replace(recipes.recipe("sample"), inputs_per_unit=100),
        pipeline.open_sources(f"pictures=archive:{tar.name}", str(tar.parent)),
        str(tar.parent),
        str(out),
        weights=None,
        device="cpu",
    )
    pipeline.run(corpus, inventory.PHASE)
    done = [
        (time.perf_counter(), unit.size)
        for unit, _ in local.run(score.run, corpus, score.plan(corpus, Done(corpus.out)), workers)
    ]
    first, last = workers - 1, len(done) - workers
    return sum(size for _, size in done[first + 1 : last + 1]) / (done[last][0] - done[first][0])


def build_rate(tar: Path, out: Path, workers: int) -> float:
    """Inputs per second of `facecorpus build` as a user runs it: everything included but the report."""
    command = [sys.executable, "-m", "facecorpus", "build", "--root", str(tar.parent), "--out", str(out)]
    command += ["--sources", f"pictures=archive:{tar.name}", "--recipe", "sample", "--no-report"]
    start = time.perf_counter()
    subprocess.run([*command, "--workers", str(workers)], check=True, capture_output=True)
    seconds = time.perf_counter() - start
    with tarfile.open(tar) as archive:
        return sum(1 for member in archive if member.isfile()) / seconds


def by_hand(tar: Path, out: Path, count: int) -> dict[str, float]:
    """Images per second of two loops a user would write: one image at a time, Pillow, RetinaFace,
    ShardWriter."""
    import webdataset as wds

    model = make_detector("retinaface-mobilenet025", device="cpu")
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
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--baseline", type=int, default=60, help="images for the loops written by hand")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tar = collect(Path(folder), options.images)
        stages: dict[str, float] = {}
        rates = {"score": 0.0, "build": 0.0}
        for number in range(options.repeat):  # interleaved: all see the same state of the machine
            cv2.setNumThreads(1)
            for name, value in measure_stages(tar).items():
                stages[name] = min(value, stages.get(name, value))
            out = Path(folder)
            rates["score"] = max(rates["score"], score_rate(tar, out / f"score-{number}", options.workers))
            rates["build"] = max(rates["build"], build_rate(tar, out / f"build-{number}", options.workers))
        cv2.setNumThreads(1)
        hand = by_hand(tar, Path(folder), options.baseline)
    report(options, stages, rates, hand)


def report(
    options: argparse.Namespace, stages: dict[str, float], rates: dict[str, float], hand: dict[str, float]
) -> None:
    """Print the tables."""
    per_image = sum(stages.values())
    limit = 1000 / per_image * options.workers
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    pictures = "lfw160 (160 px)" if os.environ.get("FACE_REAL_DATA") else "drawn CASIA-WebFace (250 px)"
    flags = f"--images {options.images} --workers {options.workers} --repeat {options.repeat}"
    print(f"`python tools/bench_corpus.py {flags}`, {pictures}\n")
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}\n")
    print("| stage, alone, one process | ms per image |\n|---|---|")
    for name, value in stages.items():
        print(f"| {name} | {value:.2f} |")
    print(f"| sum | {per_image:.2f} |\n")
    print("| what | images/s | of the limit |\n|---|---|---|")
    rows = {
        f"limit: stages summed, x {options.workers} workers": limit,
        f"`score`, {options.workers} workers, once they run": rates["score"],
        f"`facecorpus build`, {options.workers} workers, all phases and start-up": rates["build"],
        **{f"by hand, one process: {name}": rate for name, rate in hand.items()},
    }
    for name, rate in rows.items():
        print(f"| {name} | {rate:.1f} | {rate / limit:.0%} |")


if __name__ == "__main__":
    main()
