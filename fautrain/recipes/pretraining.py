"""Recipes of masked-autoencoder pretraining: FMAE, MAE-Face, CrossMAE, and a small one for a CPU."""

from __future__ import annotations

from dataclasses import replace

from fautrain.config import (
    LogConfig,
    LossConfig,
    MaeModelConfig,
    OptimConfig,
    PretrainConfig,
    PretrainData,
    SizeName,
    TrainConfig,
)
from fautrain.recipes import recipe

IMAGENET_MAE_BASE = "hub:timm/vit_base_patch16_224.mae"
"""ViT-B that MAE's authors pretrained on ImageNet-1k, in timm's copy (CC BY-NC 4.0)."""


@recipe("fmae-vit-small", task="mae")
def fmae_vit_small() -> PretrainConfig:
    """FMAE's ViT-S as the released code trains it; all but the size is as in `fmae-vit-large`.

    The decoder is the full 512 x 8 (code), which is four fifths of the computation at this size:
    `--set model.decoder_width=256 --set model.decoder_heads=8 --set model.decoder_depth=4` is three times as
    fast, and another experiment.
    """
    return _fmae("fmae-vit-small", "small")


@recipe("fmae-vit-base", task="mae")
def fmae_vit_base() -> PretrainConfig:
    """FMAE's ViT-B as the released code trains it; all but the size is as in `fmae-vit-large`."""
    return _fmae("fmae-vit-base", "base")


@recipe("fmae-vit-large", task="mae")
def fmae_vit_large() -> PretrainConfig:
    """FMAE's ViT-L as the released code and its README train it.

    Paper and code agree on: Face9M, 50 epochs of which 2 warm up, masking 0.75, squared error on masked
    patches, decoder 512 x 8 with 16 heads, AdamW (0.9, 0.95) with weight decay 0.05, cosine to 0.
    They disagree on: the paper says that all else follows MAE "without any changes", which means batch 4096
    (peak lr 2.4e-3) and a random resized crop of 0.2 to 1; the code has the crop commented out (resize and
    flip) and the README's batch is 512 (peak lr 3e-4), about 879,000 steps over 9 M pictures instead of
    110,000. `fmae-vit-large-paper` is the other reading. Normalised pixels are on in the README's command.
    From the code alone: weight decay acts on the class and mask token too, not on biases and norms.
    We differ in: bf16 instead of fp16 with loss scaling; a step that is not finite is skipped, counted and
    bounded, where the code stops at the first (`--set train.max_nonfinite=0`).
    """
    return _fmae("fmae-vit-large", "large")


@recipe("fmae-vit-large-paper", task="mae")
def fmae_vit_large_paper() -> PretrainConfig:
    """FMAE's ViT-L as the paper says: 50 epochs with 2 of warm-up, "the remaining settings follow" MAE.

    MAE's settings (paper and code): batch 4096, so peak lr 1.5e-4 x 4096 / 256 = 2.4e-3, random resized crop
    of 0.2 to 1 (bicubic) and flip, normalised pixels. The released code does something else: see
    `fmae-vit-large`.
    """
    base = _fmae("fmae-vit-large-paper", "large")
    return replace(
        base,
        about="FMAE's ViT-L as the paper says: MAE's batch of 4096 and random resized crop, 50 epochs.",
        data=PretrainData(batch_per_step=4096, augment="rrc-flip"),
    )


