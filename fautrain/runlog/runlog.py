"""The log of a run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from fautrain.config import RunConfig, to_plain
from fautrain.runlog.lines import NAME, Line, cut_log, line_to_text
from fautrain.runlog.screen import Screen, describe
from fautrain.runlog.trackers import Tracker, open_tracker


class RunLog:
    """Writes `log.jsonl` and to the trackers, and shows progress; a context manager.

    It takes floats and never waits for a device by itself. On ranks other than the main one it does nothing.
    """

    def __init__(
        self,
        run_dir: str | Path,
        config: RunConfig,
        trackers: Sequence[str],
        is_main: bool,
        *,
        total_steps: int,
        step: int = 0,
        stream: TextIO | None = None,
    ) -> None:
        """Opens the log of a run that goes on after `step` (0: that begins) up to `total_steps`.

        Lines after `step` are taken away, so that the file holds what the run continues from; for a `step`
        of 0 that is nothing.

        Raises:
            UserError: a tracker is unknown or its package is not installed; the log is as it was.
        """
        self.is_main = is_main
        self.trackers: list[Tracker] = []
        self.latest: dict[str, Mapping[str, float]] = {}
        """Values of the last line of each kind."""
        if not is_main:
            return
        folder = Path(run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        plain = to_plain(config)
        self.trackers = [open_tracker(name, folder, plain, step) for name in trackers]
        cut_log(folder, step)
        self.file = (folder / NAME).open("a", encoding="utf-8")
        self.screen = Screen(total_steps, step, stream)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, step: int) -> None:
        """`step` steps are done: moves the bar. Cheap, meant for every step."""
        if self.is_main:
            self.screen.advance(step)

    def write(self, step: int, epoch: float, values: Mapping[str, float], kind: str = "train") -> None:
        """Adds a line. Numbers of kind `train` are shown beside the bar (`screen.WORDS`), others on a line.

        Raises:
            TypeError: a value is no float or int (a tensor, say).
        """
        if not self.is_main:
            return
        text = line_to_text(Line(kind, step, epoch, time.time(), values))
        self.latest[kind] = values
        # One write of a whole line: a kill leaves no half of it behind.
        self.file.write(text)
        self.file.flush()
        for tracker in self.trackers:
            tracker.write({f"{kind}/{name}": value for name, value in values.items()}, step)
        if kind == "train":
            self.screen.show(step, epoch, values)
        else:
            words = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            self.screen.say(f"{kind} after step {step:,} (epoch {epoch:.2f}): {words}")

    def last(self) -> str:
        """The latest numbers in words: those of training that are shown, then all others."""
        words = describe(self.latest.get("train", {}))
        for kind, values in self.latest.items():
            if kind != "train":
                words += [f"{kind} {name} {value:.4g}" for name, value in values.items()]
        return ", ".join(words)

    def say(self, text: str) -> None:
        """Shows a line to the person, without spoiling the bar; it is not logged."""
        if self.is_main:
            self.screen.say(text)

    def sync(self) -> None:
        """Forces the lines to disk: meant for just before a checkpoint is written."""
        if self.is_main:
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Ends the trackers and the bar. Harmless when called twice."""
        if not self.is_main or self.file.closed:
            return
        self.file.close()
        self.screen.close()
        for tracker in self.trackers:
            tracker.close()
