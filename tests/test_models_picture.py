"""Pictures of reconstructions: colours come back, and visible and hidden patches are where they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fautrain.losses.pixels import normalise_patches
from fautrain.models.mae import MaeOutput, MaskedAutoencoder, patchify
from fautrain.models.picture import IMAGENET_MEAN, IMAGENET_STD, in_colour, masked, picture_grid, reconstruct
from fautrain.models.vit import Size

torch.set_num_threads(1)


def model() -> MaskedAutoencoder:
    return MaskedAutoencoder(
        Size("small-for-tests", 8, 1, 2),
        image_px=16,
        patch_px=4,
        decoder_width=8,
        decoder_depth=1,
        decoder_heads=2,
    )


def photographs(n: int = 3) -> tuple[Tensor, Tensor]:
    """Photographs in [0, 1] and the same as the loader hands them over."""
    colours = torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    return colours, (colours - mean) / std


def output_with(prediction: Tensor) -> MaeOutput:
    mask = torch.ones(prediction.shape[:2])
    mask[:, :4] = 0  # the top row of patches is visible
    return MaeOutput(prediction, mask, torch.empty(0))


def test_colours_come_back() -> None:
    colours, images = photographs()
    torch.testing.assert_close(in_colour(images), colours)
    assert in_colour(images * 100).min() == 0
    assert in_colour(images * 100).max() == 1


@pytest.mark.parametrize("norm_pix", [False, True])
@pytest.mark.parametrize("paste_visible", [False, True])
def test_perfect_prediction_is_the_photograph(norm_pix: bool, paste_visible: bool) -> None:
    """With `norm_pix` the perfect prediction is the loss's target, so both must normalise alike."""
    colours, images = photographs()
    target = patchify(images, 4)
    output = output_with(normalise_patches(target) if norm_pix else target)
    shown = reconstruct(model(), images, output, norm_pix=norm_pix, paste_visible=paste_visible)
    torch.testing.assert_close(shown, colours, atol=1e-5, rtol=0)


def test_visible_patches_are_pasted_on_request() -> None:
    colours, images = photographs()
    output = output_with(torch.zeros(3, 16, 48))
    mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    pasted = reconstruct(model(), images, output, norm_pix=False)
    torch.testing.assert_close(pasted[:, :, :4], colours[:, :, :4])
    torch.testing.assert_close(pasted[:, :, 4:], mean.expand(3, 3, 12, 16))
    plain = reconstruct(model(), images, output, norm_pix=False, paste_visible=False)
    torch.testing.assert_close(plain, mean.expand(3, 3, 16, 16))


def test_hidden_patches_are_grey() -> None:
    colours, images = photographs()
    shown = masked(model(), images, output_with(torch.zeros(3, 16, 48)))
    torch.testing.assert_close(shown[:, :, :4], colours[:, :, :4])
    assert (shown[:, :, 4:] == 0.5).all()


def test_grid_lays_out_original_masked_reconstruction() -> None:
    colours, images = photographs(3)
    grid = picture_grid(model(), images, output_with(patchify(images, 4)), norm_pix=False, columns=2)
    expected = (colours * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert grid.dtype == np.uint8
    assert grid.shape == (16 + 2 + 16, 2 * (3 * 18 + 4) - 6, 3)
    for index, (top, left) in enumerate([(0, 0), (0, 58), (18, 0)]):
        original, hidden, rebuilt = (grid[top : top + 16, left + k * 18 :][:, :16] for k in range(3))
        np.testing.assert_array_equal(original, expected[index])
        np.testing.assert_array_equal(rebuilt, expected[index])
        assert (hidden[4:] == 128).all()
        np.testing.assert_array_equal(hidden[:4], expected[index][:4])
    assert (grid[18:, 58:] == 255).all()


def test_grid_of_one_image() -> None:
    _, images = photographs(1)
    output = output_with(torch.zeros(1, 16, 48, dtype=torch.bfloat16))
    assert picture_grid(model(), images, output, norm_pix=True).shape == (16, 3 * 18 - 2, 3)
