"""Augmentation of whole batches, on the device: random erasing, mixup and CutMix.

All is a function of uniform numbers in [0, 1) that the caller draws, so that neither ranks, workers nor an
interruption need change it. Shapes: N normalised images (N, 3, H, W), A action units, K subjects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

ERASING_ATTEMPTS: Final = 10
"""A rectangle that does not fit into the image is drawn anew, at most so often."""
ERASING_DRAWS: Final = 1 + 4 * ERASING_ATTEMPTS
"""Uniform numbers that `erasing_boxes` needs of a sample."""
MIXING_DRAWS: Final = 5
"""Uniform numbers that `mixup_cutmix` needs of a batch."""


def erasing_boxes(
    draws: Tensor,
    image_px: int,
    probability: float = 0.25,
    area: tuple[float, float] = (0.02, 1 / 3),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> Tensor:
    """Rectangles to erase, (N, 4) int64 `top, left, bottom, right` in px, all 0 where nothing is erased.

    Random erasing (Zhong et al. 2020, algorithm 1) with timm's distributions: with `probability`, one
    rectangle of a share of the image uniform in `area` and a ratio of height to width whose logarithm is
    uniform. draws: (N, 1 + 4 T) for T attempts, see `ERASING_DRAWS`.
    """
    tries = draws[:, 1:].double().unflatten(1, (-1, 4))  # (N, T, 4)
    pixels = (area[0] + (area[1] - area[0]) * tries[:, :, 0]) * image_px**2
    low, high = (math.log(ratio) for ratio in aspect)
    ratio = (low + (high - low) * tries[:, :, 1]).exp()
    size = torch.stack([pixels * ratio, pixels / ratio], dim=2).sqrt().round()  # (N, T, 2): height, width
    fits = (size < image_px).all(dim=2)
    start = (tries[:, :, 2:] * (image_px - size + 1)).floor()
    boxes = torch.cat([start, start + size], dim=2)
    first = fits.int().argmax(dim=1)
    chosen = boxes[torch.arange(len(draws), device=draws.device), first]
    erased = (draws[:, 0] < probability) & fits.any(dim=1)
    return torch.where(erased[:, None], chosen, 0.0).long()


def random_erase(images: Tensor, boxes: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill `boxes` (N, 4) of images (N, 3, H, W) with standard normal noise, new for every pixel and channel.

    The noise is drawn from `generator`, or from the device's own. Returns new images.
    """
    noise = torch.empty_like(images).normal_(generator=generator)
    return torch.where(_inside(boxes, *images.shape[2:])[:, None], noise, images)


def mixup_cutmix(
    images: Tensor,
    targets: Tensor,
    identities: Tensor,
    *,
    mixup_alpha: float,
    cutmix_alpha: float,
    draws: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each sample with its partner from the other end of the batch; labels are mixed as the pixels are.

    Mixup (Zhang et al. 2018) adds images in the shares lambda and 1 - lambda, CutMix (Yun et al. 2019) pastes
    a rectangle of the partner's of share 1 - lambda, and lambda becomes what the image's border leaves of it.
    lambda ~ Beta(alpha, alpha), one for the batch; with both alphas above 0 each method has half of the
    batches, with none nothing is mixed. draws: (5,).

    targets: (N, A) in [0, 1] or nan where not coded; a mixed label is coded only if both are. identities:
    (N, K) weights of subjects. Returns new images, targets, identities of the same shapes.
    """
    if mixup_alpha <= 0 and cutmix_alpha <= 0:
        return images, targets, identities
    own, lam = _weights(images.shape[2:], mixup_alpha, cutmix_alpha, draws)
    return (
        _mixed(images, own),
        # What has no share in a label need not be coded.
        torch.where(lam < 1, _mixed(targets, lam), targets),
        _mixed(identities, lam),
    )


def mixed_labels(
    coded: Tensor, size: Sequence[int], mixup_alpha: float, cutmix_alpha: float, draws: Tensor
) -> Tensor:
    """Which labels `mixup_cutmix` leaves coded, of those that are, (N, A) bool; `size` is (H, W)."""
    _, lam = _weights(size, mixup_alpha, cutmix_alpha, draws)
    return coded & (coded.flip(0) | (lam >= 1))


def _weights(
    size: Sequence[int], mixup_alpha: float, cutmix_alpha: float, draws: Tensor
) -> tuple[Tensor, Tensor]:
    """Each pixel's weight (H, W) of the sample itself, and the label's ()."""
    which, u, v, y, x = draws.double().unbind()
    lam = _symmetric_beta(u, v, mixup_alpha) if mixup_alpha > 0 else torch.ones_like(which)
    own = lam.expand(*size)
    if cutmix_alpha > 0:
        cut = _cut_weights(_symmetric_beta(u, v, cutmix_alpha), y, x, *size)
        chosen = which < 0.5 if mixup_alpha > 0 else torch.ones_like(which, dtype=torch.bool)
        own, lam = torch.where(chosen, cut, own), torch.where(chosen, cut.mean(), lam)
    return own, lam


def _mixed(values: Tensor, weight: Tensor) -> Tensor:
    weight = weight.to(values.dtype)
    return values * weight + values.flip(0) * (1 - weight)


def _symmetric_beta(u: Tensor, v: Tensor, alpha: float) -> Tensor:
    """Two independent uniform numbers -> one of Beta(alpha, alpha), without rejection.

    From Student's t with 2 alpha degrees of freedom, which two uniforms give in polar form (Bailey 1994).
    """
    tail, cosine = u ** (1 / alpha), torch.cos(2 * math.pi * v)
    spread = (1 - tail) * cosine.square()
    return 0.5 + 0.5 * cosine.sign() * (spread / (tail + spread)).sqrt()


def _cut_weights(lam: Tensor, y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """CutMix's weights (H, W): 0 in a rectangle of the share 1 - lam around a random pixel, 1 elsewhere."""
    side = (1 - lam).sqrt()
    sides = torch.stack([height * side, width * side]).long()
    centre = torch.stack([y * height, x * width]).long()
    box = torch.cat([centre - sides // 2, centre + (sides + 1) // 2])
    return 1.0 - _inside(box[None], height, width)[0].double()


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in boxes (N, 4) `top, left, bottom, right`, which may reach out: (N, H, W) bool."""
    top, left, bottom, right = (edge[:, None] for edge in boxes.unbind(1))
    row, column = (torch.arange(side, device=boxes.device) for side in (height, width))
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return rows[:, :, None] & columns[:, None, :]
