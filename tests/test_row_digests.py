"""Digests of rows: equal for equal rows wherever they lie in a table, and another one for any other value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from facecorpus import schema
from facecorpus.phases.row_digests import row_digests

TEXT = st.text(max_size=5)
VALUES = {
    pa.string(): TEXT,
    pa.binary(32): st.binary(min_size=32, max_size=32),
    pa.bool_(): st.booleans(),
    **{kind: st.integers(0, 100) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())},
    pa.float32(): st.floats(width=32, allow_nan=False).map(lambda x: x + 0.0),
    pa.map_(pa.string(), pa.int16()): st.dictionaries(TEXT, st.integers(-9, 9), max_size=3).map(
        lambda held: [*held.items()]
    ),
    pa.map_(pa.string(), pa.float64()): st.dictionaries(
        TEXT, st.floats(allow_nan=False).map(lambda x: x + 0.0), max_size=3
    ).map(lambda held: [*held.items()]),
    **{
        pa.list_(kind, size): st.lists(st.integers(0, 9).map(float), min_size=size, max_size=size)
        for kind, size in ((pa.float32(), 4), (pa.float32(), 10), (pa.float64(), 6))
    },
}
COLUMNS = {f.name: f.type for table in (schema.SCORES, schema.SELECTION, schema.MANIFEST) for f in table}


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(sorted(COLUMNS)))
def test_as_equal_as_the_values(data: st.DataObject, name: str) -> None:
    kind = COLUMNS[name]
    values = data.draw(st.lists(st.none() | VALUES[kind], min_size=1, max_size=8))
    table = pa.table({name: pa.array(values, kind), "other": pa.array(range(len(values)))})
    found = row_digests(table, [name]).tolist()
    assert (len({*found})) == len({repr(value) for value in values})
    assert [found[0]] * 2 == [row_digests(table.take([0]), [name])[0]] * 2
    start = data.draw(st.integers(0, len(values)))
    halves = pa.concat_tables([table.slice(start), table.slice(0, start)])
    assert np.array_equal(row_digests(halves, [name]), [*found[start:], *found[:start]])


def test_columns_do_not_change_places() -> None:
    one, other = pa.table({"a": [1, 2], "b": [2, 2]}), pa.table({"a": [2, 2], "b": [1, 2]})
    assert row_digests(one, ["a", "b"])[0] != row_digests(other, ["a", "b"])[0]
    assert row_digests(one, ["a", "b"])[1] == row_digests(other, ["a", "b"])[1]
