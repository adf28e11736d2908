"""Find files of weights and read them without running any code that they may hold."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fautrain.errors import UserError

HUB: Final = "hub:"
HUB_FILE: Final = "model.safetensors"
MODEL_FILE: Final = "model.safetensors"
"""The weights in a folder that `fautrain.checkpoint` wrote,"""
MANIFEST: Final = "manifest.json"
"""and what it writes there last."""
STEP_NAME: Final = re.compile(r"step-(\d+)")
WRAPPERS: Final = ("model", "state_dict")
"""Where a training file keeps its weights; else it is the state dict itself."""
PREFIXES: Final = ("module.", "_orig_mod.")
"""What DDP and `torch.compile` put before every name."""
UNREADABLE: Final = (
    pickle.UnpicklingError,
    SafetensorError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
)
"""What torch and safetensors raise for damaged files."""
# FMAE's files pickle the command line, paths included. These two hold data only; nothing else is let in.
_DATA_ONLY: Final[list[Any]] = [
    argparse.Namespace,
    pathlib.PosixPath,
    (pathlib.PosixPath, "pathlib.PosixPath"),  # Python 3.13 has it in another module
]


def find_weights(where: str | pathlib.Path) -> pathlib.Path:
    """The file of weights that `where` names.

    It is a file, the folder of a checkpoint, that of a run (its newest finished checkpoint counts), or
    `hub:OWNER/REPOSITORY[/FILE]` on the Hugging Face hub, fetched once.
    """
    text = str(where)
    if not text.startswith(HUB):
        path = pathlib.Path(text)
        if path.is_dir():
            return _in_folder(path)
        if not path.is_file():
            raise UserError(
                f"{path} is not a file: give a .pth or .safetensors file, the folder of a run or checkpoint, "
                f"or {HUB}OWNER/REPOSITORY"
            )
        return path
    # Only this branch needs the hub's client, which is slow to import.
    from huggingface_hub import hf_hub_download

    owner, _, rest = text.removeprefix(HUB).partition("/")
    repository, _, file = rest.partition("/")
    if not owner or not repository:
        raise UserError(f"{text} names no repository: write {HUB}OWNER/REPOSITORY[/FILE]")
    try:
        return pathlib.Path(hf_hub_download(f"{owner}/{repository}", file or HUB_FILE))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{text} cannot be had ({reason}): download the file elsewhere and give its path"
        ) from error


def _in_folder(folder: pathlib.Path) -> pathlib.Path:
    """The weights of a checkpoint, or of the newest finished checkpoint of a run."""
    finished = [(0, folder)] if (folder / MANIFEST).is_file() else []
    for path in (folder / "checkpoints").glob("step-*"):
        step = STEP_NAME.fullmatch(path.name)
        if step and (path / MANIFEST).is_file():
            finished.append((int(step[1]), path))
    if not finished or not (max(finished)[1] / MODEL_FILE).is_file():
        raise UserError(
            f"{folder} is not a file, and as a folder it holds no finished checkpoint: give the folder of a "
            "run that has saved one, one of its checkpoints/step-XXXXXXXX, or a .pth or .safetensors file"
        )
    return max(finished)[1] / MODEL_FILE


def read_weights(path: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a `.pth` read without running any code that it may hold.

    What DDP or `torch.compile` put before every name is taken off.
    """
    try:
        if path.suffix == ".safetensors":
            return _without_prefix(load_file(path))
        with torch.serialization.safe_globals(_DATA_ONLY):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign:
            raise UserError(
                f"{path} holds the Python object {foreign[1]}, and a pickle can run code, so it is not read: "
                "if you trust the file, load it in Python and save its tensors as .safetensors"
            ) from error
        raise UserError(f"{path} cannot be read as weights, it may be cut short: fetch it again") from error
    for key in WRAPPERS:
        inner = content.get(key) if isinstance(content, Mapping) else None
        if isinstance(inner, Mapping):
            content = cast(object, inner)
            break
    tensors: dict[str, Tensor] = {}
    if isinstance(content, Mapping):
        tensors = {str(k): v for k, v in cast(Mapping[Any, Any], content).items() if isinstance(v, Tensor)}
    if not tensors:
        raise UserError(f"{path} holds no tensors, neither at its top nor under {' or '.join(WRAPPERS)}")
    return _without_prefix(tensors)


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return dict(tensors)
