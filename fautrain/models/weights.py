"""Find files of weights and read them without running any code that they may hold."""

from __future__ import annotations

import argparse
import pathlib
import pickletools
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast
from zipfile import ZipFile, is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor

from facecorpus.errors import UserError
from facecorpus.signature import HEAD_BYTES, sniff
from fautrain.files import MANIFEST, MODEL_FILE, STEP_NAME
from fautrain.models.layouts import own_names, prefixes

HUB: Final = "hub:"
CARD: Final = "model.json"
"""Beside the weights in the folder of a final model (`fautrain.runs.final`)."""
WRAPPERS: Final = (
    "model",
    "state_dict",
    "model_state_dict",
    "module",
    "network",
    "net",
    "encoder",
    "weights",
    "model_ema",
    "ema",
    "teacher",
)
"""Where a training file keeps its weights, the likeliest first; else it is the state dict itself, or whatever
it calls its only dictionary of tensors."""
_ZIP: Final = b"PK\x03\x04"
# FMAE's files pickle the command line, paths included. These two hold data only; nothing else is let in.
_DATA_ONLY: Final[list[Any]] = [
    argparse.Namespace,
    pathlib.PosixPath,
    (pathlib.PosixPath, "pathlib.PosixPath"),  # Python 3.13 has it in another module
    (pathlib.PosixPath, "pathlib._local.PosixPath"),
    (pathlib.PureWindowsPath, "pathlib.WindowsPath"),  # which could not be made elsewhere
    (pathlib.PureWindowsPath, "pathlib._local.WindowsPath"),
]
_HARMLESS: Final = ("torch.", "collections.", "_codecs.encode", "argparse.Namespace", "pathlib.")
"""How the names begin that a sound file's pickle holds."""


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
        return pathlib.Path(hf_hub_download(f"{owner}/{repository}", file or MODEL_FILE))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{text} cannot be had ({reason}): name its file, {HUB}OWNER/REPOSITORY/FILE, or download it "
            "elsewhere and give its path"
        ) from error


def _in_folder(folder: pathlib.Path) -> pathlib.Path:
    """The weights of a checkpoint or final model, or of the newest finished checkpoint of a run."""
    if (folder / CARD).is_file() and (folder / MODEL_FILE).is_file():
        return folder / MODEL_FILE
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


class Weights(NamedTuple):
    """The tensors of a file by our names, without what stands before all names of the encoder."""

    tensors: dict[str, Tensor]
    where: str
    """Which part of the file they are; empty for the whole."""


def read_weights(path: pathlib.Path) -> Weights:
    """The tensors of a `.safetensors` file, or of a `.pth` read without running any code that it may hold.

    Raises:
        UserError: it is no file of weights, or holds none, or several sets of them.
    """
    try:
        if _is_safetensors(path):
            return _of_one_encoder(load_file(path), "", path)
        _refuse_inflated(path)
        with torch.serialization.safe_globals(_DATA_ONLY):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # damaged bytes raise whatever the place they are met raises
        raise _refusal(path, error) from error
    return weights_in(content, path)


def weights_in(content: object, path: pathlib.Path) -> Weights:
    """The tensors in what `torch.load` gave of a file; as `read_weights`."""
    return _of_one_encoder(*_state_dict(content, path), path)


def _is_safetensors(path: pathlib.Path) -> bool:
    """By the first bytes: the length of a JSON header, and its brace."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= 100_000_000


def _refuse_inflated(path: pathlib.Path) -> None:
    """`torch.save` compresses nothing: what unpacks to far more than the file was made to exhaust memory."""
    if not is_zipfile(path):
        return
    with ZipFile(path) as archive:
        inflated = sum(member.file_size for member in archive.infolist())
    if inflated > 2 * path.stat().st_size:
        raise UserError(
            f"{path} unpacks to {inflated:,} bytes, which no file of torch.save does; "
            "get the weights from their owner again"
        )


def _refusal(path: pathlib.Path, error: Exception) -> UserError:
    """Why a file that torch or safetensors gave up on is none: by its first bytes and its pickle's names."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    signature = sniff(head)
    names, whole = _pickled_names(path)
    told = re.search(r"GLOBAL (\S+)", str(error))
    foreign = [told[1]] if told else [name for name in names if not name.startswith(_HARMLESS)]
    unread = (
        "and a pickle can run code, so it is not read: "
        "if you trust the file, load it in Python and save its tensors as .safetensors"
    )
    if foreign and not (signature and signature.stands_in):
        return UserError(f"{path} holds the Python object {foreign[0]}, {unread}")
    if signature and not head.startswith(_ZIP):
        remedy = signature.remedy or "give a .pth or .safetensors file of weights"
        return UserError(f"{path} is {signature.says}: {remedy.replace('{0}', str(path))}")
    if whole and not head.startswith(_ZIP):
        return UserError(f"{path} is a pickle that torch.save did not write, {unread}")
    return UserError(f"{path} cannot be read as weights, it is damaged or cut short: fetch it again")


