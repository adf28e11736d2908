"""How fast the training loader is, beside its limit and beside the pipeline that MAE's users have.

    python tools/bench_loader.py [--shards SHARDS] [--images 2000] [--seconds 1] [--rounds 12]

All rates are taken in turn, round after round in one run on the same shards, and the best round of each
counts, so that the ratios hold on a shared machine. They are:

- bare decode: `simplejpeg.decode_jpeg(data, "RGB")` over pictures already in memory, in this process, each
  dropped at once; and the same followed by the bicubic resize of a crop to 224 px, the limit of a random
  resized crop;
- the loader with one and two workers, resize + flip and random resized crop + flip. Workers are started
  before and stay; before each measurement what they had prepared is used up;
- torchvision: stock webdataset, Pillow, the transforms of FMAE (Resize, flip, ToTensor, Normalize) or MAE
  (RandomResizedCrop bicubic in place of Resize), one DataLoader worker.

Beside images per second of wall time there are images per second of processor time (of the workers; for the
bare loops, of this process), which other people's processes disturb less.

Without --shards: 224 px, quality 95, 4:4:4, made of the photographs that FACE_REAL_DATA points to
(lfw160.tar), else of drawn faces.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import multiprocessing
import os
import platform
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import torch
import webdataset
from torchvision import transforms

from facecorpus.shards import ShardWriter, sample_key
from fautrain.data import Augment, LoaderOptions, make_loader, open_corpus, shard_cache
from fautrain.data.dataset import ShardFiles

PX, BATCH, PREFETCH = 224, 64, 2
AUGMENTS = ("resize-flip", "rrc-flip")


def pictures(folder: Path, preset: str = "sample") -> Iterator[bytes]:
    """Encoded pictures, without end; drawn ones are of that preset."""
    real = os.environ.get("FACE_REAL_DATA")
    if real:
        tar_path = Path(real) / "lfw160.tar"
    else:
        from facecorpus.synth.datasets import write_datasets

        write_datasets(folder / "drawn", preset=preset, sources=("casia_webface",))
        tar_path = folder / "drawn.tar"
        with tarfile.open(tar_path, "w") as tar:
            for path in sorted((folder / "drawn" / "casia_webface").rglob("*.jpg")):
                if cv2.haveImageReader(str(path)):  # some are damaged, as in real sets
                    tar.add(path)
    while True:
        with tarfile.open(tar_path) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.name.endswith(".jpg") else None
                if file:
                    yield file.read()


def make_shards(folder: Path, images: int, per_shard: int = 500, preset: str = "sample") -> str:
    """Shards of `images` pictures at 224 px, q95, 4:4:4; returns their glob."""
    source = pictures(folder, preset)
    (folder / "shards").mkdir()
    for number, first in enumerate(range(0, images, per_shard)):
        with (folder / "shards" / f"bench-{number:06d}.tar").open("wb") as file:
            writer = ShardWriter(file)
            for n in range(first, min(images, first + per_shard)):
                image = cv2.imdecode(np.frombuffer(next(source), np.uint8), cv2.IMREAD_COLOR_RGB)
                image = cv2.resize(image, (PX, PX), interpolation=cv2.INTER_CUBIC)
                data = simplejpeg.encode_jpeg(image, 95, "RGB", "444")
                writer.add(sample_key(str(n)), {"jpg": data})
            writer.finish()
    return str(folder / "shards" / "*.tar")


@dataclass(frozen=True)
class Rate:
    """Images per second."""

    wall: float
    processor: float

    def best(self, other: Rate) -> Rate:
        """The better of both kinds."""
        return Rate(max(self.wall, other.wall), max(self.processor, other.processor))


def processor_s(pids: list[int]) -> float:
    """Processor time that processes have used so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rate(step: Callable[[], int], seconds: float, pids: list[int] | None = None) -> Rate:
    """The rate of `step`, which says how many images it handled, in this process or in the workers `pids`."""
    clock = (lambda: processor_s(pids)) if pids else time.process_time
    done, start, used = 0, time.perf_counter(), clock()
    while time.perf_counter() - start < seconds:
        done += step()
    return Rate(done / (time.perf_counter() - start), done / max(clock() - used, 1e-3))


def bare(data: list[bytes], resize: bool) -> Callable[[], int]:
    """Decodes the next 64 pictures, and with `resize` enlarges a crop of half the area of each."""
    out = np.zeros((PX, PX, 3), np.uint8)
    side = round(PX * 0.5**0.5)
    place = 0

    def step() -> int:
        nonlocal place
        for _ in range(BATCH):
            image = simplejpeg.decode_jpeg(data[place % len(data)], "RGB")
            if resize:
                cv2.resize(
                    image[20 : 20 + side, 30 : 30 + side], (PX, PX), out, interpolation=cv2.INTER_CUBIC
                )
            place += 1
        return BATCH

    return step


def ours(shards: str, cache: str, augment: str, workers: int) -> Iterator[torch.Tensor]:
    """Batches of the loader, without end."""
    options = LoaderOptions(
        batch_per_step=BATCH, augment=Augment(augment), workers=workers, prefetch=PREFETCH, cache=cache
    )
    return (batch.images for batch in make_loader(open_corpus(shards, shard_cache(cache)), options).batches())


