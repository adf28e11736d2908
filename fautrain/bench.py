"""How fast a configuration trains here: the loader alone, the model alone, both together, and what limits."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fautrain.config import LabelledConfig, RunConfig, override
from fautrain.data import Batch
from fautrain.optim import parameter_groups
from fautrain.task import TASKS, Task
from fautrain.trainer import Trainer, make_accelerator

WARM_UP_STEPS = 3
"""Not timed: compilation, allocation, the workers' start."""
LOADER = "loader alone"
ORIGINAL = "end to end as the original: fp16, scaler, wait for every step"
LR = 1e-5
"""Any rate will do; it must not make the weights overflow."""


@dataclass(frozen=True)
class Measured:
    """What was measured, of what, and what the MFU assumes."""

    device: str
    processes: int
    torch: str
    recipe: str
    settings: str
    """Batch, precision, compiler and workers, in words."""
    gflop_per_image: float
    peak_tflops: float | None
    """Dense bf16, of all devices together; None where it is not known, as on a CPU."""
    parameters: int
    learnt: int
    """Of the parameters, those that are trained."""
    peak_memory_mb: float
    """Of this process's device in training; on a CPU by how much the process's own peak grew, pictures that
    wait for it included."""
    images_per_s: Mapping[str, float]
    """What -> rate over all processes."""

    def mfu(self, name: str) -> float | None:
        """Model FLOPs utilisation of a rate in `images_per_s`; None without a peak."""
        if not self.peak_tflops or name == LOADER:
            return None
        return self.images_per_s[name] * self.gflop_per_image / (1000 * self.peak_tflops)


def bench(config: RunConfig, seconds: float, original: bool = False) -> Measured:
    """Measure for about `seconds` each, on this process's part of the devices.

    With `original` also as the released MAE and FMAE code trains, end to end on the same loader. Of two
    stages the first is measured, which trains the encoder.

    Raises:
        UserError: the shards or the settings are unusable.
    """
    accelerator = make_accelerator(config)

    def say(text: str) -> None:
        if accelerator.is_main_process:
            print(f"bench: {text}", file=sys.stderr, flush=True)

    say(f"opening the shards and building the model of {config.name}")
    before = _peak_memory()
    # The time does not depend on the weights.
    config = _first_stage(override(config, ["model.init=none"]))
    rank, world = accelerator.process_index, accelerator.num_processes
    kind = TASKS.get(config.task)
    samples = kind.open(config, rank, world)
    task = kind(config, samples)
    loader = task.loader(rank, world)
    trainer = Trainer(config, Path(), task, accelerator)
    trainer.task.train()
    batches = loader.batches()

    def take() -> list[Batch]:
        return [next(batches) for _ in range(config.train.accumulate)]

    def finish() -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()

    held = take()
    runs: dict[str, Callable[[], object]] = {
        LOADER: take,
        "model alone": lambda: trainer.step(held, LR),
        "end to end": lambda: trainer.step(take(), LR),
    }
    if original:
        runs[ORIGINAL] = _as_the_original(trainer, kind(config, samples), take)
    rates: dict[str, float] = {}
    try:
        for name, run in runs.items():
            say(f"{name}: {WARM_UP_STEPS} steps that are not timed, then {seconds:g} s")
            for _ in range(WARM_UP_STEPS):
                run()
            finish()
            start, steps = time.perf_counter(), 0
            for _ in _for(seconds):
                run()
                steps += 1
            finish()
            rates[name] = steps * config.data.batch_per_step / (time.perf_counter() - start)
    finally:
        loader.close()
    return Measured(
        torch.cuda.get_device_name() if trainer.device.type == "cuda" else platform.processor() or "CPU",
        accelerator.num_processes,
        torch.__version__,
        config.name,
        f"batch {config.data.batch_per_step}, {accelerator.mixed_precision} autocast, "
        f"compile {config.train.compile}, {config.data.workers} workers",
        trainer.task.training_flops() / 1e9,
        trainer.peak_flops / 1e12 if trainer.peak_flops else None,
        sum(p.numel() for p in trainer.task.network.parameters()),
        sum(p.numel() for p in trainer.task.network.parameters() if p.requires_grad),
        (_peak_memory() - before) / 1e6,
        rates,
    )


def _first_stage(config: RunConfig) -> RunConfig:
    return (config.before() if isinstance(config, LabelledConfig) else None) or config


def _peak_memory() -> int:
    """Most bytes so far: of the device, or of this process where it is the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Not getrusage's: that begins at the size of the process which started this one.
    status = Path("/proc/self/status").read_text("ascii", "replace")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _as_the_original(trainer: Trainer, task: Task, take: Callable[[], list[Batch]]) -> Callable[[], object]:
    """A step in the manner of the released code: fp16 with a loss scaler, no compiler, AdamW of many small
    kernels, and the host waiting for every step's loss."""
    task.to(trainer.device).train()
    kind = trainer.device.type
    optimizer = torch.optim.AdamW(
        parameter_groups(task.network, 0.05, decay_tokens=True), lr=LR, betas=(0.9, 0.95), foreach=False
    )
    scaler = torch.amp.GradScaler(kind)

    def step() -> float:
        total = 0.0
        for batch in take():
            inputs = [tensor.to(trainer.device) for tensor in task.inputs(batch)]
            with torch.autocast(kind, torch.float16):
                values = task(*inputs)
                loss = torch.stack([values[name] for name in task.terms]).sum()
            total += loss.item()
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if kind == "cuda":
            torch.cuda.synchronize()
        return total

    return step


def _for(seconds: float) -> Iterator[None]:
    end = time.perf_counter() + seconds
    yield
    while time.perf_counter() < end:
        yield


def table(measured: Measured) -> str:
    """As Markdown, with the FLOPs that the MFU assumes and what limits."""
    rates = measured.images_per_s
    rows = ["| what | images/s | MFU |", "|---|---|---|"]
    for name, rate in rates.items():
        mfu = measured.mfu(name)
        rows.append(f"| {name} | {rate:,.1f} | {'' if mfu is None else f'{mfu:.1%}'} |")
    limit = min(rates[LOADER], rates["model alone"])
    peak = f"{measured.peak_tflops:,.0f} TFLOP/s" if measured.peak_tflops else "unknown, so no MFU"
    head = (
        f"{measured.device} x {measured.processes}, torch {measured.torch}, {measured.recipe}, "
        f"{measured.settings}\n"
        f"{measured.learnt / 1e6:,.2f} M of {measured.parameters / 1e6:,.2f} M parameters learn, peak memory "
        f"{measured.peak_memory_mb:,.0f} MB\n"
        f"assumed: {measured.gflop_per_image:,.2f} GFLOP an image (forward x 3), peak {peak}\n"
    )
    slower = "loader" if limit == rates[LOADER] else "model"
    foot = f"\nend to end is {rates['end to end'] / limit:.0%} of the slower of the two, the {slower}"
    return "\n".join([head, *rows, foot])
