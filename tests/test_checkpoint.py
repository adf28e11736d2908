"""Checkpoints: what is saved comes back, what is damaged is refused by name, what may go is removed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_same import same, same_state
from checkpoint_writer import state_of

from facecorpus.errors import UserError
from fautrain.checkpoint import (
    State,
    inspect,
    latest,
    load,
    pin,
    pins,
    restore_rng,
    rng_state,
    save,
    set_aside_after,
    step_of,
    steps,
    verify,
)
from fautrain.checkpoint.manifest import write_manifest

torch.set_num_threads(1)

FILES = [
    "config.json",
    "manifest.json",
    "model.safetensors",
    "optimizer.json",
    "optimizer.safetensors",
    "progress.json",
    "rank-00000.json",
    "rank-00000.safetensors",
    "versions.json",
]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A run with whole checkpoints of steps 1 and 2."""
    for step in (1, 2):
        save(tmp_path, state_of(step), keep=3)
    return tmp_path


def at(run_dir: Path, step: int) -> Path:
    return run_dir / "checkpoints" / f"step-{step:08d}"


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = save(tmp_path, state_of(1200), keep=3)
    assert path == tmp_path / "checkpoints" / "step-00001200"
    assert verify(path) == []
    read = load(path)
    assert same_state(read, state_of(1200))
    assert read.world == 1
    assert read.versions["torch"] == torch.__version__.partition("+")[0]
    assert read.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(read.versions) >= {"accelerate", "timm", "cuda", "device", "git"}


def test_a_checkpoint_holds_json_and_safetensors_and_nothing_else(two: Path) -> None:
    assert sorted(path.name for path in at(two, 1).iterdir()) == FILES
    assert all(
        path.stat().st_mode & 0o777 == (two / "checkpoints").stat().st_mode & 0o666
        for path in at(two, 1).iterdir()
    )


def test_saving_the_same_state_twice_gives_the_same_bytes(
    two: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = save(tmp_path_factory.mktemp("again"), state_of(2), keep=3)
    assert [(again / name).read_bytes() for name in FILES] == [
        (at(two, 2) / name).read_bytes() for name in FILES
    ]


def test_an_empty_state_is_kept_as_such(tmp_path: Path) -> None:
    state = State(step=0, model={"w": torch.zeros(2)}, rng={})
    path = save(tmp_path, state, keep=1)
    assert same_state(load(path), state)


def test_the_generators_go_on_where_they_were(tmp_path: Path) -> None:
    path = save(tmp_path, State(step=1), keep=1)

    def draw() -> list[float]:
        return [
            random.random(),
            random.gauss(),
            float(np.random.rand()),
            float(np.random.randn()),
            float(torch.rand(())),
        ]

    expected = draw()
    draw()
    restore_rng(load(path).rng)
    assert draw() == expected
    before = rng_state()
    save(tmp_path, State(step=2), keep=1)
    assert same(rng_state(), before), "saving must not draw"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(bytes(found))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, Path.unlink])
