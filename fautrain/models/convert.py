"""Put published weights into a model: of MAE, FMAE, MAE-Face, FSFM, timm, transformers, and ours."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional

from facecorpus.errors import UserError
from fautrain.models.layouts import TIMM, other_encoder
from fautrain.models.vit import SIZES, Trunk
from fautrain.models.weights import Weights, find_weights, read_weights

ENCODER: Final = re.compile(
    r"cls_token|pos_embed|patch_embed\.proj\.(weight|bias)|blocks\.\d+\..+|(fc_)?norm\.(weight|bias)"
)
USUAL: Final = ("", "model", "state_dict")
"""Parts of a file that need no mention."""
NORM: Final = re.compile(r"(fc_)?norm\.(weight|bias)")
"""What a whole encoder may lack: published models end in one of the two, or in none."""
INNER: Final = re.compile(r"(blocks\.\d+|patch_embed|norm_pre|reg_token|register_tokens|rel_pos\w*)(\.|$).*")
"""Names of tensors that an encoder computes with: one that our model lacks makes it another encoder."""


@dataclass(frozen=True)
class LoadReport:
    """What became of a file's tensors. Whoever loads shows this; a mismatch of shapes is an error instead."""

    file: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """The encoder's last norm, not in the file: it keeps its initial values."""
    unexpected: tuple[str, ...]
    """In the file, not the encoder's: heads, decoders, mask tokens."""
    interpolated: str | None
    """How `pos_embed` was changed, such as `14x14 -> 7x7`."""
    where: str = ""
    """Part of the file that they were read from, such as `model_ema`; empty for the usual ones."""

    def __str__(self) -> str:
        parts = [f"{self.file}: {len(self.loaded)} tensors loaded{f' from {self.where}' * bool(self.where)}"]
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


def _whole_names(names: Iterable[str], depth: int) -> str:
    """Names such as `blocks.*.mlp.fc1 in 4 of 4 blocks`: a weight and its bias in one, if both are there."""
    numbers: dict[str, set[str]] = {}
    for name in names:
        block = re.match(r"blocks\.(\d+)\.", name)
        numbers.setdefault(re.sub(r"^blocks\.\d+", "blocks.*", name), set()).add(block[1] if block else "")
    words: dict[str, str] = {}
    for name, blocks in numbers.items():
        stem, _, leaf = name.rpartition(".")
        other = {"weight": "bias", "bias": "weight"}.get(leaf)
        stem = stem if f"{stem}.{other}" in numbers else name
        words[stem] = f" in {len(blocks)} of {depth} blocks" if "" not in blocks else ""
    parts = [
        (f"{stem} and {len(words) - 6} more" if at == 5 and len(words) > 6 else stem, words[stem])
        for at, stem in enumerate(list(words)[:6])
    ]
    same = {count for _, count in parts}
    if len(same) == 1:
        return ", ".join(stem for stem, _ in parts) + same.pop()
    return ", ".join(stem + count for stem, count in parts)


def _check_whole(model: Trunk, tensors: Mapping[str, Tensor], file: str) -> None:
    """Refuse an encoder that lacks tensors of ours, or has some that ours does not compute with."""
    own = [name for name in model.state_dict() if ENCODER.fullmatch(name)]
    missing = [name for name in own if name not in tensors and not NORM.fullmatch(name)]
    known = set(own)
    foreign = [name for name in tensors if name not in known and INNER.fullmatch(name)]
    depth = model.size.depth
    instead = f" (it has {_whole_names(foreign, depth)} instead)" if foreign else ""
    if missing:
        raise UserError(
            f"{file} lacks {_whole_names(missing, depth)}{instead}: not a whole encoder as MAE, FMAE, timm "
            "name it; rename or convert its tensors, or give other weights"
        )
    if foreign:
        raise UserError(
            f"{file} has {_whole_names(foreign, depth)}, which the model does not compute with: an encoder "
            "of another architecture; give weights of MAE, FMAE or timm's plain ViT"
        )


def _side(positions: Tensor) -> int:
    """Patches in a row of the square image that positions (1, 1 + g * g, D) are for."""
    return round((positions.shape[1] - 1) ** 0.5)


