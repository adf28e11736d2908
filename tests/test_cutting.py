"""One input more or less changes one unit and one shard: the cutting alone, and whole corpora."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpus import draw_pictures, part_of, prepare

from facecorpus import pipeline
from facecorpus.phases import inventory, materialise, score, select, verify
from facecorpus.phases.cutting import LONGEST, Group, Range, cut, place
from facecorpus.record import Record
from facecorpus.units import Done
from fautrain.data import open_corpus, shard_cache

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=4), unique=True, min_size=1, max_size=80)
SIZES = st.integers(1, 12)


BEFORE_THE_FIRST_CUT = "72ee63f6812ee161"
"""Name of the unit of a source called s that begins with no cut."""


def units_of(names: Sequence[str], size: int) -> dict[str, list[str]]:
    records = [Record(f"s/{name}", "s", "", name) for name in names]
    found = list(cut("s", records, size))
    assert len({name for name, _ in found}) == len(found), "two units of one name"
    assert [record for _, batch in found for record in batch] == records
    assert all(1 <= len(batch) <= LONGEST * size for _, batch in found)
    return {name: [record.member for record in batch] for name, batch in found}


def changed_without(names: Sequence[str], left_out: str, size: int) -> tuple[list[str], set[str]]:
    """Units of all names, and those that are others without one of these: their names."""
    more, fewer = units_of(names, size), units_of([name for name in names if name != left_out], size)
    return list(more), {name for name in more.keys() | fewer.keys() if more.get(name) != fewer.get(name)}


@settings(max_examples=60, deadline=None)
@given(NAMES, SIZES, st.data())
def test_an_input_more_changes_its_own_unit(names: list[str], size: int, data: st.DataObject) -> None:
    """And where it is itself a cut, the one before."""
    names = sorted(names)[: LONGEST * size]
    left_out = data.draw(st.sampled_from(names))
    order, changed = changed_without(names, left_out, size)
    own = next(name for name, members in units_of(names, size).items() if left_out in members)
    before = order[order.index(own) - 1] if own != order[0] else BEFORE_THE_FIRST_CUT
    assert own in changed and changed <= {own, before}


def test_units_have_the_size_that_is_asked_for_and_what_is_too_long_is_cut_where_it_was_before() -> None:
    names = [f"{n:05d}" for n in range(20_000)]
    sizes = [len(members) for members in units_of(names, 20).values()]
    assert 18 < np.mean(sizes) < 22 and max(sizes) <= 80
    changes = [len(changed_without(names[n : n + 1000], names[n + 500], 20)[1]) for n in range(0, 19_000, 60)]
    assert np.mean([count == 1 for count in changes]) > 0.9 and max(changes) <= 4


RANKS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2**64 - 1)), unique=True, max_size=120)
Sample = tuple[str, int]


def shards_of(
    samples: Sequence[Sample], before: Sequence[Range], size: int
) -> tuple[list[Range], dict[int, list[Sample]]]:
    groups: list[Group] = [("s", group) for group in {group: None for group, _ in samples}]
    of = np.array([groups.index(("s", group)) for group, _ in samples], np.int64)
    ranges, shard = place(groups, of, np.array([rank for _, rank in samples], np.uint64), before, size)
    found: dict[int, list[Sample]] = {}
    for number, sample in zip(shard.tolist(), samples, strict=True):
        found.setdefault(number, []).append(sample)
    assert len({each.number for each in ranges}) == len(ranges)
    assert len({(each.group, each.start) for each in ranges}) == len(ranges)
    return ranges, {number: sorted(held) for number, held in sorted(found.items())}


@settings(max_examples=60, deadline=None)
@given(RANKS, SIZES)
def test_a_first_selection_is_cut_every_so_many(samples: list[Sample], size: int) -> None:
    _, found = shards_of(samples, [], size)
    wanted = [
        held[start : start + size]
        for group in sorted({group for group, _ in samples})
        for held in [sorted(sample for sample in samples if sample[0] == group)]
        for start in range(0, len(held), size)
    ]
    assert list(found.values()) == wanted and list(found) == list(range(len(wanted)))


@settings(max_examples=60, deadline=None)
@given(RANKS, SIZES, st.data())
def test_a_sample_more_or_less_changes_one_shard(
    samples: list[Sample], size: int, data: st.DataObject
) -> None:
    ranges, before = shards_of(samples, [], size)
    for held in before.values():
        gone = data.draw(st.sampled_from(held))
        again, after = shards_of([sample for sample in samples if sample != gone], ranges, size)
        changed = [number for number in before if before[number] != after.get(number)]
        assert again == ranges and len(changed) == 1 and after.keys() <= before.keys()
        assert shards_of(samples, again, size) == (ranges, before), "it does not come back to its place"


@settings(max_examples=60, deadline=None)
@given(RANKS, RANKS, SIZES)
def test_what_grows_is_halved_and_what_is_empty_keeps_its_number(
    first: list[Sample], second: list[Sample], size: int
) -> None:
    ranges, before = shards_of(first, [], size)
    grown, after = shards_of(second, ranges, size)
    assert set(ranges) <= set(grown), "a range was taken back"
    assert all(len(held) <= 2 * size for held in after.values())
    known = {each.group for each in ranges}
    for held in after.values():
        assert len({group for group, _ in held}) == 1, "two people share a shard"
    new = sorted(each.number for each in set(grown) - set(ranges))
    assert new == list(range(len(ranges), len(grown))), "new shards are numbered after the old"
    assert all(after.get(each.number) for each in grown if each not in ranges), "a new shard is empty"
    for number, held in before.items():  # those that no second sample is in, and no halving
        if held == [s for s in sorted(second) if s in held]:
            assert number in after
    assert shards_of(second, grown, size) == (grown, after)
    del known


def test_samples_that_the_hash_cannot_tell_apart_stay_together() -> None:
    ranges, found = shards_of([("a", 7)], [], 1)
    _, shard = place([("s", "a")], np.zeros(9, np.int64), np.full(9, 7, np.uint64), ranges, 1)
    assert shard.tolist() == [0] * 9 and found == {0: [("a", 7)]}


# Whole corpora

SETTINGS = ("inputs_per_unit=10", "samples_per_shard=12")


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Root of 60 pictures of 60 people, and the corpus built from it. Read only."""
    root = tmp_path_factory.mktemp("sixty")
    draw_pictures(root, 58)  # and one of them again, and a text
    out = root / "out"
    pipeline.build(prepare(root, out, *SETTINGS))
    return root, out


