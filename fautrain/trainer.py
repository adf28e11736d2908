"""The one training loop, on Accelerate; nothing else names it.

A step is one update of the weights from `data.batch_per_step` samples over all ranks and micro-batches.
Ordinary steps never wait for the device: losses are summed there and read every `log.every_steps`, and a step
whose gradient is not finite is skipped by the fused optimizer itself.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, gather_object
from numpy.typing import NDArray
from torch import Tensor, nn

from fautrain import checkpoint, sharding
from fautrain.config import AnyConfig, to_plain
from fautrain.data import Batch, Loader, LoaderState
from fautrain.errors import UserError
from fautrain.models.flops import peak_flops
from fautrain.optim import effective_lr, lr_at, make_adamw, set_lr
from fautrain.runlog import RunLog
from fautrain.tasks.base import Task

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(slots=True)
class Progress:
    """What a run has done; saved with every checkpoint."""

    step: int = 0
    samples: int = 0
    nonfinite: int = 0
    """Steps skipped because their loss or gradient was not finite."""


@dataclass
class _Window:
    """Sums since the last line of the log, on the device where they are made."""

    values: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    steps: int = 0
    samples: int = 0
    waited_s: float = 0.0
    start: float = field(default_factory=time.perf_counter)


class Stop:
    """Set by SIGTERM or SIGINT: the loop writes a checkpoint at the next whole step and ends."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler; a second signal ends the process at once."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextlib.contextmanager