def interpolate_positions(positions: Tensor, grid: int) -> Tensor:
    """Resample positions (1, 1 + g * g, D) to a grid of another side, (1, 1 + grid * grid, D), bicubic.

    The class token's stays. Shrinking is anti-aliased.
    """
    first, rest = positions[:, :1], positions[:, 1:]
    side = _side(positions)
    if side == grid:
        return positions
    image = rest.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    image = functional.interpolate(image, (grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([first, image.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)], dim=1)


def _check_architecture(model: Trunk, tensors: Mapping[str, Tensor], file: str) -> None:
    """Refuse weights of another width, depth or patch, in terms of the options that choose these."""
    if other := other_encoder(tensors):
        raise UserError(f"{file} holds {other}; give weights of MAE, FMAE, MAE-Face or timm's plain ViT")
    weight, positions = tensors.get(TIMM), tensors.get("pos_embed")
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
    if positions is not None and _side(positions) ** 2 != positions.shape[1] - 1:
        raise UserError(
            f"{file} has {positions.shape[1]} positions, which is not a square grid and a class token: "
            "weights with more tokens or another shape of image cannot be used"
        )


def _refuse_shape(model: nn.Module, name: str, found: Tensor, own: Tensor, file: str) -> NoReturn:
    """Say what differs in terms of what a user can choose."""
    if name.startswith("head."):
        raise UserError(
            f"{file} detects {len(found)} action units, the model {len(own)}: "
            "choose the data set and the AUs that it was trained on"
        )
    if name.startswith("ID_head."):
        raise UserError(
            f"{file} tells {len(found)} subjects apart, the model {len(own)}: "
            "choose the data set and the subjects of the identity head that it was trained with"
        )
    if name == "pos_embed" and isinstance(model, Trunk):
        side = _side(found) * model.patch_px
        raise UserError(
            f"{file} is for images of {side} px, the model for {model.image_px}: set model.image_px to {side}"
        )
    raise UserError(
        f"{file} has {name} of shape {tuple(found.shape)}, the model's is {tuple(own.shape)}: "
        "the file is of another architecture"
    )


def load_encoder(model: Trunk, where: str | pathlib.Path) -> LoadReport:
    """Put published weights into a model's encoder; heads and decoders, of file and model, stay apart.

    `where` is a `.pth` (MAE, FMAE, MAE-Face, FSFM: under `model`), a `.safetensors` (timm, transformers), the
    folder of one of our checkpoints or runs, or `hub:OWNER/REPOSITORY[/FILE]`. Positions of another grid are
    interpolated. A UserError tells what to do when the file is of another architecture, cannot be read
    safely, or is not there. The model is changed only if the whole file fits.
    """
    path = find_weights(where)
    return put_encoder(model, read_weights(path), path)


def put_encoder(model: Trunk, weights: Weights, path: pathlib.Path) -> LoadReport:
    """As `load_encoder`, with what was read of the file `path`."""
    tensors, part = dict(weights.tensors), weights.where
    _check_architecture(model, tensors, str(path))
    _check_whole(model, tensors, str(path))
    interpolated = None
    if "pos_embed" in tensors:
        before = _side(tensors["pos_embed"])
        tensors["pos_embed"] = interpolate_positions(tensors["pos_embed"], model.grid)
        interpolated = f"{before}x{before} -> {model.grid}x{model.grid}" if before != model.grid else None
    own = {name: tensor for name, tensor in model.state_dict().items() if ENCODER.fullmatch(name)}
    return replace(_load(model, own, tensors, path, interpolated), where="" if part in USUAL else part)


def load_whole(model: nn.Module, where: str | pathlib.Path) -> LoadReport:
    """Put all weights of a trained model, heads included, into one of the same architecture, to evaluate it.

    `where` is as for `load_encoder`. Everything must be there and fit, else a UserError tells what differs;
    only an identity head may be in the file alone, since detection does without it.
    """
    path = find_weights(where)
    tensors, _ = read_weights(path)
    if isinstance(model, Trunk):
        _check_architecture(model, tensors, str(path))
    own = model.state_dict()
    missing = tuple(name for name in own if name not in tensors)
    if missing:
        raise UserError(
            f"{path} lacks {_brief(missing)}, so it is not a whole trained model: "
            "give a checkpoint of the same kind of training"
        )
    identity_counts = any(name.startswith("ID_head.") for name in own)
    spare = tuple(n for n in tensors if n not in own and (identity_counts or not n.startswith("ID_head.")))
    if spare:
        raise UserError(
            f"{path} has {_brief(spare)}, which the model lacks: "
            "give a checkpoint of the same kind of training"
        )
    return _load(model, own, tensors, path, None)


def _load(
    model: nn.Module,
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    path: pathlib.Path,
    interpolated: str | None,
) -> LoadReport:
    """Load those tensors whose names are among `own`, if the shapes of all of them agree."""
    found = {name: tensors[name] for name in own if name in tensors}
    for name, tensor in found.items():
        if tensor.shape != own[name].shape:
            _refuse_shape(model, name, tensor, own[name], str(path))
    model.load_state_dict(found, strict=False)
    return LoadReport(
        file=str(path),
        loaded=tuple(found),
        missing=tuple(name for name in own if name not in found),
        unexpected=tuple(name for name in tensors if name not in own),
        interpolated=interpolated,
    )
