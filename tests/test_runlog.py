"""What a run tells: the log and its numbers, what is left of it on resume, the screen, the trackers."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facecorpus.errors import UserError
from fautrain.config import PretrainConfig
from fautrain.runlog import Line, RunLog, Screen, read_log
from fautrain.runlog.lines import cut_log, line_from_text, line_to_text

CONFIG = PretrainConfig(name="test", about="For tests.")


def open_log(run_dir: Path, step: int = 0, is_main: bool = True, trackers: tuple[str, ...] = ()) -> RunLog:
    return RunLog(run_dir, CONFIG, trackers, is_main, total_steps=100, step=step, stream=io.StringIO())


def written(run_dir: Path) -> list[tuple[str, int, Mapping[str, float]]]:
    return [(line.kind, line.step, line.values) for line in read_log(run_dir)]


def test_lines_are_json_with_step_epoch_time_and_values(tmp_path: Path) -> None:
    before = time.time()
    with open_log(tmp_path) as log:
        log.write(20, 0.5, {"loss": 0.1 + 0.2, "lr": 1e-4})
        log.write(40, 1.0, {"loss": 0.25}, kind="eval")
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert before <= first.pop("time") <= second.pop("time") <= time.time()
    assert first == {"kind": "train", "step": 20, "epoch": 0.5, "values": {"loss": 0.1 + 0.2, "lr": 1e-4}}
    assert second == {"kind": "eval", "step": 40, "epoch": 1.0, "values": {"loss": 0.25}}


@given(st.dictionaries(st.text(), st.floats() | st.integers(-(2**60), 2**60)), st.floats(0, 1e6))
def test_every_number_comes_back_exactly(values: dict[str, float], epoch: float) -> None:
    read = line_from_text(line_to_text(Line("train", 3, epoch, 1.5, values)))
    assert (read.kind, read.step, read.epoch, read.time) == ("train", 3, epoch, 1.5)
    assert list(read.values) == list(values)
    assert [repr(value) for value in read.values.values()] == [repr(value) for value in values.values()]


def test_what_is_not_finite_is_null_with_a_flag(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.write(1, 0.1, {"loss": math.nan, "norm": -math.inf, "lr": 0.5})
    line = json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=pytest.fail)
    assert line["values"] == {"loss": None, "norm": None, "lr": 0.5}
    assert line["nonfinite"] == {"loss": "nan", "norm": "-inf"}
    (read,) = read_log(tmp_path)
    assert math.isnan(read.values["loss"]) and read.values["norm"] == -math.inf


@pytest.mark.parametrize(
    "foreign",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b'"step": 1e999',
        b'"step": 9007199254740992',
        b'"step": 1.5',
        b'"step": "1"',
    ],
)
def test_lines_that_are_none_are_passed_over_and_cut_whatever_their_bytes(
    tmp_path: Path, foreign: bytes
) -> None:
    good = line_to_text(Line("train", 1, 0.5, 1.5, {"loss": 0.25})).encode()
    odd = good.replace(b'"step": 1', foreign) if b"step" in foreign else foreign + b"\n"
    (tmp_path / "log.jsonl").write_bytes(good + odd + good)
    assert len(read_log(tmp_path)) == 2
    assert cut_log(tmp_path, 1) == 1
    assert (tmp_path / "log.jsonl").read_bytes() == good + good


@pytest.mark.parametrize("value", [torch.tensor(0.5), True, None, "0.5"])
def test_only_numbers_are_taken_and_a_tensor_is_none(tmp_path: Path, value: float) -> None:
    with open_log(tmp_path) as log:
        with pytest.raises(TypeError, match=r"train value 'loss' is a .*; give a float"):
            log.write(1, 0.1, {"loss": value})
        log.write(2, 0.1, {"loss": 0.5})
    assert written(tmp_path) == [("train", 2, {"loss": 0.5})]


def test_a_resumed_run_has_the_log_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def go(log: RunLog, first: int, last: int) -> None:
        for step in range(first, last + 1):
            log.write(step, step / 10, {"loss": 1 / step})
            if step % 10 == 0:
                log.write(step, step / 10, {"loss": 2 / step}, kind="eval")

    with open_log(tmp_path / "whole") as log:
        go(log, 1, 40)
    with open_log(tmp_path / "cut") as log:
        go(log, 1, 27)
    with open_log(tmp_path / "cut", step=20) as log:
        assert written(tmp_path / "cut") == [line for line in written(tmp_path / "whole") if line[1] <= 20]
        go(log, 21, 40)
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["log.jsonl"]


def test_a_log_that_needs_no_cut_is_left_as_it_is(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.write(20, 1, {"loss": 1.0})
    before = (tmp_path / "log.jsonl").stat()
    open_log(tmp_path, step=20).close()
    after = (tmp_path / "log.jsonl").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_run_that_begins_again_begins_its_log_again(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.write(0, 0, {"loss": 2.0}, kind="eval")
        log.write(5, 0.1, {"loss": 1.0})
    open_log(tmp_path).close()
    assert read_log(tmp_path) == []


def test_a_torn_last_line_is_passed_over_and_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_log(tmp_path) as log:
        log.write(1, 0.1, {"loss": 0.5})
        log.write(2, 0.2, {"loss": 0.4})
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text()[:-9])
    assert written(tmp_path) == [("train", 1, {"loss": 0.5})]
    assert f"{path}, line 2 is passed over: the last line is torn" in caplog.text
    with open_log(tmp_path, step=2) as log:
        log.write(3, 0.3, {"loss": 0.3})
    assert written(tmp_path) == [("train", 1, {"loss": 0.5}), ("train", 3, {"loss": 0.3})]


def test_a_damaged_line_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_log(tmp_path) as log:
        log.write(1, 0.1, {"loss": 0.5})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2}\n[]\n')
    with caplog.at_level(logging.WARNING, logger="fautrain"):
        assert written(tmp_path) == [("train", 1, {"loss": 0.5})]
    assert "line 2 is passed over: no line of a log" in caplog.text and "line 3 is passed over" in caplog.text


def test_each_line_is_there_at_once_and_stays_when_the_process_is_killed(tmp_path: Path) -> None:
    code = """
