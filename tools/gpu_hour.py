"""What a GPU says of this project in 25 minutes: tests, a kill and a resume, training rates, detection.

    tools/gpu_hour.sh [--out build/gpu-hour] [--minutes 25] [--only PART ...] [--reduced]

Leaves OUT/gpu_hour.json and OUT/gpu_hour.md, written anew after each part, and each part's output in
OUT/PART.log. A part that fails or takes longer than its budget is in the table and stops nothing. Needs an
install with the extras resnet50, train and dev. `--reduced` takes the same path on a CPU in some minutes: a
tiny model, few pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PYTHON = sys.executable
GRACE_S = 10
"""Between SIGTERM and SIGKILL."""


@dataclass(frozen=True)
class Part:
    """One measurement: commands in turn, and how their output becomes a cell of the table."""

    name: str
    budget_s: float
    commands: Sequence[Sequence[str]]
    read: Callable[[str, float], dict[str, Any]]
    """(output, seconds) -> results."""


@dataclass
class Outcome:
    """What became of a part."""

    name: str
    ok: bool = False
    seconds: float = 0.0
    budget_s: float = 0.0
    error: str = ""
    results: dict[str, Any] = field(default_factory=dict[str, Any])


def parts(out: Path, reduced: bool) -> list[Part]:
    """All parts in order; the first two make what the others read."""
    workers = min(16, max(1, (os.cpu_count() or 1) - 1)) if not reduced else 1
    shards, labelled = out / "shards", out / "disfa"
    images = 64 if reduced else 6000
    device = "cpu" if reduced else "cuda"
    facecorpus, fautrain = [PYTHON, "-m", "facecorpus"], [PYTHON, "-m", "fautrain"]
    synth = ["--sources", "disfa", "--preset", "tiny", "--frames", "4" if reduced else "12"]

    labels = ["--sources", "disfa", "--root", str(out / "recordings"), "--out", str(labelled), "--no-report"]

    def bench(name: str, recipe: str, batch: int, compiled: bool, *more: str) -> Part:
        path = out / f"{name.replace(' ', '-')}.json"
        seconds = "0.2" if reduced else "6"
        where = ["--shards", str(labelled if "--dataset" in more else shards), "--recipe", recipe]
        values = (f"data.batch_per_step={batch}", f"data.workers={workers}", f"train.compile={compiled}")
        line = [*fautrain, "bench", *where, "--seconds", seconds, "--to", str(path), *more]
        line += [word for value in values for word in ("--set", value)]
        return Part(name, 150, [line], lambda _, __: _rates(path))

    sizes = [("tiny", "tiny", 8)] if reduced else [("ViT-B", "fmae-vit-base", 256)]
    sizes += [] if reduced else [("ViT-L", "fmae-vit-large", 128), ("ViT-S", "fmae-vit-small", 256)]
    train = [
        part
        for name, recipe, batch in sizes
        for part in (
            bench(f"pretrain {name} compiled", recipe, batch, True),
            bench(f"pretrain {name} eager and original", recipe, batch, False, "--original"),
        )
    ]
    tuned, batch = ("tiny", 8) if reduced else ("fmae-iat", 64)
    kill = "killed_run_goes_on_bit_for_bit" if reduced else "killed_run_goes_on_on_a_gpu"
    score = [*facecorpus, "score", str(out / "corpus"), "--device", device, "--workers", str(workers)]
    inventory = [*facecorpus, "inventory", "--sources", f"archive:{out / 'pictures.tar'}"]
    inventory += ["--recipe", "sample", "--out", str(out / "corpus"), "--device", device]
    tests = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    own = [PYTHON, str(HERE / "gpu_hour.py")]
    return [
        Part(
            "shards",
            120,
            [[*own, "--draw", str(images), *(["--reduced"] if reduced else []), "--out", str(out)]],
            _nothing,
        ),
        Part(
            "labelled shards",
            180,
            [
                [*facecorpus, "synth", *synth, "--out", str(out / "recordings")],
                [*facecorpus, "build", *labels],
            ],
            _nothing,
        ),
        Part("pytest -m gpu", 300, [[*tests, "-m", "gpu", "-rs"]], _last_line),
        Part("kill and resume", 150, [[*tests, "tests/test_trainer.py", "-k", kill]], _last_line),
        *train[:4],
        bench("finetune compiled", tuned, batch, True, "--dataset", "disfa"),
        bench("finetune eager and original", tuned, batch, False, "--dataset", "disfa", "--original"),
        Part("detector ResNet-50", 90, [[*own, "--detect", device, "--out", str(out)]], _json_line),
        Part(
            "corpus score",
            150,
            [inventory, score],
            lambda _, seconds: {"images/s, start-up included": images / seconds},
        ),
        *train[4:],
    ]


# -- running -----------------------------------------------------------------------------------------------


def run(chosen: Sequence[Part], out: Path, minutes: float) -> list[Outcome]:
    """Run the parts one after the other; whatever becomes of one, the next has its turn."""
    end, outcomes = time.monotonic() + 60 * minutes, list[Outcome]()
    for part in chosen:
        print(f"{part.name} ...", flush=True)
        outcome = _outcome(part, out, min(part.budget_s, end - time.monotonic()))
        print(f"  {_said(outcome)} ({outcome.seconds:.0f} s)", flush=True)
        outcomes.append(outcome)
        write(outcomes, out)
    return outcomes


def _outcome(part: Part, out: Path, budget_s: float) -> Outcome:
    outcome = Outcome(part.name, budget_s=round(max(0.0, budget_s), 1))
    if budget_s <= 0:
        outcome.error = "not begun: no time was left"
        return outcome
    log, begun = out / f"{part.name.replace(' ', '-')}.log", time.monotonic()
    last = begun
    with log.open("w+", encoding="utf-8", errors="replace") as file:
        for command in part.commands:
            last = time.monotonic()
            outcome.error = _execute(command, file, budget_s - (last - begun))
            if outcome.error:
                break
        outcome.seconds = round(time.monotonic() - begun, 1)
        file.seek(0)
        text = file.read()
    if not outcome.error:
        try:
            outcome.results = part.read(text, time.monotonic() - last)
            outcome.ok = True
        except Exception as error:  # whatever a part says instead of its numbers, the others go on
            outcome.error = f"its result cannot be read ({type(error).__name__}: {error})"
    if outcome.error:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        outcome.error += f": {lines[-1][:300]}" if lines else ""
    return outcome


def _execute(command: Sequence[str], file: Any, budget_s: float) -> str:
    """Run a command in a process group of its own; returns what went wrong."""
    try:
        child = subprocess.Popen(command, stdout=file, stderr=file, cwd=HERE.parent, start_new_session=True)
    except OSError as error:
        return f"could not be started ({error})"
    try:
        code = child.wait(max(0.1, budget_s))
    except subprocess.TimeoutExpired:
        _end(child)
        return f"ended after its budget of {budget_s:.0f} s"
    return f"exit code {code}" if code else ""


def _end(child: subprocess.Popen[Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)  # and then the others of its group, which may live on


# -- results -----------------------------------------------------------------------------------------------


def _nothing(_: str, __: float) -> dict[str, Any]:
    return {}


def _last_line(text: str, _: float) -> dict[str, Any]:
    return {"pytest": text.strip().splitlines()[-1]}


def _json_line(text: str, _: float) -> dict[str, Any]:
    return json.loads(text.strip().splitlines()[-1])


def _rates(path: Path) -> dict[str, Any]:
    measured = json.loads(path.read_text("utf-8"))
    flop, peak = measured["gflop_per_image"] * 1e9, (measured["peak_tflops"] or 0) * 1e12
    mfu = {
        f"MFU, {name}": rate * flop / peak
        for name, rate in measured["images_per_s"].items()
        if peak and name != "loader alone"
    }
    rates = {f"images/s, {name}": rate for name, rate in measured["images_per_s"].items()}
    return {**rates, **mfu, "measured": measured}


def _said(outcome: Outcome) -> str:
    if not outcome.ok:
        return f"FAILED: {outcome.error}"
    cells: list[str] = []
    for name, value in outcome.results.items():
        if isinstance(value, float):
            cells.append(f"{name} {value:.1%}" if name.startswith("MFU") else f"{name} {value:,.1f}")
        elif isinstance(value, str):
            cells.append(value)
    return "; ".join(cells) or "done"


@functools.cache
def machine() -> dict[str, Any]:
    """What was measured on."""
    import torch

    cuda = torch.cuda.is_available()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HERE.parent, capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "device": torch.cuda.get_device_name() if cuda else "no GPU",
        "memory_gib": torch.cuda.get_device_properties(0).total_memory / 2**30 if cuda else None,
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def write(outcomes: Sequence[Outcome], out: Path) -> None:
    """`gpu_hour.json` and `gpu_hour.md`."""
    about = machine()
    whole = {"machine": about, "parts": [asdict(outcome) for outcome in outcomes]}
    (out / "gpu_hour.json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    rows = ["| part | result | s | of |", "|---|---|---|---|"]
    rows += [f"| {o.name} | {_cell(_said(o))} | {o.seconds:.0f} | {o.budget_s:.0f} |" for o in outcomes]
    head = ", ".join(f"{name} {value}" for name, value in about.items() if value)
    (out / "gpu_hour.md").write_text("\n".join([head, "", *rows, ""]), "utf-8")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


# -- parts that are no command of their own ----------------------------------------------------------------


def draw(images: int, out: Path, preset: str) -> None:
    """Drawn faces, `images` of them: shards of 224 px, and the first of these as `pictures.tar`."""
    import shutil

    from bench_loader import make_shards

    make_shards(out, images, per_shard=images, preset=preset)
    (shard,) = (out / "shards").glob("*.tar")
    shutil.copy(shard, out / "pictures.tar")


def detect(device: str) -> None:
    """Images per second of the ResNet-50 detector on noise; its weights are random, the time is the same."""
    import numpy as np
    import torch

    from facecorpus.faces.retinaface_resnet50 import RetinaFaceResnet50, make_network

    cuda = device == "cuda"
    px, batches, seconds = (640, (1, 16, 64), 4.0) if cuda else (96, (1,), 0.2)
    image = np.random.default_rng(0).integers(0, 255, (px, px, 3), np.uint8)
    rates: dict[str, float] = {}
    for half in (False, True) if cuda else (False,):
        for batch in batches:
            model = RetinaFaceResnet50(make_network(), "random", device=device, batch=batch, half=half)
            model.detect_batch([image] * batch)
            done, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                model.detect_batch([image] * batch)
                done += batch
            rate = done / (time.perf_counter() - start)
            rates[f"images/s at {px} px, batch {batch}, {'fp16' if half else 'fp32'}"] = rate
            del model
            torch.cuda.empty_cache() if cuda else None
    print(json.dumps(rates))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/gpu-hour"))
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--only", action="append", help="parts whose name begins so; may be repeated")
    parser.add_argument("--reduced", action="store_true", help="on a CPU, tiny")
    parser.add_argument("--draw", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--detect", help=argparse.SUPPRESS)
    options = parser.parse_args()
    out: Path = options.out.resolve()
    if options.draw:
        draw(options.draw, out, "tiny" if options.reduced else "sample")
    elif options.detect:
        detect(options.detect)
    else:
        if out.exists() and any(out.iterdir()):
            parser.error(f"{out} is not empty; give another --out, or remove it")
        out.mkdir(parents=True, exist_ok=True)
        begins = tuple(options.only or [""])
        chosen = [part for part in parts(out, options.reduced) if part.name.startswith(begins)]
        if not chosen:
            parser.error(f"no part begins with {options.only}")
        outcomes = run(chosen, out, options.minutes)
        print(f"\n{(out / 'gpu_hour.md').read_text('utf-8')}\n{out / 'gpu_hour.json'}")
        return 0 if all(outcome.ok for outcome in outcomes) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
