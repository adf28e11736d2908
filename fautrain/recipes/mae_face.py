"""MAE-Face: fine-tuned for detection and intensity, on parts of the training set, and its ablations.

Its pretraining is in `pretraining.py`; the ablation of its loss (Table 6) is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from fautrain.config import (
    ActionUnitModelConfig,
    FinetuneConfig,
    LabelledData,
    LogConfig,
    OptimConfig,
    PretrainConfig,
    TrainConfig,
)
from fautrain.recipes import recipe
from fautrain.recipes.pretraining import IMAGENET_MAE_BASE
from fautrain.recipes.pretraining import mae_face as mae_face_pretraining


class _Setting(NamedTuple):
    """What the paper sets for one task (section 4, "experimental settings")."""

    base_lr: float
    mixup: float
    cutmix: float


_PAPER = {
    "bp4d_intensity": _Setting(3e-5, 0.0, 0.0),
    "disfa_intensity": _Setting(1.5e-4, 0.0, 0.0),
    "bp4d_plus": _Setting(2e-4, 0.2, 0.75),
    "bp4d": _Setting(1e-4, 0.2, 0.75),
    "disfa": _Setting(2e-4, 0.2, 0.75),
}
"""By how the benchmark's name begins; the first that does."""
_OTHER = {True: _PAPER["disfa_intensity"], False: _PAPER["disfa"]}
"""For any other benchmark, by whether its name speaks of intensity."""


@recipe("mae-face", task="au")
def mae_face(dataset: str) -> FinetuneConfig:
    """MAE-Face fine-tuned for detection or, on a benchmark of intensities, for intensity, as the paper says.

    From the paper: ViT-B, mean of the patch tokens, layer norm, linear head; 20 epochs of which 10 warm up,
    batch 512, AdamW with weight decay 0.05, cosine, RandAugment (9, 0.5), drop path 0.1, no label smoothing;
    base lr 1e-4 (BP4D), 2e-4 (BP4D+, DISFA), 3e-5 (BP4D intensity), 1.5e-4 (DISFA intensity); for detection
    mixup 0.2 and CutMix 0.75, for intensity none. No code was released.
    Not stated, taken from MAE's fine-tuning: betas (0.9, 0.999), layer decay 0.65, lowest lr 1e-6, random
    resized crop of 0.08 to 1, flip, random erasing 0.25, no clipping; mixup or CutMix in every step, each as
    often. Losses are means over the labels where Eq. 2 and 3 are sums over the AUs, which to AdamW is the
    same but for its epsilon.
    They disagree on: training "stops when the validation loss stops decreasing" and takes 20 epochs; and the
    validation set is the test fold. We take 20 epochs and keep 15 % of the training subjects for choosing
    the epoch (`--set data.validation=0` trains on all). BP4D+ has 3 folds there, which are not published:
    `bp4d_plus_3folds` is our draw.
    Give MAE-Face's weights with --init: its release, or a run of `fautrain pretrain --recipe mae-face`.
    """
    known = (setting for name, setting in _PAPER.items() if dataset.startswith(name))
    setting = next(known, _OTHER["intensity" in dataset])
    return FinetuneConfig(
        name="mae-face",
        about="MAE-Face for action units as the paper says: ViT-B, batch 512, mixup and CutMix (detection).",
        model=ActionUnitModelConfig(size="base", drop_path=0.1),
        data=LabelledData(
            dataset=dataset, batch_per_step=512, mixup=setting.mixup, cutmix=setting.cutmix, erasing=0.25
        ),
        optim=OptimConfig(
            base_lr=setting.base_lr,
            min_lr=1e-6,
            weight_decay=0.05,
            betas=(0.9, 0.999),
            warmup_epochs=10,
            layer_decay=0.65,
        ),
        train=TrainConfig(epochs=20),
        log=LogConfig(grid_every_epochs=None),
    )


@recipe("mae-face-imagenet", task="au")
def mae_face_imagenet(dataset: str) -> FinetuneConfig:
    """MAE-Face's ablation "MAE-IN1k" (Table 5): as `mae-face`, from MAE's ImageNet-1k encoder.

    `model.init` is a hub name; on a machine without the hub give a file: `--init FILE`.
    """
    base = mae_face(dataset)
    return replace(
        base,
        name="mae-face-imagenet",
        about="MAE-Face's ablation: fine-tuned from MAE's ImageNet-1k ViT-B (Table 5).",
        model=replace(base.model, init=IMAGENET_MAE_BASE),
    )


