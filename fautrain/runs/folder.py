"""The folder of a run: its configuration, and the checkpoint it goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facecorpus.errors import UserError
from fautrain import checkpoint
from fautrain.config import RunConfig, from_plain, to_plain
from fautrain.files import json_bytes, read_json, replace

CONFIG = "config.json"
_WRITTEN = ("log.jsonl", "checkpoints", "predictions", "weights", "final", "fold.json")
SAFE_TO_CHANGE = (
    "train.max_steps",
    "train.keep",
    "train.checkpoint_every",
    "data.shards",
    "data.cache",
    "data.workers",
    "data.prefetch",
    "log.",
)
"""Values that may differ when a run goes on: they change no number. Shards may have moved: that they hold the
same samples is checked by the fingerprint that checkpoints keep."""


def choose(run_dir: Path, resume: str) -> Path | None:
    """The checkpoint to go on from, or None to begin.

    Args:
        run_dir: folder of the run. resume: `auto` takes the newest whole checkpoint if there is one, `no`
            refuses a folder that has any, else the path of a checkpoint.

    Raises:
        UserError: `no`, but there is one; or it names no checkpoint.
    """
    if resume == "auto":
        return checkpoint.latest(run_dir)
    if resume == "no":
        if checkpoint.steps(run_dir):
            raise UserError(
                f"{run_dir} holds a run already; go on with --resume auto or choose another --out"
            )
        return None
    if checkpoint.step_of(resume) is None or not Path(resume).is_dir():
        raise UserError(
            f"--resume {resume}: there is no such checkpoint; give auto, no, or the path of one, such as "
            f"{run_dir}/checkpoints/step-00001000"
        )
    return Path(resume)


def refuse_changes(config: RunConfig, run_dir: Path) -> None:
    """Refuse to go on in a folder that was begun with settings that give other numbers.

    Raises:
        UserError: it was.
    """
    path = run_dir / CONFIG
    if not path.exists():
        return
    before = from_plain(read_json(path, "restore it from a checkpoint"))
    changed = [
        line
        for line in _differences(to_plain(before), to_plain(config))
        if not line.startswith(SAFE_TO_CHANGE)
    ]
    if changed:
        raise UserError(
            f"{run_dir} was begun with other settings ({'; '.join(changed)}); use the same ones to go on, or "
            "choose another --out"
        )


def settle(config: RunConfig, run_dir: Path, found: Path | None) -> None:
    """Keep the resolved configuration, refusing to go on with one that gives other numbers.

    Raises:
        UserError: `found` was made with other settings, the folder holds files that are somebody else's under
            the names of a run's, or cannot be written.
    """
    _refuse_others(run_dir)
    if found is not None:
        refuse_changes(config, run_dir)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        if found is not None:
            checkpoint.set_aside_after(run_dir, checkpoint.step_of(found) or 0)
        replace(run_dir / CONFIG, lambda aside: aside.write_bytes(json_bytes(to_plain(config))))
    except OSError as error:
        raise UserError(
            f"{run_dir} cannot be written ({error.strerror or error}); choose another --out"
        ) from error


def _refuse_others(run_dir: Path) -> None:
    """Refuse to write a run over files of other things; what has other names may lie beside it.

    Raises:
        UserError: there is such a file.
    """
    path = run_dir / CONFIG
    if path.exists():
        try:
            found = read_json(path, "")
        except UserError:
            found = {}
        if not found.keys() >= {"data", "model", "optim", "train"}:
            raise UserError(
                f"{path} is not the configuration of a run, or is damaged; choose another --out, or move it"
            )
        return
    there = next((name for name in _WRITTEN if (run_dir / name).exists()), None)
    if there:
        raise UserError(
            f"{run_dir} holds {there} without the {CONFIG} of a run, so fautrain did not write it; choose "
            "another --out"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """Leaves that differ, as `NAME was OLD and is NEW`."""
    lines: list[str] = []
    for name in before.keys() | now.keys():
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += _differences(old, new, f"{path}{name}.")
        elif old != new:
            lines.append(f"{path}{name} was {old} and is {new}")
    return sorted(lines)
