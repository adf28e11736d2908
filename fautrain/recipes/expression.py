"""A recipe of our own for expressions. FMAE's is `fmae`, with the data set's settings."""

from __future__ import annotations

from dataclasses import replace

from fautrain.config import FinetuneConfig
from fautrain.recipes import recipe
from fautrain.recipes.finetuning import fmae, tiny


@recipe("tiny-expression", task="au")
def tiny_expression(dataset: str) -> FinetuneConfig:
    """Ours, for a CPU and a few minutes: `tiny` without identity head, rare expressions weighted more.

    On real pictures it only shows that everything works; on drawn ones, whose labels of expressions are drawn
    by lot, the accuracy is that of guessing.
    """
    base = tiny(dataset)
    return replace(
        base,
        name="tiny-expression",
        about="A small model for a CPU and a few minutes, on drawn photographs: to see everything work.",
        identity=fmae(dataset).identity,
        loss=replace(base.loss, kind="weighted-ce"),
    )
