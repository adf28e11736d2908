"""Large JSON objects entry by entry, and JSON files beside pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecorpus.errors import UserError
from facecorpus.sources.sidecars import entries

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@given(
    st.dictionaries(st.text(max_size=6), VALUES, max_size=6), st.integers(1, 40), st.sampled_from([None, 1])
)
def test_entries_are_those_of_the_whole(said: dict[str, Any], size: int, indent: int | None) -> None:
    """In whatever pieces the file arrives: numbers, escapes and blanks are cut anywhere."""
    data = json.dumps(said, indent=indent).encode()
    assert list(entries("x.json", pieces(data, size))) == list(said.items())


@given(st.binary(max_size=60) | st.text('{}[]",:0123456789 ae\\u.-', max_size=60).map(str.encode))
def test_any_bytes_are_an_object_or_one_sentence(data: bytes) -> None:
    try:
        found = list(entries("x.json", pieces(data, 7)))
    except UserError as error:
        assert "x.json" in str(error)
    else:
        assert all(isinstance(key, str) for key, _ in found)


def test_an_entry_of_many_megabytes_is_refused() -> None:
    with pytest.raises(UserError, match=r"x\.json is not the JSON it should be"):
        list(entries("x.json", iter([b'{"a": "', *[b"x" * (1 << 20)] * 40])))


def test_a_mark_of_byte_order() -> None:
    assert list(entries("x.json", iter([b"\xef\xbb\xbf{", b'"a": 1}']))) == [("a", 1)]
