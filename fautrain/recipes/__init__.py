"""Named recipes: functions that return a whole configuration, one per published experiment.

Pretraining and fine-tuning have names of their own; those of fine-tuning take the benchmark's name.

Where a paper and its released code disagree, both exist by name; the function's docstring says where each
value comes from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from fautrain.config import FinetuneConfig, PretrainConfig, RunConfig
from fautrain.errors import UserError
from fautrain.recipes import finetuning
from fautrain.recipes.pretraining import (
    fmae_vit_base,
    fmae_vit_large,
    fmae_vit_large_paper,
    fmae_vit_small,
    mae_face,
    tiny,
)
from fautrain.typed import nearest

RECIPES: Mapping[str, Callable[[], PretrainConfig]] = {
    "fmae-vit-small": fmae_vit_small,
    "fmae-vit-base": fmae_vit_base,
    "fmae-vit-large": fmae_vit_large,
    "fmae-vit-large-paper": fmae_vit_large_paper,
    "mae-face": mae_face,
    "tiny": tiny,
}
"""What `--recipe` and `fautrain recipes` know, in the order in which they are listed."""


FINETUNING: Mapping[str, Callable[[str], FinetuneConfig]] = {
    "fmae": finetuning.fmae,
    "fmae-iat": finetuning.fmae_iat,
    "fmae-iat-paper": finetuning.fmae_iat_paper,
    "tiny": finetuning.tiny,
}
"""What `finetune --recipe` knows."""


def recipe(name: str) -> PretrainConfig:
    """The pretraining configuration of that name.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    if name not in RECIPES and name in FINETUNING:
        raise UserError(
            f"--recipe {name} is one of fine-tuning; use it with 'fautrain finetune', or choose "
            f"among {', '.join(RECIPES)}"
        )
    if name not in RECIPES:
        raise UserError(f"--recipe {name}: there is no such recipe; {nearest(name, RECIPES)}")
    return RECIPES[name]()


def finetuning_recipe(name: str, dataset: str) -> FinetuneConfig:
    """The fine-tuning configuration of that name for a benchmark.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    if name not in FINETUNING and name in RECIPES:
        raise UserError(
            f"--recipe {name} is one of pretraining; pretrain with it ('fautrain pretrain --recipe {name}'), "
            f"give that run as --init, and choose among {', '.join(FINETUNING)} here"
        )
    if name not in FINETUNING:
        raise UserError(f"--recipe {name}: there is no such recipe; {nearest(name, FINETUNING)}")
    return FINETUNING[name](dataset)


def explanation(name: str, dataset: str | None = None) -> str:
    """Where a recipe's values come from and what its paper and code disagree on.

    Args:
        name: of the recipe. dataset: given for one of fine-tuning.

    Raises:
        UserError: there is no such recipe.
    """
    make: Callable[..., RunConfig]
    if dataset is None:
        recipe(name)
        make = RECIPES[name]
    else:
        finetuning_recipe(name, dataset)
        make = FINETUNING[name]
    return inspect.getdoc(make) or ""
