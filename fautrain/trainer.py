"""The one training loop, on Accelerate; nothing else names it.

A step is one update of the weights from `data.batch_per_step` samples over all ranks and micro-batches.
Ordinary steps never wait for the device: losses are summed there and read every `log.every_steps`, and a step
whose gradient is not finite is skipped by the fused optimizer itself.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, gather_object
from numpy.typing import NDArray
from torch import Tensor, nn

from facecorpus.errors import Stopped, UserError
from fautrain import checkpoint, sharding
from fautrain.config import RunConfig, to_plain
from fautrain.data import Batch, Loader, LoaderState
from fautrain.models.flops import peak_flops
from fautrain.optim import effective_lr, lr_at, make_optimizer, set_lr
from fautrain.runlog import RunLog, duration
from fautrain.signals import Agreement, stop_signals
from fautrain.task import Look, Task
from fautrain.threads import choose_threads
from fautrain.window import GOOD, Stopwatch, Window

Kind = TypeVar("Kind", bound=np.generic)

TRIAL_STEPS = 5
"""After the first of this process so many are timed, to say how long the run will take."""
WORTH_SAYING_S = 60.0
"""A run that takes less needs no forecast."""


@dataclass(slots=True)
class Progress:
    """What a run has done; saved with every checkpoint."""

    step: int = 0
    samples: int = 0
    nonfinite: int = 0
    """Steps skipped because their loss or gradient was not finite."""


class Trainer:
    """Trains one task on one loader. `run` is all of it; the rest are its parts."""

    def __init__(
        self, config: RunConfig, run_dir: Path, task: Task, accelerator: Accelerator, corpus: str = ""
    ) -> None:
        """Puts the model on the device and wraps it. `corpus` names the samples; checkpoints keep it."""
        self.corpus = corpus
        self.config, self.run_dir, self.task, self.accelerator = config, run_dir, task, accelerator
        self.device = accelerator.device
        self.threads = choose_threads(task.training_flops(), self.device.type == "cuda")
        torch.set_num_threads(self.threads.number)
        task.to(self.device)
        self.optimizer = make_optimizer(task.network, config.optim)
        choice = config.train.compile
        compiled = self.device.type == "cuda" if choice == "auto" else choice
        if accelerator.is_fsdp2:
            self.wrapped = sharding.shard(accelerator, task, self.optimizer, compiled, task.passes)
        else:
            if accelerator.num_processes > 1:
                sharding.lay_out_gradients(task)
            self.wrapped: nn.Module = accelerator.prepare(sharding.compiled(task) if compiled else task)
        self.progress = Progress()
        self.window = Window()
        self._copying = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
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
        checkpoint.refuse_other_samples(state.step, state.extra, self.corpus)
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
        # Of a run that had another number of ranks, each takes the mean: the mean over ranks is what counts.
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        for name, ranks in state.extra.get("window", {}).items():
            own = ranks[rank] if len(ranks) == world else ranks.mean()
            self.window.sums[name] = own.to(self.device)
        if state.rng is not None:
            checkpoint.restore_rng(state.rng)
        return LoaderState(**state.loader)

    def save(self, loader: LoaderState) -> Path:
        """Write a checkpoint of this moment."""
        self.progress.nonfinite = int(self.nonfinite.item())
        main = self.accelerator.is_main_process
        sums = self._of_all_ranks([*self.window.sums.values()]).cpu() if self.window.sums else None
        window = {} if sums is None else dict(zip(self.window.sums, sums.T.contiguous(), strict=True))
        state = checkpoint.State(
            step=self.progress.step,
            model=sharding.gathered(self.task.network.state_dict(), main),
            optimizer=sharding.gathered(self.optimizer.state_dict(), main),
            loader={"epoch": loader.epoch, "step": loader.step},
            counters=asdict(self.progress),
            extra={"corpus": self.corpus, "window": window},
            config=to_plain(self.config),
        )
        return checkpoint.save(
            self.run_dir,
            state,
            keep=self.config.train.keep,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            barrier=self.accelerator.wait_for_everyone,
            share=lambda path: from_main(self.accelerator, path) or "",
        )

    # -- one step ----------------------------------------------------------------------------------------

    def step(self, micro_batches: Sequence[Batch], lr: float) -> dict[str, Tensor]:
        """One update; returns the step's values (this rank's share of the means), still on the device.

        Where the step is skipped all of them are 0, `good` too, which is 1 elsewhere.
        """
        values: dict[str, Tensor] = {}
        parts = [self.task.inputs(batch) for batch in micro_batches]
        shares = self._shares(micro_batches, parts)
        for number, (part, share) in enumerate(zip(parts, shares, strict=True)):
            inputs = self.on_device(part)
            # Gradients are summed over ranks once, in the last part's backward pass.
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                with self.accelerator.autocast():
                    means: dict[str, Tensor] = self.wrapped(*inputs)
                found = {name: mean * share.get(name, share[""]) for name, mean in means.items()}
                found["loss"] = torch.stack([found[name] for name in self.task.terms]).sum()
                self.accelerator.backward(found["loss"])
            for name, value in found.items():
                value = value.detach().float()
                values[name] = values[name] + value if name in values else value
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = sharding.whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        if self.config.optim.clip_grad is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.config.optim.clip_grad, norm)
        # The norm is the same on all ranks, so all skip or none; the loss need not be looked at: a
        # loss that is not finite has such gradients.
        good = torch.isfinite(norm)
        bad = (~good).float()
        set_lr(self.optimizer, lr)
        self.optimizer.found_inf = bad  # pyright: ignore[reportAttributeAccessIssue] - read by fused steps
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.nonfinite += bad
        values |= {"grad_norm": norm, GOOD: torch.ones_like(norm)}
        return {name: torch.where(good, value, 0.0) for name, value in values.items()}

    def on_device(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the model gets of a batch, where it is computed.

        On a GPU it is copied beside the computing of the step before, in a stream of its own.
        """
        if self._copying is None:
            return tuple(tensor.to(self.device) for tensor in inputs)
        with torch.cuda.stream(self._copying):
            moved = tuple(tensor.to(self.device, non_blocking=True) for tensor in inputs)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._copying)
        for tensor in moved:
            tensor.record_stream(computing)  # its memory is not the copies' again before the step is done
        return moved

    def _shares(
        self, micro_batches: Sequence[Batch], parts: Sequence[tuple[Tensor, ...]]
    ) -> list[dict[str, float | Tensor]]:
        """By what each part's means count, so that their mean over ranks is the mean over the whole step.

        By name for means over what a task counts itself (labels, say), and under "" for means over samples.
        """
        shares: list[dict[str, float | Tensor]] = [{"": b.weight / len(parts)} for b in micro_batches]
        counts = [self.task.counts(*part) for part in parts]
        if counts[0]:
            ranks = self.accelerator.num_processes
            own = torch.tensor([[*count.values()] for count in counts], dtype=torch.float32).to(self.device)
            total: Tensor = self.accelerator.reduce(own.sum(dim=0), reduction="sum")  # pyright: ignore
            for share, row in zip(shares, own * ranks / total.clamp(min=1.0), strict=True):
                share |= dict(zip(counts[0], row, strict=True))
        return shares

    # -- the loop ----------------------------------------------------------------------------------------

    def run(self, loader: Loader, look: Look | None, log: RunLog, state: LoaderState) -> None:
        """Train until the configured end.

        `look` is called at the end of each epoch and of the run, before the checkpoint is written: what it
        writes is written again, the same, where the run is killed in between.

        Raises:
            Stopped: a signal ended it earlier, after a checkpoint.
            UserError: too many steps were not finite, or the loader stopped.
        """
        per_epoch = loader.steps_per_epoch
        total = self.config.train.epochs * per_epoch
        first, end = self.progress.step, min(total, self.config.train.max_steps or total)
        rate = self._schedule(per_epoch, total)
        self.task.train()
        batches, agreement, told = loader.batches(state), Agreement(self.accelerator.num_processes), 0
        with stop_signals() as stop:
            watch = Stopwatch(self._settle)
            while self.progress.step < end and not told:
                micro, lr = self._take(batches), rate(self.progress.step)
                self._count(self.step(micro, lr), self._samples(loader, micro[-1]))
                done, after = self.progress.step, micro[-1].after
                last, epoch_over, epochs = done == end, after.step == 0, done // per_epoch
                log.advance(done)
                if last or done % self.config.log.every_steps == 0:
                    self._log(watch, log, done / per_epoch, lr)
                self._forecast(watch, log, done - first, end - done)
                told = agreement.after_step(stop.signal)
                if look is not None and (last or epoch_over):
                    with watch.paused():
                        look(self, log, epochs, last)
                if last or told or self._due(done, epochs if epoch_over else 0):
                    with watch.paused():
                        log.sync()
                        self.save(after)
        agreement.close()
        if told and self.progress.step < end:
            raise Stopped(told)

    def _schedule(self, per_epoch: int, total: int) -> Callable[[int], float]:
        """The learning rate of a step, from 0, of `total` steps."""
        optim = self.config.optim
        peak = effective_lr(optim.base_lr, self.config.data.batch_per_step) if optim.lr is None else optim.lr
        warmup = round(optim.warmup_epochs * per_epoch)
        return lambda step: lr_at(step, total, warmup, peak, optim.min_lr)

    def _take(self, batches: Iterator[Batch]) -> list[Batch]:
        """The parts of the next step."""
        with self.window.waiting(self.device):
            return [next(batches) for _ in range(self.config.train.accumulate)]

    def _count(self, values: dict[str, Tensor], samples: int) -> None:
        """Note a step that is done."""
        self.window.add(values, samples)
        self.progress.step += 1
        self.progress.samples += samples

    def _settle(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _due(self, step: int, epochs: int) -> bool:
        every, each = self.config.train.checkpoint_every_steps, self.config.train.checkpoint_every_epochs
        return bool((every and step % every == 0) or (each and epochs and epochs % each == 0))

    def _samples(self, loader: Loader, batch: Batch) -> int:
        """Samples of the step, over all ranks and parts."""
        size = self.config.data.batch_per_step
        return min(size, loader.samples - batch.step * size)

    def _forecast(self, watch: Stopwatch, log: RunLog, steps: int, left: int) -> None:
        """Say once how long the run will take, from its first steps but the very first."""
        if steps == 1:
            self._settle()
            self._first_s = watch.total()
        elif steps == 1 + TRIAL_STEPS:
            self._settle()
            each = (watch.total() - self._first_s) / TRIAL_STEPS
            if left * each > WORTH_SAYING_S:
                log.say(f"about {duration(left * each)} to go, {each:.3g} s a step")

    def _log(self, watch: Stopwatch, log: RunLog, epoch: float, lr: float) -> None:
        """Write a line; here the host waits for the device."""
        window, self.window = self.window, Window()
        self._settle()
        waited = torch.tensor(window.waited(), device=self.device)
        rows = self._of_all_ranks([*window.sums.values(), waited]).tolist()
        skipped = int(self.nonfinite.item())
        seconds = watch.lap()
        *sums, waits = zip(*rows, strict=True)
        totals = dict(zip(window.sums, map(sum, sums), strict=True))
        good = totals.pop(GOOD)
        rate = window.samples / seconds
        values = {name: totals[name] / good if good else math.nan for name in sorted(totals)} | {
            "lr": lr,
            "images_per_s": rate,
            "data_wait": max(waits) / seconds,
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

    def _of_all_ranks(self, values: Sequence[Tensor]) -> Tensor:
        """Scalars on the device as (ranks, values)."""
        return self.accelerator.gather(torch.stack([*values])[None])  # pyright: ignore

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


def computes_in_bf16(precision: str) -> bool:
    """What `train.precision` means on this machine."""
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16" or (precision == "auto" and native)


def make_accelerator(config: RunConfig) -> Accelerator:
    """The processes and the precision of a run, as the launcher set them up."""
    # The buffers are constants, the same on all ranks.
    kwargs = DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False)
    plugin = sharding.sharding_plugin() if config.train.strategy == "fsdp2" else None
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # else several processes on CPUs are taken for as many runs of one
        mixed_precision="bf16" if computes_in_bf16(config.train.precision) else "no",
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