import io, os, signal, sys
from fautrain.config import PretrainConfig
from fautrain.runlog import RunLog
log = RunLog(sys.argv[1], PretrainConfig("a", "b"), (), True, total_steps=9, stream=io.StringIO())
for step in range(1, 5):
    log.write(step, 0.0, {"loss": 0.5})
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert [line.step for line in read_log(tmp_path)] == [1, 2, 3, 4]


def test_other_ranks_write_and_show_nothing(tmp_path: Path) -> None:
    stream = io.StringIO()
    log = RunLog(tmp_path / "run", CONFIG, ("wandb", "no-such"), False, total_steps=9, stream=stream)
    with log:
        log.advance(1)
        log.write(1, 0.1, {"loss": 0.5})
        log.say("hello")
        log.sync()
    assert not (tmp_path / "run").exists() and stream.getvalue() == ""


def test_a_log_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []


def test_plain_lines_tell_the_speed_and_the_time_left() -> None:
    stream = io.StringIO()
    screen = Screen(1200, first=1000, stream=stream)
    values = {"loss": 0.43215, "lr": 1e-4, "images_per_s": 1234.4, "mfu": 0.431, "data_wait": 0.008}
    screen.show(1100, 2.75, values)
    text = stream.getvalue()
    assert text.startswith(
        "step 1,100 of 1,200: epoch 2.75, loss 0.4321, 1,234 img/s, MFU 43.1%, data wait 0.8%, "
    )
    assert text.endswith(" left\n")
    screen.show(1101, 2.75, values)
    assert stream.getvalue() == text, "plain lines come now and then, not at every call"
    screen.show(1200, 3.0, {"loss": 0.4})
    assert stream.getvalue().splitlines()[1:] == ["step 1,200 of 1,200: epoch 3.00, loss 0.4000"]


