"""Whatever the bytes, a reader gives a record, a failure or a sentence; under a minute in all."""

from __future__ import annotations

import fuzzing
import pytest

CASES = 60
"""Of each reader; `tools/fuzz_readers.py --minutes 60` runs as many as there is time for."""


@pytest.mark.parametrize("area", fuzzing.areas())
def test_damaged_bytes_are_answered(area: str) -> None:
    names = [target.name for target in fuzzing.targets(area)]
    faults = list(fuzzing.run(area, names, seed=0, first=0, count=CASES))
    assert not faults, "\n\n".join(f"{f.target} case {f.number}: {f.what}" for f in faults[:3])


def test_the_watch_sees_what_must_not_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that raises, hangs, dies or takes the memory is told from a good one."""
    monkeypatch.setattr(fuzzing, "SECONDS", 1.0)
    names = ("raises", "reads", "hangs", "dies", "grows")
    faults = list(fuzzing.run("self", names, seed=0, first=0, count=2))
    said = {name: [fault.what for fault in faults if fault.target == name] for name in names}
    assert [len(said[name]) for name in names] == [2, 0, 2, 2, 2]
    assert all("ZeroDivisionError" in what for what in said["raises"])
    assert all("did not end" in what for what in said["hangs"])
    assert all("ended with -9" in what for what in said["dies"])
    assert all("MemoryError" in what for what in said["grows"])
