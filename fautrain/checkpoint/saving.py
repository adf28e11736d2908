"""Writing a checkpoint, by one rank or by many."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path

from fautrain.checkpoint.disk import explained, move_others, put_in_place, sync
from fautrain.checkpoint.manifest import FILE_NAME, NAME, looks_whole, step_name, write_manifest
from fautrain.checkpoint.rng import rng_state
from fautrain.checkpoint.shelf import FOLDER, clear_leftovers, prune, steps
from fautrain.checkpoint.state import State, rank_file, write_nested, write_shared
from fautrain.checkpoint.versions import versions
from fautrain.errors import UserError

_log = logging.getLogger("fautrain")


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
    if not (target / NAME).is_file():
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
