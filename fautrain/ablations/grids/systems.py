"""All systems that detect action units, side by side."""

from __future__ import annotations

from fautrain.ablations.grid import Grid, Row, grid
from fautrain.recipes import FINETUNING

_SYSTEMS = ("fmae", "fmae-iat", "mae-face", "auformer", "aunce", "aunce-released", "fmae-iat-paper")
_SMALL = (
    "data.batch_per_step=16",
    "data.workers=0",
    "optim.lr=1e-3",
    "optim.warmup_epochs=1",
    "data.every=2",
    "train.epochs=8",
    "train.eval_every_epochs=4",
    "train.checkpoint_every_epochs=4",
)
_VIT = (
    "model.size=tiny",
    "model.image_px=112",
    "model.drop_path=0",
    "optim.layer_decay=none",
    "data.rrc_scale=1,1",
    "data.randaugment=none",
    "data.erasing=0",
)
_SWIN = (
    "model.size=tiny",
    "model.image_px=128",
    "model.drop_path=0",
    "model.init=none",
    "contrast.epochs=8",
    "contrast.lr=1e-3",
)
_OWN = {"aunce": _SWIN, "aunce-released": _SWIN}
"""Of systems that are no ViT."""


@grid("systems")
def systems(dataset: str, recipe: str) -> Grid:
    """Every system as its paper or its code trains it, and what it costs.

    Give the ViTs' pretrained weights with --init, in which {size} becomes each recipe's size, and a system's
    own by running its row apart with --rows. F1 of the published protocol is what their papers print.
    """
    del dataset, recipe
    rows = [Row((name,), name) for name in _SYSTEMS if name in FINETUNING]
    return Grid("Systems", ("system",), tuple(rows), measures=("cost",))


@grid("systems-small")
def small(dataset: str, recipe: str) -> Grid:
    """Every system on a CPU: about two million parameters or less, eight epochs of half of the frames.

    It shows that each of them trains, is evaluated and can be compared; which is better on real faces it
    cannot show. Losses, heads, experts, mixing and the contrastive stage are each system's own; sizes, rates,
    epochs and augmentation (flips) are not. ViTs start from --init (`make pretrain`), AUNCE's Swin from
    random weights.
    """
    del dataset, recipe
    rows = [Row((name,), name, (*_SMALL, *_OWN.get(name, _VIT))) for name in _SYSTEMS if name in FINETUNING]
    return Grid("Systems, small", ("system",), tuple(rows), measures=("cost",))