def _pickled_names(path: pathlib.Path) -> tuple[list[str], bool]:
    """The Python objects that the pickle of a `.pth` names, and whether it has an end; nothing is run."""
    names: list[str] = []
    words: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(_pickle(path)):
            if code.name in ("GLOBAL", "INST"):
                names.append(str(argument).replace(" ", "."))
            elif code.name == "STACK_GLOBAL":
                names.append(".".join(words[-2:]) or "of an unknown name")
            elif isinstance(argument, str):
                words.append(argument)
    except Exception:  # it breaks off, or is no pickle
        return names, False
    return names, True


def _pickle(path: pathlib.Path) -> bytes:
    """The pickle in a file of `torch.save`, whose other parts are plain bytes; else the file's beginning."""
    most = 1 << 26
    if is_zipfile(path):
        with ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                return file.read(most)
    with path.open("rb") as file:
        return file.read(most)


def _state_dict(content: object, path: pathlib.Path) -> tuple[dict[str, Tensor], str]:
    """The one dictionary of named tensors in what a file holds, and the key that it is under."""
    found = _dictionaries(content)
    # A step count may be a tensor, too: the weights are where an encoder is, if it is anywhere.
    found = {key: t for key, t in found.items() if prefixes(t)} or found
    chosen = next((key for key in ("", *WRAPPERS) if key in found), None)
    if chosen is None and len(found) == 1:
        (chosen,) = found
    if chosen is not None:
        return found[chosen], chosen
    if not found:
        raise UserError(
            f"{path} holds no tensors by name ({_contents(content)}): "
            "save the model's state dict alone, torch.save({'model': model.state_dict()}, ...)"
        )
    part = "".join(f"[{key!r}]" for key in min(found).split("."))
    raise UserError(
        f"{path} holds several sets of tensors, under {', '.join(sorted(found))}: save one of them alone, "
        f"such as torch.save({{'model': f{part}}}, ...)"
    )


def _dictionaries(content: object) -> dict[str, dict[str, Tensor]]:
    """Those dictionaries of named tensors that lie at the top, "", or up to two keys down, "ema.module"."""
    level: dict[str, object] = {"": content}
    found: dict[str, dict[str, Tensor]] = {}
    for _ in range(3):
        below: dict[str, object] = {}
        for key, item in level.items():
            if not isinstance(item, Mapping):
                continue
            entries = {k: v for k, v in cast(Mapping[Any, Any], item).items() if isinstance(k, str)}
            if tensors := {k: v for k, v in entries.items() if isinstance(v, Tensor)}:
                found[key] = tensors
            dot = f"{key}." if key else ""
            below |= {dot + k: v for k, v in entries.items() if isinstance(v, Mapping)}
        level = below
    return found


def _contents(content: object) -> str:
    """What a file holds at its top, in words."""
    if not isinstance(content, Mapping):
        return f"it is a {type(content).__name__}"
    items = list(cast(Mapping[Any, Any], content).items())[:5]
    return "it has " + (", ".join(f"{str(k)[:40]}: {type(v).__name__}" for k, v in items) or "nothing")


def _of_one_encoder(tensors: Mapping[str, Tensor], where: str, path: pathlib.Path) -> Weights:
    """Without the prefix of the encoder; names that lack it stay as they are."""
    for name, tensor in tensors.items():
        if tensor.layout == torch.strided and tensor.nbytes > tensor.untyped_storage().nbytes():
            raise UserError(f"{path} is damaged: {name} says more values than it holds; fetch it again")
    several = prefixes(tensors)
    if len(several) > 1 and "" not in several:
        raise UserError(
            f"{path} holds several encoders (under {', '.join(sorted(several))}): save the tensors of one "
            "alone, without what stands before their names"
        )
    prefix = several[0] if len(several) == 1 else ""
    return Weights(own_names({name.removeprefix(prefix): t for name, t in tensors.items()}), where)
