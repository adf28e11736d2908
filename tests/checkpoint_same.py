"""Exact comparison of nested values with tensors in them, for the checkpoint tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from fautrain.checkpoint import State


def same(first: Any, second: Any) -> bool:
    """Whether two values have the same types, order and bits throughout."""
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        return (
            first.dtype == second.dtype
            and first.shape == second.shape
            and bytes_of(first) == bytes_of(second)
        )
    if isinstance(first, (np.ndarray, np.generic)):
        return (
            first.dtype == second.dtype
            and first.shape == second.shape
            and first.tobytes() == second.tobytes()
        )
    if isinstance(first, float):
        return first.hex() == second.hex()
    if isinstance(first, dict):
        pairs = zip(first.items(), second.items(), strict=True)
        return len(first) == len(second) and all(same(a, b) for a, b in pairs)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second


def bytes_of(tensor: torch.Tensor) -> bytes:
    """The bits of a tensor of any type."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def same_state(read: State, saved: State) -> bool:
    """Whether what was read is what was saved, but for the versions and the world, which saving fills in."""
    blank = {"versions": {}, "world": 1}
    first, second = (dataclasses.replace(state, **blank) for state in (read, saved))
    return same(plain(first), plain(second))


def plain(state: State) -> dict[str, Any]:
    """The state's fields, with the weights in the order of their names."""
    found = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    found["model"] = {key: found["model"][key] for key in sorted(found["model"])}
    return found
