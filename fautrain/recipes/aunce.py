"""AUNCE's recipes: contrast, then linear heads."""

from __future__ import annotations

from dataclasses import replace

from fautrain.config import (
    AunceConfig,
    ContrastConfig,
    LabelledData,
    LogConfig,
    OptimConfig,
    OutputLossConfig,
    SwinGraphConfig,
    TrainConfig,
)
from fautrain.recipes import recipe


@recipe("aunce", task="aunce")
def aunce(dataset: str) -> AunceConfig:
    """AUNCE as its paper says: contrast (Eq. 4, 8-10, Algorithm 1), then linear heads on the frozen encoder.

    From the paper: Swin-B with ME-GraphAU's first stage, K = 4, temperature 0.5, positives 0.15 / 0.15 / 0.7,
    beta 1.2 (rarer class) and 0.4 (other one), so exponents 2.2 and 1.4 (Eq. 4); w_i; AdamW (0.9, 0.999), lr
    1e-5, weight decay 1e-6, 60 epochs; pictures of 256 px cut to 224, flip, colours, blur. Section III-B
    explains beta by the class of the negatives: over 1 where they are the rarer class.
    From the code: batch 32, drop path 0.5, shares and ranges of the colours, and all of the linear stage:
    Adam, lr 1e-3, weight decay 1e-6, batch 256, 100 epochs, w_i. Its heads have two logits an output, of
    which only the difference counts and moves twice as fast under Adam: here one, lr 2e-3.
    They disagree on: see `aunce-released`. Eq. 5-7 are the gradients of Eq. 4 with beta for beta + 1, and, in
    6 and 7, with constant omega_j: `--set contrast.constant_weights=true`.
    We differ in: colours change in one order for all pictures; the last, smaller batch is used; 15 % of the
    training subjects are kept for choosing epoch and threshold.
    Give Swin-B's ImageNet weights with --init hub:timm/swin_base_patch4_window7_224.ms_in1k.
    """
    return AunceConfig(
        name="aunce",
        about="AUNCE as the paper says: contrast of Swin-B's nodes (ME-GraphAU's), then linear heads.",
        model=SwinGraphConfig(),
        data=LabelledData(dataset=dataset, batch_per_step=256, randaugment=None, erasing=0.0),
        loss=OutputLossConfig(kind="weighted-bce"),
        optim=OptimConfig(lr=2e-3, min_lr=2e-3, weight_decay=1e-6, betas=(0.9, 0.999), warmup_epochs=0),
        train=TrainConfig(epochs=100),
        log=LogConfig(grid_every_epochs=None),
        contrast=ContrastConfig(),
    )


@recipe("aunce-released", task="aunce")
def aunce_released(dataset: str) -> AunceConfig:
    """AUNCE as its code does it.

    From the code: the kind of positive is drawn once for each action unit and batch (most similar 0.2, other
    view 0.2, mean 0.6); the most similar sample is the anchor itself, a constant; the mean is one of sims,
    the anchor's among them, divided by all samples; exponents 1.2 for anchors with the action unit and 0.8
    without, whatever the rates; no w_i in the contrastive stage; CIFAR-10's mean and std; the encoder's
    batch norms and drop path stay in training mode under the linear heads, which on BP4D see coloured views.
    They disagree on: all of these, see `aunce` for what the paper says.
    """
    base = aunce(dataset)
    return replace(
        base,
        name="aunce-released",
        about="AUNCE as released: positives drawn per batch, exponents 1.2 / 0.8 by the anchor, no w_i.",
        model=replace(base.model, frozen="moving"),
        data=replace(base.data, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
        contrast=replace(
            base.contrast,
            kind="aunce-released",
            positives=(0.2, 0.2, 0.6),
            exponents=(1.2, 0.8),
            exponents_of="anchor",
            class_weights=False,
        ),
        coloured=dataset == "bp4d",
    )


@recipe("aunce-wce", task="aunce")
def aunce_wce(dataset: str) -> AunceConfig:
    """The baseline of AUNCE's Table VI: encoder and heads, trained together by weighted cross-entropy.

    From the code: what it does without `info_nce`: coloured views, AdamW, lr 1e-5, weight decay 1e-6, batch
    32, 60 epochs, no contrastive stage. The paper's Eq. 1 is the loss.
    """
    base = aunce(dataset)
    first = base.contrast
    return replace(
        base,
        name="aunce-wce",
        about="AUNCE's baseline: its encoder with linear heads, trained by weighted cross-entropy alone.",
        model=replace(base.model, frozen="no"),
        data=replace(base.data, batch_per_step=first.batch_per_step),
        optim=replace(base.optim, lr=first.lr, min_lr=first.lr),
        train=replace(base.train, epochs=first.epochs),
        contrast=replace(first, epochs=0),
        coloured=True,
    )
