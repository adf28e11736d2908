"""What a command line asks of fine-tuning, as a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from facecorpus.errors import UserError
from fautrain.config import LabelledConfig, override
from fautrain.data.benchmark import Benchmark, benchmark
from fautrain.data.folds import subset as every_nth
from fautrain.data.shards import absolute
from fautrain.recipes import FROM_SCRATCH, finetuning_recipe

_OPTIONS = {"seed": "--seeds", "data.fold": "--fold", "data.dataset": "--dataset"}
"""Values that have an option of their own."""


class Asked(NamedTuple):
    """The options that decide what is trained; see `fautrain finetune --help`."""

    dataset: str
    shards: str = ""
    init: str | None = None
    subset: str | None = None
    settings: Sequence[str] = ()

    @property
    def benchmark(self) -> Benchmark:
        """The one that is trained and tested on."""
        return benchmark(self.dataset)

    @property
    def name(self) -> str:
        """The benchmark's."""
        return self.benchmark.name

    def config(self, recipe: str, own: Sequence[str] = ()) -> LabelledConfig:
        """The recipe with everything set, but for fold and seed.

        Args:
            own: `NAME=VALUE` of one row of an ablation: before `settings`, after the other options.

        Raises:
            UserError: a value is unknown or wrong, or weights are needed and not named.
        """
        given = finetuning_recipe(recipe, self.name)
        changes = [*self._options(), *own, *self.settings]
        config = override(given, changes)
        asked = any(_name(change) == "model.init" for change in changes)
        random = recipe in FROM_SCRATCH or given.model.size == "tiny"
        if config.model.init is None and not asked and not random:
            raise UserError(
                f"--init is not given, and recipe {recipe} is meant to start from pretrained weights: give a "
                "run, a file or hub:OWNER/NAME, or --init none for random weights of size "
                f"{config.model.size}"
            )
        if config.model.init is None:
            return config
        init = config.model.init.replace("{size}", config.model.size)
        return replace(config, model=replace(config.model, init=init))

    def _options(self) -> list[str]:
        """The other options as `NAME=VALUE`."""
        for setting in self.settings:
            if option := _OPTIONS.get(_name(setting)):
                raise UserError(f"--set {_name(setting)} would be overruled by {option}; give that")
        shards, built = self.shards, f"build/{self.name}"
        if not shards and Path(built).exists():
            shards = built
        # Whole paths: the run is looked at from other folders later.
        dataset = Path.cwd() / self.dataset if self.dataset.endswith(".toml") else self.dataset
        changes = [f"data.dataset={dataset}"]
        changes += [f"data.shards={absolute(shards)}"] if shards else []
        changes += [f"model.init={self.init}"] if self.init else []
        return changes + ([f"data.every={every_nth(self.subset)}"] if self.subset else [])


def _name(setting: str) -> str:
    return setting.partition("=")[0].strip()


def numbers(option: str, text: str) -> tuple[int, ...]:
    """The whole numbers that an option names.

    Raises:
        UserError: it is something else, or names one twice.
    """
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"{option} {text}: give whole numbers joined by commas, such as 1,3") from error
    if len(set(found)) < len(found):
        raise UserError(f"{option} {text}: a number is named twice; name each once")
    return found
