"""The order that decides which record of a cluster is kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecorpus.dedup.resolve import keep_order

BEST = {
    "id": "a/1.jpg",
    "source": "a",
    "interocular_px": 50.0,
    "face_score": 0.9,
    "bytes": 10_000,
    "width_px": 100,
    "height_px": 100,
}


def table(rows: list[dict[str, object]]) -> pa.Table:
    schema = pa.schema(
        {
            "id": pa.string(),
            "source": pa.string(),
            "interocular_px": pa.float32(),
            "face_score": pa.float32(),
            "bytes": pa.int64(),
            "width_px": pa.int32(),
            "height_px": pa.int32(),
        }
    )
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.mark.parametrize(
    "worse",
    [
        {"source": "b", "interocular_px": 99.0},
        {"source": "unlisted", "interocular_px": 99.0},
        {"source": None, "interocular_px": 99.0},
        {"interocular_px": 45.0, "face_score": 1.0},
        {"interocular_px": None, "face_score": 1.0},
        {"interocular_px": float("nan"), "face_score": 1.0},
        {"face_score": 0.8, "bytes": 20_000},
        {"bytes": 9_000, "id": "a/0.jpg"},
        {"width_px": 101, "id": "a/0.jpg"},
        {"bytes": None, "id": "a/0.jpg"},
        {"width_px": None, "id": "a/0.jpg"},
        {"height_px": 0, "id": "a/0.jpg"},
        {"id": "a/2.jpg"},
    ],
)
def test_each_key_decides_before_the_next(worse: dict[str, object]) -> None:
    other = {"id": "a/3.jpg"} | BEST | worse if "id" in worse else BEST | worse | {"id": "a/3.jpg"}
    priority = ("a", "b")
    assert keep_order(table([BEST, other]), priority).tolist() == [0, 1]
    assert keep_order(table([other, BEST]), priority).tolist() == [1, 0]


def test_the_jitter_of_the_detector_decides_nothing() -> None:
    other = BEST | {"id": "a/0.jpg", "interocular_px": 50.4, "face_score": 0.91, "bytes": 9_000}
    assert keep_order(table([BEST, other])).tolist() == [0, 1]


def test_sources_that_are_not_named_tie_after_the_named_ones() -> None:
    rows = [
        BEST | {"id": "x/1", "source": "x", "interocular_px": 10.0},
        BEST | {"id": "y/1", "source": "y", "interocular_px": 20.0},
        BEST | {"id": "b/1", "source": "b", "interocular_px": 5.0},
        BEST | {"id": "a/1", "source": "a", "interocular_px": 1.0},
    ]
    assert keep_order(table(rows), ("a", "b")).tolist() == [3, 2, 1, 0]


@given(st.integers(0, 2**32 - 1), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_order_of_rows_does_not_matter(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)

    def pick(*values: object) -> object:
        return values[rng.integers(0, len(values))]

    rows = [
        {
            "id": f"s/{k}",
            "source": pick("a", "b", None),
            "interocular_px": pick(1.0, 2.0, None),
            "face_score": pick(0.5, 0.6, None),
            "bytes": pick(100, 200, None),
            "width_px": pick(10, 20),
            "height_px": pick(10, 0),
        }
        for k in range(n)
    ]
    ids = [rows[k]["id"] for k in keep_order(table(rows), ("b",))]
    shuffled = [rows[k] for k in rng.permutation(n)]
    assert [shuffled[k]["id"] for k in keep_order(table(shuffled), ("b",))] == ids
