"""Small labelled shards whose pictures show their labels, and settings to fine-tune on them in seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch

from facecorpus import schema
from facecorpus.shards import ShardWriter, sample_key
from fautrain.config import FinetuneConfig, override
from fautrain.data.benchmark import Benchmark, benchmark
from fautrain.recipes import finetuning_recipe
from fautrain.targets import Target
from fautrain.targets.expression import Expression
from fautrain.targets.intensity import LEVELS, Intensity
from fautrain.targets.occurrence import Occurrence

PX = 32
BANDS = 4
"""Each takes three AUs, a colour channel each: room for the twelve of BP4D, and a mirror changes nothing."""
VIDEOS = {"disfa": ("right",), "bp4d": ("T1", "T2"), "bp4d_plus": ("T1", "T6")}
PRESENT = 0.4
"""Share of the frames that show an AU."""
SMALL = (
    "model.image_px=32",
    "model.patch_px=16",
    "data.workers=0",
    "data.batch_per_step=32",
    "data.rrc_scale=1,1",
    "optim.lr=1e-3",
    "optim.warmup_epochs=1",
    "optim.layer_decay=0.9",
    "optim.clip_grad=1",
    "train.epochs=2",
    "train.eval_every_epochs=1",
    "log.every_steps=1",
)
"""What the tests rely on, whatever the recipe says."""

CROPS = {
    "recipe": {"align": "none", "size_px": PX},
    "sources": [{"name": "disfa", "origin": {"synthetic": True}}],
}
"""What the table says of the pictures."""

Row = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def one_cpu() -> Iterator[None]:
    """One thread and no GPU, for a module that imports this: the numbers are compared bit by bit."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


