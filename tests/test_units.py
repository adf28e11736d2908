"""Units: done only when mark, digest and outputs agree."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from facecorpus import storage, units
from facecorpus.units import Done, Output, Unit


@pytest.fixture
def unit() -> Unit:
    return Unit("score", "celeba/part-0f", units.digest("recipe", 1), 10)


def mark(out: str, unit: Unit, output: Output) -> None:
    units.publish_mark(out, unit, units.mark_of(unit, [output], {"kept": 3}))


def is_done(out: Path | str, unit: Unit) -> bool:
    return Done(str(out)).holds(unit)


def names(out: Path | str) -> list[str]:
    return sorted(Done(str(out)).marks("score"))


def produce(out: Path, unit: Unit, path: str = "scores/celeba/part-0f.parquet") -> Path:
    file = out / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"rows")
    mark(str(out), unit, Output(path, 4, hashlib.sha256(b"rows").hexdigest()))
    return file


def test_done_after_finish_and_summary_is_read_back(tmp_path: Path, unit: Unit) -> None:
    assert not is_done(tmp_path, unit)
    produce(tmp_path, unit)
    assert is_done(tmp_path, unit)
    told = units.read_mark(str(tmp_path), "score", unit.name)
    assert told is not None and told["summary"] == {"kept": 3}
    assert names(tmp_path) == [unit.name]


def test_another_digest_a_lost_or_a_shortened_output_make_it_undone(tmp_path: Path, unit: Unit) -> None:
    file = produce(tmp_path, unit)
    assert not is_done(tmp_path, Unit("score", unit.name, units.digest("recipe", 2), 10))
    file.write_bytes(b"row")
    assert not is_done(tmp_path, unit)
    file.unlink()
    assert not is_done(tmp_path, unit)


def test_a_damaged_mark_means_again(tmp_path: Path, unit: Unit) -> None:
    produce(tmp_path, unit)
    (tmp_path / "done/score/celeba/part-0f.json").write_text('{"digest": ')
    assert not is_done(tmp_path, unit)


def test_discard_removes_what_the_plan_no_longer_holds(tmp_path: Path, unit: Unit) -> None:
    kept = produce(tmp_path, unit)
    other = Unit("score", "lfw/part-0f", "d", 1)
    gone = produce(tmp_path, other, "scores/lfw/part-0f.parquet")
    assert units.claim(
        Done(str(tmp_path)), "score", {unit.name: [kept.relative_to(tmp_path).as_posix()]}
    ) == [other.name]
    assert kept.exists() and not gone.exists()
    assert names(tmp_path) == [unit.name]


def test_marks_work_on_an_object_store(unit: Unit) -> None:
    out = "memory://units-test"
    storage.publish(storage.join(out, "x"), lambda file: (file.write(b"rows"), None)[1])
    mark(out, unit, Output("x", 4, "sha"))
    assert is_done(out, unit)
    assert names(out) == [unit.name]
