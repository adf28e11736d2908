"""Typed configurations: checked values, plain data and back, values set by name."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecorpus.errors import UserError
from fautrain.config import (
    ActionUnitModelConfig,
    FinetuneConfig,
    IdentityConfig,
    LabelledData,
    LogConfig,
    MaeModelConfig,
    OptimConfig,
    PretrainConfig,
    PretrainData,
    TrainConfig,
    from_plain,
    override,
    to_plain,
)

BASE = PretrainConfig(name="base", about="For tests.")
TUNED = FinetuneConfig(
    name="tuned",
    about="For tests.",
    optim=OptimConfig(warmup_epochs=2),
    train=TrainConfig(epochs=20),
)


def test_plain_data_goes_through_json_and_back() -> None:
    config = dataclasses.replace(
        BASE,
        optim=OptimConfig(lr=0.1 + 0.2, betas=(0.8, 0.999), warmup_epochs=0.5),
        log=LogConfig(trackers=("wandb", "tensorboard")),
        train=TrainConfig(compile=False),
    )
    assert from_plain(json.loads(json.dumps(to_plain(config)))) == config


def test_plain_data_of_fine_tuning_is_known_by_its_task() -> None:
    config = dataclasses.replace(
        TUNED,
        data=LabelledData(dataset="bp4d", aus=(12, 1), randaugment=None, rrc_scale=(0.5, 1.0)),
        identity=IdentityConfig(strength=1 / 3, loss="ce", layers=3, schedule="ramp", subjects="training"),
    )
    found = from_plain(json.loads(json.dumps(to_plain(config))))
    assert found == config and isinstance(found, FinetuneConfig)
    assert isinstance(from_plain(to_plain(BASE)), PretrainConfig)
    with pytest.raises(UserError, match=r"flavour is no value of the configuration"):
        from_plain({**to_plain(config), "flavour": {}})


@given(lr=st.floats(0, 1e30), seed=st.integers(0, 2**63 - 1), held_out=st.floats(0, 1, exclude_max=True))
def test_every_number_goes_through_exactly(lr: float, seed: int, held_out: float) -> None:
    config = dataclasses.replace(
        BASE, seed=seed, optim=OptimConfig(lr=lr), data=PretrainData(held_out=held_out)
    )
    assert from_plain(json.loads(json.dumps(to_plain(config)))) == config
    assert override(BASE, [f"optim.lr={lr!r}", f"seed={seed}", f"data.held_out={held_out!r}"]) == config


@pytest.mark.parametrize(
    ("setting", "group", "name", "value"),
    [
        ("optim.lr=1e-4", "optim", "lr", 1e-4),
        ("optim.lr=none", "optim", "lr", None),
        ("optim.base_lr=1", "optim", "base_lr", 1.0),
        ("optim.betas=0.9,0.999", "optim", "betas", (0.9, 0.999)),
        ("data.rrc_scale=[0.08, 1]", "data", "rrc_scale", (0.08, 1.0)),
        ("data.batch_per_step=4_096", "data", "batch_per_step", 4096),
        (
            "data.shards=/data/{a,b}-*.tar,s3://c/d=1.tar",
            "data",
            "shards",
            "/data/{a,b}-*.tar,s3://c/d=1.tar",
        ),
        ("data.shards=7", "data", "shards", "7"),
        ("train.compile=false", "train", "compile", False),
        ("train.compile=True", "train", "compile", True),
        ("train.compile=auto", "train", "compile", "auto"),
        ("train.checkpoint_activations=true", "train", "checkpoint_activations", True),
        ("log.trackers=wandb,trackio", "log", "trackers", ("wandb", "trackio")),
        ("log.trackers=", "log", "trackers", ()),
        ("model.init=weights/b.safetensors", "model", "init", "weights/b.safetensors"),
        ("model.init=null", "model", "init", None),
    ],
)
def test_a_value_is_set_by_name(setting: str, group: str, name: str, value: object) -> None:
    before = to_plain(BASE)
    after = override(BASE, [setting])
    found = getattr(getattr(after, group), name)
    assert found == value and type(found) is type(value)
    rest = to_plain(after)
    rest[group][name] = before[group][name]
    assert rest == before
    assert to_plain(BASE) == before


@pytest.mark.parametrize(
    ("setting", "group", "name", "value"),
    [
        ("data.aus=1, 2,12", "data", "aus", (1, 2, 12)),
        ("data.aus=", "data", "aus", ()),
        ("data.randaugment=none", "data", "randaugment", None),
        ("data.randaugment=rand-m5-n1", "data", "randaugment", "rand-m5-n1"),
        ("data.validation=0", "data", "validation", 0.0),
        ("identity.strength=2", "identity", "strength", 2.0),
        ("identity.schedule=ramp", "identity", "schedule", "ramp"),
        ("optim.layer_decay=none", "optim", "layer_decay", None),
        ("model.init=hub:a/b", "model", "init", "hub:a/b"),
    ],
)
def test_a_value_of_fine_tuning_is_set_by_name(setting: str, group: str, name: str, value: object) -> None:
    found = getattr(getattr(override(TUNED, [setting]), group), name)
    assert found == value and type(found) is type(value)


def test_settings_are_applied_together_and_the_last_one_wins() -> None:
    config = override(BASE, ["optim.warmup_epochs=200", "train.epochs=400", "seed=1", "seed=2"])
    assert (config.optim.warmup_epochs, config.train.epochs, config.seed) == (200.0, 400, 2)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("optim.lrr=3", "did you mean 'optim.lr'?"),
        ("optm.weight_decay=3", "did you mean 'optim.weight_decay'?"),
        ("lr=3", "did you mean 'optim.lr'?"),
        ("weight=3", "did you mean 'optim.weight_decay'?"),
        ("train.mask_ratio=0.5", "did you mean 'model.mask_ratio'?"),
        ("sed=3", "did you mean 'seed'?"),
        ("model.zzz=3", "model.decoder, model.decoder_depth, model.decoder_heads"),
        ("loss=l1", "it is a group of loss.kind, loss.norm_pix"),
        ("optim.lr", "NAME=VALUE"),
        ("optim.lr=fast", "optim.lr='fast'; give a number"),
        ("train.epochs=1.5", "train.epochs='1.5'; give a whole number"),
        ("loss.norm_pix=1", "loss.norm_pix='1'; give true or false"),
        ("loss.norm_pix=no", "give true or false"),
        ("loss.kind=l3", "give one of l1, l2"),
        ("train.compile=maybe", "give one of true, false, auto"),
        ("log.trackers=wandb,comet", "give one of tensorboard, wandb, trackio"),
        ("data.rrc_scale=0.2", "data.rrc_scale has 1 values; give 2"),
    ],
)
def test_what_cannot_be_set_is_refused_with_a_remedy(setting: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        override(BASE, [setting])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"optim": {"base_rl": 1}},
            "optim.base_rl is no value of the configuration; did you mean 'base_lr'?",
        ),
        ({"optimizer": {}}, "optimizer is no value of the configuration; did you mean 'optim'?"),
        ({"optim": 3}, "optim is 3; give a group of values"),
        ({"train": {"epochs": True}}, "train.epochs=True; give a whole number"),
        ({"data": {"shards": 5}}, "data.shards=5; give text"),
        ({"name": None}, "name=None; give text"),
    ],
)
def test_wrong_plain_data_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        from_plain({"name": "x", "about": "y", **values})
    assert words in str(caught.value)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(UserError, match="about is missing"):
        from_plain({"name": "x"})


@pytest.mark.parametrize(
    ("cls", "values", "words"),
    [
        (MaeModelConfig, {"image_px": 225}, "image_px=225 is no multiple of model.patch_px=16; give 224"),
        (MaeModelConfig, {"decoder_width": 500}, "decoder_width=500 must be a multiple"),
        (MaeModelConfig, {"decoder_width": 6, "decoder_heads": 3}, "must be a multiple of 4"),
        (MaeModelConfig, {"mask_ratio": 0.0}, "0 < value < 1"),
        (MaeModelConfig, {"mask_ratio": 1.0}, "0 < value < 1"),
        (MaeModelConfig, {"mask_ratio": 0.999}, "leaves none or all of the 196 patches"),
        (MaeModelConfig, {"decoder_depth": 0}, "at least 1"),
        (PretrainData, {"batch_per_step": 0}, "at least 1"),
        (PretrainData, {"workers": -1}, "at least 0"),
        (PretrainData, {"held_out": 1.0}, "0 <= value < 1"),
        (PretrainData, {"max_bad": -0.1}, "0 <= value <= 1"),
        (PretrainData, {"rrc_scale": (0.0, 1.0)}, "rising fractions"),
        (PretrainData, {"rrc_scale": (0.9, 0.2)}, "rising fractions"),
        (PretrainData, {"std": (0.1, 0.0, 0.1)}, "positive stds"),
        (OptimConfig, {"lr": -1.0}, "at least 0"),
        (OptimConfig, {"layer_decay": 0.0}, "0 < value <= 1"),
        (OptimConfig, {"layer_decay": 1.1}, "0 < value <= 1"),
        (ActionUnitModelConfig, {"drop_path": 1.0}, "model.drop_path=1.0; give 0 <= value < 1"),
        (ActionUnitModelConfig, {"patch_px": 0}, "at least 1"),
        (LabelledData, {"fold": 0}, "data.fold=0; give a number of at least 1"),
        (LabelledData, {"every": 0}, "at least 1"),
        (LabelledData, {"workers": -1}, "at least 0"),
        (LabelledData, {"validation": 1.0}, "0 <= value < 1"),
        (LabelledData, {"erasing": 1.5}, "0 <= value <= 1"),
        (LabelledData, {"mixup": -0.1}, "at least 0"),
        (LabelledData, {"cutmix": float("inf")}, "finite"),
        (LabelledData, {"rrc_scale": (0.9, 0.2)}, "rising fractions"),
        (LabelledData, {"mean": (0.1, float("nan"), 0.1)}, "finite means"),
        (IdentityConfig, {"strength": -1.0}, "at least 0"),
        (IdentityConfig, {"strength": float("nan")}, "finite"),
        (IdentityConfig, {"layers": 4}, "identity.layers=4; give 1, 2 or 3"),
        (OptimConfig, {"base_lr": float("nan")}, "finite"),
        (OptimConfig, {"base_lr": float("inf")}, "finite"),
        (OptimConfig, {"betas": (0.9, 1.0)}, "optim.betas"),
        (OptimConfig, {"clip_grad": 0.0}, "positive norm, or none"),
        (TrainConfig, {"epochs": 0}, "at least 1"),
        (TrainConfig, {"keep": 0}, "at least 1"),
        (TrainConfig, {"max_steps": 0}, "at least 1"),
        (TrainConfig, {"max_nonfinite": -1}, "at least 0"),
        (LogConfig, {"every_steps": 0}, "at least 1"),
        (LogConfig, {"grid_every_epochs": 0}, "at least 1"),
        (LogConfig, {"trackers": ("wandb", "wandb")}, "names one twice"),
    ],
)
def test_a_value_out_of_range_is_refused(cls: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        cls(**values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["train.epochs=10"], "optim.warmup_epochs=40 is more than train.epochs=10"),
        (["data.batch_per_step=10", "train.accumulate=4"], "cannot be split"),
        ([f"seed={2**63}"], "seed="),
        (["seed=-1"], "seed=-1"),
    ],
)
def test_values_that_do_not_go_together_are_refused(settings: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        override(BASE, settings)
    assert words in str(caught.value)
