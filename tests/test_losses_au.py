"""Losses of action units and identities against formulas, scikit-learn and numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fautrain.losses.au import au_loss
from fautrain.losses.identity import identity_loss

torch.set_num_threads(1)
NAN = float("nan")
KINDS: tuple[Literal["bce", "ce"], ...] = ("bce", "ce")


def drawn(seed: int, n: int = 6, width: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, width, dtype=torch.float64, generator=generator)
    targets = torch.rand(n, width, generator=generator).round()
    return logits, targets


def test_au_loss_of_known_numbers() -> None:
    # -log sigmoid(0) = log 2; -log(1 - sigmoid(1)) = log(1 + e); the third label is not coded.
    loss = au_loss(torch.tensor([[0.0, 1.0, 50.0]]), torch.tensor([[1.0, 0.0, NAN]]))
    assert loss.item() == pytest.approx((math.log(2) + math.log1p(math.e)) / 2)


def test_au_loss_is_the_log_loss_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    logits, targets = drawn(0)
    targets[1, 2] = targets[4] = NAN
    coded = ~targets.isnan()
    probabilities = torch.sigmoid(logits[coded]).numpy()
    expected = metrics.log_loss(targets[coded].numpy(), probabilities)
    assert au_loss(logits, targets).item() == pytest.approx(expected, rel=1e-12)


def test_a_label_that_is_not_coded_has_no_gradient() -> None:
    logits, targets = drawn(1)
    targets[0, 0] = targets[3, 1] = NAN
    logits.requires_grad_()
    au_loss(logits, targets).backward()
    coded = ~targets.isnan()
    assert logits.grad is not None
    assert not logits.grad[~coded].any()
    by_hand = (torch.sigmoid(logits.detach()) - targets)[coded] / int(coded.sum())
    torch.testing.assert_close(logits.grad[coded], by_hand)


def test_a_batch_without_labels_gives_zero() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    loss = au_loss(logits, torch.full((3, 4), NAN))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and logits.grad.eq(0).all()


def test_soft_labels() -> None:
    logits, _ = drawn(2)
    targets = torch.rand(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    p = torch.sigmoid(logits)
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    torch.testing.assert_close(au_loss(logits, targets), expected)


def test_au_loss_is_finite_for_certain_logits() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = au_loss(logits, torch.tensor([[0.0, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(5e3)
    assert logits.grad is not None and logits.grad.tolist() == [[0.5, 0.0]]


def test_half_precision_is_summed_in_float32() -> None:
    logits, targets = torch.zeros(4096, 12, dtype=torch.bfloat16), torch.ones(4096, 12)
    for loss in (au_loss(logits, targets), identity_loss(logits, torch.zeros(4096, dtype=torch.int64))):
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(math.log(2), rel=1e-6)


def test_identity_losses_of_known_numbers() -> None:
    logits, who = torch.tensor([[0.0, 0.0, math.log(2)]]), torch.tensor([2])
    # Softmax is (1/4, 1/4, 1/2); sigmoids are (1/2, 1/2, 2/3).
    assert identity_loss(logits, who, "ce").item() == pytest.approx(math.log(2))
    assert identity_loss(logits, who, "bce").item() == pytest.approx((2 * math.log(2) + math.log(1.5)) / 3)


def test_a_head_that_knows_the_prior_alone() -> None:
    """Loss of guessing for K = 41 subjects: 0.1147 in the released form, ln 41 in the published one."""
    who = torch.arange(41)
    prior = torch.full((41, 41), math.log(1 / 40), dtype=torch.float64)
    assert identity_loss(prior, who, "bce").item() == pytest.approx(0.1147, abs=5e-5)
    assert identity_loss(prior, who, "ce").item() == pytest.approx(math.log(41))


def test_identity_losses_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    logits, _ = drawn(4)
    who = torch.tensor([0, 4, 1, 2, 3, 1])
    softmax = torch.softmax(logits, 1).numpy()
    expected = metrics.log_loss(who.numpy(), softmax, labels=range(5))
    assert identity_loss(logits, who, "ce").item() == pytest.approx(expected)
    one_hot = np.eye(5)[who.numpy()].ravel()
    expected = metrics.log_loss(one_hot, torch.sigmoid(logits).numpy().ravel())
    assert identity_loss(logits, who, "bce").item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_soft_identities(kind: Literal["bce", "ce"]) -> None:
    logits, _ = drawn(5)
    first, second = torch.tensor([0, 4, 1, 2, 3, 1]), torch.tensor([1, 3, 2, 1, 4, 0])
    one, two = (functional.one_hot(who, 5) for who in (first, second))
    torch.testing.assert_close(identity_loss(logits, one, kind), identity_loss(logits, first, kind))
    # Both losses are linear in the target.
    mixed = identity_loss(logits, 0.3 * one + 0.7 * two, kind)
    apart = 0.3 * identity_loss(logits, first, kind) + 0.7 * identity_loss(logits, second, kind)
    torch.testing.assert_close(mixed, apart, rtol=1e-6, atol=0)


def test_the_released_gradient_is_k_times_smaller() -> None:
    logits, _ = drawn(6, width=27)
    who = torch.arange(6)
    found: dict[str, Tensor] = {}
    for kind in KINDS:
        one = logits.clone().requires_grad_()
        identity_loss(one, who, kind).backward()
        assert one.grad is not None
        found[kind] = one.grad
    one_hot = functional.one_hot(who, 27)
    torch.testing.assert_close(found["bce"], (torch.sigmoid(logits) - one_hot) / (6 * 27))
    torch.testing.assert_close(found["ce"], (torch.softmax(logits, 1) - one_hot) / 6)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_a_batch_are_the_means_of_its_samples(kind: Literal["bce", "ce"]) -> None:
    logits, targets = drawn(7)
    who = torch.tensor([0, 4, 1, 2, 3, 1])
    for whole, parts in (
        (au_loss(logits, targets), [au_loss(logits[i : i + 1], targets[i : i + 1]) for i in range(6)]),
        (
            identity_loss(logits, who, kind),
            [identity_loss(logits[i : i + 1], who[i : i + 1], kind) for i in range(6)],
        ),
    ):
        torch.testing.assert_close(whole, torch.stack(parts).mean())
