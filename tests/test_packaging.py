"""What a wheel holds, and what both commands say of themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from facecorpus import manifests

ROOT = Path(__file__).parent.parent


def test_the_wheel_owns_no_top_level_package_but_its_two() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["facecorpus", "fautrain"]
    assert wheel["force-include"] == {"manifests": "facecorpus/_manifests"}
    assert {path.name for path in manifests.folder().iterdir()} >= {"sources.toml", "disfa.toml"}


def test_manifests_are_found_in_an_installed_package(tmp_path: Path) -> None:
    """Laid out as the wheel is, away from the source tree."""
    code = (
        "import facecorpus.manifests as m\n"
        "from fautrain.data.benchmark import benchmark_names\n"
        "from facecorpus.sources.facts import facts\n"
        "print(m.folder(), len(facts()), *benchmark_names())"
    )
    copy = tmp_path / "copy"
    for name in ("facecorpus", "fautrain"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copytree(ROOT / "manifests", copy / "facecorpus/_manifests")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=True
    ).stdout.split()
    assert done[0] == str(copy / "facecorpus/_manifests") and int(done[1]) > 5 and "disfa" in done[2:]


@pytest.mark.parametrize("command", ["facecorpus", "fautrain"])
def test_version(command: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    done = subprocess.run(
        [sys.executable, "-m", command, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{command} {version}\n"


def test_a_core_install_that_meets_fautrain_is_told_the_extra() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nsys.argv = ['fautrain', 'bench', '--shards', 'x']\n"
        "from fautrain.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1 and "pip install 'facecorpus[train]'" in done.stderr, done.stderr