def test_any_damage_is_refused_by_name_and_the_previous_one_used(
    two: Path, name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(at(two, 2) / name)
    faults = verify(at(two, 2))
    assert len(faults) == 1 and faults[0].startswith(f"{name}: ")
    with pytest.raises(UserError) as caught:
        load(at(two, 2))
    assert f"step-00000002 is not whole: {name}: " in str(caught.value) and "--resume auto" in str(
        caught.value
    )
    with caplog.at_level(logging.WARNING, logger="fautrain"):
        assert latest(two) == at(two, 1)
    assert f"{at(two, 2)} is not whole" in caplog.text and name in caplog.text
    assert same_state(load(at(two, 1)), state_of(1))
    assert inspect(at(two, 2)).startswith(f"{at(two, 2)}: NOT WHOLE\n  {name}: ")


def test_every_fault_is_listed(two: Path) -> None:
    (at(two, 2) / "config.json").unlink()
    flip_a_bit(at(two, 2) / "model.safetensors")
    assert [fault.partition(":")[0] for fault in verify(at(two, 2))] == ["config.json", "model.safetensors"]
    with pytest.raises(UserError, match=r"config.json: missing \(and 1 more\)"):
        load(at(two, 2))


def test_a_manifest_that_was_edited_to_fit_is_refused(two: Path) -> None:
    manifest = at(two, 2) / "manifest.json"
    data = json.loads(manifest.read_bytes())
    del data["files"]["optimizer.safetensors"]
    manifest.write_text(json.dumps(data, indent=1) + "\n")
    assert verify(at(two, 2)) == ["manifest.json: altered: it does not agree with its own SHA-256"]


def test_a_renamed_checkpoint_is_refused_and_a_copy_elsewhere_is_not(two: Path) -> None:
    at(two, 2).rename(at(two, 9))
    assert verify(at(two, 9)) == ["manifest.json: of step 2, in a directory called step-00000009"]
    shutil.copytree(at(two, 1), two / "best")
    assert same_state(load(two / "best"), state_of(1))


def test_where_there_is_none(tmp_path: Path) -> None:
    assert latest(tmp_path) is None and steps(tmp_path) == []
    with pytest.raises(UserError, match="there is no such directory"):
        load(at(tmp_path, 1))
    with pytest.raises(UserError, match="there is no such checkpoint"):
        inspect(at(tmp_path, 1))


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    kept: list[list[int]] = []
    for step in range(1, 6):
        save(tmp_path, state_of(step), keep=2)
        kept.append(steps(tmp_path))
    assert kept == [[1], [1, 2], [2, 3], [3, 4], [4, 5]]
    save(tmp_path, state_of(6), keep=1)
    assert steps(tmp_path) == [6]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000006"]


def test_pinned_ones_stay_until_the_pin_moves_on(tmp_path: Path) -> None:
    for step in range(1, 4):
        save(tmp_path, state_of(step), keep=1)
        if step == 1:
            pin(tmp_path, "best", 1)
            pin(tmp_path, "last good", 1)
    assert steps(tmp_path) == [1, 3]
    pin(tmp_path, "best", 3)
    save(tmp_path, state_of(4), keep=1)
    assert steps(tmp_path) == [1, 3, 4] and pins(tmp_path) == {"last good": 1, "best": 3}
    pin(tmp_path, "last good", None)
    save(tmp_path, state_of(5), keep=1)
    assert steps(tmp_path) == [3, 5] and pins(tmp_path) == {"best": 3}


def test_a_torn_one_takes_no_whole_ones_place(two: Path, caplog: pytest.LogCaptureFixture) -> None:
    truncate(at(two, 2) / "model.safetensors")
    save(two, state_of(3), keep=2)
    assert steps(two) == [1, 3]
    assert f"{at(two, 2)} is not whole and is removed" in caplog.text


def test_pins_that_cannot_be_read_stop_no_save(two: Path, caplog: pytest.LogCaptureFixture) -> None:
    (two / "checkpoints" / "pins.json").write_text("{")
    save(two, state_of(3), keep=1)
    assert steps(two) == [1, 2, 3]
    assert "pins.json cannot be read" in caplog.text


def test_a_checkpoint_of_the_same_step_is_replaced(two: Path) -> None:
    changed = dataclasses.replace(state_of(2), counters={"samples": 0})
    save(two, changed, keep=3)
    assert same_state(load(at(two, 2)), changed)
    assert sorted(path.name for path in (two / "checkpoints").iterdir()) == ["step-00000001", "step-00000002"]


def test_going_on_from_an_older_one_sets_the_newer_aside(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, state_of(step), keep=3)
    moved = set_aside_after(tmp_path, 1)
    assert [path.name for path in moved] == ["abandoned-step-00000002", "abandoned-step-00000003"]
    assert latest(tmp_path) == at(tmp_path, 1)
    save(tmp_path, state_of(2), keep=1)
    assert steps(tmp_path) == [2]
    set_aside_after(tmp_path, 1)
    assert same_state(load(moved[0]), state_of(2)) and steps(tmp_path) == []


def test_a_newer_branch_is_left_alone_by_pruning(tmp_path: Path) -> None:
    save(tmp_path, state_of(9), keep=1)
    save(tmp_path, state_of(2), keep=1)
    assert steps(tmp_path) == [2, 9]


def test_what_cannot_be_stored_leaves_nothing(two: Path) -> None:
    with pytest.raises(TypeError, match=r"optimizer\.weird is a builtins.object"):
        save(two, State(step=3, optimizer={"weird": object()}), keep=2)
    assert sorted(path.name for path in (two / "checkpoints").iterdir()) == ["step-00000001", "step-00000002"]


def test_a_checkpoint_in_words(two: Path) -> None:
    text = inspect(at(two, 2))
    assert "step-00000002: whole, step 2, 1 rank(s), " in text
    assert "recipe     test" in text
    assert "model      3 tensors, 4,224 values (BF16, F32, F64)" in text
    assert "counters   samples 1024, best inf" in text
    assert "loader     epoch 0, step 2, seed 7" in text
    assert f"torch {torch.__version__.partition('+')[0]}" in text
    assert all(name in text for name in FILES if name != "manifest.json")


def test_names_of_steps() -> None:
    assert step_of("/runs/a/checkpoints/step-00001200") == 1200
    assert step_of("/runs/a/checkpoints/step-123456789") == 123456789
    assert step_of("/runs/a/checkpoints/.step-00001200.part-77") is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("progress.json", b'{"dict": [["loader", {"tensor": "gone"}]]}'),
        ("progress.json", b'{"scalar": ["O", "00"]}'),
        ("progress.json", b"[" * 100_000),
        ("progress.json", b"\xff\xfe"),
        ("optimizer.json", b'{"unknown": 1, "two": 2}'),
        ("optimizer.safetensors", b"\xff" * 16),
        ("model.safetensors", (1 << 40).to_bytes(8, "little") + b"{}"),
        ("model.safetensors", b""),
        ("config.json", b'{"name": '),
        ("rank-00000.json", b'{"array": "none"}'),
    ],
)
def test_content_that_only_its_hashes_vouch_for_is_refused_in_a_sentence(
    two: Path, name: str, content: bytes
) -> None:
    """Somebody rewrote a file and the manifest with it."""
    folder = at(two, 2)
    (folder / name).write_bytes(content)
    write_manifest(folder, 2, 1)
    assert verify(folder) == []
    with pytest.raises(UserError, match="holds what fautrain does not write") as refusal:
        load(folder)
    assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)
    with contextlib.suppress(UserError):  # it may not look into that file
        inspect(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"[" * 100_000,
        lambda data: b"[]",
        lambda data: b'{"format": 1, "step": 2, "world": 1, "files": []}',
        lambda data: data.replace(b"model.safetensors", b"../../../model.st"),
        lambda data: data.replace(b'"bytes": ', b'"bytes": 1e999, "b": '),
        lambda data: data.replace(b'"step": 2', b'"step": "2"'),
        lambda data: data.replace(b'"step": 2', b'"step": ' + b"9" * 5000),
        lambda data: b"\xff" + data,
        lambda data: b"",
    ],
)
def test_a_damaged_manifest_is_a_fault(two: Path, damage: Callable[[bytes], bytes]) -> None:
    manifest = at(two, 2) / "manifest.json"
    manifest.write_bytes(damage(manifest.read_bytes()))
    assert verify(at(two, 2)) == ["manifest.json: torn: it cannot be read"]
    found = latest(two)
    assert found is not None and found.name == "step-00000001"