@pytest.fixture
def copies(sixty: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    shutil.copytree(sixty[0] / "folder", tmp_path / "folder")  # with their times
    shutil.copytree(sixty[1], tmp_path / "out")
    pipeline.build(prepare(tmp_path, tmp_path / "out", *SETTINGS))  # the source lies elsewhere now
    return tmp_path, tmp_path / "out"


def files(out: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of everything that scoring and materialising wrote."""
    return {
        str(path.relative_to(out)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for folder in ("scores", "staged", "shards")
        for path in (out / folder).rglob("*")
        if path.is_file()
    }


def build_again(root: Path, out: Path) -> list[str]:
    """Build after a change of the source; returns the files that changed, were written, came or went."""
    before = files(out)
    pipeline.build(prepare(root, out, *SETTINGS))
    after = files(out)
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def one_unit_and_shard(changed: Sequence[str], part: str) -> str:
    """Asserts that these are the files of one unit and one shard; returns the shard's name."""
    (tar,) = (path for path in changed if path.endswith(".tar"))
    stem = tar.removesuffix(".tar")
    assert list(changed) == sorted(
        [f"scores/{part}.parquet", f"staged/{part}.crops", tar, f"{tar}.idx", f"{stem}.parquet"]
    )
    return tar


def test_one_picture_of_sixty_touches_one_unit_and_one_shard(copies: tuple[Path, Path]) -> None:
    root, out = copies
    whole = {path: digest for path, (digest, _) in files(out).items()}
    assert sum(path.endswith(".tar") for path in whole) == 5 and len(list(out.glob("staged/*/*"))) > 3
    part, gone = part_of(out, "27.jpg"), root / "folder/27.jpg"
    gone.rename(root / "27.jpg")
    removed = one_unit_and_shard(build_again(root, out), part)
    (root / "27.jpg").rename(gone)
    assert one_unit_and_shard(build_again(root, out), part) == removed
    assert {path: digest for path, (digest, _) in files(out).items()} == whole, "not what it was"


def test_touch_changes_nothing(copies: tuple[Path, Path]) -> None:
    root, out = copies
    for path in (root / "folder").iterdir():
        os.utime(path, (10**9, 10**9))
    assert build_again(root, out) == []


def test_another_seed_size_or_name_cuts_anew(copies: tuple[Path, Path]) -> None:
    root, out = copies
    (root / "folder/27.jpg").unlink()
    build_again(root, out)
    corpus = prepare(root, out, *SETTINGS)
    for setting in ("seed=3", "samples_per_shard=9", "name=other", "group_by=identity"):
        fresh = root / setting
        changed = [prepare(root, place, *SETTINGS, setting, rebuild=True) for place in (out, fresh)]
        for each in changed:
            pipeline.build(each)
        shards = [{p.name: p.read_bytes() for p in (place / "shards").iterdir()} for place in (out, fresh)]
        assert shards[0] == shards[1], setting
        pipeline.build(dataclasses.replace(corpus))


def test_an_emptied_shard_goes_and_its_number_stays_free(copies: tuple[Path, Path]) -> None:
    root, out = copies
    table = pq.read_table(out / "shards/sample-000002.parquet", columns=["member"])
    for member in table["member"].to_pylist():
        (root / "folder" / member).rename(root / member)
    changed = build_again(root, out)
    assert not (out / "shards/sample-000002.tar").exists() and "shards/sample-000002.tar" in changed
    listed = pq.read_table(out / "shards.parquet")["shard"].to_pylist()
    assert listed == [f"sample-{number:06d}.tar" for number in (0, 1, 3, 4)]
    gap = "shards/sample-00000{0,1}.tar", "shards/sample-{000003..000004}.tar"
    opened = [
        open_corpus(named, shard_cache(root / "cache"))
        for named in (str(out), f"{out}/shards/*.tar", ",".join(f"{out}/{each}" for each in gap))
    ]
    assert len({each.fingerprint() for each in opened}) == 1, "training stumbles over the gap"
    assert len(opened[0]) == sum(pq.read_table(out / "shards.parquet")["samples"].to_pylist())
    for member in table["member"].to_pylist():
        (root / member).rename(root / "folder" / member)
    build_again(root, out)
    assert (out / "shards/sample-000002.tar").exists()


def test_a_kill_between_the_phases_changes_nothing(copies: tuple[Path, Path], tmp_path: Path) -> None:
    """Any prefix of the phases after a change, then the whole: the same as in one go."""
    root, out = copies
    (root / "folder/27.jpg").unlink()
    others: list[Path] = []
    for count in range(1, len(pipeline.PHASES)):
        others.append(Path(shutil.copytree(out, tmp_path / f"killed{count}")))
        pipeline.run(prepare(root, others[-1], *SETTINGS), *pipeline.PHASES[:count])
        if count == 3:  # killed when it had written its tables and had not marked them
            mark = next(others[-1].glob("done/select/all.json"))
            mark.write_bytes((out / "done/select/all.json").read_bytes())
    build_again(root, out)
    for other in others:
        pipeline.build(prepare(root, other, *SETTINGS))
        assert {p: h for p, (h, _) in files(other).items()} == {p: h for p, (h, _) in files(out).items()}


def test_a_build_verifies_what_was_touched_and_no_more(copies: tuple[Path, Path]) -> None:
    root, out = copies
    corpus = prepare(root, out, *SETTINGS)
    times = {path: path.stat().st_mtime_ns for path in (out / "done/verify").rglob("*.json")}
    pipeline.build(corpus)
    assert {path: path.stat().st_mtime_ns for path in times} == times, "verified again"
    os.utime(out / "shards/sample-000001.tar")
    pipeline.build(corpus)
    again = [path.name for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert again == ["sample-000001.tar.json"]
    next(iter(times)).unlink()  # a verification that was killed
    pipeline.build(corpus)
    pipeline.run(corpus, verify.PHASE, afresh=True)
    assert all(path.stat().st_mtime_ns != time for path, time in times.items()), "not every byte"


def test_marks_name_every_phase(copies: tuple[Path, Path]) -> None:
    done = Done(str(copies[1]))
    checked = set(done.marks(verify.NAME))
    for name in (inventory.NAME, score.NAME, select.NAME, materialise.NAME, materialise.LIST):
        assert {f"{name}/{unit}" for unit in done.marks(name)} <= checked
