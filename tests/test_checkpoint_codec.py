"""Nested values as tensors and JSON, and exactly back."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_same import same
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from fautrain.checkpoint.codec import STORED, decode, encode
from fautrain.checkpoint.state import read_nested, write_nested

torch.set_num_threads(1)


def round_trip(value: Any) -> Any:
    """`value` through the bytes of a safetensors file and of JSON."""
    tensors, tree = encode(value)
    # The file refuses tensors that share memory; writing one takes care of that, see below.
    stored = load(save({name: tensor.clone() for name, tensor in tensors.items()})) if tensors else {}
    return decode(stored, json.loads(json.dumps(tree, allow_nan=False)))


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=8)
    | st.sampled_from([np.float32(0.1), np.int64(-3), np.bool_(True), np.float64("nan")])
)
keys = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.tuples(st.integers())
)
tensors = st.sampled_from(
    [
        torch.tensor(3.5),
        torch.zeros(0, 3, dtype=torch.int64),
        torch.arange(6).reshape(2, 3).T,
        torch.tensor([math.nan, -0.0, math.inf], dtype=torch.bfloat16),
        torch.tensor([True, False]),
        np.arange(4, dtype=np.uint32),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(2.0, dtype=np.float16),
    ]
)
nested = st.recursive(
    scalars | tensors,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(nested)
def test_any_nested_value_comes_back_exactly(value: Any) -> None:
    assert same(round_trip(value), value)


@pytest.mark.parametrize("dtype", sorted(STORED, key=str))
def test_every_dtype_comes_back_bit_for_bit(dtype: torch.dtype) -> None:
    size = torch.empty(0, dtype=dtype).element_size()
    bits = torch.randint(0, 2 if dtype is torch.bool else 256, (7 * size,), dtype=torch.uint8)
    value = bits.view(dtype)
    assert same(round_trip({"x": value})["x"], value)


def test_keys_that_read_the_same_stay_apart() -> None:
    value = {
        1: torch.tensor(1.0),
        "1": torch.tensor(2.0),
        "a.b": torch.tensor(3.0),
        "a": {"b": torch.tensor(4.0)},
    }
    assert same(round_trip(value), value)


def test_a_view_is_stored_alone_and_shared_memory_twice(tmp_path: Path) -> None:
    large = torch.arange(100_000.0)
    value = {"row": large[10:20], "again": large[10:20], "all": [large, large]}
    write_nested(tmp_path, "value", value)
    assert same(read_nested(tmp_path, "value"), value)
    tensors, _ = encode(large[10:20])
    assert next(iter(tensors.values())).untyped_storage().nbytes() == 40


def test_a_real_optimizer_comes_back_exactly(tmp_path: Path) -> None:
    model = torch.nn.Linear(5, 3)
    optimizer = torch.optim.AdamW(
        [{"params": [model.weight]}, {"params": [model.bias], "weight_decay": 0.0}], lr=0.1
    )
    for _ in range(3):
        model(torch.randn(4, 5)).square().mean().backward()
        optimizer.step()
    write_nested(tmp_path, "optimizer", optimizer.state_dict())
    read = read_nested(tmp_path, "optimizer")
    assert same(read, optimizer.state_dict())
    torch.optim.AdamW([{"params": [model.weight]}, {"params": [model.bias]}]).load_state_dict(read)


class Strange:
    """Something that the codec does not know."""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"state": [1, Strange()]}, "value.state.1 is a test_checkpoint_codec.Strange"),
        ({"groups": OrderedDict(a=1)}, "value.groups is a collections.OrderedDict"),
        ({"dtype": torch.float32}, "value.dtype is a torch.dtype"),
        ({"names": {"a"}}, "value.names is a builtins.set"),
        ({"z": torch.zeros(2, dtype=torch.complex128)}, "value.z is a Tensor of torch.complex128"),
        ({"z": torch.eye(2).to_sparse()}, "value.z is a Tensor of torch.float32, torch.sparse_coo"),
        (np.array([None]), "value is a numpy.ndarray, which cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_named(value: Any, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        encode(value)
    assert words in str(caught.value)
