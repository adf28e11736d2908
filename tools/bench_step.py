"""One pretraining step of ViT-B on this machine's CPU, beside the released MAE code's, in one process.

    python tools/bench_step.py --reference PATH [--batch 8] [--rounds 12] [--threads N] [--profile]

PATH is a checkout of facebookresearch/mae (or of FMAE, whose pretraining model is the same file): its
`models_mae.py` is imported from there, not copied. Both train in float32 on the same batch, with normalised
pixels and weight decay as released: forward, loss, backward, AdamW step. Rounds alternate, each order in
turn, and the ratio is of the medians. That both give the same loss from the same weights, pictures and masks
is checked first. `--profile` says what share of our step is matrix products and attention.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fautrain.config import override
from fautrain.data import Batch, LoaderState
from fautrain.models.flops import mae_training_flops
from fautrain.optim import make_adamw, parameter_groups
from fautrain.recipes import pretraining_recipe
from fautrain.tasks.mae import PretrainTask

PRODUCTS = ("mm", "addmm", "bmm", "attention", "convolution")
"""Parts of the names of operators that are matrix products."""


def reference(path: Path) -> Any:
    """The released model, ViT-B, with the names that newer versions of its libraries took away."""
    np.float = float  # type: ignore[attr-defined]
    sys.path.insert(0, str(path))
    import timm.models.vision_transformer as timm_vit

    whole = timm_vit.Block.__init__

    def without_scale(self: Any, *arguments: Any, qk_scale: None = None, **options: Any) -> None:
        whole(self, *arguments, **options)

    timm_vit.Block.__init__ = without_scale  # type: ignore[method-assign]
    spec = importlib.util.spec_from_file_location("models_mae", path / "models_mae.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mae_vit_base_patch16(norm_pix_loss=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="a checkout of facebookresearch/mae; none: ours alone")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    task = PretrainTask(
        override(pretraining_recipe("fmae-vit-base"), [f"data.batch_per_step={options.batch}"]),
        None,  # no samples: the batch is made here
    ).train()
    optimizer = make_adamw(task.network, 1e-4, 0.05, decay_tokens=True)
    pixels = torch.randint(0, 256, (options.batch, 3, 224, 224), dtype=torch.uint8)
    places = torch.arange(options.batch)
    batch = Batch(pixels, places, places, 0, 0, 0, 1.0, (), LoaderState())

    def ours() -> float:
        loss: Tensor = task(*task.inputs(batch))["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    steps: dict[str, Callable[[], float]] = {"fautrain": ours}
    if options.reference:
        steps["released code"] = _released(options.reference, task, pixels, batch)
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(options.rounds):
        for name in list(steps) if number % 2 else reversed(steps):
            start = time.perf_counter()
            steps[name]()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    flop = mae_training_flops(task.network) * options.batch
    print(f"ViT-B, batch {options.batch}, fp32, {options.threads} threads, torch {torch.__version__}\n")
    print("| step | ms (median) | least | GFLOP/s | against the released code |\n|---|---|---|---|---|")
    for name, seconds in medians.items():
        ratio = f"{medians['released code'] / seconds:.2f}x" if options.reference else ""
        least = min(times[name])
        print(
            f"| {name} | {1e3 * seconds:,.0f} | {1e3 * least:,.0f} | {flop / seconds / 1e9:,.0f} | {ratio} |"
        )
    if options.profile:
        for name, step in steps.items():
            print(f"\n{name}:\n{_profile(step)}")


def _released(path: Path, task: PretrainTask, pixels: Tensor, batch: Batch) -> Callable[[], float]:
    """A step of the released code; before, the same weights and masks give the same loss in both."""
    model = reference(path).train()
    missing = model.load_state_dict(task.network.state_dict())
    assert not missing.missing_keys and not missing.unexpected_keys
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (task.config.data.mean, task.config.data.std))
    images = (pixels / 255 - mean) / std
    noise = task.inputs(batch)[1]
    draw = torch.rand
    torch.rand = lambda *_, **__: noise  # type: ignore[assignment] - what the released code masks by
    with torch.no_grad():
        theirs, own = float(model(images, 0.75)[0]), float(task(pixels, noise)["loss"])
    torch.rand = draw
    assert abs(theirs - own) < 1e-4 * own, f"the losses differ: {own} here, {theirs} there"
    print(f"same weights, pictures and masks: loss {own:.6f} here, {theirs:.6f} there\n")
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05, decay_tokens=True), 1e-4, (0.9, 0.95))

    def step() -> float:
        # As its data set and its engine do: pictures come normalised, gradients are zeroed after the step.
        loss = model(images, 0.75)[0]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def _profile(step: Callable[[], float]) -> str:
    """Shares of processor time by operator, of three steps."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(3):
            step()
    events = sorted(profiler.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in events)
    products = sum(e.self_cpu_time_total for e in events if any(p in e.key for p in PRODUCTS))
    lines = [f"  {e.self_cpu_time_total / total:6.1%} {e.key}" for e in events[:12]]
    return "\n".join([f"  {products / total:6.1%} matrix products and attention, in all", *lines])


if __name__ == "__main__":
    main()
