"""The loop in this process: what it logs, how samples and labels count, what is compiled, how it stops."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import forked
import numpy as np
import psutil
import pytest
import torch
from labelled_shards import one_cpu, small, write_labelled
from safetensors.torch import load_file, save_file
from test_trainer import SETTINGS, shards

from facecorpus.errors import Stopped, UserError
from fautrain import checkpoint, recipes, sharding
from fautrain.config import FinetuneConfig, PretrainConfig, override
from fautrain.data import Batch, Loader, LoaderState, open_corpus, shard_cache
from fautrain.data.benchmark import benchmark
from fautrain.data.dataset import start_worker
from fautrain.data.folds import split
from fautrain.data.labels import LabelledSet, read_labels
from fautrain.models.heads import ActionUnitModel
from fautrain.models.vit import Size
from fautrain.runlog import read_log
from fautrain.runs.training import pretrain
from fautrain.runs.training import train as train_to_the_end
from fautrain.tasks.au import ActionUnitTask
from fautrain.tasks.labelled import Fold
from fautrain.tasks.mae import PretrainTask
from fautrain.tasks.mae_look import HeldOut
from fautrain.threads import choose_threads
from fautrain.trainer import Trainer, make_accelerator

__all__ = ["one_cpu", "shards"]  # fixtures, used by name

TIMES = {"images_per_s", "data_wait", "mfu"}
"""Values of the log that are times, and so never twice the same."""


def configured(shards: Path, *settings: str) -> PretrainConfig:
    return override(recipes.pretraining_recipe("tiny"), [*SETTINGS, f"data.shards={shards}", *settings])


def logged(out: Path) -> list[tuple[str, int, dict[str, float]]]:
    """All that the log promises to be the same however often a run was interrupted."""
    return [
        (line.kind, line.step, {n: v for n, v in line.values.items() if n not in TIMES})
        for line in read_log(out)
    ]


# -- time --------------------------------------------------------------------------------------------------


class Clock:
    """Stands still but where a test says that time passes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def slowed(self, call: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """`call`, which now takes `seconds`."""

        def slow(*arguments: Any, **named: Any) -> Any:
            self.now += seconds
            return call(*arguments, **named)

        return slow


def pretrain_task(config: PretrainConfig) -> PretrainTask:
    return PretrainTask(config, PretrainTask.open(config, 0, 1))


class Poisoned(PretrainTask):
    """Its loss is not finite in the steps asked for."""

    def __init__(self, config: PretrainConfig, steps: Sequence[int]) -> None:
        super().__init__(config, PretrainTask.open(config, 0, 1))
        self.steps, self.step = steps, 0

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        found = super().forward(*inputs)
        if not self.training:
            return found
        self.step += 1
        return {n: v * float("nan") for n, v in found.items()} if self.step in self.steps else found


def test_what_is_logged_agrees_with_a_stopwatch(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks, saves and skipped steps between; a step takes 3 s, of which the samples are waited for 1 s."""
    config = configured(
        shards, "log.every_steps=4", "train.checkpoint_every_steps=3", "train.eval_every_epochs=1"
    )
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    task = Poisoned(config, steps=(2, 6, 7, 9, 10, 11, 12))
    trainer = Trainer(config, tmp_path, task, make_accelerator(config), "samples")
    trainer.peak_flops = 1e9
    losses: list[float] = []
    step, per_epoch = trainer.step, 0

    def train(batches: list[Batch], lr: float) -> dict[str, torch.Tensor]:
        values = step(batches, lr)
        losses.append(float(values["loss"]))
        return values

    monkeypatch.setattr(trainer, "step", clock.slowed(train, 2.0))
    monkeypatch.setattr(trainer, "save", clock.slowed(trainer.save, 40.0))
    loader = task.loader(0, 1)
    per_epoch = loader.steps_per_epoch
    batches = loader.batches

    def waiting(state: LoaderState | None = None) -> Iterator[Batch]:
        for batch in batches(state):
            clock.now += 1.0
            yield batch

    monkeypatch.setattr(Loader, "batches", lambda _, state=None: waiting(state))
    look = clock.slowed(lambda *_: None, 500.0)
    train_to_the_end(trainer, loader, look, None)  # type: ignore[arg-type]
    loader.close()
    lines = [line for line in read_log(tmp_path) if line.kind == "train"]
    assert [line.step for line in lines] == [*range(4, 37, 4)] and per_epoch == 6
    assert len(losses) == 36
    for number, line in enumerate(lines):
        steps = range(4 * number, 4 * number + 4)
        samples = sum(8 if (s + 1) % per_epoch else loader.samples - 8 * (per_epoch - 1) for s in steps)
        assert line.values["images_per_s"] == pytest.approx(samples / 12.0)
        assert line.values["data_wait"] == pytest.approx(4.0 / 12.0)
        assert line.values["mfu"] == pytest.approx(samples / 12.0 * task.training_flops() / 1e9)
        good = [losses[s] for s in steps if s + 1 not in task.steps]
        if good:
            assert line.values["loss"] == pytest.approx(np.mean(good), rel=1e-6)
        else:
            assert np.isnan(line.values["loss"])
    assert lines[-1].values["nonfinite"] == 7


def test_the_held_out_loss_is_a_mean_over_samples(shards: Path, tmp_path: Path) -> None:
    """Whatever the size of the steps, of which the last is uneven."""
    found: list[dict[str, float]] = []
    for size in (8, 5, 100):
        config = configured(shards, f"data.batch_per_step={size}", "log.grid_every_epochs=none")
        trainer = Trainer(config, tmp_path, pretrain_task(config), make_accelerator(config))
        from fautrain.data import Augment, LoaderOptions, held_out_loader

        options = LoaderOptions(held_out=0.2, batch_per_step=size, augment=Augment(image_px=32))
        loader = held_out_loader(open_corpus(str(shards), shard_cache()), options)

        class Log:
            def write(self, step: int, epoch: float, values: dict[str, float], kind: str) -> None:
                found.append(values)

        HeldOut(loader, config, tmp_path)(trainer, Log(), 1, True)  # type: ignore[arg-type]
        assert loader.samples % size
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], abs=1e-6)
    assert found[0]["loss"] == pytest.approx(found[2]["loss"], abs=1e-6)


# -- stopping ----------------------------------------------------------------------------------------------


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int, number: int) -> None:
    """Send this process a signal in its `steps`-th step from now."""
    step, done = Trainer.step, Counter[str]()

    def counted(self: Trainer, *arguments: Any) -> Any:
        done["steps"] += 1
        if done["steps"] == steps:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # as `timeout` does: to the process, and to its group
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "step", counted)


def test_the_log_is_that_of_an_uninterrupted_run(shards: Path, tmp_path: Path) -> None:
    """Stopped in any step, between lines of the log; also where the last window was left half full."""
    config = configured(shards, "log.every_steps=5", "train.checkpoint_every_steps=4")
    pretrain(config, tmp_path / "whole", "auto")
    whole = logged(tmp_path / "whole")
    assert [step for kind, step, _ in whole if kind == "train"] == [5, 10, 15, 20, 25, 30, 35, 36]
    stops = [
        (3, signal.SIGTERM),
        (4, signal.SIGINT),
        (1, signal.SIGTERM),
        (9, signal.SIGTERM),
        (6, signal.SIGINT),
    ]
    done = 0
    for steps, number in stops:
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, steps, number)
            with pytest.raises(Stopped, match=r"stopped by SIG\w+; the same command goes on") as stopped:
                pretrain(config, tmp_path / "cut", "auto")
        done += steps
        assert stopped.value.exit_code == 128 + number
        assert (tmp_path / "cut" / "checkpoints" / f"step-{done:08d}").is_dir()
        assert logged(tmp_path / "cut") == [line for line in whole if line[1] <= done]
    # A crash: what was logged after the last checkpoint is cut off and written again, the same.
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        steps = 0

        def fail(self: Trainer, *_: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == 3:
                raise ZeroDivisionError

        patch.setattr(Trainer, "_forecast", fail)
        pretrain(config, tmp_path / "cut", "auto")
    pretrain(config, tmp_path / "cut", "auto")
    assert logged(tmp_path / "cut") == whole


def test_a_run_goes_on_where_its_shards_moved(shards: Path, tmp_path: Path) -> None:
    """The same samples are known by their fingerprint; others are refused."""
    here = tmp_path / "here"
    here.mkdir()
    for path in shards.glob("*.tar"):
        (here / path.name).write_bytes(path.read_bytes())
    short = "train.max_steps=8"
    pretrain(configured(here, short, "data.cache=" + str(tmp_path / "one")), tmp_path / "run", "auto")
    here.rename(tmp_path / "there")
    moved = ("data.cache=" + str(tmp_path / "two"),)
    pretrain(configured(tmp_path / "there", *moved), tmp_path / "run", "auto")
    assert [step for kind, step, _ in logged(tmp_path / "run") if kind == "train"] == [*range(1, 37)]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["shards"].endswith("there")
    (tmp_path / "there" / "train-000001.tar").unlink()
    with pytest.raises(UserError, match="other samples than --shards holds"):
        pretrain(configured(tmp_path / "there", *moved), tmp_path / "run", "auto")


def slow_save() -> None:
    """In the run's process: its checkpoints take long, as on a slow disk."""
    save = checkpoint.save

    def slow(*arguments: Any, **named: Any) -> Path:
        Path("saving").touch()
        time.sleep(1.5)
        return save(*arguments, **named)

    checkpoint.save = slow  # pyright: ignore


def command_of(shards: Path, out: Path, *settings: str) -> list[str]:
    line = ["pretrain", "--shards", str(shards), "--out", str(out), "--recipe", "tiny"]
    return [*line, *(part for setting in (*SETTINGS, *settings) for part in ("--set", setting))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_while_a_checkpoint_is_written_loses_nothing(
    shards: Path, tmp_path: Path, number: int
) -> None:
    """What `timeout`, Slurm and a shell's Ctrl-C send: to the loader's processes too, and twice."""
    out = tmp_path / "run"
    line = command_of(shards, out, "data.workers=2", "train.epochs=1000")
    running = forked.start(tmp_path, *line, before=slow_save)
    assert running.process.pid is not None
    while running.process.is_alive() and not (tmp_path / "saving").exists():
        time.sleep(0.01)
    family = psutil.Process(running.process.pid).children()
    assert len(family) == 2
    for _ in range(2):
        os.killpg(running.process.pid, number)
        time.sleep(0.05)
    assert all(worker.is_running() for worker in family), "the step after needs them"
    done = running.end()
    assert done.code == 128 + number and "Traceback" not in done.err, done.err[-2000:]
    name = signal.Signals(number).name
    assert done.err.splitlines()[-1] == f"fautrain: stopped by {name}; the same command goes on where it was"
    assert psutil.wait_procs(family, timeout=10)[1] == []
    last = read_log(out)[-1].step
    newest = checkpoint.latest(out)
    assert newest is not None and checkpoint.step_of(newest) == last < 6000


def test_loader_processes_set_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step and a checkpoint may take longer than any time a worker would give them."""
    child = os.fork()
    if child == 0:
        start_worker(0)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os._exit(int(signal.alarm(0) > 0))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_all_ranks_stop_after_the_same_step(shards: Path, tmp_path: Path) -> None:
    """Told is one rank, and not the one that writes; the log, where ranks meet anyway, is far away."""
    out = tmp_path / "run"
    line = command_of(
        shards, out, "train.epochs=1000", "log.every_steps=100000", "data.held_out=0", "data.batch_per_step=2"
    )
    ranks = forked.start_ranks(2, tmp_path, *line)
    while all(rank.process.is_alive() for rank in ranks) and len(checkpoint.steps(out)) < 2:
        time.sleep(0.01)
    ranks[1].signal(signal.SIGTERM)
    ended = [rank.end() for rank in ranks]
    assert [done.code for done in ended] == [143, 143], [done.err[-2000:] for done in ended]
    assert ended[0].err.splitlines()[-1].startswith("fautrain: stopped by SIGTERM")
    assert "stride" not in ended[0].err + ended[1].err and "fautrain:" not in ended[1].err
    newest = checkpoint.latest(out)
    assert newest is not None and checkpoint.load(newest).world == 2


# -- labels ------------------------------------------------------------------------------------------------


def labels_in(where: Path) -> LabelledSet:
    return read_labels(open_corpus(str(where), shard_cache(str(where / "cache"))), benchmark("disfa"), ())


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn DISFA, half of whose codes are missing at random, most of one subject."""
    rng = np.random.default_rng(5)

    def forget(row: dict[str, Any]) -> None:
        share = 0.9 if row["identity"] == "SN001" else 0.4
        row["labels"] = [(name, code) for name, code in row["labels"] if rng.random() > share]

    return write_labelled(tmp_path_factory.mktemp("missing") / "disfa", "disfa", frames=2, change=forget)


@pytest.fixture
def labels(coded: Path) -> LabelledSet:
    return labels_in(coded)


def au_config(*settings: str) -> FinetuneConfig:
    return small("disfa", Path("nowhere"), "model.drop_path=0", "data.erasing=0", *settings)


def au_batches(labels: LabelledSet, samples: Sequence[int], parts: int, weight: float = 1.0) -> list[Batch]:
    """The samples as parts of one step, with pictures drawn from their numbers."""
    made: list[Batch] = []
    for micro, mine in enumerate(np.split(np.array(samples), parts)):
        pictures = [
            torch.randint(
                0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(int(s))
            )
            for s in mine
        ]
        rows = torch.from_numpy(labels.rows[mine])
        made.append(
            Batch(
                torch.stack(pictures),
                torch.from_numpy(mine),
                rows,
                0,
                0,
                micro,
                weight,
                (),
                LoaderState(0, 1),
            )
        )
    return made


def gradients(trainer: Trainer, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """Of one step."""
    found: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        for name, parameter in trainer.task.network.named_parameters():
            if parameter.grad is not None:
                found[name] = parameter.grad.clone()

    handle = trainer.optimizer.register_step_pre_hook(keep)
    trainer.step(batches, 0.0)
    handle.remove()
    return found


def au_trainer(labels: LabelledSet, out: Path, *settings: str) -> Trainer:
    config = au_config("identity.strength=1", *settings)
    parts = split(labels, 1, validation=0.0, seed=0, every=1)
    task = ActionUnitTask(config, Fold(labels, parts))
    torch.nn.init.normal_(task.network.head.weight, std=0.5, generator=torch.Generator().manual_seed(2))
    trainer = Trainer(config, out, task, make_accelerator(config))
    trainer.task.train()
    return trainer


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_missing_codes_count_the_same_in_any_parts(labels: LabelledSet, tmp_path: Path, parts: int) -> None:
    trainer = au_trainer(labels, tmp_path)
    whole = gradients(trainer, au_batches(labels, range(8), 1))
    split_up = gradients(trainer, au_batches(labels, range(8), parts))
    assert whole.keys() == split_up.keys() and "ID_head.weight" in whole
    for name, expected in whole.items():
        torch.testing.assert_close(split_up[name], expected, rtol=0, atol=1e-6, msg=name)
    assert max(float(g.abs().max()) for g in whole.values()) > 1e-2
    codes = torch.from_numpy(labels.targets[:8]).isfinite().sum(dim=1)
    assert codes.min() < codes.max()


def gradients_of_a_rank(where: Path, out: Path) -> None:
    """In each of two ranks: five of nine samples in two parts, and four in two."""
    torch.set_num_threads(1)
    labels = labels_in(where)
    trainer = au_trainer(labels, out)
    rank = trainer.accelerator.process_index
    cuts = ((0, 2), (2, 5)) if rank == 0 else ((5, 7), (7, 9))
    parts = [au_batches(labels, range(*cut), 1, (cut[1] - cut[0]) * 4 / 9)[0] for cut in cuts]
    found = gradients(trainer, parts)
    if rank == 0:
        save_file(found, out / "gradients.safetensors")
    trainer.accelerator.end_training()


def test_missing_codes_count_the_same_on_any_ranks(labels: LabelledSet, coded: Path, tmp_path: Path) -> None:
    """Uneven parts, of an uneven step."""
    forked.call_ranks(2, gradients_of_a_rank, coded, tmp_path)
    found = load_file(tmp_path / "gradients.safetensors")
    whole = gradients(au_trainer(labels, tmp_path), au_batches(labels, range(9), 1))
    assert found.keys() == whole.keys()
    for name, expected in whole.items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-6, msg=name)


def test_a_step_without_a_code_changes_nothing(labels: LabelledSet, tmp_path: Path) -> None:
    trainer = au_trainer(labels, tmp_path)
    labels.targets[8:12] = np.nan
    found = gradients(trainer, au_batches(labels, range(8, 12), 2))
    assert not found["head.weight"].any() and int(trainer.nonfinite) == 0


# -- graphs ------------------------------------------------------------------------------------------------


class Graphs:
    """A backend that compiles nothing, and keeps the graphs that it was given."""

    def __init__(self) -> None:
        self.found: list[torch.fx.GraphModule] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        self.found.append(graph)
        return graph.forward

    def constants(self) -> list[str]:
        """Tensors that a graph would make of Python's numbers, or hold as such, in each run."""
        makers = {torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, torch.scalar_tensor}
        return [
            f"{node.op} {node.target}"
            for graph in self.found
            for node in graph.graph.nodes
            if node.target in makers or "constant" in str(node.target) or "lift_fresh" in str(node.target)
        ]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    found, compile_ = Graphs(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda m, **named: compile_(m, backend=found, **named))
    return found


def pretraining_batches(sizes: Sequence[int]) -> list[Batch]:
    return [
        Batch(
            torch.zeros(n, 3, 32, 32, dtype=torch.uint8), torch.arange(n), torch.arange(n),
            0, step, 0, 1.0, (), LoaderState(),
        )
        for step, n in enumerate(sizes)
    ]  # fmt: skip


@torch._dynamo.config.patch(recompile_limit=3)
def test_each_shape_has_one_static_graph_without_constants(
    shards: Path, labels: LabelledSet, tmp_path: Path, graphs: Graphs
) -> None:
    """Two epochs, each with a smaller last batch; and more runs in one process than a function may have
    graphs."""
    config = configured(shards, "train.compile=true")
    trainer = Trainer(config, tmp_path, pretrain_task(config), make_accelerator(config))
    trainer.task.train()
    for batch in pretraining_batches((4, 4, 3, 4, 3)):
        trainer.step([batch], 1e-3)
    assert len(graphs.found) == 2
    mixing = (
        "train.compile=true",
        "data.mixup=0.8",
        "data.cutmix=1",
        "data.erasing=0.25",
        "model.drop_path=0.1",
    )
    for number in range(2):
        trainer = au_trainer(labels, tmp_path, *mixing)
        for samples in (8, 6, 8):
            trainer.step(au_batches(labels, range(samples), 1), 1e-3)
        assert len(graphs.found) == 2 + 2 * (number + 1)
    assert graphs.constants() == []


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo's own look
def test_blocks_compiled_alone_share_their_graphs(graphs: Graphs) -> None:
    """As sharded weights need it: with and without stochastic depth, for two shapes, and evaluated."""
    model = ActionUnitModel(Size("deep", 16, 12, 2), 5, image_px=32, patch_px=16, drop_path=0.1)
    sharding.compile_blocks(model)
    for samples in (4, 4, 3):
        model(torch.randn(samples, 3, 32, 32)).logits.sum().backward()
    assert len(graphs.found) == 4
    with torch.no_grad():
        model.eval()(torch.randn(4, 3, 32, 32))
    assert len(graphs.found) == 5 and graphs.constants() == []


# -- threads -----------------------------------------------------------------------------------------------


def test_threads_follow_from_the_model_and_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fautrain.threads.available_cores", lambda: 16)
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    tiny, base = 0.34e9, 58.7e9
    assert choose_threads(tiny, False)[:1] == (1,)
    assert choose_threads(base, False) == (16, "of 16 cores")
    assert choose_threads(base, True).number == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_threads(base, False).number == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_threads(base, False) == (3, "OMP_NUM_THREADS")
