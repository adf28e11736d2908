"""AUFormer's experts, all of a group as one, beside one module for each expert: time and memory of a step.

    python tools/bench_moke.py [--size base] [--aus 12] [--batch 4] [--rounds 6] [--threads N] [--bf16]

Forward and backward of the whole model, its encoder frozen; both are the same function of the same weights
(checked first; `tests/test_models_moke.py` in float64). Rounds alternate, each order in turn; the ratio is of
the medians. Peak memory is what a process of its own takes for one step beyond model and batch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fautrain.config import ActionUnitModelConfig
from fautrain.models.adapters.moke import ExpertGroup
from fautrain.models.build import build
from fautrain.models.heads import ActionUnitModel

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from module_per_expert import NaiveAUFormer  # pyright: ignore[reportMissingImports]

OURS, LOOP, TUNED = "experts side by side", "one module per expert", "side by side, encoder learns too"
ALONE = "the frozen encoder alone"


def auformer(
    options: argparse.Namespace, frozen: bool = True, adapter: str | None = "moke"
) -> ActionUnitModel:
    """With weights other than the first ones, under which experts add nothing."""
    config = ActionUnitModelConfig(
        size=options.size, pool="class", drop_path=0.0, frozen=frozen, adapter=adapter
    )
    model = build(config, options.aus)
    torch.manual_seed(0)
    for group in (part for part in model.modules() if isinstance(part, ExpertGroup)):
        nn.init.normal_(group.up.weight, std=0.02)
    return model


def step(model: nn.Module, options: argparse.Namespace) -> Callable[[], object]:
    """Forward and backward, of the main heads and those of the experts."""
    images = pictures(options)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            logits, *others = model(images)
        loss = logits.square().mean()
        for other in others:
            if other is not None:
                loss = loss + other.square().mean()
        loss.backward()
        for parameter in model.parameters():
            parameter.grad = None

    return run


def made(name: str, options: argparse.Namespace) -> nn.Module:
    """The model of a row of the table."""
    if name == ALONE:
        return Alone(auformer(options, adapter=None))
    model = auformer(options, frozen=name != TUNED)
    return NaiveAUFormer(model) if name == LOOP else model


class Alone(nn.Module):
    """An encoder whose embedding has a gradient, so that it is passed all the way down as experts need it."""

    def __init__(self, model: ActionUnitModel) -> None:
        super().__init__()
        self.model = model
        self.model.cls_token.requires_grad_()

    def forward(self, images: Tensor) -> Any:
        """As the model."""
        return self.model(images)


def peak(name: str, options: argparse.Namespace) -> float:
    """MB that a first step takes in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (name, options))


def _peak(name: str, options: argparse.Namespace) -> float:
    torch.set_num_threads(options.threads)
    run = step(made(name, options), options)
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def pictures(options: argparse.Namespace) -> Tensor:
    """A batch, the same each time."""
    return torch.randn(options.batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def same(options: argparse.Namespace) -> float:
    """The largest difference of logits between one module per expert and all of a group as one."""
    model, images = auformer(options), pictures(options)
    with torch.no_grad():
        ours, theirs = model(images), NaiveAUFormer(model)(images)
    assert ours.auxiliary is not None
    return max(float((a - b).abs().max()) for a, b in zip((ours[0], ours[2]), theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="base")
    parser.add_argument("--aus", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="autocast; float32 without it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"largest difference of logits: {same(options):.1e}\n")
    names = (ALONE, OURS, LOOP, TUNED)
    peaks = {name: peak(name, options) for name in names}
    runs = {name: step(made(name, options), options) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds + 1):
        for name in names if number % 2 else reversed(names):
            start = time.perf_counter()
            runs[name]()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    precision = "bf16" if options.bf16 else "fp32"
    print(
        f"ViT {options.size}, {options.aus} AUs, batch {options.batch}, {precision}, "
        f"{options.threads} threads\n"
    )
    print("| step | ms an image | against one module per expert | MB an image |\n|---|--:|--:|--:|")
    for name, seconds in medians.items():
        each = 1e3 * seconds / options.batch
        print(
            f"| {name} | {each:,.0f} | {medians[LOOP] / seconds:.1f}x | {peaks[name] / options.batch:,.0f} |"
        )
    rest = {name: medians[name] - medians[ALONE] for name in (OURS, LOOP)}
    print(f"\nThe experts alone, the encoder's time taken off: {rest[LOOP] / rest[OURS]:.1f}x")


if __name__ == "__main__":
    main()