def torchvisions(shards: list[str], augment: str) -> Iterator[torch.Tensor]:
    """Batches of webdataset + Pillow + torchvision with one worker, without end."""
    resize: Any = transforms.Resize((PX, PX))
    if augment == "rrc-flip":
        bicubic = transforms.InterpolationMode.BICUBIC
        resize = transforms.RandomResizedCrop(PX, scale=(0.2, 1.0), interpolation=bicubic)
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    transform = transforms.Compose(
        [resize, transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise]
    )
    samples = (
        webdataset.WebDataset(shards, shardshuffle=len(shards))
        .repeat()
        .shuffle(1000, initial=100)
        .decode("pil")
        .to_tuple("jpg")
        .map_tuple(transform)
    )
    loader = torch.utils.data.DataLoader(samples, batch_size=BATCH, num_workers=1, prefetch_factor=PREFETCH)
    return (images for (images,) in loader)


def steady(make: Callable[[], Iterator[torch.Tensor]], workers: int) -> Callable[[float], Rate]:
    """Start the workers; what is returned measures the rate at which batches come once the prepared ones, and
    those begun, are used up."""
    others = {p.pid for p in multiprocessing.active_children()}
    batches = make()
    next(batches)
    pids = [p.pid for p in multiprocessing.active_children() if p.pid and p.pid not in others]
    assert len(pids) == workers

    def run(seconds: float) -> Rate:
        for _ in range(workers * (PREFETCH + 1)):
            next(batches)
        return rate(lambda: len(next(batches)), seconds, pids)

    return run


def measure(shards: str, cache: str, seconds: float, rounds: int) -> dict[str, Rate]:
    """Best rate of each."""
    corpus = open_corpus(shards, shard_cache(cache))
    files = ShardFiles(corpus, shard_cache(cache), 8)
    data = [files.read(*corpus.locate(i)) for i in range(min(len(corpus), 1000))]
    mean = sum(map(len, data)) / len(data)
    print(f"{len(corpus)} samples in {len(corpus.shards)} shards, {mean:.0f} bytes each")
    runs: dict[str, Callable[[float], Rate]] = {
        "decode": lambda s: rate(bare(data, resize=False), s),
        "decode and resize": lambda s: rate(bare(data, resize=True), s),
    }
    for augment in AUGMENTS:
        for workers in (1, 2):
            runs[f"{augment} x{workers}"] = steady(
                lambda a=augment, w=workers: ours(shards, cache, a, w), workers
            )
        paths = [s.url for s in corpus.shards]
        runs[f"{augment} torchvision"] = steady(lambda a=augment, p=paths: torchvisions(p, a), 1)
    best = dict.fromkeys(runs, Rate(0, 0))
    for number in range(rounds):
        now = {name: run(seconds) for name, run in runs.items()}
        best = {name: now[name].best(best[name]) for name in runs}
        shown = ", ".join(f"{name} {r.wall:.0f} / {r.processor:.0f}" for name, r in now.items())
        print(f"round {number + 1}, load {os.getloadavg()[0]:.1f}: {shown}", file=sys.stderr)
    return best


def table(best: dict[str, Rate]) -> str:
    """The Markdown table."""
    heads = ["what", "images/s", "images per processor second", "of bare decode"]
    heads += ["of bare decode and resize", "against torchvision", "2 workers / 1"]
    rows = [f"| {' | '.join(heads)} |", "|---|--:|--:|--:|--:|--:|--:|"]

    def ratio(name: str, to: str, form: str = ".0%") -> str:
        a, b = best[name], best[to]
        ends = "x" if form != ".0%" else ""
        return f"{format(a.wall / b.wall, form)}{ends} / {format(a.processor / b.processor, form)}{ends}"

    def row(what: str, name: str, *ratios: str) -> None:
        cells = [what, f"{best[name].wall:,.0f}", f"{best[name].processor:,.0f}", *ratios]
        rows.append("| " + " | ".join(cells + [""] * (7 - len(cells))) + " |")

    row("bare decode loop", "decode", "100%")
    row("bare decode and resize loop", "decode and resize", ratio("decode and resize", "decode"), "100%")
    for augment in AUGMENTS:
        one, two, theirs = f"{augment} x1", f"{augment} x2", f"{augment} torchvision"
        resizing = ratio(one, "decode and resize") if augment == "rrc-flip" else ""
        row(f"loader, {augment}, 1 worker", one, ratio(one, "decode"), resizing, ratio(one, theirs, ".1f"))
        row(f"loader, {augment}, 2 workers", two, "", "", "", f"{best[two].wall / best[one].wall:.2f}x")
        row(f"webdataset + Pillow + torchvision, {augment}, 1 worker", theirs, ratio(theirs, "decode"))
    return "\n".join([*rows, "", "Ratios: of wall time / of processor time."])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", help="glob of shards with 224 px JPEGs; default: made for the occasion")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards = options.shards or make_shards(Path(folder), options.images)
        best = measure(shards, str(Path(folder) / "cache"), options.seconds, options.rounds)
    names = ("torch", "torchvision", "webdataset", "simplejpeg", "opencv-python-headless", "pillow", "numpy")
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names)
    print(f"`python {' '.join(sys.argv)}`, best of {options.rounds} rounds of {options.seconds:g} s")
    print(f"{cpu_name()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}\n")
    print(table(best))


def cpu_name() -> str:
    """Model of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
