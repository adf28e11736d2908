"""The `fautrain` command: fast help, listings, and one clear sentence for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from facecorpus.errors import UserError
from fautrain.cli import app

COMMANDS = ("pretrain", "recipes", "bench", "report", "checkpoint")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fautrain", *arguments], capture_output=True, text=True)


def refused(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_help_lists_every_command() -> None:
    shown = run("--help").stdout
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        "import sys\nfrom fautrain.cli import app\n"
        f"try: app([{command!r}, '--help'])\nexcept SystemExit: pass\n"
        "heavy = ('torch', 'cv2', 'numpy', 'pyarrow', 'timm', 'accelerate')\n"
        "print(sorted(m for m in heavy if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_recipes_are_listed_and_shown_with_overrides() -> None:
    assert "fmae-vit-large-paper" in run("recipes").stdout
    shown = run("recipes", "show", "mae-face", "--set", "optim.lr=1e-4")
    config = json.loads(shown.stdout)
    assert config["optim"]["lr"] == 1e-4 and config["loss"]["kind"] == "l1"
    assert "Eq. 1" in shown.stderr


def test_bad_input_is_answered_in_a_sentence(tmp_path: Path) -> None:
    where = ("--shards", str(tmp_path / "none-*.tar"), "--out", str(tmp_path / "run"))
    assert "fmae-vit-large" in refused("pretrain", *where, "--recipe", "fmae-vit-larg")
    assert "optim.lr" in refused("pretrain", *where, "--recipe", "tiny", "--set", "optim.lrr=1")
    assert "none-*.tar" in refused("pretrain", *where, "--recipe", "tiny")
    assert str(tmp_path) in refused("checkpoint", "verify", str(tmp_path))
    assert str(tmp_path) in refused("report", str(tmp_path))
    assert "recipes show" in refused("recipes", "list")


@pytest.mark.parametrize(
    "command", [["pretrain", "--out", "run"], ["bench"], ["probe", "--checkpoint", "run"]]
)
def test_a_pattern_that_the_shell_expanded_is_told(command: list[str]) -> None:
    with pytest.raises(UserError, match=r"made 3 of its pattern.*quotes, as in --shards '/data/\*\.tar'"):
        app([*command, "--shards", "/data/a.tar", "/data/b.tar", "/data/c.tar"])


@pytest.mark.parametrize(
    "command",
    [["report", "run"], ["pretrain", "--out", "run", "--shards", "a"], ["checkpoint", "verify", "run"]],
)
def test_words_without_an_option_are_answered(command: list[str]) -> None:
    with pytest.raises(UserError, match=r"^'stray' belongs to no option; '.* --help'"):
        app([*command, "stray"])
