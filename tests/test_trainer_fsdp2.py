"""Sharded training (FSDP2): the numbers, checkpoints and safeguards of unsharded training, in parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_trainer import ENVIRONMENT, SETTINGS, STEPS, command, losses, shards

from fautrain.models.vit import sincos_positions

__all__ = ["shards"]  # a fixture, used by name

MORE = ("train.keep=100", "optim.clip_grad=0.4")
"""An average, all checkpoints, and a clip that some steps of the run need."""
SHARDED = "train.strategy=fsdp2"
HALF = "step-00000018"


def train(shards: Path, out: Path, *settings: str, processes: int, resume: Path | None = None) -> Path:
    line = command(shards, out, *MORE, *settings, processes=processes)
    if resume is not None:
        line += ["--resume", str(resume)]
    done = subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def plain(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(shards, tmp_path_factory.mktemp("runs") / "plain", processes=1)


@pytest.fixture(scope="module")
def sharded(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(shards, tmp_path_factory.mktemp("runs") / "sharded", SHARDED, processes=2)


def newest(out: Path) -> Path:
    return sorted((out / "checkpoints").glob("step-*"))[-1]


def assert_close(out: Path, reference: Path, atol: float, after: int = 0) -> None:
    """Losses after a step, and the last weights and optimizer states, names and shapes included."""
    one = [entry for entry in losses(reference) if entry[1] > after]
    two = losses(out)
    assert [entry[:2] for entry in one] == [entry[:2] for entry in two]
    assert np.allclose([entry[2] for entry in one], [entry[2] for entry in two], rtol=0, atol=atol)
    assert newest(out).name == newest(reference).name == f"step-{STEPS:08d}"
    for name in ("model", "optimizer"):
        ours, theirs = (load_file(newest(run) / f"{name}.safetensors") for run in (out, reference))
        assert ours.keys() == theirs.keys() and len(ours) > 50
        for key in ours:
            assert ours[key].shape == theirs[key].shape and ours[key].dtype == theirs[key].dtype
            assert np.allclose(ours[key], theirs[key], rtol=0, atol=50 * atol), (name, key)
    one, two = (json.loads((newest(run) / "optimizer.json").read_text()) for run in (out, reference))
    assert one == two


def test_two_processes_follow_one_unsharded(plain: Path, sharded: Path) -> None:
    assert_close(sharded, plain, 1e-5)
    lines = [json.loads(line)["values"] for line in (plain / "log.jsonl").read_text().splitlines()]
    norms = [values["grad_norm"] for values in lines if "grad_norm" in values]
    assert min(norms) < 0.4 < max(norms), "the clip must matter in some steps alone"
    picture = "grids/step-00000036.png"
    assert (sharded / picture).stat().st_size > 1000 and (plain / picture).exists()


def test_the_fixed_positions_stay_as_they_are(sharded: Path) -> None:
    found = load_file(newest(sharded) / "model.safetensors")
    assert np.array_equal(found["pos_embed"], sincos_positions(192, 4).numpy())
    assert np.array_equal(found["decoder_pos_embed"], sincos_positions(32, 4).numpy())


def test_a_sharded_run_goes_on_bit_for_bit(shards: Path, sharded: Path, tmp_path: Path) -> None:
    half = sharded / "checkpoints" / HALF
    out = train(shards, tmp_path / "run", SHARDED, processes=2, resume=half)
    assert_close(out, sharded, 0.0, after=18)


@pytest.mark.slow
def test_an_unsharded_checkpoint_goes_on_sharded(shards: Path, plain: Path, tmp_path: Path) -> None:
    half = plain / "checkpoints" / HALF
    assert_close(train(shards, tmp_path / "run", SHARDED, processes=2, resume=half), plain, 1e-5, after=18)


def test_a_sharded_checkpoint_goes_on_unsharded(
    shards: Path, sharded: Path, plain: Path, tmp_path: Path
) -> None:
    half = sharded / "checkpoints" / HALF
    assert_close(train(shards, tmp_path / "run", processes=1, resume=half), plain, 1e-5, after=18)


@pytest.mark.slow
def test_a_sharded_checkpoint_goes_on_with_uneven_parts(
    shards: Path, sharded: Path, plain: Path, tmp_path: Path
) -> None:
    half = sharded / "checkpoints" / HALF
    out = train(shards, tmp_path / "run", SHARDED, processes=3, resume=half)
    assert_close(out, plain, 1e-5, after=18)


@pytest.mark.slow
def test_accumulation_follows_the_whole_batch(shards: Path, plain: Path, tmp_path: Path) -> None:
    out = train(shards, tmp_path / "run", SHARDED, "train.accumulate=2", processes=2)
    assert_close(out, plain, 1e-5)


WORKER = """
import sys
from pathlib import Path

