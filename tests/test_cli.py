"""The command line: fast help, and for bad input one clear sentence, exit code 2, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import build_arguments, run, tree

COMMANDS = (
    "build",
    "inventory",
    "score",
    "select",
    "materialise",
    "verify",
    "stats",
    "report",
    "inspect",
    "sources",
    "recipes",
    "weights",
    "synth",
)


def refused(*arguments: str) -> str:
    """The one sentence with which the command refuses."""
    done = run(*arguments, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("facecorpus: ")]
    return line


def test_help_lists_every_command() -> None:
    shown = run("--help").stdout
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        "import sys\nfrom facecorpus.cli import app\n"
        f"try: app([{command!r}, '--help'])\nexcept SystemExit: pass\n"
        "heavy = ('torch', 'cv2', 'numpy', 'pyarrow', 'numba', 'onnxruntime')\n"
        "print(sorted(m for m in heavy if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_corpus_side_never_imports_torch() -> None:
    code = (
        "import sys, facecorpus.pipeline, facecorpus.report, facecorpus.synth.datasets\n"
        "from facecorpus.faces.detector import make_detector\n"
        "make_detector('retinaface-mobilenet025', device='cpu')\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_unknown_source_is_named_with_the_nearest(drawn: Path, tmp_path: Path) -> None:
    said = refused("build", "--root", str(drawn), "--out", str(tmp_path / "o"), "--sources", "celebra")
    assert "celebra" in said and "celeba" in said


def test_missing_root_and_missing_source_say_what_was_looked_for(drawn: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "o")
    assert "nowhere" in refused(
        "build", "--root", str(tmp_path / "nowhere"), "--out", out, "--sources", "celeba"
    )
    (tmp_path / "empty").mkdir()
    said = refused("build", "--root", str(tmp_path / "empty"), "--out", out, "--sources", "celeba")
    assert "celeba" in said and "img_align_celeba" in said
    assert not (tmp_path / "o").exists(), "a refused build must leave nothing behind"


def test_empty_and_half_copied_archives(tmp_path: Path) -> None:
    out = str(tmp_path / "o")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    arguments = ("build", "--root", str(tmp_path), "--out", out, "--sources")
    assert "empty.tar" in refused(*arguments, "a=archive:empty.tar")
    (tmp_path / "pictures").mkdir()
    for number in range(20):
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(bytes([number]) * 3000)
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz")):
        whole = tmp_path / f"whole{suffix}"
        with tarfile.open(whole, mode) as tar:
            tar.add(tmp_path / "pictures", "pictures")
        data = whole.read_bytes()
        (tmp_path / f"half{suffix}").write_bytes(data[: len(data) // 2])
        assert f"half{suffix}" in refused(*arguments, f"a=archive:half{suffix}", "--rebuild")


@pytest.mark.parametrize("name", ["../escape.jpg", "/etc/escape.jpg"])
def test_members_that_point_out_of_the_archive(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.jpg").write_bytes(b"x")
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        with (tmp_path / "x.jpg").open("rb") as file:
            tar.addfile(member, file)
    said = refused(
        "build", "--root", str(tmp_path), "--out", str(tmp_path / "o"), "--sources", "a=archive:bad.tar"
    )
    assert "bad.tar" in said and "escape.jpg" in said


def test_two_inputs_with_the_same_id(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"x")
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        tar.add(tmp_path / "x.jpg", "x.jpg")
        tar.add(tmp_path / "x.jpg", "x.jpg")
    said = refused(
        "build", "--root", str(tmp_path), "--out", str(tmp_path / "o"), "--sources", "a=archive:twice.tar"
    )
    assert "a/x.jpg" in said and "twice.tar" in said


def test_two_sources_with_one_name(drawn: Path, tmp_path: Path) -> None:
    said = refused("build", "--root", str(drawn), "--out", str(tmp_path / "o"), "--sources", "folder,folder")
    assert "folder" in said


def test_wrong_weights_are_refused_by_name(drawn: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"not the weights")
    said = refused(*build_arguments(drawn, tmp_path / "o", more=("--weights", str(weights))))
    assert str(weights) in said and "SHA-256" in said


def test_a_detector_that_finds_nothing(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    (tmp_path / "grey").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "grey" / f"{number}.png"), np.full((200, 200, 3), 60 + number, np.uint8))
    out = tmp_path / "o"
    said = refused("build", "--root", str(tmp_path), "--out", str(out), "--sources", "grey=folder:grey")
    assert "3 no_face" in said and "facecorpus stats" in said
    assert "3 no face" in run("stats", str(out)).stdout


def test_no_write_permission(drawn: Path, tmp_path: Path) -> None:
    # Root writes everywhere, so a read-only file system stands in for missing rights.
    place = tmp_path / "readonly"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], capture_output=True
    ).returncode:
        place.chmod(0o500)
        if subprocess.run(["touch", str(place / "x")], capture_output=True).returncode == 0:
            pytest.skip("this process may write everywhere and may not mount")
    try:
        said = refused(*build_arguments(drawn, place / "o"))
        assert str(place) in said
    finally:
        subprocess.run(["umount", str(place)], capture_output=True)


def test_a_folder_that_is_no_corpus(tmp_path: Path) -> None:
    for command in ("score", "select", "materialise", "verify", "stats", "report"):
        assert "holds no corpus" in refused(command, str(tmp_path))


def test_phases_out_of_order_name_the_one_to_run_first(drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    run("inventory", *(a for a in build_arguments(drawn, out)[1:] if a != "--no-report"))
    assert "facecorpus score" in refused("select", str(out))
    assert "facecorpus score" in refused("materialise", str(out))
    assert "facecorpus materialise" in refused("verify", str(out))
    assert "facecorpus select" in refused("stats", str(out))


def test_a_misspelt_setting_and_recipe(drawn: Path, tmp_path: Path) -> None:
    assert "min_side_px" in refused(
        *build_arguments(drawn, tmp_path / "o", more=("--set", "limits.min_side=1"))
    )
    said = refused("build", "--root", str(drawn), "--out", str(tmp_path / "o"), "--recipe", "face9")
    assert "face9m" in said


def test_a_damaged_table_is_named(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    (out / "selection.parquet").write_bytes(b"PAR1")
    assert "selection.parquet" in refused("stats", str(out))
    assert tree(corpus)["selection.parquet"]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run("stats", str(tmp_path), "--debug", check=False)
    assert done.returncode != 0 and "Traceback" in done.stderr


def test_recipes_and_sources_are_listed() -> None:
    assert "face9m-script" in run("recipes").stdout
    assert '"min_side_px": 224' in run("recipes", "face9m-script").stdout
    assert all(name in run("sources").stdout for name in ("celeba", "vggface2", "laion_face"))
    assert "img_align_celeba" in run("sources", "celeba").stdout
