"""The command line: fast help, and for bad input one clear sentence, exit code 2, nothing lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import build_arguments, command, run, tree

from facecorpus import pipeline, recipes, storage, typed
from facecorpus.cli import app
from facecorpus.errors import UserError
from facecorpus.sources.base import Source

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
    for name in ("score", "select", "materialise", "verify", "stats", "report"):
        assert "holds no corpus" in refused(name, str(tmp_path))


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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("to_group", [True, False])
def test_a_signal_ends_a_build_with_its_code_and_a_sentence(
    drawn: Path, tmp_path: Path, number: signal.Signals, code: int, to_group: bool
) -> None:
    """As Ctrl-C in a shell, `timeout` and Slurm send it: to the workers too, which say nothing."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(*build_arguments(drawn, out, workers=2)),
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (out / "done/score").exists():
        time.sleep(0.002)
    (os.killpg if to_group else os.kill)(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("facecorpus: stopped by ") and "goes on where it was" in said


def test_words_without_an_option_are_answered(tmp_path: Path) -> None:
    for stray in (["photos"], ["a.jpg", "b.jpg"]):
        line = refused("build", *stray, "--out", str(tmp_path / "out"))
        assert f"--sources photos=folder:{stray[0]} --out OUT" in line and "quotes" in line


def test_sources_are_looked_for_once(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    look = pipeline.parse_spec

    def parse(spec: str, root: str, taken: Sequence[str]) -> Source:
        seen.append(spec)
        return look(spec, root, taken=taken)

    monkeypatch.setattr(pipeline, "parse_spec", parse)
    line = ["inventory", "--root", str(drawn), "--out", str(tmp_path / "out"), "--workers", "1"]
    app([*line, "--sources", "celeba,vggface2"], standalone_mode=False)
    assert seen == ["celeba", "vggface2"]


def test_without_sources_those_that_are_there_are_read(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(drawn / "celeba", root / "celeba")
    done = run("inventory", "--root", str(root), "--out", str(tmp_path / "out"))
    assert done.stdout.startswith("celeba: ") and len(done.stdout.splitlines()) == 1
    assert "not in" in done.stderr and "vggface2" in done.stderr
    (tmp_path / "empty").mkdir()
    line = refused("build", "--root", str(tmp_path / "empty"), "--out", str(tmp_path / "other"))
    assert "none of the sources of the recipe face9m" in line and "photos=folder:DIR" in line


def test_a_corpus_is_read_from_any_folder(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by relative paths, built, then looked at from elsewhere, and moved."""
    root = tmp_path / "here/root"
    shutil.copytree(drawn / "folder", root / "folder")
    monkeypatch.chdir(tmp_path / "here")
    built = ["build", "--root", "root", "--out", "corpus", "--sources", "folder", "--recipe", "sample"]
    run(*built, "--no-report")
    shards = tree(tmp_path / "here/corpus")
    (kept, *_) = pq.read_table("corpus/shards.parquet")["first_key"].to_pylist()
    monkeypatch.chdir(tmp_path)
    said = run("inspect", "here/corpus", kept, "--save", "look.png").stdout
    assert "without the source picture" not in said
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    again = run(*built, "--no-report")
    assert "score:" not in again.stderr and "out of date" not in again.stderr
    assert tree(tmp_path / "there/corpus") == shards


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("limits.min_side=100", "limits.min_side_px"),
        ("min_side=100", "limits.min_side_px"),
        ("size=100", "size_px"),
        ("limits.jpeg_quality=9", "jpeg_quality"),
        ("alin=box", "align"),
    ],
)
def test_suggestions_are_whole_names_that_exist(setting: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"did you mean '{meant}'"):
        typed.override(recipes.recipe("sample"), [setting])


@pytest.mark.parametrize(
    "name", ["selection.parquet", "placement.parquet", "shards.parquet", "scores/celeba/part-*.parquet"]
)
def test_damaged_tables_of_every_kind_are_named(corpus: Path, tmp_path: Path, name: str) -> None:
    """Cut, blank within, another table, and flipped bytes all over: a sentence or the table, nothing else."""
    whole = next(corpus.glob(name))
    data = whole.read_bytes()
    path = tmp_path / "x.parquet"
    rng = random.Random(0)
    pq.write_table(pq.read_table(whole).select([0]), path)
    damaged = [data[:-9], data[:40] + bytes(60) + data[100:], b"", b"PAR1", path.read_bytes()]
    for _ in range(150):
        flipped = bytearray(data)
        for _ in range(rng.choice((1, 1, 4, 30))):
            place = rng.randrange(len(data)) if rng.random() < 0.4 else len(data) - 1 - rng.randrange(600)
            flipped[place] = rng.randrange(256)
        damaged.append(bytes(flipped))
    said = 0
    for bad in damaged:
        path.write_bytes(bad)
        try:
            storage.read_table(str(path), columns=pq.read_schema(whole).names)
        except UserError as error:
            said += 1
            assert str(path) in str(error) and "remove it" in str(error) and "\n" not in str(error)
    assert said >= 5
