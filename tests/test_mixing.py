"""Random erasing, mixup and CutMix as functions of the numbers that they are given."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from fautrain.tasks.mixing import ERASING_DRAWS, MIXING_DRAWS, erasing_boxes, mixup_cutmix, random_erase

torch.set_num_threads(1)
NAN = float("nan")
UNIT = st.floats(0, 1, exclude_max=True, width=32)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def box_by_the_rules(draws: list[float], px: int) -> list[int]:
    """One sample's rectangle, by a plain loop over the attempts of random erasing."""
    if draws[0] >= 0.25:
        return [0, 0, 0, 0]
    for attempt in range(10):
        a, b, c, d = draws[1 + 4 * attempt : 5 + 4 * attempt]
        area = (0.02 + (1 / 3 - 0.02) * a) * px * px
        aspect = math.exp(math.log(0.3) + (math.log(1 / 0.3) - math.log(0.3)) * b)
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height < px and width < px:
            top, left = int(c * (px - height + 1)), int(d * (px - width + 1))
            return [top, left, top + height, left + width]
    return [0, 0, 0, 0]


@pytest.mark.parametrize("px", [7, 64, 224])
def test_boxes_follow_the_rules(px: int) -> None:
    draws = uniform(2000, ERASING_DRAWS)
    expected = [box_by_the_rules(row, px) for row in draws.tolist()]
    assert erasing_boxes(draws, px).tolist() == expected


def test_erased_areas_and_shapes_are_within_bounds() -> None:
    px = 224
    draws = uniform(40_000, ERASING_DRAWS, seed=1)
    top, left, bottom, right = erasing_boxes(draws, px).unbind(1)
    height, width = bottom - top, right - left
    erased = height > 0
    # Five standard deviations of a share of 40,000.
    assert erased.float().mean().item() == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / 40_000))
    assert (top >= 0).all() and (left >= 0).all() and (bottom <= px).all() and (right <= px).all()
    height, width = height[erased].double(), width[erased].double()
    # Sides are rounded: by half a pixel each.
    assert ((height + 0.5) * (width + 0.5) >= 0.02 * px**2).all()
    assert ((height - 0.5) * (width - 0.5) <= px**2 / 3).all()
    assert ((height - 0.5) / (width + 0.5) <= 1 / 0.3).all()
    assert ((height + 0.5) / (width - 0.5) >= 0.3).all()
    # Tall ones that do not fit are drawn anew, so the mean is a little less than that of the range.
    assert (height * width).mean().item() / px**2 == pytest.approx((0.02 + 1 / 3) / 2, rel=0.02)
    assert (height / width).log().mean().item() == pytest.approx(0, abs=0.03)


def test_a_samples_box_does_not_depend_on_its_batch() -> None:
    draws = uniform(50, ERASING_DRAWS)
    whole = erasing_boxes(draws, 64, probability=0.5)
    for place in range(50):
        assert torch.equal(erasing_boxes(draws[place : place + 1], 64, probability=0.5)[0], whole[place])


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_never_and_always(probability: float, share: float) -> None:
    boxes = erasing_boxes(uniform(500, ERASING_DRAWS), 64, probability)
    assert (boxes[:, 2] > 0).float().mean().item() == share


def test_a_box_that_never_fits_is_left_out() -> None:
    draws = uniform(1, ERASING_DRAWS)
    draws[0, 0] = 0.0
    draws[0, 1:].view(-1, 4)[:, :2] = 0.9999  # a third of the image, more than three times as high as wide
    assert erasing_boxes(draws, 64).tolist() == [[0, 0, 0, 0]]


def test_erasing_changes_the_box_and_nothing_else() -> None:
    images = uniform(3, 3, 20, 20)
    before = images.clone()
    boxes = torch.tensor([[2, 3, 12, 20], [0, 0, 0, 0], [0, 0, 20, 20]])
    out = random_erase(images, boxes, torch.Generator().manual_seed(0))
    assert torch.equal(images, before)
    assert out.dtype == images.dtype
    inside = torch.zeros(20, 20, dtype=torch.bool)
    inside[2:12, 3:20] = True
    assert torch.equal(out[0][:, ~inside], images[0][:, ~inside])
    assert (out[0][:, inside] != images[0][:, inside]).all()
    assert torch.equal(out[1], images[1])
    assert (out[2] != images[2]).all()
    again = random_erase(images, boxes, torch.Generator().manual_seed(0))
    assert torch.equal(again, out)


