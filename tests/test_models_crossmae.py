"""CrossMAE against its section 3 in NumPy: queries ask, each for itself; what is predicted and counted."""

from __future__ import annotations

from math import erf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from facecorpus.errors import UserError
from fautrain.config import MaeModelConfig
from fautrain.losses.pixels import pixel_loss
from fautrain.models.build import build_mae
from fautrain.models.convert import load_encoder
from fautrain.models.crossmae import CrossMaskedAutoencoder, FeatureFusion
from fautrain.models.flops import mae_forward_flops, mae_training_flops
from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.vit import Size, size_of
from fautrain.noise import uniform_noise
from fautrain.patches import patchify

torch.set_num_threads(1)
Array = NDArray[np.float64]


def small(**options: Any) -> CrossMaskedAutoencoder:
    """16 patches of 4 px of which 12 are hidden and 4 predicted, float64, every parameter random."""
    torch.manual_seed(0)
    options = {"decoder_width": 16, "decoder_depth": 3, "decoder_heads": 2, **options}
    model = CrossMaskedAutoencoder(
        Size("small-for-tests", 24, 2, 4), image_px=16, patch_px=4, **options
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def images_and_noise(n: int = 3) -> tuple[Tensor, Tensor]:
    images = torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return images, uniform_noise(0, 0, torch.arange(n), 16)


class Decoder:
    """The decoder for one image on plain arrays: fused maps, then blocks of cross-attention and MLP."""

    def __init__(self, model: CrossMaskedAutoencoder) -> None:
        self.w: dict[str, Array] = {k: v.detach().numpy() for k, v in model.state_dict().items()}
        self.depth = len(model.decoder_blocks)

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def memory(self, maps: list[Array], block: int) -> Array:
        if "fusion.weight" not in self.w:
            return maps[-1]
        mixed = sum(weight * part for weight, part in zip(self.w["fusion.weight"][block], maps, strict=True))
        return self.norm(np.asarray(mixed), f"fusion.norms.{block}")

    def block(self, x: Array, memory: Array, name: str, heads: int) -> Array:
        queries = np.split(self.linear(self.norm(x, f"{name}.norm1"), f"{name}.attn.q"), heads, axis=1)
        keys, values = np.split(self.linear(memory, f"{name}.attn.kv"), 2, axis=1)
        mixed: list[Array] = []
        for q, k, v in zip(queries, np.split(keys, heads, 1), np.split(values, heads, 1), strict=True):
            weights = np.exp(q @ k.T / sqrt(q.shape[1]))
            mixed.append(weights / weights.sum(1, keepdims=True) @ v)
        x = x + self.linear(np.concatenate(mixed, axis=1), f"{name}.attn.proj")
        hidden = self.linear(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
        return x + self.linear(hidden * 0.5 * (1 + np.vectorize(erf)(hidden / sqrt(2))), f"{name}.mlp.fc2")

    def __call__(self, maps: list[Array], places: list[int]) -> Array:
        """Pixels of the hidden patches at `places`."""
        x = self.w["mask_token"][0] + self.w["decoder_pos_embed"][0, 1:][places]
        for number in range(self.depth):
            x = self.block(x, self.memory(maps, number), f"decoder_blocks.{number}", heads=2)
        return self.linear(self.norm(x, "decoder_norm"), "decoder_pred")


def maps_of(model: CrossMaskedAutoencoder, image: Tensor, visible: list[int]) -> list[Array]:
    """Layer by layer through blocks that `test_models_mae` checks."""
    tokens = model.with_class(model.embed(image[None])[:, visible])
    maps = [tokens]
    for block in model.blocks:
        maps.append(block(maps[-1]))
    return [part[0].detach().numpy() for part in (*maps[:-1], model.norm(maps[-1]))]


@pytest.mark.parametrize("fuse", [True, False])
def test_decoder_against_the_transcription(fuse: bool) -> None:
    model = small(fuse_features=fuse)
    images, noise = images_and_noise()
    output = model(images, noise)
    for i in range(3):
        order = sorted(range(16), key=lambda p: float(noise[i, p]))
        expected = Decoder(model)(maps_of(model, images[i], order[:4]), order[4:8])
        np.testing.assert_allclose(output.prediction[i, order[4:8]].detach().numpy(), expected, atol=1e-10)
        assert output.predicted[i].nonzero().flatten().tolist() == sorted(order[4:8])
        assert (1 - output.mask[i]).nonzero().flatten().tolist() == sorted(order[:4])
    assert not output.prediction[output.predicted == 0].any()


def test_evaluation_predicts_every_hidden_patch_and_the_same_for_those_of_training() -> None:
    """No query sees another, so a part may be left out: what makes partial prediction possible."""
    model = small()
    images, noise = images_and_noise()
    some, every = model(images, noise), model.eval()(images, noise)
    assert torch.equal(every.predicted, every.mask)
    at = some.predicted == 1
    assert int(at.sum()) == 12
    torch.testing.assert_close(every.prediction[at], some.prediction[at])


def test_what_is_predicted_is_a_uniform_draw_of_the_hidden() -> None:
    model = small()
    noise = uniform_noise(3, 0, torch.arange(4000), 16)
    images = torch.zeros(1, 3, 16, 16, dtype=torch.float64).expand(4000, -1, -1, -1)
    with torch.no_grad():
        counts = model(images, noise).predicted.sum(0)
    assert torch.allclose(counts / 4000, torch.tensor(0.25), atol=0.03)


def test_everything_trainable_gets_a_gradient_and_hidden_pixels_do_not_leak() -> None:
    for fuse in (True, False):
        model = small(fuse_features=fuse)
        images, noise = images_and_noise()
        images.requires_grad_()
        output = model(images, noise)
        output.prediction.sum().backward()
        assert images.grad is not None
        touched = patchify(images.grad, 4).abs().sum(-1) > 0
        assert torch.equal(touched, output.mask == 0)
        target = patchify(images.detach(), 4)
        pixel_loss(model(images.detach(), noise).prediction, target, output.predicted).backward()
        idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
        assert idle == {"pos_embed", "decoder_pos_embed"}


def test_fusion_starts_with_variance_one_over_the_maps() -> None:
    torch.manual_seed(0)
    fusion = FeatureFusion(13, 200, 8)
    assert fusion.weight.var().item() == pytest.approx(1 / 13, rel=0.1)
    maps = [torch.randn(2, 5, 8) for _ in range(13)]
    assert len(fusion(maps)) == 200 and fusion(maps)[0].shape == (2, 5, 8)


@pytest.mark.parametrize("ratio", [None, 0.25, 0.5])
@pytest.mark.parametrize("fuse", [True, False])
def test_arithmetic_against_torch(ratio: float | None, fuse: bool) -> None:
    with torch.device("meta"):
        model = CrossMaskedAutoencoder(size_of("base"), prediction_ratio=ratio, fuse_features=fuse)
    with FlopCounterMode(display=False) as counter:
        output = model(torch.empty(2, 3, 224, 224, device="meta"))
        forward = counter.get_total_flops()
        output.prediction.sum().backward()
    assert mae_forward_flops(model) == pytest.approx(forward / 2, rel=0.02)
    assert mae_training_flops(model) == pytest.approx(counter.get_total_flops() / 2, rel=0.02)


def test_the_decoder_is_cheaper_than_maes_by_what_the_paper_says() -> None:
    """2.5 to 3.7 times less decoder compute than MAE's 8 blocks (the abstract's range, ViT-B)."""
    with torch.device("meta"):
        mae, cross = MaskedAutoencoder(size_of("base")), CrossMaskedAutoencoder(size_of("base"))
    assert 2.5 <= mae.decoder_flops() / cross.decoder_flops() <= 3.7


def test_the_option_makes_it_and_its_encoder_is_maes(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "size": "tiny",
        "image_px": 32,
        "decoder_width": 32,
        "decoder_depth": 1,
        "decoder_heads": 2,
        "mask_ratio": 0.5,
    }
    mae = build_mae(MaeModelConfig(**options), seed=3)
    cross = build_mae(MaeModelConfig(**options, decoder="cross", prediction_ratio=0.25), seed=3)
    assert isinstance(cross, CrossMaskedAutoencoder) and cross.predicted == 1
    torch.save({"model": cross.state_dict()}, tmp_path / "cross.pth")
    report = load_encoder(mae, tmp_path / "cross.pth")
    assert report.missing == () and "fusion.weight" in report.unexpected
    assert all(torch.equal(mae.state_dict()[name], cross.state_dict()[name]) for name in report.loaded)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prediction_ratio": 0.25}, "needs model.decoder=cross"),
        ({"decoder": "cross", "prediction_ratio": 0.8}, "more than model.mask_ratio=0.75"),
        ({"decoder": "cross", "prediction_ratio": 0.0}, "0 < value < 1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MaeModelConfig(**values)


def test_a_ratio_that_predicts_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"prediction_ratio 0\.05 of 16 patches is 0, where 12 are masked"):
        small(prediction_ratio=0.05)
