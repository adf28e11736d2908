"""How fast a configuration trains here: the loader alone, the model alone, both together, and what limits."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from fautrain.config import RunConfig
from fautrain.data import Batch
from fautrain.optim import parameter_groups
from fautrain.runs import training_loader
from fautrain.tasks.pretrain import PretrainTask
from fautrain.trainer import Trainer, make_accelerator

WARM_UP_STEPS = 3
"""Not timed: compilation, allocation, the workers' start."""
ORIGINAL = "end to end as the original: fp16, scaler, wait for every step"
LR = 1e-5
"""Any rate will do; it must not make the weights overflow."""


def bench(config: RunConfig, seconds: float, original: bool = False) -> str:
    """Measure for about `seconds` each; returns a Markdown table with the FLOPs that the MFU assumes.

    With `original` also as the released MAE and FMAE code trains, end to end on the same loader.

    Raises:
        UserError: the shards or the settings are unusable.
    """
    accelerator = make_accelerator(config)
    data = config.data
    loader = training_loader(config, accelerator.process_index, accelerator.num_processes)
    parts = config.train.accumulate
    fresh = replace(config, model=replace(config.model, init=None))  # the time does not depend on the weights
    trainer = Trainer(config, Path(), PretrainTask(fresh), accelerator)
    trainer.task.train()
    batches = loader.batches()

    def take() -> list[Batch]:
        return [next(batches) for _ in range(parts)]

    def finish() -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()

    held = take()
    runs: dict[str, Callable[[], object]] = {
        "loader alone": take,
        "model alone": lambda: trainer.step(held, LR),
        "end to end": lambda: trainer.step(take(), LR),
    }
    if original:
        runs[ORIGINAL] = _as_the_original(trainer, take)
    rates: dict[str, float] = {}
    for name, run in runs.items():
        for _ in range(WARM_UP_STEPS):
            run()
        finish()
        start, steps = time.perf_counter(), 0
        for _ in _for(seconds):
            run()
            steps += 1
        finish()
        rates[name] = steps * data.batch_per_step / (time.perf_counter() - start)
    loader.close()
    return _table(trainer, rates)


def _as_the_original(trainer: Trainer, take: Callable[[], list[Batch]]) -> Callable[[], object]:
    """A step in the manner of the released code: fp16 with a loss scaler, no compiler, AdamW of many small
    kernels, and the host waiting for every step's loss."""
    config = trainer.config
    assert isinstance(config, RunConfig)
    task = PretrainTask(replace(config, model=replace(config.model, init=None)))
    task.to(trainer.device).train()
    kind = trainer.device.type
    optimizer = torch.optim.AdamW(
        parameter_groups(task.network, 0.05), lr=LR, betas=(0.9, 0.95), foreach=False
    )
    scaler = torch.amp.GradScaler(kind)

    def step() -> float:
        total = 0.0
        for batch in take():
            inputs = [tensor.to(trainer.device) for tensor in task.inputs(batch)]
            with torch.autocast(kind, torch.float16):
                loss = task(*inputs)["loss"]
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


def _table(trainer: Trainer, rates: dict[str, float]) -> str:
    config, flops = trainer.config, trainer.task.training_flops()
    device = torch.cuda.get_device_name() if trainer.device.type == "cuda" else platform.processor() or "CPU"
    rows = ["| what | images/s | MFU |", "|---|---|---|"]
    for name, rate in rates.items():
        mfu = (
            f"{rate * flops / trainer.peak_flops:.1%}"
            if trainer.peak_flops and name != "loader alone"
            else ""
        )
        rows.append(f"| {name} | {rate:,.1f} | {mfu} |")
    limit = min(rates["loader alone"], rates["model alone"])
    peak = f"{trainer.peak_flops / 1e12:,.0f} TFLOP/s" if trainer.peak_flops else "unknown, so no MFU"
    slower = "loader" if limit == rates["loader alone"] else "model"
    head = (
        f"{device} x {trainer.accelerator.num_processes}, torch {torch.__version__}, {config.name}, "
        f"batch {config.data.batch_per_step}, {trainer.accelerator.mixed_precision} autocast, "
        f"{config.data.workers} workers\n"
        f"assumed: {flops / 1e9:,.2f} GFLOP an image (forward x 3), peak {peak}\n"
    )
    foot = f"\nend to end is {rates['end to end'] / limit:.0%} of the slower of the two, the {slower}"
    return "\n".join([head, *rows, foot])