@recipe("mae-face-scratch", task="au", from_scratch=True)
def mae_face_scratch(dataset: str) -> FinetuneConfig:
    """MAE-Face's ablation "train from scratch" (Table 5): random weights, 200 epochs of which 20 warm up.

    All else is as in `mae-face` ("the same regularisation tricks"); how the weights are drawn is not stated:
    ours are MAE's (Xavier uniform). Layer decay stays, though it slows what begins at random; without it:
    `--set optim.layer_decay=none`.
    """
    base = mae_face(dataset)
    return replace(
        base,
        name="mae-face-scratch",
        about="MAE-Face's ablation: 200 epochs from random weights (Table 5).",
        optim=replace(base.optim, warmup_epochs=20),
        train=replace(base.train, epochs=200),
    )


def _of_every(every: int) -> Callable[[str], FinetuneConfig]:
    """The recipe for every so many-th training frame."""
    percent = f"{100 / every:g}"

    def part(dataset: str) -> FinetuneConfig:
        base = mae_face(dataset)
        return replace(
            base,
            name=f"mae-face-{percent}-percent",
            about=f"MAE-Face on {percent} % of the training frames, for {20 * every:,} epochs (Fig. 7).",
            data=replace(base.data, every=every),
            optim=replace(base.optim, warmup_epochs=base.optim.warmup_epochs * every),
            train=replace(
                base.train,
                epochs=base.train.epochs * every,
                eval_every_epochs=every,
                checkpoint_every_epochs=every,
            ),
        )

    part.__doc__ = f"""MAE-Face on every {every}th training frame (section 4.2, Fig. 7).

    From the paper: {20 * every:,} epochs, so that as many samples are seen as in the 20 of `mae-face`; the
    test set is whole. Not stated: the warm-up, here half of the epochs as there. What `mae-face` does after
    each epoch (evaluate, checkpoint) is done after each {every}.
    """
    return recipe(f"mae-face-{percent}-percent", task="au")(part)


PARTS = {every: _of_every(every) for every in (10, 100, 200, 500, 1000)}
"""The paper's partial training sets by N of "one frame out of N": 10 %, 1 %, 0.5 %, 0.2 %, 0.1 %."""


@recipe("mae-face-l1", task="mae")
def mae_face_l1() -> PretrainConfig:
    """MAE-Face's ablation of its pretraining loss, "L1 (w/ norm)" (Table 6): `mae-face`, but for 200 epochs.

    Its warm-up is not stated; 40 epochs, as in the 800.
    """
    return _loss("mae-face-l1", "l1", True)


@recipe("mae-face-l1-pixels", task="mae")
def mae_face_l1_pixels() -> PretrainConfig:
    """MAE-Face's ablation of its pretraining loss, "L1 (w/o norm)" (Table 6), 200 epochs."""
    return _loss("mae-face-l1-pixels", "l1", False)


@recipe("mae-face-l2", task="mae")
def mae_face_l2() -> PretrainConfig:
    """MAE-Face's ablation of its pretraining loss, "L2 (w/ norm)" (Table 6), 200 epochs: MAE's own loss."""
    return _loss("mae-face-l2", "l2", True)


@recipe("mae-face-l2-pixels", task="mae")
def mae_face_l2_pixels() -> PretrainConfig:
    """MAE-Face's ablation of its pretraining loss, "L2 (w/o norm)" (Table 6), 200 epochs."""
    return _loss("mae-face-l2-pixels", "l2", False)


def _loss(name: str, kind: str, norm_pix: bool) -> PretrainConfig:
    base = mae_face_pretraining()
    pixels = "normalised pixels" if norm_pix else "pixels as they are"
    return replace(
        base,
        name=name,
        about=f"MAE-Face's ablation: {kind.upper()} on {pixels}, 200 epochs (Table 6).",
        loss=replace(base.loss, kind=kind, norm_pix=norm_pix),
        train=replace(base.train, epochs=200),
    )
