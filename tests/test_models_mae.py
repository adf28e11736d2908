"""The masked autoencoder against a transcription in NumPy and the table of published shapes."""

from __future__ import annotations

import shutil
from math import erf, sqrt

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecorpus.errors import UserError
from fautrain.losses.pixels import pixel_loss
from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.vit import Size, size_of
from fautrain.noise import uniform_noise
from fautrain.patches import patchify, unpatchify

torch.set_num_threads(1)
Array = NDArray[np.float64]


def small(mask_ratio: float = 0.75) -> MaskedAutoencoder:
    """16 patches of 4 px, in float64, with every parameter random (biases too), so that none can hide."""
    torch.manual_seed(0)
    model = MaskedAutoencoder(
        Size("small-for-tests", 24, 2, 4),
        image_px=16,
        patch_px=4,
        mask_ratio=mask_ratio,
        decoder_width=16,
        decoder_depth=2,
        decoder_heads=2,
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def images_and_noise(n: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, uniform_noise(0, 0, torch.arange(n), 16)


def cut(image: Array, p: int) -> Array:
    """An image (3, H, W) as a list of patches, read pixel by pixel."""
    _, height, width = image.shape
    patches: list[list[float]] = []
    for top in range(0, height, p):
        for left in range(0, width, p):
            patches.append(
                [image[c, top + y, left + x] for y in range(p) for x in range(p) for c in range(3)]
            )
    return np.array(patches)


@pytest.mark.parametrize(("side", "p"), [(16, 4), (12, 4), (28, 14)])
def test_patchify_reads_patches_by_rows_channel_last(side: int, p: int) -> None:
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    expected = np.stack([cut(image, p) for image in images.numpy()])
    np.testing.assert_array_equal(patchify(images, p).numpy(), expected)
    assert torch.equal(unpatchify(patchify(images, p), p), images)


class Transcription:
    """MAE's forward pass for one image, from the paper's words, on plain arrays."""

    def __init__(self, model: MaskedAutoencoder) -> None:
        self.w: dict[str, Array] = {k: v.detach().numpy() for k, v in model.state_dict().items()}

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def block(self, x: Array, name: str, heads: int) -> Array:
        qkv = np.split(self.linear(self.norm(x, f"{name}.norm1"), f"{name}.attn.qkv"), 3, axis=1)
        mixed: list[Array] = []
        for q, k, v in zip(*(np.split(part, heads, axis=1) for part in qkv), strict=True):
            weights = np.exp(q @ k.T / sqrt(q.shape[1]))
            mixed.append(weights / weights.sum(1, keepdims=True) @ v)
        x = x + self.linear(np.concatenate(mixed, axis=1), f"{name}.attn.proj")
        hidden = self.linear(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
        gelu = hidden * 0.5 * (1 + np.vectorize(erf)(hidden / sqrt(2)))
        return x + self.linear(gelu, f"{name}.mlp.fc2")

    def __call__(self, image: Array, noise: Array, kept: int) -> tuple[Array, Array]:
        """Predicted patches and the mask of one image."""
        w, count = self.w, len(noise)
        kernel = w["patch_embed.proj.weight"].transpose(0, 2, 3, 1).reshape(24, -1)  # as `cut` orders pixels
        tokens = cut(image, 4) @ kernel.T + w["patch_embed.proj.bias"] + w["pos_embed"][0, 1:]
        visible = sorted(range(count), key=lambda p: noise[p])[:kept]
        x = np.concatenate([w["cls_token"][0] + w["pos_embed"][0, :1], tokens[visible]])
        for i in range(2):
            x = self.block(x, f"blocks.{i}", heads=4)
        x = self.linear(self.norm(x, "norm"), "decoder_embed")
        full = np.repeat(w["mask_token"][0], count, axis=0)
        full[visible] = x[1:]
        x = np.concatenate([x[:1], full]) + w["decoder_pos_embed"][0]
        for i in range(2):
            x = self.block(x, f"decoder_blocks.{i}", heads=2)
        mask = np.ones(count)
        mask[visible] = 0
        return self.linear(self.norm(x, "decoder_norm"), "decoder_pred")[1:], mask


def test_forward_against_the_transcription() -> None:
    model = small()
    images, noise = images_and_noise()
    output = model(images, noise)
    by_hand = Transcription(model)
    for i in range(3):
        prediction, mask = by_hand(images[i].numpy(), noise[i].numpy(), kept=4)
        np.testing.assert_allclose(output.prediction[i].detach().numpy(), prediction, atol=1e-10)
        np.testing.assert_array_equal(output.mask[i].numpy(), mask)
    assert output.latent.shape == (3, 5, 24)


def test_hidden_pixels_do_not_reach_the_prediction() -> None:
    model = small()
    images, noise = images_and_noise()
    output = model(images, noise)
    patches = patchify(images, 4)
    patches[output.mask == 1] = 7.0
    assert torch.equal(model(unpatchify(patches, 4), noise).prediction, output.prediction)
    patches[output.mask == 0] += 0.1
    assert not torch.equal(model(unpatchify(patches, 4), noise).prediction, output.prediction)


def test_batch_of_one_equals_batch_of_many() -> None:
    model = small()
    images, noise = images_and_noise(6)
    together = model(images, noise)
    for i in range(6):
        alone = model(images[i : i + 1], noise[i : i + 1])
        torch.testing.assert_close(alone.prediction[0], together.prediction[i])
        assert torch.equal(alone.mask[0], together.mask[i])


@pytest.mark.parametrize("norm_pix", [False, True])
def test_gradient_of_the_whole_objective(norm_pix: bool) -> None:
    """gradcheck through the pixels shown and each kind of parameter, in float64."""
    model = small()
    images, noise = images_and_noise(1)
    target = patchify(images, 4)
    names = (
        "cls_token",
        "mask_token",
        "patch_embed.proj.bias",
        "blocks.0.attn.qkv.bias",
        "decoder_pred.bias",
    )
    chosen = [model.get_parameter(name) for name in names]

    def loss(pixels: Tensor, *values: Tensor) -> Tensor:
        overridden = dict(zip(names, values, strict=True))
        output = torch.func.functional_call(model, overridden, (pixels, noise))
        return pixel_loss(output.prediction, target, output.mask, "l2", norm_pix)

    inputs = (images.clone().requires_grad_(), *(p.detach().clone().requires_grad_() for p in chosen))
    assert torch.autograd.gradcheck(loss, inputs)


def test_everything_trainable_gets_a_gradient() -> None:
    model = small()
    images, noise = images_and_noise()
    output = model(images, noise)
    pixel_loss(output.prediction, patchify(images, 4), output.mask).backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == {"pos_embed", "decoder_pos_embed"}


def test_checkpointed_activations_change_no_gradient() -> None:
    images, noise = images_and_noise()
    gradients: list[list[Tensor]] = []
    for recompute in (False, True):
        model = small()
        model.checkpoint_activations = recompute
        output = model(images, noise)
        pixel_loss(output.prediction, patchify(images, 4), output.mask).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_without_noise_the_generator_decides() -> None:
    model = small()
    images, _ = images_and_noise()
    masks = [model(images, generator=torch.Generator().manual_seed(seed)).mask for seed in (5, 5, 6)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert model(images).mask.sum(1).tolist() == [12, 12, 12]


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="noise"):
        small()(images_and_noise(2)[0], torch.zeros(2, 15))


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 0.9])
def test_any_ratio_hides_the_same_number_in_every_image(ratio: float) -> None:
    images, noise = images_and_noise(4)
    model = small(ratio)
    output = model(images, noise)
    assert (1 - output.mask).sum(1).tolist() == [int(16 * (1 - ratio))] * 4
    assert output.latent.shape[1] == 1 + int(16 * (1 - ratio))


def test_features_are_those_of_the_whole_image() -> None:
    model = small()
    images, _ = images_and_noise()
    tokens = model.with_class(model.embed(images))
    for block in model.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(model.encode(images, norm=False), tokens)
    torch.testing.assert_close(model.encode(images), model.norm(tokens))


@pytest.mark.parametrize(
    ("size", "width", "encoder_depth", "patch", "tokens", "millions"),
    [
        ("small", 384, 12, 16, 197, 47.6),
        ("base", 768, 12, 16, 197, 111.9),
        ("large", 1024, 24, 16, 197, 329.5),
        ("huge", 1280, 32, 14, 257, 657.1),
    ],
)
def test_published_decoder_names_shapes_and_counts(
    size: str, width: int, encoder_depth: int, patch: int, tokens: int, millions: float
) -> None:
    with torch.device("meta"):
        model = MaskedAutoencoder(size_of(size))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert len(model.blocks) == encoder_depth
    assert {key: shape for key, shape in shapes.items() if "decoder" in key or "mask" in key} == {
        "mask_token": (1, 1, 512),
        "decoder_embed.weight": (512, width),
        "decoder_embed.bias": (512,),
        "decoder_pos_embed": (1, tokens, 512),
        **{
            f"decoder_blocks.{i}.{name}": shape
            for i in range(8)
            for name, shape in {
                "norm1.weight": (512,),
                "norm1.bias": (512,),
                "attn.qkv.weight": (1536, 512),
                "attn.qkv.bias": (1536,),
                "attn.proj.weight": (512, 512),
                "attn.proj.bias": (512,),
                "norm2.weight": (512,),
                "norm2.bias": (512,),
                "mlp.fc1.weight": (2048, 512),
                "mlp.fc1.bias": (2048,),
                "mlp.fc2.weight": (512, 2048),
                "mlp.fc2.bias": (512,),
            }.items()
        },
        "decoder_norm.weight": (512,),
        "decoder_norm.bias": (512,),
        "decoder_pred.weight": (patch * patch * 3, 512),
        "decoder_pred.bias": (patch * patch * 3,),
    }


def test_decoder_is_free_in_width_depth_and_heads() -> None:
    model = MaskedAutoencoder(
        size_of("tiny"), image_px=64, decoder_width=96, decoder_depth=1, decoder_heads=3
    )
    assert model(torch.zeros(1, 3, 64, 64)).prediction.shape == (1, 16, 768)
    with pytest.raises(UserError, match="decoder_depth"):
        MaskedAutoencoder(size_of("tiny"), image_px=64, decoder_depth=0)
    with pytest.raises(UserError, match="heads"):
        MaskedAutoencoder(size_of("tiny"), image_px=64, decoder_heads=3)


def test_first_weights_of_tokens() -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(
        size_of("tiny"), image_px=64, decoder_width=256, decoder_depth=1, decoder_heads=4
    )
    assert model.mask_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert not model.decoder_pos_embed.requires_grad


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_in_one_graph_it_gives_the_same(recompute: bool) -> None:
    model = small().float()
    model.checkpoint_activations = recompute
    images, noise = images_and_noise()
    target = patchify(images.float(), 4)
    gradients: list[Tensor] = []
    for run in (model, torch.compile(model, fullgraph=True)):
        model.zero_grad()
        output = run(images.float(), noise)
        pixel_loss(output.prediction, target, output.mask).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients)