import torch

from fautrain import recipes
from fautrain.config import override
from fautrain.data import Batch, LoaderState
from fautrain.sharding import gathered
from fautrain.tasks.mae import PretrainTask
from fautrain.trainer import Trainer, make_accelerator


class Poisoned(PretrainTask):
    poison = False

    def forward(self, *inputs):
        found = super().forward(*inputs)
        return found | {"loss": found["loss"] * float("nan")} if self.poison else found


config = override(recipes.pretraining_recipe("tiny"), sys.argv[1:])
accelerator = make_accelerator(config)
rank = accelerator.process_index
task = Poisoned(config, None)  # no samples: the batches are made here
count = sum(p.numel() for p in task.parameters())
trainer = Trainer(config, Path(), task, accelerator)

held = sum(p.to_local().numel() for p in task.parameters())
assert 0.4 * count < held < 0.6 * count, (held, count)

generator = torch.Generator().manual_seed(rank)
images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
places = torch.arange(4) + 4 * rank
batch = Batch(images, places, places, 0, 0, 0, 1.0, (), LoaderState())
trainer.step([batch], 1e-3)
assert task.picture(batch).std() > 10


def state():
    whole = gathered([task.network.state_dict(), trainer.optimizer.state_dict()["state"]], True)
    flat = {f"model.{name}": value for name, value in whole[0].items()}
    return flat | {f"{i}.{name}": value for i, entry in whole[1].items() for name, value in entry.items()}


before = state()
held = sum(entry["exp_avg"].to_local().numel() for entry in trainer.optimizer.state.values())
assert 0.4 * count < held < 0.6 * count, (held, count)
task.poison = rank == 1  # one rank's loss alone
values = trainer.step([batch], 1e-3)
assert int(trainer.nonfinite) == 1 and all(torch.isfinite(v) for v in values.values())
after = state()
assert all(torch.equal(before[n], after[n]) for n in before)
task.poison = False
trainer.step([batch], 1e-3)
assert int(trainer.nonfinite) == 1
assert not torch.equal(state()["model.blocks.0.attn.qkv.weight"], after["model.blocks.0.attn.qkv.weight"])
assert all(torch.isfinite(v).all() for v in state().values())
print(f"rank {rank} is well")  # in one piece: the other rank writes into the same stream
accelerator.end_training()
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worker") / "worker.py"
    path.write_text(WORKER)
    return path


@pytest.mark.parametrize(
    "more",
    [
        (),
        pytest.param(("train.checkpoint_activations=true",), marks=pytest.mark.slow),
        pytest.param(("train.precision=bf16",), marks=pytest.mark.slow),  # minutes on CPUs without bfloat16
    ],
)
def test_each_rank_holds_a_part_and_a_step_that_is_not_finite_is_skipped(
    worker: Path, more: tuple[str, ...]
) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    settings = (*SETTINGS, *MORE, SHARDED, *more)
    done = subprocess.run([*launch, str(worker), *settings], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "rank 0 is well" in done.stdout and "rank 1 is well" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("part", ["optim.name=muon", "model.decoder=cross"])
def test_other_parts_follow_one_process(shards: Path, tmp_path: Path, part: str) -> None:
    """Muon's matrices are orthogonalised whole although each rank holds some rows; CrossMAE's blocks are no
    unit of their own."""
    plain = train(shards, tmp_path / "plain", part, processes=1)
    sharded = train(shards, tmp_path / "sharded", part, SHARDED, processes=2)
    assert_close(sharded, plain, 1e-4)
