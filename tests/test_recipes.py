"""Recipes: typed, overridable, and a misspelt name is an error with the right suggestion."""

from __future__ import annotations

import pytest

from facecorpus.errors import UserError
from facecorpus.recipes import RECIPES, CorpusRecipe, recipe
from facecorpus.typed import build, override, to_plain


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_survives_json(name: str) -> None:
    made = recipe(name)
    assert made.name == name
    assert build(CorpusRecipe, to_plain(made)) == made


def test_override_converts_by_the_annotation() -> None:
    changed = override(
        recipe("face9m"),
        [
            "limits.min_side_px=100",
            "jpeg_chroma=420",
            "limits.max_aspect_ratio=null",
            "pyramid_px=160,320",
            "seed=7",
            "dedup.image_radius=20",
            "limits.max_padded=1",
            "sources=celeba,lfw",
        ],
    )
    assert changed.limits.min_side_px == 100
    assert changed.jpeg_chroma == "420"
    assert changed.limits.max_aspect_ratio is None
    assert changed.pyramid_px == (160, 320)
    assert changed.seed == 7
    assert changed.dedup is not None and changed.dedup.image_radius == 20
    assert changed.limits.max_padded == 1.0
    assert changed.sources == ("celeba", "lfw")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("limits.min_sid_px=3", "min_side_px"),
        ("limit.min_side_px=3", "limits"),
        ("jpeg_qualty=3", "jpeg_quality"),
        ("jpeg_quality=high", "a whole number"),
        ("jpeg_quality=101", "1 to 100"),
        ("align=eye", "similarity, eyes"),
        ("align", "NAME=VALUE"),
        ("limits.min_face_score=1.5", "min_face_score"),
        ("sidecar_json=1", "true or false"),
        ("detector=none", "align=none"),
        ("pyramid_px=320,160", "rising"),
        ("seed=-1", "2\\^64"),
        ("samples_per_shard=0", "at least 1"),
    ],
)
def test_bad_settings_are_refused_with_a_remedy(setting: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        override(recipe("face9m"), [setting])


def test_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="face9m"):
        recipe("face9")


def test_a_value_of_a_group_that_is_off_is_refused_until_it_is_on() -> None:
    plain = recipe("face9m-script")
    assert plain.dedup is None
    with pytest.raises(UserError, match=r"dedup is off in this recipe.*put --set dedup=\{\} before it"):
        override(plain, ["dedup.image_radius=20"])
    rules = override(plain, ["dedup={}", "dedup.image_radius=20"]).dedup
    assert rules is not None and rules.image_radius == 20