def test_noise_is_normal_and_new_for_every_pixel_and_channel() -> None:
    boxes = torch.tensor([[0, 0, 200, 200]]).expand(2, -1)
    noise = random_erase(torch.zeros(2, 3, 200, 200), boxes, torch.Generator().manual_seed(0))
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    flat = noise.reshape(6, -1)
    off_diagonal = torch.corrcoef(flat) - torch.eye(6)
    assert off_diagonal.abs().max().item() < 0.03
    assert flat[:, 1:].mul(flat[:, :-1]).mean().abs().item() < 0.01


def batch(n: int = 6, px: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Images, each of one own value throughout, so that a pixel tells whose it is; labels; identities."""
    images = (2.0 ** torch.arange(n)).view(n, 1, 1, 1).expand(n, 3, px, px).contiguous()
    targets = uniform(n, 4, seed=2).round()
    return images, targets, functional.one_hot(torch.arange(n) % 5, 5).float()


@settings(deadline=None)
@given(st.lists(UNIT, min_size=MIXING_DRAWS, max_size=MIXING_DRAWS), st.sampled_from([0.2, 0.8, 1.0, 3.0]))
def test_labels_are_mixed_as_the_pixels_are(draws: list[float], alpha: float) -> None:
    images, targets, identities = batch()
    for mixup, cutmix in ((alpha, 0.0), (0.0, alpha), (alpha, 1.0)):
        out, labels, people = mixup_cutmix(
            images, targets, identities, mixup_alpha=mixup, cutmix_alpha=cutmix, draws=torch.tensor(draws)
        )
        torch.testing.assert_close(people.sum(1), torch.ones(6))
        assert (people >= 0).all() and (labels >= 0).all() and (labels <= 1).all()
        # Each image is of one value, so the mean of the pixels tells the share that each of the two has.
        own, other = images[:, 0, 0, 0], images.flip(0)[:, 0, 0, 0]
        share = ((out.mean((1, 2, 3)) - other) / (own - other)).double()
        assert share.std().item() < 1e-5
        torch.testing.assert_close(
            labels.double(),
            (targets * share[:, None] + targets.flip(0) * (1 - share[:, None])),
            atol=1e-5,
            rtol=0,
        )
        if mixup == 0 or (cutmix and draws[0] < 0.5):
            assert ((out == own.view(-1, 1, 1, 1)) | (out == other.view(-1, 1, 1, 1))).all()
        else:
            torch.testing.assert_close(out.amax((1, 2, 3)), out.amin((1, 2, 3)))


def lambdas(alpha: float, count: int = 4000) -> Tensor:
    """What mixup draws."""
    one, nothing = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1), torch.zeros(2, 1)
    draws = uniform(count, MIXING_DRAWS, seed=3)
    found = [
        mixup_cutmix(one, nothing, nothing, mixup_alpha=alpha, cutmix_alpha=0.0, draws=row)[0][0, 0, 0, 0]
        for row in draws
    ]
    return torch.stack(found).double().sort().values


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_lambda_is_beta_distributed(alpha: float) -> None:
    """Kolmogorov and Smirnov's distance to the distributions that have a formula."""
    x = lambdas(alpha)
    formula = {
        0.5: torch.asin(x.sqrt()) * 2 / math.pi,
        1.0: x,
        2.0: 3 * x**2 - 2 * x**3,
    }[alpha]
    empirical = torch.arange(1, len(x) + 1) / len(x)
    assert (formula - empirical).abs().max().item() < 1.63 / math.sqrt(len(x))  # the 1 % level


@pytest.mark.parametrize("alpha", [0.1, 0.8, 5.0])
def test_moments_of_lambda(alpha: float) -> None:
    x = lambdas(alpha)
    variance = 1 / (4 * (2 * alpha + 1))
    assert x.mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(variance / len(x)))
    assert x.var().item() == pytest.approx(variance, rel=0.06)


