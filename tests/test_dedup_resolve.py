"""Which records are duplicates of which, case by case."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from dedup_rows import SCHEMA, candidates, code, near

from facecorpus.dedup.resolve import RESOLVED, DedupRules, resolve
from facecorpus.errors import UserError

Row = dict[str, Any]
RULES = DedupRules()


def links(rows: list[Row], rules: DedupRules = RULES) -> list[tuple[str | None, str | None, int | None]]:
    """(duplicate_of, kind, distance) of each row."""
    result = resolve(candidates(rows), rules)
    names = ("duplicate_of", "duplicate_kind", "duplicate_distance")
    return list(zip(*(result[name].to_pylist() for name in names), strict=True))


KEPT = (None, None, None)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare(n: int) -> None:
    result = resolve(candidates([{"image_hash": code(0), "sha256": "a"}] * n), RULES)
    assert result.schema == RESOLVED
    assert (
        result.to_pylist()
        == [
            {
                "id": "s/0",
                "cluster": None,
                "duplicate_of": None,
                "duplicate_kind": None,
                "duplicate_distance": None,
                "identity_conflict": False,
            }
        ]
        * n
    )


def test_rows_without_any_hash_stand_alone() -> None:
    assert links([{"image_hash_quality": None, "crop_hash_quality": None}] * 3) == [KEPT] * 3


def test_the_result_is_aligned_with_the_input() -> None:
    rows = [
        {"sha256": "b", "interocular_px": 1.0},
        {"sha256": "c"},
        {"sha256": "b", "interocular_px": 5.0},
        {"sha256": "b", "interocular_px": 2.0},
    ]
    result = resolve(candidates(rows), RULES)
    assert result["id"].to_pylist() == ["s/0", "s/1", "s/2", "s/3"]
    assert result["duplicate_of"].to_pylist() == ["s/2", None, None, "s/2"]
    assert result["cluster"].to_pylist() == ["s/0", None, "s/0", "s/0"]


def test_equal_bytes_and_equal_pixels() -> None:
    rows = [
        {"sha256": "a", "pixel_hash": "p"},
        {"sha256": "a", "pixel_hash": "p"},
        {"sha256": "b", "pixel_hash": "p"},
        {"sha256": "c", "pixel_hash": "q"},
    ]
    assert links(rows) == [KEPT, ("s/0", "file", None), ("s/0", "pixels", None), KEPT]


def test_missing_hashes_are_not_equal() -> None:
    assert links([{"sha256": None, "pixel_hash": None}] * 2) == [KEPT, KEPT]


@pytest.mark.parametrize(("bits", "found"), [(0, True), (31, True), (32, False)])
def test_whole_images_within_the_radius(bits: int, found: bool) -> None:
    rows = [{"image_hash": code(1)}, {"image_hash": near(1, bits)}]
    assert links(rows)[1] == (("s/0", "image", bits) if found else KEPT)


@pytest.mark.parametrize(("bits", "found"), [(0, True), (39, True), (40, False)])
def test_crops_within_the_radius(bits: int, found: bool) -> None:
    rows = [
        {"crop_hash": code(1), "image_hash": code(2)},
        {"crop_hash": near(1, bits), "image_hash": code(3)},
    ]
    assert links(rows)[1] == (("s/0", "crop", bits) if found else KEPT)


@pytest.mark.parametrize("kind", ["image", "crop"])
def test_hashes_of_poor_quality_are_not_compared(kind: str) -> None:
    good, poor = (
        {f"{kind}_hash": code(1), f"{kind}_hash_quality": 50},
        {f"{kind}_hash": code(1), f"{kind}_hash_quality": 49},
    )
    assert links([good, good])[1] == ("s/0", kind, 0)
    assert links([good, poor])[1] == KEPT
    assert links([poor, poor])[1] == KEPT


@pytest.mark.parametrize("kind", ["image", "crop"])
def test_a_radius_of_none_turns_the_comparison_off(kind: str) -> None:
    rows = [{f"{kind}_hash": code(1)}] * 2
    off: dict[str, Any] = {f"{kind}_radius": None}
    assert links(rows, DedupRules(**off)) == [KEPT, KEPT]


def test_faces_of_a_group_picture_are_matched_with_their_own_copies() -> None:
    # Picture A and its recompressed copy B, three faces each, found in another order in B.
    faces = [10, 20, 30]
    a = [{"id": "s/a" + ("" if k == 0 else f"#{k}"), "face_index": k, "sha256": "a", "pixel_hash": "pa",
          "image_hash": code(1), "crop_hash": code(faces[k])} for k in range(3)]  # fmt: skip
    order = [1, 0, 2]
    b = [{"id": "t/b" + ("" if k == 0 else f"#{k}"), "source": "t", "face_index": k, "sha256": "b",
          "pixel_hash": "pb", "image_hash": near(1, 6), "crop_hash": near(faces[order[k]], 50)} for k in
          range(3)]  # fmt: skip
    assert links(a + b) == [KEPT] * 3 + [("s/a#1", "image", 6), ("s/a", "image", 6), ("s/a#2", "image", 6)]


def test_two_faces_of_a_picture_are_never_joined_even_if_their_crops_agree() -> None:
    a = {"image_hash": code(1), "crop_hash": code(2), "sha256": "a"}
    assert links([a | {"id": "s/a"}, a | {"id": "s/a#1", "face_index": 1}]) == [KEPT, KEPT]
    # Nor where the picture's first face is no candidate.
    assert links([a | {"id": f"s/a#{k}", "face_index": k} for k in (1, 2)]) == [KEPT, KEPT]
    # Nor by way of a third record that looks like both.
    third = {"id": "t/x", "source": "t", "crop_hash": code(2), "image_hash": code(9)}
    assert links([third, a | {"id": "s/a"}, a | {"id": "s/a#1", "face_index": 1}]) == [
        KEPT,
        ("t/x", "crop", 0),
        KEPT,
    ]
    # Nor where the second file is a copy of the first under another name.
    assert links([a | {"id": "s/a"}, a | {"id": "s/b#1", "face_index": 1}]) == [KEPT, KEPT]


def test_a_hash_sign_in_a_file_name_is_not_a_face_number() -> None:
    rows = [{"id": "s/a#1", "crop_hash": code(1)}, {"id": "s/a#2", "crop_hash": code(1)}]
    assert links(rows)[1] == ("s/a#1", "crop", 0)


def test_equal_bytes_that_show_two_faces_are_two_records() -> None:
    # A group picture listed under two names, each with its own face box.
    a = {"sha256": "a", "pixel_hash": "p", "image_hash": code(1)}
    rows = [a | {"crop_hash": code(2), "identity": "x"}, a | {"crop_hash": code(3), "identity": "y"}]
    assert links(rows) == [KEPT, KEPT]
    assert links([rows[0], rows[0] | {"crop_hash": near(2, 60)}])[1] == ("s/0", "file", None)


def test_equal_images_need_the_same_face_number_where_a_crop_hash_is_missing() -> None:
    a = {"image_hash": code(1), "crop_hash": code(2)}
    assert links([a, a | {"crop_hash": None}])[1] == ("s/0", "image", 0)
    assert links([a, a | {"crop_hash": None, "face_index": 1, "id": "s/1#1"}])[1] == KEPT


def test_photo_ids_join_the_same_face_only() -> None:
    a = {"photo_id": "p", "crop_hash": code(1), "image_hash": code(2)}
    same = a | {"crop_hash": near(1, 70), "image_hash": code(3)}
    other_face = a | {"crop_hash": code(4), "image_hash": code(5)}
    unknown = a | {"crop_hash": None, "image_hash": code(6)}
    elsewhere = a | {"source": "t", "crop_hash": near(1, 70, start=100), "image_hash": code(7)}
    rows = [a, same, other_face, unknown, elsewhere]
    assert links(rows) == [KEPT, ("s/0", "photo", None), KEPT, KEPT, KEPT]
    assert links(rows, DedupRules(use_photo_id=False))[1] == KEPT


def test_identity_veto() -> None:
    a = {"crop_hash": code(1), "image_hash": code(2), "identity": "x"}
    near_links = [(a | {"identity": "y"}, KEPT), (a | {"identity": None}, ("s/0", "image", 0))]
    near_links.append((a | {"identity": "y", "source": "t"}, ("s/0", "image", 0)))
    for other, expected in near_links:
        assert links([a, other])[1] == expected
    assert links([a, a | {"identity": "y"}], DedupRules(identity_veto=False))[1] == ("s/0", "image", 0)


def test_two_identities_of_a_source_are_not_joined_by_way_of_another_source() -> None:
    a = {"crop_hash": code(1)}
    rows = [a | {"source": "t", "identity": "q"}, a | {"identity": "x"}, a | {"identity": "y"}]
    assert links(rows) == [KEPT, ("t/0", "crop", 0), KEPT]


def test_equal_bytes_under_two_identities_are_joined_and_reported() -> None:
    rows = [
        {"sha256": "a", "identity": "x"},
        {"sha256": "a", "identity": "y"},
        {"sha256": "a", "identity": None},
        {"sha256": "a", "identity": "z", "source": "t"},
        {"sha256": "b", "identity": "x"},
    ]
    result = resolve(candidates(rows), RULES)
    assert result["duplicate_of"].to_pylist() == [None, "s/0", "s/0", "s/0", None]
    assert result["identity_conflict"].to_pylist() == [True, True, False, False, False]


def test_copies_with_two_identities_take_no_near_duplicate_of_either() -> None:
    rows = [
        {"sha256": "a", "identity": "x", "crop_hash": code(1)},
        {"sha256": "a", "identity": "y", "crop_hash": code(1)},
        {"sha256": "b", "identity": "x", "crop_hash": code(1)},
        {"sha256": "c", "identity": None, "crop_hash": code(1)},
    ]
    assert links(rows) == [KEPT, ("s/0", "file", None), KEPT, ("s/0", "crop", 0)]


def test_copies_follow_their_best_one() -> None:
    a = {"sha256": "a", "crop_hash": code(1)}
    b = {"sha256": "b", "crop_hash": near(1, 8)}
    assert links([a, b, b]) == [KEPT, ("s/0", "crop", 8), ("s/0", "crop", 8)]


@pytest.mark.parametrize("kind", ["image", "crop"])
def test_a_chain_is_cut_at_twice_the_radius(kind: str) -> None:
    rules = DedupRules(image_radius=31, crop_radius=31)
    chain = [{f"{kind}_hash": near(1, 25 * k)} for k in range(6)]
    expected = [KEPT, ("s/0", kind, 25), ("s/0", kind, 50), KEPT, ("s/3", kind, 25), ("s/3", kind, 50)]
    assert links(chain, rules) == expected


@pytest.mark.parametrize(("bits", "found"), [(78, True), (79, False)])
def test_a_chain_of_two_kinds_is_cut_at_twice_the_radius_too(bits: int, found: bool) -> None:
    rows = [
        {"image_hash": code(1), "crop_hash": code(2)},
        {"image_hash": code(1), "crop_hash": near(2, 50)},
        {"image_hash": code(3), "crop_hash": near(2, bits)},
    ]
    assert links(rows)[1:] == [("s/0", "image", 0), ("s/0", "crop", bits) if found else KEPT]


def test_a_large_cluster_holds_direct_neighbours_only() -> None:
    chain = [{"image_hash": near(1, 25 * k)} for k in range(3)]
    assert links(chain, DedupRules(max_cluster=3))[2] == ("s/0", "image", 50)
    assert links(chain, DedupRules(max_cluster=2))[2] == KEPT
    crowd = [{"image_hash": near(1, k % 20)} for k in range(200)]
    assert [of for of, _, _ in links(crowd, DedupRules(max_cluster=2))] == [None] + ["s/0"] * 199


def test_the_strongest_link_names_the_kind() -> None:
    a = {"image_hash": code(1), "crop_hash": code(2), "photo_id": "p"}
    assert links([a, a])[1] == ("s/0", "photo", None)
    assert links([a, a | {"photo_id": None}])[1] == ("s/0", "image", 0)
    assert links([a, a | {"photo_id": None, "image_hash": code(3)}])[1] == ("s/0", "crop", 0)


def test_preferred_sources_are_kept() -> None:
    rows = [{"sha256": "a"}, {"sha256": "a", "source": "t"}]
    assert links(rows, DedupRules(source_priority=("t", "s"))) == [("t/1", "file", None), KEPT]


def test_chunked_and_sliced_tables_read_alike() -> None:
    rows = [
        {"image_hash": near(1 + k // 2, k % 2), "sha256": str(k), "identity": str(k // 4)} for k in range(20)
    ]
    table = candidates(rows)
    pieces = pa.concat_tables([table.slice(0, 7), table.slice(7, 1), table.slice(8)])
    padded = pa.concat_tables([table.slice(0, 3), table]).slice(3)
    assert resolve(pieces, RULES) == resolve(table, RULES) == resolve(padded, RULES)
    assert resolve(table, RULES)["duplicate_of"].null_count == 10


def test_user_errors() -> None:
    with pytest.raises(UserError, match="an id occurs twice"):
        resolve(candidates([{"id": "a"}, {"id": "a"}]), RULES)
    with pytest.raises(UserError, match="lacks the column crop_hash;"):
        resolve(candidates([]).drop_columns("crop_hash"), RULES)
    frames = [{"image_hash": code(1, k)} for k in range(30)]
    with pytest.raises(UserError, match=r"more than 100 pairs .* image_radius and crop_radius to none"):
        resolve(candidates(frames), DedupRules(max_pairs=100))


@pytest.mark.parametrize(
    "bad",
    [{"image_radius": 64}, {"crop_radius": -1}, {"min_quality": 101}, {"same_face_radius": 257},
     {"max_cluster": 0}, {"source_priority": ("a", "a")}],
)  # fmt: skip
def test_rules_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"dedup.{next(iter(bad))}="):
        DedupRules(**bad)


def test_columns_have_the_types_of_the_tables_on_disk() -> None:
    from facecorpus import schema

    on_disk = {
        field.name: field.type
        for table in vars(schema).values()
        if isinstance(table, pa.Schema)
        for field in table
    }
    assert {field.name: on_disk[field.name] for field in SCHEMA} == {
        field.name: field.type for field in SCHEMA
    }
    shared = [field for field in RESOLVED if field.name in on_disk]
    assert len(shared) == len(RESOLVED)
    text = {pa.large_string(): pa.string()}  # in memory more than 2 GiB of it may be one column
    assert all(on_disk[field.name] == text.get(field.type, field.type) for field in shared)
