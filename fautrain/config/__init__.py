"""The typed configuration of a training run: all that decides what a run computes, checked when it is made.

A recipe (`fautrain.recipes`) returns a `PretrainConfig` (pretraining) or a `FinetuneConfig` (action units);
`override` changes single values (`--set optim.lr=1e-4`); `to_plain` and `from_plain` are how a run and its
checkpoints keep it. Unknown names are refused with the nearest known one. An epoch is one pass over the
training samples; a step is one update of the weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from fautrain import typed
from fautrain.config.finetuning import ActionUnitModelConfig, FinetuneConfig, IdentityConfig, LabelledData
from fautrain.config.parts import LogConfig, OptimConfig, Size, TrainConfig
from fautrain.config.pretraining import LossConfig, MaeModelConfig, PretrainConfig, PretrainData

RunConfig = PretrainConfig | FinetuneConfig
Config = TypeVar("Config", bound=RunConfig)

__all__ = [
    "ActionUnitModelConfig",
    "FinetuneConfig",
    "IdentityConfig",
    "LabelledData",
    "LogConfig",
    "LossConfig",
    "MaeModelConfig",
    "OptimConfig",
    "PretrainConfig",
    "PretrainData",
    "RunConfig",
    "Size",
    "TrainConfig",
    "from_plain",
    "override",
    "to_plain",
]


def to_plain(config: RunConfig) -> dict[str, Any]:
    """The configuration as JSON-able data (tuples become lists); `from_plain` gives the same one back."""
    return typed.to_plain(config)


def from_plain(data: Mapping[str, Any]) -> RunConfig:
    """The configuration that `to_plain` wrote: of fine-tuning where it has the group `identity`.

    Raises:
        UserError: a value is unknown, missing or of the wrong type or range.
    """
    return typed.build(FinetuneConfig if "identity" in data else PretrainConfig, data)


def override(config: Config, settings: Iterable[str]) -> Config:
    """`config` with `name=value` settings applied, nested names joined by dots; lists are joined by commas.

    Raises:
        UserError: a setting is no `name=value`, names nothing (the message suggests a name), or its value is
            of the wrong type or range.
    """
    return typed.override(config, settings)
