"""The checkpoints of a run: writing one, by one rank or by many; which there are, and which are kept."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from facecorpus.errors import UserError
from fautrain.checkpoint.disk import explained, forget_torn, move_others, put_in_place, remove_files
from fautrain.checkpoint.environment import rng_state, versions
from fautrain.checkpoint.manifest import (
    FILE_NAME,
    looks_whole,
    verify,
    write_manifest,
)
from fautrain.checkpoint.state import State, rank_file, write_nested, write_shared
from fautrain.files import MANIFEST, STEP_NAME, json_bytes, replace, step_name, sync

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
    replace(path, lambda aside: aside.write_bytes(json_bytes(now)))


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
                forget_torn(path)
                remove_files(path, FILE_NAME)


def _alone() -> None:
    """The barrier of a run of one process."""


def save(
    run_dir: str | Path,
    state: State,
    *,
    keep: int,
    rank: int = 0,
    world: int = 1,
    barrier: Callable[[], None] = _alone,
    share: Callable[[str], str] = str,
) -> Path:
    """Writes RUN_DIR/checkpoints/step-NNNNNNNN and then removes those that `keep` does not spare.

    Every rank calls it with the same step, and `run_dir` is one directory for all of them. All is written in
    a directory aside, forced to disk, with the manifest last, and renamed in one step: a crash at any moment
    leaves the earlier checkpoints and either the whole new one or none. `state.rng` is taken here where it is
    None. A checkpoint of the same step is replaced. `barrier` returns when all ranks have called it,
    `share` gives all ranks what rank 0 calls it with.

    Returns:
        The checkpoint's directory.

    Raises:
        UserError: it could not be written (disk full, not writable), here or on another rank.
        TypeError: the state holds something that cannot be written.
    """
    run_dir = Path(run_dir)
    target = run_dir / FOLDER / step_name(state.step)
    failures: list[Exception] = []

    def attempt(part: Callable[[], None]) -> None:
        # A rank that fails must still come to the barriers, or the others would wait there for ever.
        if not failures:
            try:
                part()
            except Exception as error:
                failures.append(error)

    opened: list[str] = []
    if rank == 0:
        _prune_what_was_left(run_dir, state.step, keep)
        attempt(lambda: opened.append(_open_aside(run_dir, target)))
    aside = share(opened[0] if opened else "")
    try:
        attempt(lambda: _write_parts(_opened(aside, target), state, rank))
        barrier()
        if rank == 0:
            attempt(lambda: _publish(Path(aside), target, state.step, world))
        barrier()
    finally:
        if rank == 0:
            clear_leftovers(run_dir)
    if failures:
        raise explained(failures[0], target) from failures[0]
    if not (target / MANIFEST).is_file():
        raise UserError(f"the checkpoint {target} was not written by rank 0; mend what rank 0 reports")
    if rank == 0:
        _prune(run_dir, state.step, keep)
    return target


def _open_aside(run_dir: Path, target: Path) -> str:
    """Makes the directory aside, on rank 0, and returns its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sync(run_dir)
    clear_leftovers(run_dir)
    aside = target.parent / f".{target.name}.part-{os.getpid()}"
    aside.mkdir()
    return str(aside)


def _opened(aside: str, target: Path) -> Path:
    """The directory aside that rank 0 has told of, seen from here."""
    if not aside or not Path(aside).is_dir():
        raise UserError(
            f"rank 0 has opened no directory aside of {target}; mend what it reports, or give all ranks the "
            "same shared directory"
        )
    return Path(aside)


def _write_parts(aside: Path, state: State, rank: int) -> None:
    """Writes this rank's files, and on rank 0 the common ones."""
    write_nested(aside, rank_file(rank), rng_state() if state.rng is None else state.rng)
    if rank == 0:
        write_shared(aside, dataclasses.replace(state, versions=versions()))


def _publish(aside: Path, target: Path, step: int, world: int) -> None:
    """Seals the directory aside and gives it its name."""
    for rank in range(world):
        if not (aside / f"{rank_file(rank)}.json").is_file():
            raise UserError(
                f"the checkpoint {target} lacks the part of rank {rank}; mend what rank {rank} reports"
            )
    write_manifest(aside, step, world)
    sync(aside)
    put_in_place(aside, target)
    if aside.is_dir():  # the one of the same step that was there before
        move_others(aside, target, FILE_NAME)


def _prune(run_dir: Path, step: int, keep: int) -> None:
    """Removes older checkpoints; the new one is safe, so a failure here is no reason to stop the run."""
    try:
        prune(run_dir, step, keep)
    except (OSError, UserError) as error:
        _log.warning("older checkpoints could not be removed: %s", error)


def _prune_what_was_left(run_dir: Path, step: int, keep: int) -> None:
    """Removes what a run that was killed between publishing and removing left: else each kill adds one."""
    before = [s for s in steps(run_dir) if s < step and looks_whole(run_dir / FOLDER / step_name(s))]
    if before:
        _prune(run_dir, before[-1], keep)