def picture(present: Iterable[float], subject: int) -> bytes:
    """JPEG (PX, PX): AU number k of the benchmark, as far as present (0 to 1), lights channel k % 3 of band
    k // 3. A checkered pattern of the subject lies over it."""
    image = np.full((BANDS, PX // BANDS, PX, 3), 60.0)
    for number, shown in enumerate(present):
        image[number // 3, :, :, number % 3] += 120.0 * shown
    checks = np.random.default_rng(subject).uniform(-45, 45, (4, 2, 3))  # mirrored below
    pattern = np.concatenate([checks, checks[:, ::-1]], axis=1).repeat(PX // 4, 0).repeat(PX // 4, 1)
    return simplejpeg.encode_jpeg(
        (image.reshape(PX, PX, 3) + pattern).astype(np.uint8), 95, colorsubsampling="444"
    )


def rows_of(bench: Benchmark, subject: str, frames: int) -> list[Row]:
    """Manifest rows of one subject: its frames dealt to its videos, each AU present or not by lot."""
    number = bench.subjects.index(subject)
    lots = np.random.default_rng([7, number]).random((frames, len(bench.outputs)))
    videos = VIDEOS[bench.source]
    target = bench.target
    rows: list[Row] = []
    for place, lot in enumerate(lots):
        video, frame = videos[place % len(videos)], place // len(videos) + 1
        labels = [(label, _code(target, draw)) for label, draw in zip(target.labels, lot, strict=True)]
        rows.append(
            {
                "id": f"{bench.source}/{subject}/{video}/{frame:05d}",
                "source": bench.source,
                "identity": subject,
                "video": video,
                "frame": frame,
                "labels": labels,
            }
        )
    return rows


def _code(target: Target, lot: float) -> int:
    """What a lot in [0, 1) codes: an AU absent, present, or at a level from 1 to 5."""
    if lot >= PRESENT:
        return 0
    if isinstance(target, Intensity):
        return 1 + int(LEVELS * lot / PRESENT)
    assert isinstance(target, Occurrence)
    return int(target.positive.split()[1])


def write_labelled(
    out: Path,
    dataset: str,
    *,
    frames: int = 8,
    subjects: Sequence[str] = (),
    redrawn: Sequence[str] = (),
    change: Callable[[Row], object] = lambda row: None,
) -> Path:
    """Shards, manifests and table of a benchmark as `facecorpus build` lays them out, one subject a shard.

    Args:
        out: folder of the corpus, returned. dataset: name of the benchmark. frames: of each subject.
        subjects: none means all. redrawn: subjects whose pictures show none of their labels. change: may
            alter each manifest row, after its picture was made.
    """
    bench = benchmark(dataset)
    shards = [
        [(row, bench.subjects.index(subject)) for row in rows_of(bench, subject, frames)]
        for subject in subjects or bench.subjects
    ]
    return write_shards(out, bench, shards, redrawn, change)


def write_pictures(out: Path, dataset: str, *, pictures: Mapping[str, int], seed: int = 5) -> Path:
    """Shards of pictures without subjects, so many of each split, each with one class of an expression."""
    bench = benchmark(dataset)
    assert isinstance(bench.target, Expression)
    lots = np.random.default_rng(seed)
    shards: list[list[tuple[Row, int]]] = []
    for split, count in pictures.items():
        classes = np.resize(np.arange(len(bench.outputs)), count)
        codes = np.array(bench.target.codes)[lots.permutation(classes)]
        rows = [
            {
                "id": f"{bench.source}/{split}_{number:05d}.jpg",
                "source": bench.source,
                "split": split,
                "labels": [(bench.target.label, int(code))],
            }
            for number, code in enumerate(codes)
        ]
        shards.append([(row, int(lots.integers(1 << 30))) for row in rows])
    return write_shards(out, bench, shards)


def write_shards(
    out: Path,
    bench: Benchmark,
    shards: Sequence[Sequence[tuple[Row, int]]],
    redrawn: Sequence[str] = (),
    change: Callable[[Row], object] = lambda row: None,
) -> Path:
    """The rows of each shard, each with the number that its picture's pattern is drawn by."""
    (out / "shards").mkdir(parents=True)
    table: list[Row] = []
    for number, rows_and_patterns in enumerate(shards):
        path = out / "shards" / schema.shard_name(bench.source, number)
        rows = [row for row, _ in rows_and_patterns]
        with path.open("wb") as file:
            writer = ShardWriter(file)
            for row, pattern in rows_and_patterns:
                codes = np.array([[code for _, code in row["labels"]]])
                highest = LEVELS if isinstance(bench.target, Intensity) else 1
                shown = bench.target.decode(codes)[0] / highest * (row.get("identity") not in redrawn)
                data, row["key"] = picture(shown, pattern), sample_key(row["id"])
                placed = writer.add(row["key"], {"jpg": data})
                row |= {"sample_offset": placed.sample_offset, "jpg_bytes": len(data)}
                row["jpg_offset"] = placed.payload_offsets["jpg"]
                change(row)
            writer.finish()
        pq.write_table(pa.Table.from_pylist(rows, schema.MANIFEST), path.with_suffix(".parquet"))
        table.append(
            {
                "shard": path.name,
                "samples": len(rows),
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "first_key": rows[0]["key"],
                "last_key": rows[-1]["key"],
            }
        )
    described = schema.SHARDS.with_metadata({schema.CROPS: json.dumps(CROPS)})
    pq.write_table(pa.Table.from_pylist(table, described), out / "shards.parquet")
    return out


def small(dataset: str, shards: Path, *settings: str, recipe: str = "tiny") -> FinetuneConfig:
    """The recipe on pictures of 32 px, with further `--set` settings."""
    base = finetuning_recipe(recipe, dataset)
    where = (f"data.shards={shards}", f"data.cache={shards / 'cache' / 'fautrain'}")
    return override(base, [*SMALL, *where, *settings])


def files_of(out: Path) -> dict[str, bytes]:
    """What a run promises to be the same however often it was interrupted, by path in its folder."""
    promised = [*out.glob("**/predictions/*.parquet"), *out.glob("**/fold.json")]
    promised += [out / name for name in ("result.json", "table.md", "report.html")]
    return {str(path.relative_to(out)): path.read_bytes() for path in promised if path.exists()}
