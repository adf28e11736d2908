"""From a configuration to a model: the one door for training, checkpoints and final models."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from functools import partial
from typing import TypeVar

import torch

from fautrain.config import ActionUnitModelConfig, MaeModelConfig, ModelConfig
from fautrain.models.adapters import ADAPTERS
from fautrain.models.convert import load_encoder
from fautrain.models.crossmae import CrossMaskedAutoencoder
from fautrain.models.heads import ActionUnitModel
from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.vit import Trunk, size_of

Model = TypeVar("Model", bound=Trunk)


def build(
    config: ActionUnitModelConfig,
    outputs: int,
    subjects: int = 0,
    *,
    identity_layers: int = 1,
    checkpoint_activations: bool = False,
    seed: int = 0,
) -> ActionUnitModel:
    """A model to train: with the weights of `config.init`, adapters, and the rest a function of `seed` alone.

    Args:
        outputs: of the head. subjects: of the identity head; 0 makes none. identity_layers: of that head.
        checkpoint_activations: see `Trunk.run_blocks`.

    Raises:
        UserError: the weights cannot be read or do not fit, or there is no such adapter.
    """
    with seeded(seed):
        model = ActionUnitModel(
            size_of(config.size),
            outputs,
            subjects=subjects,
            identity_layers=identity_layers,
            image_px=config.image_px,
            patch_px=config.patch_px,
            drop_path=config.drop_path,
            checkpoint_activations=checkpoint_activations,
            initial="xavier" if config.init else config.initial,
            pool=config.pool,
        )
        if config.frozen:
            model.freeze()
        return _complete(model, config)


def build_mae(
    config: MaeModelConfig, *, checkpoint_activations: bool = False, seed: int = 0
) -> MaskedAutoencoder:
    """A masked autoencoder to train; as `build`."""
    kind = MaskedAutoencoder
    if config.decoder == "cross":
        kind = partial(
            CrossMaskedAutoencoder,
            prediction_ratio=config.prediction_ratio,
            fuse_features=config.fuse_features,
        )
    with seeded(seed):
        model = kind(
            size_of(config.size),
            image_px=config.image_px,
            patch_px=config.patch_px,
            mask_ratio=config.mask_ratio,
            decoder_width=config.decoder_width,
            decoder_depth=config.decoder_depth,
            decoder_heads=config.decoder_heads,
            checkpoint_activations=checkpoint_activations,
        )
        return _complete(model, config)


@contextlib.contextmanager
def seeded(seed: int) -> Generator[None]:
    """Draws first weights, and leaves the generators as they were."""
    with torch.random.fork_rng(devices=[]):  # GPUs draw no weights: they are neither asked nor seeded
        torch.default_generator.manual_seed(seed)
        yield


def _complete(model: Model, config: ModelConfig) -> Model:
    """The model with the weights and, after them, the adapter that `config` says."""
    if config.init:
        model.loaded = str(load_encoder(model, config.init))
    if config.adapter:
        ADAPTERS.get(config.adapter)(model, config)
        model.adapted = True
    return model
