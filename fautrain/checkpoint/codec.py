"""Nested Python values as tensors and JSON, and exactly back: optimizer, loader and generator states.

JSON holds the tree, safetensors the tensors; no code is stored. A value is written by its exact type:

    None, bool, int, str, list      themselves
    float                           {"float": "0x1.8p+0"}: exact, also for -0.0, infinities and NaN
    tuple                           {"tuple": [...]}
    dict                            {"dict": [[key, value], ...]}: any keys of these types, order kept
    bytes                           {"bytes": "00ff"}
    numpy scalar                    {"scalar": ["<f8", "00ff"]}: its dtype and bytes
    torch tensor, numpy array       {"tensor": name}, {"array": name}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

STORED = frozenset(
    {
        torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
        torch.int8, torch.int16, torch.int32, torch.int64,
        torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.float32, torch.float64,
        torch.complex64,
    }
)  # fmt: skip
"""Types of tensors that safetensors both writes and reads."""


def encode(value: Any, name: str = "value") -> tuple[dict[str, Tensor], Any]:
    """The tensors in `value` by name, and the rest of it as JSON-able data.

    Raises:
        TypeError: a part is of a type that cannot be written; the message names it.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _encode(value, name, tensors)


def decode(tensors: Mapping[str, Tensor], tree: Any) -> Any:
    """The value that `encode` took apart."""
    if isinstance(tree, list):
        return [decode(tensors, item) for item in cast(list[Any], tree)]
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = cast(dict[str, Any], tree).items()
    match kind:
        case "float":
            return float.fromhex(content)
        case "tuple":
            return tuple(decode(tensors, item) for item in content)
        case "dict":
            return {decode(tensors, key): decode(tensors, item) for key, item in content}
        case "bytes":
            return bytes.fromhex(content)
        case "scalar":
            return np.frombuffer(bytes.fromhex(content[1]), dtype=np.dtype(content[0]))[0]
        case "tensor":
            return tensors[content]
        case "array":
            return tensors[content].numpy()
        case _:
            raise ValueError(f"unknown kind of value {kind!r}")


def _encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return {"float": value.hex()}
    if type(value) in (list, tuple):
        items = [_encode(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
        return items if type(value) is list else {"tuple": items}
    if type(value) is dict:
        pairs = cast(dict[Any, Any], value).items()
        return {"dict": [[_encode(k, path, tensors), _encode(v, f"{path}.{k}", tensors)] for k, v in pairs]}
    if type(value) is bytes:
        return {"bytes": value.hex()}
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return {"scalar": [value.dtype.str, value.tobytes().hex()]}
    if isinstance(value, np.ndarray) and type(value) is np.ndarray and value.dtype.kind in "biufc":
        # `ascontiguousarray` would make an array of one dimension of one without any.
        return {"array": _keep(torch.from_numpy(value.copy(order="C")), path, tensors)}
    if isinstance(value, Tensor):
        return {"tensor": _keep(value, path, tensors)}
    raise TypeError(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored"
    )


def _keep(tensor: Tensor, path: str, tensors: dict[str, Tensor]) -> str:
    """Adds `tensor` under its path, or a numbered one where two paths read the same ({1: a, "1": b})."""
    name, count = path, 1
    while name in tensors:
        count += 1
        name = f"{path}#{count}"
    tensors[name] = plain_tensor(tensor, path)
    return name


def plain_tensor(tensor: Tensor, path: str) -> Tensor:
    """`tensor` dense on the CPU, with memory of its own where it is a view of something larger.

    Raises:
        TypeError: it is no plain tensor (sharded ones are gathered before), or of a dtype that safetensors
            would not write and read back; the message names `path`.
    """
    if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.dtype not in STORED or tensor.is_sparse:
        kind = f"{type(tensor).__qualname__} of {tensor.dtype}, {tensor.layout}"
        raise TypeError(f"{path} is a {kind}, which cannot be stored; make it a plain tensor first")
    flat = tensor.detach().to("cpu").contiguous()
    return flat if flat.untyped_storage().nbytes() == flat.nbytes else flat.clone()