@recipe("mae-face", task="mae")
def mae_face() -> PretrainConfig:
    """MAE-Face's ViT-B: absolute error on normalised pixels, from ImageNet-MAE weights, 800 epochs.

    From the paper: the encoder starts from MAE's released ImageNet-1k ViT-B, the decoder (512 x 8) from
    Xavier uniform; masking 0.75, L1 on masked patches (Eq. 1), 800 epochs of which 40 warm up (its ablations
    use 200), batch 4096, base lr 1.5e-4, AdamW with weight decay 0.05, cosine, "random cropping".
    No code was released. Not stated, taken from MAE: betas (0.9, 0.95), the lowest lr 0, the parameters of
    the crop (0.2 to 1 of the area), the flip, and weight decay on class and mask token. Eq. 1 sums over the
    masked patches; we take their mean, as MAE's code does, which to AdamW is the same but for its epsilon.
    `model.init` is a hub name; on a machine without the hub give a file: `--set model.init=FILE`.
    """
    return PretrainConfig(
        name="mae-face",
        about="MAE-Face's ViT-B: L1 on normalised pixels, 800 epochs, from ImageNet-MAE weights.",
        model=MaeModelConfig(size="base", init=IMAGENET_MAE_BASE),
        data=PretrainData(batch_per_step=4096, augment="rrc-flip"),
        loss=LossConfig(kind="l1", norm_pix=True),
        optim=OptimConfig(base_lr=1.5e-4, warmup_epochs=40, decay_tokens=True),
        train=TrainConfig(epochs=800, checkpoint_every_epochs=5, eval_every_epochs=5),
        log=LogConfig(grid_every_epochs=10),
    )


@recipe("crossmae", task="mae")
def crossmae() -> PretrainConfig:
    """CrossMAE's decoder on FMAE's ViT-B: less computing, the rest as in `fmae-vit-base`.

    From CrossMAE's paper (arXiv 2401.14391; its code was not read): no self-attention in the decoder, 12
    blocks of 512, a quarter of all patches predicted (a third of the hidden ones), and each block looks at a
    learnt mixture of the encoder's layers. An image costs two thirds of what it costs in `fmae-vit-base`.
    Ours: faces, and batch, schedule and augmentation of the released FMAE code, so that the two differ in the
    decoder alone; the paper trains on ImageNet as MAE does, and has no numbers on faces.
    """
    base = _fmae("crossmae", "base")
    model = replace(base.model, decoder="cross", decoder_depth=12, prediction_ratio=0.25)
    return replace(base, about="FMAE's ViT-B with CrossMAE's decoder: a quarter of the patches.", model=model)


@recipe("tiny", task="mae")
def tiny() -> PretrainConfig:
    """Ours, for a CPU and a few minutes: shows that everything works, and reconstructions that are faces.

    112 px pictures (the shards' 224 px resized), four blocks of ViT-Ti's width with a 128 x 2 decoder, and a
    tenth of the samples held out to judge it by. Normalised pixels: without them a model of this size and
    time stays behind even a predictor that knows each patch's mean.
    """
    return PretrainConfig(
        name="tiny",
        about="A small model for a CPU and a few minutes: to see everything work.",
        model=MaeModelConfig(
            size="tiny", decoder_width=128, decoder_depth=2, decoder_heads=4, image_px=112, patch_px=16
        ),
        data=PretrainData(batch_per_step=32, workers=1, held_out=0.1),
        loss=LossConfig(kind="l2", norm_pix=True),
        optim=OptimConfig(lr=2e-3, warmup_epochs=2, clip_grad=1.0),
        train=TrainConfig(epochs=25, checkpoint_every_epochs=5, eval_every_epochs=5),
        log=LogConfig(every_steps=10, grid_every_epochs=5),
    )


def _fmae(name: str, size: SizeName) -> PretrainConfig:
    """What the released FMAE code does, for one size of encoder."""
    return PretrainConfig(
        name=name,
        about=f"FMAE's ViT-{size[0].upper()} as its code does: batch 512, resize and flip, 50 epochs.",
        model=MaeModelConfig(
            size=size, decoder_width=512, decoder_depth=8, decoder_heads=16, mask_ratio=0.75
        ),
        data=PretrainData(batch_per_step=512, augment="resize-flip"),
        loss=LossConfig(kind="l2", norm_pix=True),
        optim=OptimConfig(
            base_lr=1.5e-4,
            min_lr=0.0,
            weight_decay=0.05,
            decay_tokens=True,
            betas=(0.9, 0.95),
            warmup_epochs=2,
            clip_grad=None,
        ),
        train=TrainConfig(epochs=50, checkpoint_every_epochs=1),
    )
