"""Named recipes: functions that return a whole configuration, one per published experiment.

`@recipe("fmae-iat", task="au")` registers one. Those of labelled tasks take the benchmark's name and are for
`fautrain finetune`, the others take nothing and are for `fautrain pretrain`.

Where a paper and its released code disagree, both exist by name; the function's docstring says where each
value comes from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from facecorpus.errors import UserError
from facecorpus.plugins import Registry
from fautrain.config import CONFIGURATIONS, LabelledConfig, RunConfig

Recipe = TypeVar("Recipe", bound=Callable[..., RunConfig])

_MISSING = "--recipe {}: there is no such recipe"
PRETRAINING: Registry[Callable[[], RunConfig]] = Registry(_MISSING, __name__)
"""What `pretrain --recipe` knows, in the order in which `fautrain recipes` lists it."""
FINETUNING: Registry[Callable[[str], LabelledConfig]] = Registry(_MISSING, __name__)
"""What `finetune --recipe` knows."""


FROM_SCRATCH: set[str] = set()
"""Names of fine-tuning recipes that are meant to begin with random weights."""


def recipe(name: str, *, task: str, from_scratch: bool = False) -> Callable[[Recipe], Recipe]:
    """Decorator that registers a function as the recipe of that name."""
    FROM_SCRATCH.update([name] * from_scratch)
    labelled = issubclass(CONFIGURATIONS.get(task), LabelledConfig)
    registry: Registry[Any] = FINETUNING if labelled else PRETRAINING
    return registry.register(name)


def pretraining_recipe(name: str) -> RunConfig:
    """The pretraining configuration of that name.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    if name not in PRETRAINING and name in FINETUNING:
        raise UserError(
            f"--recipe {name} is one of fine-tuning; use it with 'fautrain finetune', or choose "
            f"among {', '.join(PRETRAINING)}"
        )
    return PRETRAINING.get(name)()


def finetuning_recipe(name: str, dataset: str) -> LabelledConfig:
    """The fine-tuning configuration of that name for a benchmark.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    if name not in FINETUNING and name in PRETRAINING:
        raise UserError(
            f"--recipe {name} is one of pretraining; pretrain with it ('fautrain pretrain --recipe {name}'), "
            f"give that run as --init, and choose among {', '.join(FINETUNING)} here"
        )
    return FINETUNING.get(name)(dataset)


def explanation(name: str, finetuning: bool = False) -> str:
    """Where a recipe's values come from and what its paper and code disagree on.

    Raises:
        UserError: there is no such recipe.
    """
    return inspect.getdoc((FINETUNING if finetuning else PRETRAINING).get(name)) or ""
