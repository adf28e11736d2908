"""Pictures of reconstructions: colours come back, and visible and hidden patches are where they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fautrain.grid import faces
from fautrain.models.mae import MaeOutput
from fautrain.models.picture import in_colour, masked, picture_grid, predicted
from fautrain.patches import normalise_patches, patchify

torch.set_num_threads(1)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photographs(n: int = 3) -> tuple[Tensor, Tensor]:
    """Photographs in [0, 1] and the same as the loader hands them over."""
    colours = torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return colours, (colours - mean) / std


def output_with(prediction: Tensor) -> MaeOutput:
    mask = torch.ones(prediction.shape[:2])
    mask[:, :4] = 0  # the top row of patches is visible
    return MaeOutput(prediction, mask, torch.empty(0), mask)


def test_colours_come_back() -> None:
    colours, images = photographs()
    torch.testing.assert_close(in_colour(images, MEAN, STD), colours)
    assert in_colour(images * 100, MEAN, STD).min() == 0
    assert in_colour(images * 100, MEAN, STD).max() == 1


@pytest.mark.parametrize("norm_pix", [False, True])
def test_perfect_prediction_is_the_photograph(norm_pix: bool) -> None:
    """With `norm_pix` the perfect prediction is the loss's target, so both must normalise alike."""
    colours, images = photographs()
    target = patchify(images, 4)
    output = output_with(normalise_patches(target) if norm_pix else target)
    shown = in_colour(predicted(images, output, 4, norm_pix), MEAN, STD)
    torch.testing.assert_close(shown, colours, atol=1e-5, rtol=0)


def test_visible_patches_come_from_the_input() -> None:
    colours, images = photographs()
    output = output_with(torch.zeros(3, 16, 48))
    shown = in_colour(predicted(images, output, 4, norm_pix=False), MEAN, STD)
    torch.testing.assert_close(shown[:, :, :4], colours[:, :, :4])
    mean = torch.tensor(MEAN).view(3, 1, 1)
    torch.testing.assert_close(shown[:, :, 4:], mean.expand(3, 3, 12, 16))


def test_hidden_patches_are_grey() -> None:
    colours, _ = photographs()
    shown = masked(colours, output_with(torch.zeros(3, 16, 48)).mask, 4)
    torch.testing.assert_close(shown[:, :, :4], colours[:, :, :4])
    assert (shown[:, :, 4:] == 0.5).all()


def test_grid_lays_out_original_masked_reconstruction() -> None:
    colours, images = photographs(3)
    grid = picture_grid(images, output_with(patchify(images, 4)), 4, norm_pix=False, mean=MEAN, std=STD)
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
    found = faces(grid, 16)
    assert len(found) == 3
    np.testing.assert_array_equal(found[2][0], expected[2])


def test_grid_of_one_image() -> None:
    _, images = photographs(1)
    output = output_with(torch.zeros(1, 16, 48, dtype=torch.bfloat16))
    grid = picture_grid(images, output, 4, norm_pix=True, mean=MEAN, std=STD)
    assert grid.shape == (16, 3 * 18 - 2, 3)
