"""The checkpoints of a run: which there are, which is the newest whole one, which are kept."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import re
from pathlib import Path

from fautrain.checkpoint.disk import remove_files, replace_json
from fautrain.checkpoint.manifest import FILE_NAME, STEP_NAME, looks_whole, step_name, verify
from fautrain.errors import UserError

FOLDER = "checkpoints"
"""Where a run keeps them."""
PINS = "pins.json"

_LEFTOVER = re.compile(r"\.(abandoned-)?step-\d{8,}(\.(part|gone)-\d+(-old)?)+")

_log = logging.getLogger("fautrain")


def steps(run_dir: str | Path) -> list[int]:
    """Steps of the checkpoints that a run has, whole or not, oldest first."""
    folder = Path(run_dir) / FOLDER
    names = [path.name for path in folder.iterdir() if _holds_any(path)] if folder.is_dir() else []
    return sorted(int(found[1]) for name in names if (found := STEP_NAME.fullmatch(name)))


def _holds_any(folder: Path) -> bool:
    """Whether a directory holds a file of a checkpoint; one that was removed may hold the user's."""
    return folder.is_dir() and any(FILE_NAME.fullmatch(path.name) for path in folder.iterdir())


def step_of(path: str | Path) -> int | None:
    """The step that a checkpoint's directory is named after."""
    found = STEP_NAME.fullmatch(Path(path).name)
    return int(found[1]) if found else None


def latest(run_dir: str | Path) -> Path | None:
    """The newest checkpoint that is whole, every byte verified; None if there is none.

    Each newer one that is torn or altered is named in a warning of the `fautrain` logger.
    """
    for step in reversed(steps(run_dir)):
        path = Path(run_dir) / FOLDER / step_name(step)
        faults = verify(path)
        if not faults:
            return path
        _log.warning("the checkpoint %s is not whole and is passed over: %s", path, "; ".join(faults))
    return None


def pins(run_dir: str | Path) -> dict[str, int]:
    """Checkpoints that are never removed: the step by label, such as `best`."""
    path = Path(run_dir) / FOLDER / PINS
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
        return {str(label): int(step) for label, step in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} cannot be read; mend or delete it") from None


def pin(run_dir: str | Path, label: str, step: int | None) -> None:
    """Keeps the checkpoint of `step` under `label` until the label moves on; None lets go of it."""
    now = pins(run_dir)
    now.pop(label, None)
    if step is not None:
        now[label] = step
    path = Path(run_dir) / FOLDER / PINS
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_json(path, now)


def prune(run_dir: Path, step: int, keep: int) -> list[int]:
    """Removes checkpoints older than that of `step`, which must be in place, save the newest and the pinned.

    `keep` counts that of `step` and whole ones: a torn one is removed and takes no whole one's place. What is
    newer than `step` belongs to another branch of the run and is left alone. Returns the removed steps.
    """
    pinned = set(pins(run_dir).values())
    folder = run_dir / FOLDER
    older = [other for other in reversed(steps(run_dir)) if other < step]
    whole = [other for other in older if looks_whole(folder / step_name(other))]
    kept = set(whole[: keep - 1]) | pinned
    removed = [other for other in older if other not in kept]
    for other in removed:
        if other not in whole:
            _log.warning("the checkpoint %s is not whole and is removed", folder / step_name(other))
        remove_files(folder / step_name(other), FILE_NAME)
    return removed


def set_aside_after(run_dir: str | Path, step: int) -> list[Path]:
    """Renames checkpoints newer than `step` to `abandoned-...`: for a run that goes on from an older one.

    Otherwise `latest` would later prefer the branch that was left. Returns their new paths.
    """
    moved: list[Path] = []
    for other in steps(run_dir):
        if other > step:
            path = Path(run_dir) / FOLDER / step_name(other)
            target = path.with_name(f"abandoned-{path.name}")
            if target.is_dir():
                remove_files(target, FILE_NAME)
            numbers = itertools.count(2)
            while target.exists():  # it holds something of the user's
                target = path.with_name(f"abandoned-{path.name}-{next(numbers)}")
            moved.append(path.rename(target))
    return moved


def clear_leftovers(run_dir: Path) -> None:
    """Removes what a killed writer left; only the process that writes this run's checkpoints may call it."""
    for path in (run_dir / FOLDER).glob(".*"):
        if _LEFTOVER.fullmatch(path.name) and path.is_dir():
            with contextlib.suppress(OSError):
                remove_files(path, FILE_NAME)
