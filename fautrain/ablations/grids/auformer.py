"""AUFormer's tables (arXiv 2403.04697): its parts (Table 4) and its choices (Table 5); figures are of BP4D.

Its cross-domain study is `cross-dataset` with `--recipe auformer --set data.aus=1,2,4,6,12`, its data
efficiency `subset`.
"""

from __future__ import annotations

from fautrain.ablations.grid import Grid, Row, grid

_FULL = ("model.adapter=none", "model.frozen=false", "optim.lr=1e-4")
"""All of the ViT learns; its rate is not stated, and what suits experts would destroy it."""
_CONVPASS = ("model.adapter=convpass",)
_ONE = ("model.moke.collaborate=false",)
_NO_FIELDS, _NO_CONTEXT = "model.moke.dilations=", "model.moke.neighbourhood=none"
_BARE = (_NO_FIELDS, _NO_CONTEXT)
_WA = ("loss.kind=weighted-asymmetric",)
_GAMMA = ("loss.margin=0",)
_PARTS = (
    ("all of the ViT", "WA", (*_FULL, *_WA), "61.9"),
    ("all of the ViT", "MDWA", _FULL, "63.4"),
    ("Convpass", "WA", (*_CONVPASS, *_WA), "63.6"),
    ("experts without MRF, CA", "WA", (*_BARE, *_WA), "64.3"),
    ("experts without MRF, CA", "MDWA", _BARE, "65.2"),
    ("one expert for all", "WA", (*_ONE, *_WA), "64.5"),
    ("experts without CA", "WA", (_NO_CONTEXT, *_WA), "64.8"),
    ("experts without MRF", "WA", (_NO_FIELDS, *_WA), "64.7"),
    ("experts", "WA", _WA, "65.1"),
    ("experts", "MDWA without margin", _GAMMA, "65.6"),
    ("experts", "MDWA", (), "66.2"),
)
_ADAPTERS = {"moke": "66.2", "adapter": "63.1", "lora": "63.0", "vpt": "62.6", "convpass": "63.6"}
_DILATIONS = {"1,3,5": "66.2", "1,3": "65.9", "1": "65.6", "1,2,3": "65.9"}
_NEIGHBOURHOODS = {"3": "66.2", "5": "65.9", "7": "66.0"}
_MARGINS = {"0.1": "66.2", "0.01": "65.6", "0.05": "65.9", "0.2": "65.4"}


@grid("auformer-parts", recipe="auformer")
def parts(dataset: str, recipe: str) -> Grid:
    """What of AUFormer does it: experts, their operators, their collaboration, its loss (Table 4).

    All rows have the dice loss too. The table's marks are lost in the text that we have; its rows are as its
    prose explains them.
    """
    rows = [
        Row((what, loss), recipe, settings, _figure(figure, dataset))
        for what, loss, settings, figure in _PARTS
    ]
    return Grid(
        "Parts of AUFormer",
        ("what learns", "loss"),
        tuple(rows),
        paper=_head(dataset, "4"),
        measures=("cost",),
    )


@grid("adapters", recipe="auformer")
def adapters(dataset: str, recipe: str) -> Grid:
    """What is put into the frozen ViT (AUFormer, Table 5a)."""
    return _choice("Adapters in a frozen ViT", "adapter", "model.adapter", _ADAPTERS, dataset, recipe, "5a")


@grid("dilations", recipe="auformer")
def dilations(dataset: str, recipe: str) -> Grid:
    """Dilations of the multi-receptive-field operator (AUFormer, Table 5b)."""
    name = "model.moke.dilations"
    return _choice("Receptive fields of the experts", "dilations", name, _DILATIONS, dataset, recipe, "5b")


@grid("neighbourhood", recipe="auformer")
def neighbourhood(dataset: str, recipe: str) -> Grid:
    """Side of the context-aware operator's neighbourhood (AUFormer, Table 5c)."""
    name = "model.moke.neighbourhood"
    return _choice("Neighbourhood of the experts", "side", name, _NEIGHBOURHOODS, dataset, recipe, "5c")


@grid("margin", recipe="auformer")
def margin(dataset: str, recipe: str) -> Grid:
    """Truncation margin of the MDWA loss (AUFormer, Table 5d)."""
    return _choice("Margin of the loss", "margin", "loss.margin", _MARGINS, dataset, recipe, "5d")


def _choice(
    title: str, axis: str, name: str, figures: dict[str, str], dataset: str, recipe: str, table: str
) -> Grid:
    rows = [
        Row((value,), recipe, (f"{name}={value}",), _figure(printed, dataset))
        for value, printed in figures.items()
    ]
    return Grid(title, (axis,), tuple(rows), paper=_head(dataset, table), measures=("cost",))


def _figure(figure: str, dataset: str) -> tuple[str, ...]:
    return (figure,) if dataset == "bp4d" else ()


def _head(dataset: str, table: str) -> tuple[str, ...]:
    return (f"paper, Table {table}",) if dataset == "bp4d" else ()
