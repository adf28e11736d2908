"""What `clusters.py` promises, checked on random tables by comparing every record with every other."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from dedup_rows import candidates, code, hamming
from hypothesis import given, settings
from hypothesis import strategies as st

from facecorpus.dedup.resolve import DedupRules, keep_order, resolve

Row = dict[str, Any]


def random_rows(seed: int, n: int) -> list[Row]:
    """Alike records of every kind: copies, recompressions, group pictures, chains, conflicting identities."""
    rng = np.random.default_rng(seed)

    def pick(*values: Any) -> Any:
        return values[rng.integers(0, len(values))]

    def nearby(prototype: int) -> bytes:
        """The hash of a prototype with up to 39 bits turned."""
        return code(prototype, rng.choice(256, rng.integers(0, 40), replace=False).tolist())

    files = [(nearby(int(rng.integers(0, 3))), pick(100, 100, 10, None)) for _ in range(max(1, n // 2))]
    rows: list[Row] = []
    for k in range(n):
        file = int(rng.integers(0, len(files)))
        image, quality = files[file]
        for face in range(pick(1, 1, 1, 2, 3)):
            rows.append(
                {
                    "id": f"s/{k}" + (f"#{face}" if face else ""),
                    "source": pick("s", "t"),
                    "identity": pick("x", "y", None),
                    "photo_id": pick("p", "q", None, None),
                    "face_index": face,
                    "sha256": str(file),
                    "pixel_hash": pick(None, f"pixels {file // 2}"),
                    "image_hash": image if quality is not None else None,
                    "image_hash_quality": quality,
                    "crop_hash": pick(nearby(10 + face), nearby(10), None),
                    "crop_hash_quality": pick(100, 100, 100, 20),
                    "interocular_px": pick(10.0, 20.0, 30.0),
                }
            )
    return rows


def picture_of(rows: list[Row]) -> list[int]:
    """Number of the picture of each row: united by input, bytes and pixels."""
    picture = list(range(len(rows)))
    changed = True
    while changed:
        changed = False
        for key in (lambda r: r["id"].split("#")[0], lambda r: r["sha256"], lambda r: r["pixel_hash"]):
            groups: dict[Any, list[int]] = defaultdict(list)
            for k, row in enumerate(rows):
                if key(row) is not None:
                    groups[key(row)].append(k)
            for group in groups.values():
                low = min(picture[k] for k in group)
                changed |= any(picture[k] != low for k in group)
                for k in group:
                    picture[k] = low
    return picture


def usable(row: Row, name: str, rules: DedupRules) -> bool:
    return (
        row[name] is not None
        and row[f"{name}_quality"] is not None
        and row[f"{name}_quality"] >= rules.min_quality
    )


def linked(a: Row, b: Row, rules: DedupRules) -> bool:
    """Whether two rows of different pictures lie within a radius of each other and may show the same face."""
    crops = usable(a, "crop_hash", rules) and usable(b, "crop_hash", rules)
    apart = hamming(a["crop_hash"], b["crop_hash"]) if crops else 0
    if crops and rules.crop_radius is not None and apart <= rules.crop_radius:
        return True
    agree = apart <= rules.same_face_radius if crops else a["face_index"] == b["face_index"]
    images = usable(a, "image_hash", rules) and usable(b, "image_hash", rules)
    reach = -1 if rules.image_radius is None else rules.image_radius
    if images and agree and hamming(a["image_hash"], b["image_hash"]) <= reach:
        return True
    same_photo = a["photo_id"] is not None and (a["source"], a["photo_id"]) == (b["source"], b["photo_id"])
    return rules.use_photo_id and same_photo and crops and agree


def clash(a: Row, b: Row) -> bool:
    known = a["identity"] is not None and b["identity"] is not None
    return known and a["source"] == b["source"] and a["identity"] != b["identity"]


RULES = st.builds(
    DedupRules,
    image_radius=st.sampled_from([None, 20, 31]),
    crop_radius=st.sampled_from([None, 15, 39]),
    use_photo_id=st.booleans(),
    identity_veto=st.booleans(),
    max_cluster=st.sampled_from([1, 3, 50]),
    source_priority=st.sampled_from([(), ("t", "s")]),
)


@given(st.integers(0, 2**32 - 1), st.integers(0, 25), RULES)
@settings(max_examples=150, deadline=None)
def test_promises(seed: int, n: int, rules: DedupRules) -> None:
    rows = random_rows(seed, n)
    table = candidates(rows)
    result = resolve(table, rules).to_pylist()
    place = {rows[k]["id"]: p for p, k in enumerate(keep_order(table, rules.source_priority))}
    picture = picture_of(rows)
    by_id = {row["id"]: row for row in rows}
    clusters: dict[str, list[int]] = defaultdict(list)
    for k, found in enumerate(result):
        clusters[found["duplicate_of"] or found["id"]].append(k)

    for kept, members in clusters.items():
        assert by_id[kept]["id"] == min((rows[k]["id"] for k in members), key=place.__getitem__), (
            "the best is kept"
        )
        name = min(rows[k]["id"] for k in members) if len(members) > 1 else None
        assert {result[k]["cluster"] for k in members} == {name}
        faces: dict[int, set[int]] = defaultdict(set)
        for k in members:
            faces[picture[k]].add(rows[k]["face_index"])
            assert result[k]["identity_conflict"] == any(clash(rows[k], rows[other]) for other in members)
            if result[k]["id"] == kept:
                assert result[k]["duplicate_kind"] is None
                continue
            kind, distance = result[k]["duplicate_kind"], result[k]["duplicate_distance"]
            if kind in ("image", "crop"):
                radius = rules.image_radius if kind == "image" else rules.crop_radius
                assert radius is not None
                assert distance <= 2 * radius
                # Of copies, the best one's hash was compared.
                twins = [rows[j] for j in members if picture[j] == picture[k]]
                hashes = [twin[f"{kind}_hash"] for twin in twins if usable(twin, f"{kind}_hash", rules)]
                assert distance in {hamming(by_id[kept][f"{kind}_hash"], value) for value in hashes}
            else:
                assert distance is None
                assert kind in ("file", "pixels", "photo")
                if kind == "file":
                    assert rows[k]["sha256"] == by_id[kept]["sha256"]
        assert all(len(found) == 1 for found in faces.values()), "one face of a picture in a cluster"
        if rules.identity_veto:
            for a in members:
                for b in members:
                    assert not clash(rows[a], rows[b]) or picture[a] == picture[b]
        items = {picture[k] for k in members}
        if len(items) > rules.max_cluster:
            for k in members:
                kind = result[k]["duplicate_kind"]
                if kind in ("image", "crop"):
                    radius = rules.image_radius if kind == "image" else rules.crop_radius
                    assert radius is not None
                    assert result[k]["duplicate_distance"] <= radius

    # Two kept records within a radius are known to differ from each other, or from a member of the other's
    # cluster.
    kept_rows = sorted(
        (k for k, found in enumerate(result) if found["duplicate_of"] is None),
        key=lambda k: place[rows[k]["id"]],
    )
    for a in range(len(kept_rows)):
        for b in range(a + 1, len(kept_rows)):
            better, worse = kept_rows[a], kept_rows[b]
            if picture[better] == picture[worse] or not linked(rows[better], rows[worse], rules):
                continue
            copies = clusters[rows[worse]["id"]]
            assert any(
                picture[worse] == picture[j]
                or (rules.identity_veto and any(clash(rows[c], rows[j]) for c in copies))
                for j in clusters[rows[better]["id"]]
            )

    # Copies with the same face and agreeing (or unknown) crops share a cluster.
    for a in range(len(rows)):
        for b in range(a):
            if rows[a]["sha256"] == rows[b]["sha256"] and rows[a]["face_index"] == rows[b]["face_index"]:
                crops = usable(rows[a], "crop_hash", rules) and usable(rows[b], "crop_hash", rules)
                if crops and hamming(rows[a]["crop_hash"], rows[b]["crop_hash"]) == 0:
                    assert result[a]["cluster"] == result[b]["cluster"] is not None


@given(st.integers(0, 2**32 - 1), st.integers(1, 25), RULES, st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_order_of_rows_and_workers_do_not_matter(seed: int, n: int, rules: DedupRules, random: Any) -> None:
    rows = random_rows(seed, n)
    expected = {row["id"]: row for row in resolve(candidates(rows), rules).to_pylist()}
    random.shuffle(rows)
    assert {row["id"]: row for row in resolve(candidates(rows), rules, workers=2).to_pylist()} == expected


@pytest.mark.parametrize("seed", range(3))
def test_the_random_tables_hold_every_kind_of_link(seed: int) -> None:
    kinds = {
        row["duplicate_kind"] for row in resolve(candidates(random_rows(seed, 300)), DedupRules()).to_pylist()
    }
    assert kinds == {None, "file", "pixels", "photo", "image", "crop"}
