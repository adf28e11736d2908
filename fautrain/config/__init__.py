"""The typed configuration of a training run: all that decides what a run computes, checked when it is made.

A recipe (`fautrain.recipes`) returns a `RunConfig`: what every run has, and what its task has besides (each
registers its own by `@configuration`). `override` changes single values (`--set optim.lr=1e-4`); `to_plain`
and `from_plain` are how a run and its checkpoints keep it. Unknown names are refused with the nearest known
one. An epoch is one pass over the training samples; a step is one update of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facecorpus import typed
from facecorpus.typed import described, override, to_plain
from fautrain.config.aunce import AunceConfig, ContrastConfig, ContrastiveConfig, SwinGraphConfig
from fautrain.config.finetuning import (
    ActionUnitModelConfig,
    ExpertConfig,
    FinetuneConfig,
    IdentityConfig,
    LabelledConfig,
    LabelledData,
    OutputLossConfig,
)
from fautrain.config.parts import (
    CONFIGURATIONS,
    DataConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SizeName,
    TrainConfig,
    configuration,
)
from fautrain.config.pretraining import LossConfig, MaeModelConfig, PretrainConfig, PretrainData

__all__ = [
    "CONFIGURATIONS",
    "ActionUnitModelConfig",
    "AunceConfig",
    "ContrastConfig",
    "ContrastiveConfig",
    "DataConfig",
    "ExpertConfig",
    "FinetuneConfig",
    "IdentityConfig",
    "LabelledConfig",
    "LabelledData",
    "LogConfig",
    "LossConfig",
    "MaeModelConfig",
    "ModelConfig",
    "OptimConfig",
    "OutputLossConfig",
    "PretrainConfig",
    "PretrainData",
    "RunConfig",
    "SizeName",
    "SwinGraphConfig",
    "TrainConfig",
    "configuration",
    "described",
    "from_plain",
    "override",
    "to_plain",
]


def from_plain(data: Mapping[str, Any]) -> RunConfig:
    """The configuration that `to_plain` wrote, of the class that its task registered.

    Raises:
        UserError: a value is unknown, missing or of the wrong type or range.
    """
    before = "au" if "identity" in data else "mae"  # runs of versions that kept no task
    return typed.build(CONFIGURATIONS.get(str(data.get("task", before))), data)
