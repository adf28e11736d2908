"""The recipes: the numbers of the papers and their code, and what is said about them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from facecorpus.errors import UserError
from fautrain.config import RunConfig, from_plain, override, to_plain
from fautrain.models.build import build_mae
from fautrain.models.flops import mae_training_flops
from fautrain.recipes import FINETUNING, PRETRAINING, explanation, finetuning_recipe, pretraining_recipe

FMAE = ("small", "base", "large")
SETS = ("disfa", "bp4d", "bp4d_plus")


def peak_lr(config: RunConfig) -> float:
    """Linear scaling (MAE, appendix A.1): lr = base_lr x batch / 256."""
    return config.optim.base_lr * config.data.batch_per_step / 256


@pytest.mark.parametrize("name", [*PRETRAINING])
def test_every_recipe_is_sound(name: str) -> None:
    config = pretraining_recipe(name)
    assert config.name == name
    assert from_plain(to_plain(config)) == config
    assert config.about.endswith(".") and len(config.about) <= 100
    assert len(explanation(name)) > 60
    assert override(config, ["optim.warmup_epochs=0", "train.epochs=1"]).train.epochs == 1


@pytest.mark.parametrize("size", FMAE)
def test_fmae_is_what_the_released_code_does(size: str) -> None:
    config = pretraining_recipe(f"fmae-vit-{size}")
    model, optim = config.model, config.optim
    assert model.size == size
    assert (model.decoder_width, model.decoder_depth, model.decoder_heads) == (512, 8, 16)
    assert (model.mask_ratio, model.image_px, model.patch_px, model.init) == (0.75, 224, 16, None)
    assert (config.data.batch_per_step, config.data.augment, config.data.held_out) == (512, "resize-flip", 0)
    assert (config.loss.kind, config.loss.norm_pix) == ("l2", True)
    assert (config.train.epochs, optim.warmup_epochs) == (50, 2)
    assert (optim.weight_decay, optim.betas, optim.min_lr, optim.clip_grad) == (0.05, (0.9, 0.95), 0, None)
    assert optim.lr is None and peak_lr(config) == pytest.approx(3e-4) and optim.decay_tokens
    assert 9_000_000 * config.train.epochs / config.data.batch_per_step == pytest.approx(879e3, rel=1e-3)


def test_the_paper_reading_differs_only_in_batch_and_crop() -> None:
    code, paper = pretraining_recipe("fmae-vit-large"), pretraining_recipe("fmae-vit-large-paper")
    assert (paper.data.batch_per_step, paper.data.augment, paper.data.rrc_scale) == (
        4096,
        "rrc-flip",
        (0.2, 1),
    )
    assert peak_lr(paper) == pytest.approx(2.4e-3)
    assert replace(paper, data=code.data, name=code.name, about=code.about) == code


def test_mae_face_is_what_the_paper_says() -> None:
    config = pretraining_recipe("mae-face")
    assert (config.loss.kind, config.loss.norm_pix) == ("l1", True)
    assert (config.train.epochs, config.optim.warmup_epochs) == (800, 40)
    assert (config.model.size, config.model.mask_ratio) == ("base", 0.75)
    assert (config.model.decoder_width, config.model.decoder_depth) == (512, 8)
    assert config.data.batch_per_step == 4096 and config.data.augment == "rrc-flip"
    assert peak_lr(config) == pytest.approx(2.4e-3) and config.optim.decay_tokens
    assert config.model.init == "hub:timm/vit_base_patch16_224.mae"
    assert 2_170_000 * 800 / config.data.batch_per_step == pytest.approx(424e3, rel=1e-3)


def test_crossmae_differs_from_fmae_in_the_decoder_alone() -> None:
    ours, fmae = pretraining_recipe("crossmae"), pretraining_recipe("fmae-vit-base")
    model = ours.model
    assert (model.decoder, model.decoder_depth, model.prediction_ratio) == ("cross", 12, 0.25)
    assert (model.decoder_width, model.mask_ratio, model.fuse_features) == (512, 0.75, True)
    assert replace(ours, model=fmae.model, name=fmae.name, about=fmae.about) == fmae
    with torch.device("meta"):
        cheaper = mae_training_flops(build_mae(model)) / mae_training_flops(build_mae(fmae.model))
    assert cheaper == pytest.approx(2 / 3, abs=0.01)


def test_a_misspelt_recipe_is_an_error_that_suggests_the_right_one() -> None:
    with pytest.raises(UserError, match="there is no such recipe; did you mean 'fmae-vit-large'"):
        pretraining_recipe("fmae-vit-larg")
    with pytest.raises(UserError, match=r"known: crossmae, fmae-vit-base, .*tiny"):
        pretraining_recipe("zzz")
    with pytest.raises(UserError, match="did you mean 'mae-face'"):
        explanation("mae-fac")
    with pytest.raises(UserError, match="there is no such recipe; did you mean 'fmae-iat-paper'"):
        finetuning_recipe("fmae-iat-papr", "disfa")
    with pytest.raises(UserError, match="did you mean 'fmae-iat'"):
        explanation("fmae-iatt", finetuning=True)


@pytest.mark.parametrize("dataset", [*SETS, "my_own"])
@pytest.mark.parametrize("name", [*FINETUNING])
def test_every_fine_tuning_recipe_is_sound(name: str, dataset: str) -> None:
    config = finetuning_recipe(name, dataset)
    assert (config.name, config.data.dataset, config.data.fold, config.seed) == (name, dataset, 1, 0)
    assert from_plain(to_plain(config)) == config
    assert config.about.endswith(".") and len(config.about) <= 100
    assert len(explanation(name, finetuning=True)) > 60
    assert override(config, ["optim.warmup_epochs=0", "train.epochs=1"]).train.epochs == 1


@pytest.mark.parametrize(
    ("name", "dataset", "strength", "lr", "epochs", "warmup"),
    [
        ("fmae", "bp4d", 0, 5e-5, 20, 2),
        ("fmae", "bp4d_plus", 0, 1.25e-4, 20, 2),
        ("fmae", "disfa", 0, 1.25e-4, 20, 2),
        ("fmae-iat", "bp4d", 2, 1.25e-4, 30, 3),
        ("fmae-iat", "bp4d_plus", 1, 1.25e-4, 30, 3),
        ("fmae-iat", "disfa", 0.5, 1.25e-4, 20, 2),
    ],
)
def test_fine_tuning_is_what_the_released_commands_do(
    name: str, dataset: str, strength: float, lr: float, epochs: int, warmup: float
) -> None:
    config = finetuning_recipe(name, dataset)
    assert config.optim.lr is None and peak_lr(config) == pytest.approx(lr)
    assert (config.train.epochs, config.optim.warmup_epochs) == (epochs, warmup)
    identity = config.identity
    assert (identity.strength, identity.loss, identity.subjects) == (strength, "bce", "all")
    assert (identity.layers, identity.schedule) == (1, "constant")


@pytest.mark.parametrize("dataset", SETS)
@pytest.mark.parametrize("name", ["fmae", "fmae-iat", "fmae-iat-paper"])
def test_fine_tuning_shares_what_the_released_code_sets(name: str, dataset: str) -> None:
    config = finetuning_recipe(name, dataset)
    model, data, optim, train = config.model, config.data, config.optim, config.train
    assert (model.size, model.image_px, model.patch_px, model.drop_path) == ("large", 224, 16, 0.1)
    assert (optim.betas, optim.weight_decay, optim.layer_decay) == ((0.9, 0.999), 0.05, 0.65)
    assert (optim.min_lr, optim.clip_grad) == (1e-6, None)
    assert (data.batch_per_step, data.rrc_scale, data.every) == (64, (0.08, 1), 1)
    assert (data.randaugment, data.erasing) == ("rand-m9-mstd0.5-inc1", 0.25)
    assert (data.mixup, data.cutmix, train.accumulate) == (0, 0, 1)
    assert data.aus == () and train.eval_every_epochs == 1


@pytest.mark.parametrize("dataset", SETS)
def test_the_paper_of_fmae_iat_differs_only_in_its_identity_loss(dataset: str) -> None:
    code, paper = finetuning_recipe("fmae-iat", dataset), finetuning_recipe("fmae-iat-paper", dataset)
    assert (paper.identity.loss, paper.identity.subjects) == ("ce", "training")
    assert paper.identity.strength == code.identity.strength
    assert replace(paper, identity=code.identity, name=code.name, about=code.about) == code


def test_listing_the_recipes_imports_no_torch() -> None:
    code = "import sys, fautrain.recipes; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
