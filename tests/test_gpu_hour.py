"""`tools/gpu_hour.sh`: no part stops another, and its whole path runs on a CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parent.parent / "tools"


def _module() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_hour", TOOLS / "gpu_hour.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gpu_hour = _module()


def part(name: str, code: str, budget_s: float = 60.0, read: Any = gpu_hour._last_line) -> Any:
    return gpu_hour.Part(name, budget_s, [[sys.executable, "-c", code]], read)


def test_what_fails_hangs_or_says_nonsense_stops_no_other_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_hour, "GRACE_S", 1)
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    begun = time.monotonic()
    outcomes = gpu_hour.run(
        [
            part("fails", "raise SystemExit('no such | device')"),
            part("hangs", child, 1.5),
            part("nonsense", "print('not json')", read=gpu_hour._json_line),
            part("works", "print('{\"images/s\": 1234.5}')", read=gpu_hour._json_line),
        ],
        tmp_path,
        1.0,
    )
    assert time.monotonic() - begun < 40
    assert [outcome.ok for outcome in outcomes] == [False, False, False, True]
    assert outcomes[0].error == "exit code 1: no such | device"
    assert "ended after its budget" in outcomes[1].error and "cannot be read" in outcomes[2].error
    told = json.loads((tmp_path / "gpu_hour.json").read_text())
    assert [entry["name"] for entry in told["parts"]] == ["fails", "hangs", "nonsense", "works"]
    rows = (tmp_path / "gpu_hour.md").read_text().splitlines()[2:]
    assert len(rows) == 6 and all(row.count("|") == 5 for row in rows)
    assert "images/s 1,234.5" in rows[-1] and "no such / device" in rows[2]
    (late,) = gpu_hour.run([part("late", "")], tmp_path, 0.0)
    assert "no time was left" in late.error


@pytest.mark.slow
def test_the_whole_path_on_a_cpu(tmp_path: Path) -> None:
    line = [str(TOOLS / "gpu_hour.sh"), "--reduced", "--out", str(tmp_path / "hour")]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})
    told = json.loads((tmp_path / "hour" / "gpu_hour.json").read_text())
    assert done.returncode == 0, done.stdout
    assert {entry["name"] for entry in told["parts"]} == {p.name for p in gpu_hour.parts(tmp_path, True)}
    rates = {entry["name"]: entry["results"] for entry in told["parts"]}
    assert len(rates["pretrain tiny eager and original"]["measured"]["images_per_s"]) == 4
    assert rates["corpus score"]["images/s, start-up included"] > 0
