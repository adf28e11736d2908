"""Views against torchvision, change by change; each is a function of its picture and its numbers alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from fautrain.data import views
from fautrain.data.views import VIEW_DRAWS, coloured, cropped

ALL = {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_share": 1.0, "gray_share": 0.0, "blur_px": None}


def pictures(count: int = 4, px: int = 12) -> Tensor:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, px, px, generator=random)
    images[0, :, :3] = 0.5  # gray, black, white: no hue
    images[0, :, 3] = 0.0
    images[0, :, 4] = 1.0
    return images


CHANGES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], tuple[float, ...]]] = {
    "brightness": (views.brightness, torchvision.adjust_brightness, (0.6, 1.0, 1.4)),
    "contrast": (views.contrast, torchvision.adjust_contrast, (0.6, 1.0, 1.4)),
    "saturation": (views.saturation, torchvision.adjust_saturation, (0.0, 0.6, 1.4)),
    "hue": (views.hue, torchvision.adjust_hue, (-0.5, -0.1, 0.0, 0.07)),
    "blur": (
        views.blur,
        lambda images, s: torchvision.gaussian_blur(images, [3, 3], [s, s]),
        (0.1, 0.9, 2.0),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_torchvision_s(name: str) -> None:
    ours, theirs, amounts = CHANGES[name]
    images = pictures()
    for amount in amounts:
        expected = theirs(images, amount)
        # torchvision's luma has three decimals: 0.2989.
        torch.testing.assert_close(
            ours(images, torch.full((4, 1, 1, 1), amount)), expected, atol=3e-4, rtol=0
        )


def test_crops_are_everywhere_and_half_of_them_mirrored() -> None:
    picture = torch.arange(6 * 6, dtype=torch.uint8).view(1, 1, 6, 6).expand(2000, 3, 6, 6)
    found = (
        cropped(picture, torch.rand(2000, VIEW_DRAWS, generator=torch.Generator().manual_seed(1)), 4) * 255
    )
    left, right = found[:, 0, 0, 0], found[:, 0, 0, 3]
    corners = torch.minimum(left, right).round().long()
    assert {*corners.tolist()} == {row * 6 + column for row in range(3) for column in range(3)}
    assert (left > right).float().mean().item() == pytest.approx(0.5, abs=0.05)
    plain = torch.full((1, VIEW_DRAWS), 0.99)
    assert torch.equal((cropped(picture[:1], plain, 4)[0, 0] * 255).round(), picture[0, 0, 2:, 2:].float())


def test_the_numbers_say_what_happens() -> None:
    images = pictures()
    off = torch.tensor([0.5, 0.5, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.9, 0.5]).expand(4, VIEW_DRAWS)
    options = {**ALL, "jitter_share": 0.8, "gray_share": 0.2}
    assert torch.equal(coloured(images, off, **options), images), "0.9 is not below 0.8, nor below 0.2"
    gray = off.clone()
    gray[1, 8] = 0.1
    found = coloured(images, gray, **options)
    assert torch.equal(found[[0, 2, 3]], images[[0, 2, 3]]) and (found[1, 0] == found[1, 2]).all()
    brighter = off.clone()
    brighter[2, 3], brighter[2, 4] = 0.1, 1.0 - 1e-7
    found = coloured(images, brighter, **options)
    torch.testing.assert_close(found[2], (images[2] * 1.4).clamp(0, 1), atol=1e-5, rtol=0)


def test_a_view_does_not_hang_on_its_batch() -> None:
    images, draws = pictures(), torch.rand(4, VIEW_DRAWS)
    options = {**ALL, "gray_share": 0.3, "blur_px": (0.1, 2.0)}
    together = coloured(images, draws, **options)
    alone = [coloured(images[n : n + 1], draws[n : n + 1], **options)[0] for n in range(4)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-6, rtol=0)
    assert (together - images).abs().mean() > 0.02 and together.min() >= 0 and together.max() <= 1