def stop_signals() -> Generator[Stop]:
    """Catch SIGTERM and SIGINT for the time of a run, or of several: within another such time it is that."""
    outer = signal.getsignal(signal.SIGTERM)
    if isinstance(outer, Stop):
        yield outer
        return
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Trainer:
    """Trains one task on one loader. `run` is all of it; the rest are its parts."""

    def __init__(
        self, config: AnyConfig, run_dir: Path, task: Task, accelerator: Accelerator, corpus: str = ""
    ) -> None:
        """Puts the model on the device and wraps it. `corpus` names the samples; checkpoints keep it."""
        self.corpus = corpus
        self.config, self.run_dir, self.task, self.accelerator = config, run_dir, task, accelerator
        self.device = accelerator.device
        task.to(self.device)
        optim = config.optim
        self.optimizer = make_adamw(
            task.network,
            0.0,
            optim.weight_decay,
            betas=optim.betas,
            layer_decay=optim.layer_decay,
            decay_tokens=optim.decay_tokens,
        )
        choice = config.train.compile
        compiled = self.device.type == "cuda" if choice == "auto" else choice
        if accelerator.is_fsdp2:
            self.wrapped = sharding.shard(accelerator, task, self.optimizer, compiled)
        else:
            step: nn.Module = torch.compile(task) if compiled else task  # pyright: ignore[reportAssignmentType]
            self.wrapped: nn.Module = accelerator.prepare(step)
        self.progress = Progress()
        self.nonfinite = torch.zeros((), device=self.device)
        """Skipped steps in all, on the device."""
        peak = peak_flops(torch.cuda.get_device_name(self.device)) if self.device.type == "cuda" else None
        self.peak_flops = peak * accelerator.num_processes if peak else None

    # -- resume ------------------------------------------------------------------------------------------

    def restore(self, state: checkpoint.State) -> LoaderState:
        """Go on from a checkpoint; returns where the loader must go on.

        Raises:
            UserError: it is of another architecture, or of a run on other samples.
        """
        if state.extra["corpus"] != self.corpus:
            raise UserError(
                f"the checkpoint at step {state.step} is of a run on other samples than --shards holds now; "
                "give the same shards, or begin a new run with another --out"
            )
        ours = self.task.network.state_dict()
        parts = {name: sharding.like(value, ours.get(name)) for name, value in state.model.items()}
        try:
            self.task.network.load_state_dict(parts)
        except RuntimeError as error:
            raise UserError(
                f"the checkpoint at step {state.step} does not fit model.size={self.config.model.size}: "
                f"{str(error).splitlines()[-1].strip()}; use the recipe and settings it was made with"
            ) from error
        self.optimizer.load_state_dict(sharding.optimizer_like(state.optimizer, self.optimizer))
        self.progress = Progress(**state.counters)
        self.nonfinite.fill_(self.progress.nonfinite)
        if state.rng is not None:
            checkpoint.restore_rng(state.rng)
        return LoaderState(**state.loader)

    def save(self, loader: LoaderState) -> Path:
        """Write a checkpoint of this moment."""
        self.progress.nonfinite = int(self.nonfinite.item())
        main = self.accelerator.is_main_process
        state = checkpoint.State(
            step=self.progress.step,
            model=sharding.gathered(self.task.network.state_dict(), main),
            optimizer=sharding.gathered(self.optimizer.state_dict(), main),
            loader={"epoch": loader.epoch, "step": loader.step},
            counters={
                "step": self.progress.step,
                "samples": self.progress.samples,
                "nonfinite": self.progress.nonfinite,
            },
            extra={"corpus": self.corpus},
            config=to_plain(self.config),
        )
        return checkpoint.save(
            self.run_dir,
            state,
            keep=self.config.train.keep,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            barrier=self.accelerator.wait_for_everyone,
        )

    # -- one step ----------------------------------------------------------------------------------------

    def step(self, micro_batches: list[Batch], lr: float) -> dict[str, Tensor]:
        """One update; returns the step's values (this rank's share of the means), still on the device."""
        values: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            inputs = tuple(t.to(self.device, non_blocking=True) for t in self.task.inputs(batch))
            # Gradients are summed over ranks once, in the last part's backward pass.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                with self.accelerator.autocast():
                    found: dict[str, Tensor] = self.wrapped(*inputs)
                share = batch.weight / len(micro_batches)
                self.accelerator.backward(found["loss"] * share)
            for name, value in found.items():
                values[name] = values.get(name, 0.0) + value.detach().float() * share
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = sharding.whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        if self.config.optim.clip_grad is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.config.optim.clip_grad, norm)
        # The norm is the same on all ranks, so all skip or none; the loss need not be looked at: a
        # loss that is not finite has such gradients.
        bad = (~torch.isfinite(norm)).float()
        set_lr(self.optimizer, lr)
        self.optimizer.found_inf = bad  # pyright: ignore[reportAttributeAccessIssue] - read by fused steps
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.nonfinite += bad
        return {name: torch.nan_to_num(value) * (1.0 - bad) for name, value in values.items()} | {
            "grad_norm": torch.nan_to_num(norm, posinf=0.0)
        }

    # -- the loop ----------------------------------------------------------------------------------------

    def run(self, loader: Loader, look: Look | None, log: RunLog, state: LoaderState) -> bool:
        """Train until the configured end; returns False when a signal ended it earlier.

        `look` is called at the end of each epoch and of the run, before the checkpoint is written: what it
        writes is written again, the same, where the run is killed in between.

        Raises:
            UserError: too many steps were not finite, or the loader stopped.
        """
        train = self.config.train
        per_epoch = loader.steps_per_epoch
        total = train.epochs * per_epoch
        end = min(total, train.max_steps or total)
        peak = self.config.optim.lr
        if peak is None:
            peak = effective_lr(self.config.optim.base_lr, self.config.data.batch_per_step)
        warmup = round(self.config.optim.warmup_epochs * per_epoch)
        window = _Window()
        self.task.train()
        batches = loader.batches(state)
        with stop_signals() as stop:
            while self.progress.step < end:
                waited = time.perf_counter()
                micro = [next(batches) for _ in range(train.accumulate)]
                window.waited_s += time.perf_counter() - waited
                lr = lr_at(self.progress.step, total, warmup, peak, self.config.optim.min_lr)
                for name, value in self.step(micro, lr).items():
                    window.values[name] = window.values.get(name, 0.0) + value
                state = micro[-1].after
                size = self._samples(loader, micro[-1])
                self.progress.step += 1
                self.progress.samples += size
                window.steps, window.samples = window.steps + 1, window.samples + size
                log.advance(self.progress.step)
                done = self.progress.step
                logged = done % self.config.log.every_steps == 0 or done == end
                stopping = stop.signal is not None
                if logged or (stopping and self.accelerator.num_processes == 1):
                    stopping = self._log(window, log, done / per_epoch, lr, stopping)
                    window = _Window()
                else:
                    stopping = False
                last = done == end
                epoch_over = state.step == 0
                epochs = done // per_epoch
                if look is not None and (epoch_over or last):
                    look(self, log, epochs, last)
                    window.start = time.perf_counter()
                if last or stopping or self._due(done, epochs if epoch_over else 0):
                    log.sync()
                    self.save(state)
                    window.start = time.perf_counter()
                if stopping:
                    return False
        return True

    def _due(self, step: int, epochs: int) -> bool:
        every, each = self.config.train.checkpoint_every_steps, self.config.train.checkpoint_every_epochs
        return bool((every and step % every == 0) or (each and epochs and epochs % each == 0))

    def _samples(self, loader: Loader, batch: Batch) -> int:
        size = self.config.data.batch_per_step
        return min(size, loader.samples - batch.step * size)

    def _log(self, window: _Window, log: RunLog, epoch: float, lr: float, stopping: bool) -> bool:
        """Write a line; here alone the host waits for the device. Returns whether any rank wants to stop."""
        names = sorted(window.values)
        flag = torch.tensor(float(stopping), device=self.device)
        numbers = torch.stack([*(window.values[name] / window.steps for name in names), flag])
        means = self.accelerator.reduce(numbers, reduction="mean").tolist()  # pyright: ignore
        skipped = int(self.nonfinite.item())
        seconds = time.perf_counter() - window.start
        rate = window.samples / seconds
        values = dict(zip(names, means, strict=False)) | {
            "lr": lr,
            "images_per_s": rate,
            "data_wait": window.waited_s / seconds,
            "nonfinite": float(skipped),
        }
        if self.peak_flops:
            values["mfu"] = rate * self.task.training_flops() / self.peak_flops
        log.write(self.progress.step, epoch, values)
        if skipped > self.config.train.max_nonfinite:
            raise UserError(
                f"{skipped} steps had a loss or gradient that is not finite, more than train.max_nonfinite="
                f"{self.config.train.max_nonfinite}; lower optim.lr or base_lr, set optim.clip_grad=1, or "
                f"train.precision=fp32; the last good checkpoint is in {self.run_dir}"
            )
        return means[-1] > 0

    # -- for those who look ------------------------------------------------------------------------------

    def means(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Means over the ranks of scalars on the device."""
        numbers = torch.stack(list(values.values()))
        reduced = self.accelerator.reduce(numbers, reduction="mean").tolist()  # pyright: ignore
        return dict(zip(values, reduced, strict=True))

    def gathered(self, array: NDArray[Kind]) -> NDArray[Kind]:
        """The ranks' arrays one after the other along the first axis; their lengths may differ."""
        if self.accelerator.num_processes == 1:
            return array
        return np.concatenate(gather_object([array]))


Look = Callable[[Trainer, RunLog, int, bool], None]
"""Called with the trainer, the log, the number of whole epochs done, and whether the run ends here."""


def make_accelerator(config: AnyConfig) -> Accelerator:
    """The processes and the precision of a run, as the launcher set them up."""
    precision = config.train.precision
    cuda = torch.cuda.is_available()
    if precision == "auto":
        precision = "bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32"
    kwargs = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    plugin = sharding.sharding_plugin() if config.train.strategy == "fsdp2" else None
    accelerator = Accelerator(
        cpu=not cuda,  # else several processes on CPUs are taken for as many runs of one
        mixed_precision="no" if precision == "fp32" else precision,
        kwargs_handlers=[kwargs],
        fsdp_plugin=plugin,
    )
    if plugin is not None:
        sharding.admit_cpus(accelerator, plugin)
    return accelerator


def from_main(accelerator: Accelerator, value: str | None) -> str | None:
    """What the main process holds, on every process: a checkpoint must be chosen once."""
    values = [value]
    if accelerator.num_processes > 1:
        broadcast_object_list(values)
    return values[0]
