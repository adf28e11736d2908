"""Named recipes: functions that return a whole `RunConfig`, one per published experiment.

Where a paper and its released code disagree, both exist by name; the function's docstring says where each
value comes from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from fautrain.config import RunConfig
from fautrain.errors import UserError
from fautrain.plain import nearest
from fautrain.recipes.pretraining import (
    fmae_vit_base,
    fmae_vit_large,
    fmae_vit_large_paper,
    fmae_vit_small,
    mae_face,
    tiny,
)

RECIPES: Mapping[str, Callable[[], RunConfig]] = {
    "fmae-vit-small": fmae_vit_small,
    "fmae-vit-base": fmae_vit_base,
    "fmae-vit-large": fmae_vit_large,
    "fmae-vit-large-paper": fmae_vit_large_paper,
    "mae-face": mae_face,
    "tiny": tiny,
}
"""What `--recipe` and `fautrain recipes` know, in the order in which they are listed."""


def recipe(name: str) -> RunConfig:
    """The configuration of that name.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    if name not in RECIPES:
        raise UserError(f"--recipe {name}: there is no such recipe; {nearest(name, RECIPES)}")
    return RECIPES[name]()


def explanation(name: str) -> str:
    """Where the recipe's values come from and what its paper and code disagree on.

    Raises:
        UserError: there is no such recipe.
    """
    recipe(name)
    return inspect.getdoc(RECIPES[name]) or ""