def test_the_time_left_follows_from_the_latest_speed() -> None:
    screen = Screen(100, first=40, stream=io.StringIO())
    assert screen.seconds_left() is None
    start = screen.marks[0][0]
    screen.marks.append((start + 30.0, 50))
    assert screen.seconds_left() == pytest.approx(150.0)


def test_what_is_not_training_is_told_on_its_own_line(tmp_path: Path) -> None:
    stream = io.StringIO()
    with RunLog(tmp_path, CONFIG, (), True, total_steps=100, stream=stream) as log:
        log.write(50, 5.0, {"loss": 0.31234, "mean_patch": 0.9}, kind="eval")
        log.say("one sample was damaged")
    assert stream.getvalue().splitlines() == [
        "eval after step 50 (epoch 5.00): loss 0.3123, mean_patch 0.9",
        "one sample was damaged",
    ]


def test_on_a_terminal_there_is_a_bar(tmp_path: Path) -> None:
    reading, writing = os.openpty()
    termios.tcsetwinsize(writing, (24, 140))
    with os.fdopen(writing, "w") as stream:
        log = RunLog(tmp_path, CONFIG, (), True, total_steps=100, step=40, stream=stream)
        for step in (41, 42):
            log.advance(step)
        log.write(50, 5.0, {"loss": 0.25, "images_per_s": 99.0})
        log.write(50, 5.0, {"loss": 0.5}, kind="eval")
        log.close()
        log.close()
    data = b""
    with contextlib.suppress(OSError):  # its end, now that the other side is closed
        while more := os.read(reading, 65536):
            data += more
    os.close(reading)
    text = data.decode()
    assert "| 50/100" in text and "epoch 5.00, loss 0.2500, 99 img/s" in text
    assert "eval after step 50 (epoch 5.00): loss 0.5" in text


def test_an_unknown_tracker_is_refused_and_the_log_stays(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.write(1, 0.1, {"loss": 0.5})
    with pytest.raises(UserError, match="no such tracker; give some of tensorboard, wandb, trackio"):
        open_log(tmp_path, trackers=("comet",))
    assert written(tmp_path) == [("train", 1, {"loss": 0.5})]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, name: str
) -> None:
    # None in sys.modules is how Python is told that a module is not to be had.
    code = f"""
import sys
sys.modules[{name!r}] = None
from fautrain.config import PretrainConfig
from fautrain.runlog import RunLog
RunLog(sys.argv[1], PretrainConfig("a", "b"), ({name!r},), True, total_steps=9)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (
        f"UserError: log.trackers={name}: {name} is not installed; run pip install 'facecorpus[{name}]' "
        f"or leave {name} out of log.trackers" in done.stderr
    )


def test_without_trackers_none_is_imported(tmp_path: Path) -> None:
    code = """
import io, sys
from fautrain.config import PretrainConfig
from fautrain.runlog import RunLog
with RunLog(sys.argv[1], PretrainConfig("a", "b"), (), True, total_steps=9, stream=io.StringIO()) as log:
    log.write(1, 0.1, {"loss": 0.5})
assert not {"tensorboard", "wandb", "trackio", "torch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_tensorboard_gets_the_numbers_and_hides_those_after_the_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_log(tmp_path, trackers=("tensorboard",)) as log:
        for step in (1, 2, 3):
            log.write(step, 0.1, {"loss": 1.0 / step})
    with open_log(tmp_path, step=2, trackers=("tensorboard",)) as log:
        log.write(3, 0.1, {"loss": 7.0})
        log.write(3, 0.1, {"loss": 9.0}, kind="eval")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5), (3, 7.0)]
    assert [(e.step, e.value) for e in events.Scalars("eval/loss")] == [(3, 9.0)]