def test_the_cut_is_of_the_drawn_size_and_clipped_at_the_border() -> None:
    """With alpha = 1 and v = 0.25 or 0.5, lambda is 1/2 or 1/2 - sqrt(1 - u) / 2."""
    images, targets, identities = batch(2, px=20)

    def cut(u: float, v: float, y: float, x: float) -> tuple[list[int], float]:
        out, _, people = mixup_cutmix(
            images,
            targets,
            identities,
            mixup_alpha=0.0,
            cutmix_alpha=1.0,
            draws=torch.tensor([0.0, u, v, y, x]),
        )
        rows, columns = (out[0, 0] == images[1, 0]).nonzero().unbind(1)
        box = [int(e) for e in (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)]
        assert len(rows) == (box[2] - box[0]) * (box[3] - box[1])
        return box, people[0, 0].item()

    # lambda = 1/2: a side of 20 * sqrt(1/2) = 14.1 px around (10, 10) is whole.
    assert cut(0.5, 0.25, 0.5, 0.5) == ([3, 3, 17, 17], pytest.approx(1 - 14**2 / 400))
    # lambda = 1/2 - sqrt(1 - 0.96) / 2 = 0.4: an odd side of 15 px has its extra pixel after the middle.
    assert cut(0.96, 0.5, 0.5, 0.5) == ([3, 3, 18, 18], pytest.approx(1 - 15**2 / 400))
    # Around the corner only its lower right part is in the image.
    assert cut(0.5, 0.25, 0.0, 0.0) == ([0, 0, 7, 7], pytest.approx(1 - 7**2 / 400))
    # lambda = 1/2 - sqrt(1 - 0.36) / 2 = 0.1: a side of 18.97 px.
    assert cut(0.36, 0.5, 0.5, 0.97) == ([1, 10, 19, 20], pytest.approx(1 - 18 * 10 / 400))


def test_a_label_is_coded_only_where_both_are() -> None:
    images, targets, identities = batch(4)
    targets[0, 1] = targets[2, 2] = NAN
    for mixup, cutmix in ((1.0, 0.0), (0.0, 1.0)):
        _, labels, _ = mixup_cutmix(
            images,
            targets,
            identities,
            mixup_alpha=mixup,
            cutmix_alpha=cutmix,
            draws=torch.tensor([0.0, 0.5, 0.1, 0.5, 0.5]),
        )
        missing = labels.isnan().nonzero().tolist()
        assert missing == [[0, 1], [1, 2], [2, 2], [3, 1]]


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)])
def test_lambda_one_leaves_all_as_it_is(mixup: float, cutmix: float) -> None:
    images, targets, identities = batch()
    targets[2, 3] = NAN
    draws = torch.tensor([0.2, 0.0, 0.0, 0.5, 0.5])  # u = 0, v = 0: the end of the distribution
    out, labels, people = mixup_cutmix(
        images, targets, identities, mixup_alpha=mixup, cutmix_alpha=cutmix, draws=draws
    )
    assert torch.equal(out, images)
    assert torch.equal(people, identities)
    torch.testing.assert_close(labels, targets, rtol=0, atol=0, equal_nan=True)


def test_each_method_has_half_of_the_batches() -> None:
    images, targets, identities = batch(2)
    cuts = 0
    for draws in uniform(400, MIXING_DRAWS, seed=6):
        out, *_ = mixup_cutmix(images, targets, identities, mixup_alpha=1.0, cutmix_alpha=1.0, draws=draws)
        cuts += int(torch.isin(out, images).all())
    assert cuts / 400 == pytest.approx(0.5, abs=0.1)


def test_compiled_in_one_graph_that_serves_every_draw() -> None:
    compilations = 0

    def count(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> object:
        nonlocal compilations
        compilations += 1
        return graph.forward

    def both(images: Tensor, targets: Tensor, identities: Tensor, boxes: Tensor, draws: Tensor) -> Tensor:
        images = random_erase(images, boxes)
        return mixup_cutmix(images, targets, identities, mixup_alpha=0.8, cutmix_alpha=1.0, draws=draws)[0]

    compiled = torch.compile(both, fullgraph=True, backend=count)
    for seed in range(3):
        boxes = erasing_boxes(uniform(6, ERASING_DRAWS, seed=seed), 16)
        inputs = (*batch(), boxes, uniform(MIXING_DRAWS, seed=seed))
        torch.manual_seed(seed)
        found = compiled(*inputs)
        torch.manual_seed(seed)
        torch.testing.assert_close(found, both(*inputs))
    assert compilations == 1
