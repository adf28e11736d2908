"""Read published weights into an encoder: `.pth` of MAE, FMAE, MAE-Face, `.safetensors` of timm and ours."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from fautrain.errors import UserError
from fautrain.models.vit import SIZES, Trunk

HUB: Final = "hub:"
HUB_FILE: Final = "model.safetensors"
WRAPPERS: Final = ("model", "state_dict")
"""Where a training file keeps its weights; else it is the state dict itself."""
PREFIXES: Final = ("module.", "_orig_mod.")
"""What DDP and `torch.compile` put before every name."""
ENCODER: Final = re.compile(
    r"cls_token|pos_embed|patch_embed\.proj\.(weight|bias)|blocks\.\d+\..+|norm\.(weight|bias)"
)
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


@dataclass(frozen=True)
class LoadReport:
    """What became of a file's tensors. Whoever loads shows this; a mismatch of shapes is an error instead."""

    file: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """The encoder's, not in the file: they keep their initial values."""
    unexpected: tuple[str, ...]
    """In the file, not the encoder's: heads, decoders, mask tokens."""
    interpolated: str | None
    """How `pos_embed` was changed, such as `14x14 -> 7x7`."""

    def __str__(self) -> str:
        parts = [f"{self.file}: {len(self.loaded)} tensors loaded"]
        parts += [f"missing {_brief(self.missing)}"] if self.missing else []
        parts += [f"unused {_brief(self.unexpected)}"] if self.unexpected else []
        parts += [f"positions interpolated {self.interpolated}"] if self.interpolated else []
        return "; ".join(parts)


def _brief(names: tuple[str, ...]) -> str:
    """Names with the numbers of blocks and the parts of modules folded together."""
    folded = (
        re.sub(r"\.\d+\..*", ".*", name).removesuffix(".weight").removesuffix(".bias") for name in names
    )
    return ", ".join(dict.fromkeys(folded))


def find_weights(where: str | pathlib.Path) -> pathlib.Path:
    """A local file for a path, or for `hub:OWNER/REPOSITORY[/FILE]` on the Hugging Face hub, fetched once."""
    text = str(where)
    if not text.startswith(HUB):
        path = pathlib.Path(text)
        if not path.is_file():
            raise UserError(
                f"{path} is not a file: give the .pth or .safetensors file itself, or {HUB}OWNER/REPOSITORY"
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


def read_weights(path: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a `.pth` read without running any code that it may hold."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
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
    return tensors


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def interpolate_positions(positions: Tensor, grid: int) -> Tensor:
    """Resample positions (1, 1 + g * g, D) to a grid of another side, (1, 1 + grid * grid, D), bicubic.

    The class token's stays. Shrinking is anti-aliased.
    """
    first, rest = positions[:, :1], positions[:, 1:]
    side = round(rest.shape[1] ** 0.5)
    if side == grid:
        return positions
    image = rest.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    image = functional.interpolate(image, (grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([first, image.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)], dim=1)


def _check_architecture(model: Trunk, tensors: Mapping[str, Tensor], file: str) -> None:
    """Refuse weights of another width, depth or patch, in terms of the options that choose these."""
    weight, positions = tensors.get("patch_embed.proj.weight"), tensors.get("pos_embed")
    blocks = {int(name.split(".")[1]) for name in tensors if re.match(r"blocks\.\d+\.", name)}
    if weight is None or weight.ndim != 4 or not blocks:
        some = ", ".join(sorted(tensors)[:3])
        raise UserError(
            f"{file} holds no ViT encoder (it has {some}, ...): give weights of MAE, FMAE or timm's ViT"
        )
    width, _, patch, _ = weight.shape
    depth = max(blocks) + 1
    if (width, depth) != (model.size.width, model.size.depth):
        name = next((s.name for s in SIZES.values() if (s.width, s.depth) == (width, depth)), None)
        remedy = f"set model.size to {name}" if name else "no model.size fits it"
        raise UserError(
            f"{file} holds a ViT of width {width} and depth {depth}, the model is {model.size.name} "
            f"({model.size.width}, {model.size.depth}): {remedy}"
        )
    if patch != model.patch_px:
        raise UserError(
            f"{file} is for {patch} px patches, not {model.patch_px}: set model.patch_px to {patch}"
        )
    if positions is not None and round((positions.shape[1] - 1) ** 0.5) ** 2 != positions.shape[1] - 1:
        raise UserError(
            f"{file} has {positions.shape[1]} positions, which is not a square grid and a class token: "
            "weights with more tokens or another shape of image cannot be used"
        )


def load_encoder(model: Trunk, where: str | pathlib.Path) -> LoadReport:
    """Put published weights into a model's encoder; heads and decoders, of file and model, stay apart.

    `where` is a `.pth` (MAE, FMAE, MAE-Face: under `model`), a `.safetensors` file, or
    `hub:OWNER/REPOSITORY[/FILE]`. Positions of another grid are interpolated. A UserError tells what to do
    when the file is of another architecture, cannot be read safely, or is not there. The model is changed
    only if the whole file fits.
    """
    path = find_weights(where)
    tensors = _without_prefix(read_weights(path))
    _check_architecture(model, tensors, str(path))
    interpolated = None
    if "pos_embed" in tensors:
        before = round((tensors["pos_embed"].shape[1] - 1) ** 0.5)
        tensors["pos_embed"] = interpolate_positions(tensors["pos_embed"], model.grid)
        interpolated = f"{before}x{before} -> {model.grid}x{model.grid}" if before != model.grid else None
    own = {name: tensor for name, tensor in model.state_dict().items() if ENCODER.fullmatch(name)}
    found = {name: tensor for name, tensor in tensors.items() if name in own}
    for name, tensor in found.items():
        if tensor.shape != own[name].shape:
            raise UserError(
                f"{path} has {name} of shape {tuple(tensor.shape)}, the model's is {tuple(own[name].shape)}: "
                "the file is of another architecture"
            )
    model.load_state_dict(found, strict=False)
    return LoadReport(
        file=str(path),
        loaded=tuple(found),
        missing=tuple(name for name in own if name not in found),
        unexpected=tuple(name for name in tensors if name not in own),
        interpolated=interpolated,
    )
