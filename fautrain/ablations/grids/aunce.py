"""AUNCE's ablations (arXiv 2402.06165, Tables VII and VIII): figures are means over the folds of BP4D."""

from __future__ import annotations

from fautrain.ablations.grid import Grid, Row, grid

_NEAREST, _MIXED = "contrast.positives=1,0,0", "contrast.positives=0.15,0.15,0.7"
_EVEN, _PAPER = "contrast.exponents=1,1", "contrast.exponents=2.2,1.4"
_UNWEIGHTED = ("contrast.class_weights=false", "loss.kind=bce")
_WEIGHTED = ("contrast.class_weights=true", "loss.kind=weighted-bce")
_TABLE_7 = {
    "none": ((_NEAREST, _EVEN, *_UNWEIGHTED), "60.1"),
    "w": ((_NEAREST, _EVEN, *_WEIGHTED), "61.0"),
    "w, positives": ((_MIXED, _EVEN, *_WEIGHTED), "63.8"),
    "w, negatives": ((_NEAREST, _PAPER, *_WEIGHTED), "64.1"),
    "all": ((_MIXED, _PAPER, *_WEIGHTED), "66.1"),
}
_TABLE_8 = {
    "0.15,0.15,0.7": "66.1",
    "1,0,0": "60.1",
    "0,1,0": "48.4",
    "0,0,1": "63.2",
    "0.1,0.1,0.8": "63.8",
    "0.2,0.2,0.6": "65.7",
    "0.25,0.25,0.5": "65.2",
    "0.3,0.3,0.4": "64.3",
    "0.4,0.4,0.2": "58.8",
}


@grid("aunce-parts", recipe="aunce")
def parts(dataset: str, recipe: str) -> Grid:
    """Class weights w, sampling of positives, exponents on negatives (AUNCE, Table VII).

    The base takes the most similar sample as positive and exponents of 1; w is in the contrast and under the
    linear heads. The paper's exponents are beta + 1 of Eq. 4.
    """
    rows = [
        Row((name,), recipe, settings, _figure(figure, dataset))
        for name, (settings, figure) in _TABLE_7.items()
    ]
    return Grid("Parts of AUNCE", ("with",), tuple(rows), paper=_heads(dataset, "VII"))


@grid("aunce-positives", recipe="aunce")
def positives(dataset: str, recipe: str) -> Grid:
    """How often the positive is the most similar sample, the other view, the centroid (AUNCE, Table VIII).

    Its rows with the least similar sample (p4) are left out: 17.6, worse than any.
    """
    rows = [
        Row((shares,), recipe, (f"contrast.positives={shares}",), _figure(figure, dataset))
        for shares, figure in _TABLE_8.items()
    ]
    return Grid("Positives of AUNCE", ("p1, p2, p3",), tuple(rows), paper=_heads(dataset, "VIII"))


def _figure(figure: str, dataset: str) -> tuple[str, ...]:
    return (figure,) if dataset == "bp4d" else ()


def _heads(dataset: str, table: str) -> tuple[str, ...]:
    return (f"paper, Table {table}",) if dataset == "bp4d" else ()
