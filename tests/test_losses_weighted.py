"""Weighted losses of action units against their formulas in float64 and numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_shards import one_cpu, small, write_labelled
from torch import Tensor

from fautrain.config import OutputLossConfig
from fautrain.losses import LOSSES, OutputLoss, output_loss
from fautrain.losses.asymmetric import MarginDifficultyAsymmetric, absent_cost
from fautrain.losses.coded import class_rates, class_weights
from fautrain.tasks.au import ActionUnitTask

__all__ = ["one_cpu"]
torch.set_num_threads(1)
NAN = float("nan")
RATES = torch.tensor([0.5, 0.1, 0.25, 0.8, 0.02], dtype=torch.float64)
WEIGHTED = ("weighted-bce", "mdwa", "weighted-asymmetric", "dice", "dice-batch")
PER_LABEL = ("bce", "weighted-bce", "mdwa", "weighted-asymmetric", "asymmetric", "dice")


def drawn(seed: int = 0, n: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, len(RATES), dtype=torch.float64, generator=generator)
    return logits, torch.rand(n, len(RATES), generator=generator).round().double()


def made(kind: str, rates: Tensor = RATES, **options: object) -> OutputLoss:
    return output_loss(OutputLossConfig(kind=kind, **options), "bce", rates)  # type: ignore[arg-type]


def omega(rates: Tensor) -> list[float]:
    inverse = [1 / r for r in rates.tolist()]
    return [len(inverse) * i / sum(inverse) for i in inverse]


def by_hand(label: Callable[[float, float, float], float], logits: Tensor, targets: Tensor) -> float:
    """The mean over samples of (1 / N) sum_i w_i label(p, y, r), number by number."""
    weights, rows = omega(RATES), []
    for z, y in zip(logits.tolist(), targets.tolist(), strict=True):
        p = [1 / (1 + math.exp(-value)) for value in z]
        costs = map(label, p, y, RATES.tolist())
        rows.append(sum(w * c for w, c in zip(weights, costs, strict=True)) / len(weights))
    return sum(rows) / len(rows)


def test_rates_are_of_coded_labels_and_weights_add_up() -> None:
    targets = np.array([[1, 0, NAN, 0.4], [0, 0, NAN, 0.0], [1, NAN, NAN, 1.0], [1, 1, NAN, 0.0]])
    rates = class_rates(targets)
    assert rates.tolist() == pytest.approx([0.75, 1 / 3, 0.0, 0.5]) and rates.dtype == torch.float32
    weights = class_weights(rates)  # the third has no positive: it weighs as the rarest of the others
    assert weights.tolist() == pytest.approx([4 * x / (4 / 3 + 3 + 3 + 2) for x in (4 / 3, 3, 3, 2)])
    assert weights.sum().item() == pytest.approx(4)
    assert class_weights(torch.zeros(3)).tolist() == [1, 1, 1]
    torch.testing.assert_close(class_weights(RATES), torch.tensor(omega(RATES), dtype=torch.float64))


def test_rates_come_from_the_training_frames_of_the_fold_alone(tmp_path: Path) -> None:
    """The trap of weights counted over a whole data set: other test and validation labels change nothing."""
    shards = write_labelled(tmp_path / "disfa", "disfa", frames=4)
    found: list[Tensor] = []
    for fold in (1, 2):
        config = small("disfa", shards, "loss.kind=mdwa", f"data.fold={fold}")
        samples = ActionUnitTask.open(config, 0, 1)
        loss = ActionUnitTask(config, samples).loss
        targets, parts = samples.labels.targets, samples.parts
        train = targets[parts.train]
        rates = [(column == 1).sum() / (~np.isnan(column)).sum() for column in train.T]
        assert isinstance(loss, MarginDifficultyAsymmetric)
        assert loss.weights.tolist() == pytest.approx(omega(torch.tensor(rates)), rel=1e-5)
        assert loss.gamma.tolist() == pytest.approx([1 + rate for rate in rates])
        targets[[*parts.test, *parts.validation]] = 1
        again = ActionUnitTask(config, samples).loss
        assert isinstance(again, MarginDifficultyAsymmetric) and torch.equal(loss.weights, again.weights)
        found.append(loss.weights)
    assert len(parts.validation) and not torch.equal(*found)


def test_weighted_cross_entropy() -> None:
    logits, targets = drawn()
    expected = by_hand(lambda p, y, r: -math.log(p if y else 1 - p), logits, targets)
    assert made("weighted-bce")(logits, targets).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("margin", [None, 0.0, 0.15, 0.3])
@pytest.mark.parametrize("bounds", [(1.0, 2.0), (1.0, 1.0), (0.5, 1.5)])
def test_mdwa_is_equation_6(margin: float | None, bounds: tuple[float, float]) -> None:
    m = 0.1 if margin is None else margin

    def label(p: float, y: float, r: float) -> float:
        truncated, gamma = max(p - m, 0), bounds[0] + (bounds[1] - bounds[0]) * r
        return -math.log(p) if y else -(truncated**gamma) * math.log(1 - truncated)

    logits, targets = drawn(1)
    found = made("mdwa", margin=margin, gamma=bounds)(logits, targets).item()
    assert found == pytest.approx(by_hand(label, logits, targets), rel=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 1.37, 2.0])
def test_mdwa_gradient_is_equation_7(gamma: float) -> None:
    """Zero below the margin, the printed curve above it, and vanishing where p is about 1."""
    m, z = 0.1, torch.linspace(-8, 12, 401, dtype=torch.float64, requires_grad=True)
    absent_cost(z, m, gamma).sum().backward()
    assert z.grad is not None
    p = z.detach().sigmoid()
    t = (p - m).clamp(min=0)
    curve = t**gamma * (1 / (1 - t) - gamma * torch.log1p(-t) / t) * p * (1 - p)
    expected = torch.where(p < m, 0.0, curve)
    torch.testing.assert_close(z.grad, expected, rtol=1e-9, atol=1e-12)
    assert (z.grad[p < m] == 0).all() and (p < m).sum() > 100
    assert z.grad[-1] < 1e-4 < 0.1 < z.grad.max()


def test_without_a_margin_the_gradient_does_not_vanish() -> None:
    """What the margin is for: WA-Loss has the largest gradient where an absent AU is predicted for sure."""
    z = torch.tensor([[20.0]], requires_grad=True)
    made("weighted-asymmetric", torch.tensor([0.5]))(z, torch.zeros(1, 1)).backward()
    assert z.grad is not None and z.grad.item() == pytest.approx(1.0)


def test_weighted_asymmetric_is_me_graphaus() -> None:
    logits, targets = drawn(2)
    expected = by_hand(lambda p, y, r: -math.log(p) if y else -p * math.log(1 - p), logits, targets)
    logits.requires_grad_()
    loss = made("weighted-asymmetric")(logits, targets)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    p, w = logits.detach().sigmoid(), torch.tensor(omega(RATES), dtype=torch.float64)
    # The weight p is a number: of -p log(1 - p) only the logarithm has a slope.
    torch.testing.assert_close(logits.grad, w * torch.where(targets == 1, p - 1, p * p) / logits.numel())


def test_asymmetric_is_ridniks() -> None:
    logits, targets = drawn(3)
    p = logits.sigmoid()
    truncated = (p - 0.05).clamp(min=0)
    present, absent = (1 - p) ** 1.5 * p.log(), truncated**4 * (1 - truncated).log()
    expected = -torch.where(targets == 1, present, absent).mean()
    torch.testing.assert_close(made("asymmetric", focus=(1.5, 4.0))(logits, targets), expected)
    focal = made("asymmetric", margin=0.0, focus=(0.0, 0.0))(logits, targets)
    torch.testing.assert_close(focal, made("bce")(logits, targets))


def test_dice_is_equation_8() -> None:
    logits, targets = drawn(4)
    for smooth in (1.0, 0.1):
        expected = by_hand(
            lambda p, y, r, e=smooth: 1 - (2 * y * p + e) / (y * y + p * p + e), logits, targets
        )
        assert made("dice", smooth=smooth)(logits, targets).item() == pytest.approx(expected, rel=1e-12)
    # By hand: p = 1/2; present 1 - 2 / 2.25 = 1/9, absent 1 - 1 / 1.25 = 1/5.
    two = made("dice", torch.tensor([0.3, 0.3]))(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    assert two.item() == pytest.approx((1 / 9 + 1 / 5) / 2)


def test_dice_of_a_batch_sums_before_the_ratio() -> None:
    logits, targets = drawn(5)
    targets[:, 1] = NAN
    targets[2, 3] = NAN
    coded, p = ~targets.isnan(), logits.sigmoid()
    expected = []
    for i, w in enumerate(omega(RATES)):
        y, q = targets[coded[:, i], i], p[coded[:, i], i]
        expected.append(w * (1 - (2 * (y * q).sum() + 1) / ((y * y).sum() + (q * q).sum() + 1)))
    torch.testing.assert_close(made("dice-batch")(logits, targets), sum(expected) / 4 - expected[1] / 4)


def test_losses_are_added() -> None:
    logits, targets = drawn(6)
    both = made("mdwa", plus=("dice",), margin=0.2)
    expected = made("mdwa", margin=0.2)(logits, targets) + made("dice")(logits, targets)
    torch.testing.assert_close(both(logits, targets), expected)
    assert isinstance(both, torch.nn.Module)
    assert len([*both.buffers()]) == 3  # moved with the task


@pytest.mark.parametrize("kind", sorted({*PER_LABEL, *WEIGHTED}))
def test_a_label_that_is_not_coded_counts_nowhere(kind: str) -> None:
    logits, targets = drawn(7)
    targets[0, 0] = targets[3] = NAN
    logits.requires_grad_()
    loss = made(kind)(logits, targets)
    loss.backward()
    assert logits.grad is not None and logits.grad[targets.isnan()].eq(0).all()
    changed = torch.where(targets.isnan(), 9.0, logits.detach())
    assert made(kind)(changed, targets).item() == loss.item()
    assert made(kind)(logits, torch.full_like(targets, NAN)).item() == 0


@pytest.mark.parametrize("kind", PER_LABEL)
def test_a_loss_of_labels_is_the_mean_of_its_samples(kind: str) -> None:
    logits, targets = drawn(8)
    loss = made(kind)
    parts = [loss(logits[i : i + 1], targets[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(loss(logits, targets), torch.stack(parts).mean())


@pytest.mark.parametrize("kind", WEIGHTED)
def test_weights_can_be_left_out(kind: str) -> None:
    logits, targets = drawn(9)
    equal = torch.full_like(RATES, 0.3)
    found = made(kind, class_weights=False, gamma=(1.5, 1.5))(logits, targets)
    torch.testing.assert_close(found, made(kind, equal, gamma=(1.5, 1.5))(logits, targets))
    assert found != made(kind, gamma=(1.5, 1.5))(logits, targets)


@pytest.mark.parametrize("kind", [*LOSSES])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_loss_and_its_gradient_are_finite_for_certain_logits(kind: str, dtype: torch.dtype) -> None:
    """Of any logit that training can give, in the precision that it gives it in."""
    logits = torch.tensor([[1e4, -1e4, 0.0, 90.0, -90.0]], dtype=dtype, requires_grad=True)
    for targets in (torch.zeros(1, 5), torch.ones(1, 5), torch.full((1, 5), 0.3)):
        loss = made(kind, RATES.float())(logits, targets)
        loss.backward()
        assert loss.dtype == torch.float32 and loss.isfinite()
        assert logits.grad is not None and logits.grad.isfinite().all()
