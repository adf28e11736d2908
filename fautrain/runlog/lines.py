"""`log.jsonl`: one JSON object a line, only ever added to, cut back to the checkpoint when a run is resumed.

    {"kind": "train", "step": 40, "epoch": 0.5, "time": 1763791234.5, "values": {"loss": 0.75, "lr": 0.0001}}

What it promises: however often a run was killed, stopped or gone on with, the log at its end is that of an
uninterrupted run of the same command. Every line is there once, in the order of steps (of one step: `train`,
then what was evaluated); every value is equal to the last bit wherever the computation is (on a CPU, and on a
GPU as far as its kernels are deterministic), a mean that an interruption fell into included, for checkpoints
keep what was summed. Only `time` and what follows from it differ: `images_per_s`, `mfu`, `data_wait`. Where
`train.max_steps` or `log.every_steps` changed in between, the lines stand where they were due at the time.

`train` lines are means over the steps since the line before, less those that were skipped for a gradient that
is not finite (null where all were; `nonfinite` counts them). `images_per_s`, `mfu` and `data_wait` (the share
of time spent waiting for samples, of the rank that waited longest) are of the time spent in those steps:
evaluations and checkpoints are left out, skipped steps are not. Other kinds are means over samples.

Floats come back exactly. JSON has no NaN or infinity: such a value is null, and a further member `nonfinite`
tells which it was, as in `"nonfinite": {"loss": "nan"}`.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fautrain.files import replace

NAME = "log.jsonl"

_MOST_STEPS = 1 << 53
"""Beyond it a float does not tell steps apart."""

_log = logging.getLogger("fautrain")


@dataclass(frozen=True)
class Line:
    """One line of the log."""

    kind: str
    """What was measured: `train`, `eval` or another word."""
    step: int
    """Steps done."""
    epoch: float
    """Passes over the samples done, with the fraction of the current one."""
    time: float
    """Seconds since 1970 (UTC)."""
    values: Mapping[str, float]
    """The numbers by name."""


def line_to_text(line: Line) -> str:
    """The line as JSON, with the newline.

    Raises:
        TypeError: a value is no float or int. A tensor in particular is not: reading it waits for the device.
    """
    for name, value in line.values.items():
        if type(value) not in (float, int):
            raise TypeError(f"{line.kind} value {name!r} is a {type(value).__qualname__}; give a float")
    finite = {name: value if math.isfinite(value) else None for name, value in line.values.items()}
    data: dict[str, Any] = {
        "kind": line.kind,
        "step": line.step,
        "epoch": line.epoch,
        "time": line.time,
        "values": finite,
    }
    odd = {name: str(value) for name, value in line.values.items() if not math.isfinite(value)}
    if odd:
        data["nonfinite"] = odd
    return json.dumps(data, allow_nan=False) + "\n"


def line_from_text(text: str) -> Line:
    """The line that `line_to_text` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        data = json.loads(text)
        odd = data.get("nonfinite", {})
        values = {n: float(odd[n]) if n in odd else _finite(value) for n, value in data["values"].items()}
        line = Line(data["kind"], data["step"], _finite(data["epoch"]), _finite(data["time"]), values)
        if type(line.kind) is not str or type(line.step) is not int or not 0 <= line.step < _MOST_STEPS:
            raise ValueError("its kind is no word, or its step no number of steps")
        return line
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise ValueError(f"no line of a log: {text[:80]!r}") from None


def _finite(value: Any) -> int | float:
    """The number as it is.

    Raises:
        ValueError: it is none, or none that a float can hold.
    """
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("no finite number")
    return value


def read_log(run_dir: str | Path) -> list[Line]:
    """The lines of a run's log, oldest first; none if it has no log.

    One that cannot be read is named in a warning of the `fautrain` logger and left out.
    """
    path = Path(run_dir) / NAME
    return [line for _, line in _lines_of(path)] if path.is_file() else []


def cut_log(run_dir: Path, step: int) -> int:
    """Takes away the lines after `step` (all, if it is 0) and a torn last one; returns how many.

    The file is replaced in one move: after a crash it is the old or the new one.
    """
    path = run_dir / NAME
    if not path.is_file():
        return 0
    before = path.read_bytes()
    kept = [text for text, line in _lines_of(path) if step and line.step <= step]
    after = "".join(kept).encode()
    if after == before:
        return 0
    replace(path, lambda aside: aside.write_bytes(after))
    return before.count(b"\n") + (not before.endswith(b"\n")) - len(kept)


def _lines_of(path: Path) -> list[tuple[str, Line]]:
    """The readable lines of a log, each as its text and what it says."""
    found: list[tuple[str, Line]] = []
    for number, data in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            text = data.decode()
            if not text.endswith("\n"):
                raise ValueError("the last line is torn")
            found.append((text, line_from_text(text)))
        except ValueError as error:
            _log.warning("%s, line %d is passed over: %s", path, number, error)
    return found
