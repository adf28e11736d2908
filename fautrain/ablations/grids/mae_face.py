"""MAE-Face's tables (arXiv 2210.15878): its pretraining (Table 5) and the loss of it (Table 6).

Its partial training sets (Figure 7) are `subset` with `--recipe mae-face`. Figures of the paper are F1 in
percent for detection and ICC for intensity.
"""

from __future__ import annotations

from fautrain.ablations.grid import Grid, Row, grid

_SETS = ("bp4d", "bp4d_plus", "disfa", "bp4d_intensity", "disfa_intensity")
_TABLE_5 = {
    "mae-face-scratch": ("50.0", "54.3", "49.1", ".567", ".418"),
    "mae-face-imagenet": ("63.3", "61.9", "67.6", ".694", ".599"),
    "mae-face": ("67.4", "64.8", "70.8", ".740", ".674"),
}
_TABLE_6 = {
    "l2-pixels": ("64.7", "64.4", "69.3", ".710", ".625"),
    "l2": ("66.4", "64.4", "69.8", ".731", ".657"),
    "l1-pixels": ("66.3", "63.9", "68.9", ".728", ".646"),
    "l1": ("66.9", "64.6", "70.8", ".736", ".665"),
}
_LOSSES = {"l2": "L2", "l1": "L1"}


@grid("pretraining")
def pretraining(dataset: str, recipe: str) -> Grid:
    """From scratch, from ImageNet, from faces (MAE-Face, Table 5).

    Each row is a recipe of its own: 200 epochs from random weights, 20 from MAE's ImageNet-1k ViT-B, 20 from
    what --init names, MAE-Face's release or a run of `fautrain pretrain --recipe mae-face`. Let --init stand
    for the last row alone: the first two name their own weights. BP4D+ has three folds there that are not
    published.
    """
    del recipe
    own = {"mae-face-scratch": ("model.init=none",), "mae-face": ()}
    own["mae-face-imagenet"] = ("model.init=hub:timm/vit_base_patch16_224.mae",)
    told = {"mae-face-scratch": "none", "mae-face-imagenet": "ImageNet", "mae-face": "faces"}
    rows = [
        Row((told[name],), name, own[name], _figure(figures, dataset)) for name, figures in _TABLE_5.items()
    ]
    return Grid("Pretraining", ("pretraining",), tuple(rows), paper=_heads(dataset, 5))


@grid("pretraining-loss")
def loss(dataset: str, recipe: str) -> Grid:
    """L1 and L2 on pixels and on normalised pixels in pretraining (MAE-Face, Table 6).

    Fine-tunes four pretrained models of 200 epochs, which must be there: `fautrain pretrain --recipe
    mae-face-l1 --out build/mae-face-l1`, and so on for `mae-face-l1-pixels`, `mae-face-l2` and
    `mae-face-l2-pixels`.
    """
    del recipe
    rows = [
        Row(
            (_LOSSES[kind], "no" if pixels else "yes"),
            "mae-face",
            (f"model.init=build/mae-face-{name}",),
            _figure(figures, dataset),
        )
        for name, figures in _TABLE_6.items()
        for kind, _, pixels in (name.partition("-"),)
    ]
    return Grid("Loss of the pretraining", ("loss", "norm"), tuple(rows), paper=_heads(dataset, 6))


def _figure(figures: tuple[str, ...], dataset: str) -> tuple[str, ...]:
    return (figures[_SETS.index(dataset)],) if dataset in _SETS else ()


def _heads(dataset: str, table: int) -> tuple[str, ...]:
    return (f"paper, Table {table}",) if dataset in _SETS else ()
