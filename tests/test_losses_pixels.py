"""Reconstruction losses against loops written from the papers' text, and their gradients."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fautrain.losses.pixels import patch_mean_loss, pixel_loss
from fautrain.patches import normalise_patches

KINDS: tuple[Literal["l1", "l2"], ...] = ("l1", "l2")
N, L, P = 3, 5, 12


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction and target (N, L, P) float64, mask (N, L) with three hidden patches of each image."""
    generator = torch.Generator().manual_seed(seed)
    prediction, target = torch.randn(2, N, L, P, generator=generator, dtype=torch.float64)
    order = torch.rand(N, L, generator=generator).argsort(1)
    return prediction, target * 3 + 1, (order >= 2).float()


def by_hand(
    prediction: NDArray[np.float64],
    target: NDArray[np.float64],
    mask: NDArray[np.float64],
    kind: str,
    norm_pix: bool,
) -> float:
    """Eq. 1 of MAE-Face pixel by pixel (or its square), as a mean over the pixels of the K masked patches."""
    total, pixels = 0.0, 0
    for image in range(N):
        for patch in range(L):
            if mask[image, patch] == 0:
                continue
            truth = [float(v) for v in target[image, patch]]
            if norm_pix:
                mean = sum(truth) / P
                variance = sum((v - mean) ** 2 for v in truth) / (P - 1)
                truth = [(v - mean) / math.sqrt(variance + 1e-6) for v in truth]
            for guess, value in zip(prediction[image, patch], truth, strict=True):
                total += abs(guess - value) if kind == "l1" else (guess - value) ** 2
                pixels += 1
    return total / pixels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm_pix", [False, True])
def test_loss_is_the_papers(kind: Literal["l1", "l2"], norm_pix: bool) -> None:
    prediction, target, mask = drawn()
    expected = by_hand(prediction.numpy(), target.numpy(), mask.double().numpy(), kind, norm_pix)
    assert pixel_loss(prediction, target, mask, kind, norm_pix).item() == pytest.approx(expected, rel=1e-12)


def test_loss_of_known_numbers() -> None:
    target = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 9.0]]])
    prediction = torch.tensor([[[2.0, 2.0, 5.0], [7.0, 7.0, 7.0]]])
    mask = torch.tensor([[1.0, 0.0]])
    assert pixel_loss(prediction, target, mask, "l1").item() == pytest.approx((1 + 0 + 2) / 3)
    assert pixel_loss(prediction, target, mask, "l2").item() == pytest.approx((1 + 0 + 4) / 3)


def test_patch_variance_is_unbiased() -> None:
    # Of (1, 2, 3) the variance is 1 when divided by n - 1, and 2/3 when divided by n.
    assert normalise_patches(torch.tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([-1, 0, 1], abs=1e-6)
    patches = torch.randn(4, 7, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    normal = normalise_patches(patches)
    torch.testing.assert_close(normal.mean(-1), torch.zeros(4, 7, dtype=torch.float64))
    np.testing.assert_allclose(np.var(normal.numpy(), axis=-1, ddof=1), 1, rtol=1e-5)


def test_even_patch_gives_zeros_and_finite_gradients() -> None:
    target = torch.full((1, 2, P), 0.7)
    assert normalise_patches(target).abs().max().item() < 1e-3
    prediction = torch.zeros(1, 2, P, requires_grad=True)
    pixel_loss(prediction, target, torch.ones(1, 2), "l2", norm_pix=True).backward()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm_pix", [False, True])
def test_gradient(kind: Literal["l1", "l2"], norm_pix: bool) -> None:
    prediction, target, mask = drawn(2)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: pixel_loss(p, target, mask, kind, norm_pix), (prediction,))


def test_visible_patches_do_not_count() -> None:
    prediction, target, mask = drawn(3)
    before = pixel_loss(prediction, target, mask)
    elsewhere = prediction + 100 * (1 - mask)[:, :, None]
    assert pixel_loss(elsewhere, target, mask) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm_pix", [False, True])
def test_batch_is_the_mean_of_its_images(kind: Literal["l1", "l2"], norm_pix: bool) -> None:
    prediction, target, mask = drawn(4)
    single = [
        pixel_loss(prediction[i : i + 1], target[i : i + 1], mask[i : i + 1], kind, norm_pix)
        for i in range(N)
    ]
    torch.testing.assert_close(
        pixel_loss(prediction, target, mask, kind, norm_pix), torch.stack(single).mean()
    )


def test_half_precision_is_summed_in_float32() -> None:
    prediction = torch.zeros(64, 196, 768, dtype=torch.bfloat16)
    target = torch.full((64, 196, 768), 0.1)
    loss = pixel_loss(prediction, target, torch.ones(64, 196))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.01, rel=1e-5)


def test_patch_mean_loss_is_the_variance_within_masked_patches() -> None:
    _, target, mask = drawn(5)
    hidden = target.numpy()[mask.numpy() == 1]  # (masked, P)
    assert patch_mean_loss(target, mask).item() == pytest.approx(np.var(hidden, axis=1).mean())
    colours = hidden.reshape(len(hidden), -1, 3)
    spread = np.abs(hidden - hidden.mean(axis=1, keepdims=True)).mean()
    assert patch_mean_loss(target, mask, "l1").item() == pytest.approx(spread)
    assert patch_mean_loss(target, mask, per_channel=True).item() == pytest.approx(
        np.var(colours, axis=1).mean()
    )


def test_patch_mean_of_normalised_patches_is_no_prediction_at_all() -> None:
    _, target, mask = drawn(6)
    assert patch_mean_loss(target, mask, norm_pix=True).item() == pytest.approx((P - 1) / P, rel=1e-5)
    nothing = torch.zeros_like(target)
    torch.testing.assert_close(
        patch_mean_loss(target, mask, "l1", norm_pix=True), pixel_loss(nothing, target, mask, "l1", True)
    )
