"""AUNCE's losses against the paper's equations and the released computation, written anew in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facecorpus.errors import UserError
from fautrain.config import ContrastConfig, override
from fautrain.losses.coded import class_weights
from fautrain.losses.contrastive import CONTRASTIVE, Aunce
from fautrain.recipes import finetuning_recipe

TAU = 0.5
RATES = torch.tensor([0.2, 0.45, 0.7], dtype=torch.float64)
"""The third output is present more often than not, as AU 7, 10 and 12 of BP4D are."""
PAPER = ContrastConfig()
RELEASED = finetuning_recipe("aunce-released", "bp4d").contrast
NEAREST, VIEW, CENTROID = 0.0, 0.2, 0.9
"""Lots that draw each kind, with the paper's shares and with the released ones."""


def loss_of(options: ContrastConfig, rates: Tensor = RATES) -> Aunce:
    loss = CONTRASTIVE.get(options.kind)(options, rates)
    assert isinstance(loss, Aunce)
    return loss


def batch(pictures: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit vectors (2, B, 3, 5), labels (B, 3), one not coded; one picture alone has the first output."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(2, pictures, 3, 5, generator=random, dtype=torch.float64)
    targets = (torch.rand(pictures, 3, generator=random) < 0.5).double()
    targets[:, 0] = (torch.arange(pictures) == 2).double()
    targets[3, 1] = torch.nan
    return functional.normalize(features, dim=-1), targets


def by_loops(features: Tensor, targets: Tensor, lots: Tensor, options: ContrastConfig) -> float:
    """Eq. 4 with Eq. 8-10, one anchor at a time; exponents by the class of the negatives (section III-B)."""
    views, pictures, outputs, _ = features.shape
    samples = [*product(range(views), range(pictures))]
    weights = class_weights(RATES) if options.class_weights else torch.ones(3)
    costs: list[float] = []
    for a, (number, (v, b)) in product(range(outputs), enumerate(samples)):
        label = targets[b, a]
        if label.isnan():
            continue
        f = features[v, b, a]
        others = [features[w, c, a] for w, c in samples if c != b and targets[c, a] == label]
        against = [features[w, c, a] for w, c in samples if targets[c, a] == 1 - label]
        lot, (first, second, _) = lots[number, 0], options.positives
        positive = features[1 - v, b, a]
        if others and lot < first:
            positive = max(others, key=lambda x: float(f @ x))
        elif others and lot >= first + second:
            positive = torch.stack(others).mean(dim=0)
        negatives_are_rarer = (1 - label == 1) == (RATES[a] <= 0.5)
        exponent = options.exponents[0] if negatives_are_rarer else options.exponents[1]
        sim = math.exp(f @ positive / TAU)
        wrong = sum(math.exp(f @ x / TAU) ** exponent for x in against)
        costs.append(float(weights[a]) * -math.log(sim / (sim + wrong)))
    return sum(costs) / len(costs)


@pytest.mark.parametrize("lot", [None, NEAREST, VIEW, CENTROID])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_paper_s_loss(lot: float | None, weighted: bool) -> None:
    features, targets = batch()
    lots = (
        torch.rand(14, 1, generator=torch.Generator().manual_seed(1))
        if lot is None
        else torch.full((14, 1), lot)
    )
    options = replace(PAPER, class_weights=weighted)
    found = loss_of(options)(features, targets, lots)
    assert found.item() == pytest.approx(by_loops(features, targets, lots, options), rel=1e-12)


def test_the_released_loss() -> None:
    """In tensors (2 B, 2 B, A) of sims, as the released code lays them out."""
    features, targets = batch()
    targets = targets.nan_to_num()  # it knows 0 and 1 only
    samples, labels = features.flatten(0, 1), targets.repeat(2, 1)
    score = torch.exp(torch.einsum("iac,jac->ija", samples, samples) / TAU)
    same = (labels[:, None] == labels[None]).double()
    highest = (same * score).amax(dim=1)
    itself = torch.full_like(highest, math.exp(1 / TAU))
    torch.testing.assert_close(highest, itself, rtol=1e-12, atol=0)  # always the anchor
    own = torch.exp((features[0] * features[1]).sum(dim=-1) / TAU).repeat(2, 1)
    kinds = (highest, own, (same * score).mean(dim=1))
    exponent = (0.8 + 0.4 * labels)[:, None]
    negative = ((1 - same) * score**exponent).sum(dim=1)
    for draw in ((0, 1, 2), (2, 2, 1), (1, 0, 0)):  # one for each output, whatever the sample
        positive = torch.stack([kinds[kind][:, a] for a, kind in enumerate(draw)], dim=1)
        expected = -torch.log(positive / (positive + negative)).mean()
        lots = torch.tensor([[(0.1, 0.3, 0.9)[kind] for kind in draw]])
        found = loss_of(RELEASED)(features, targets, lots)
        assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def gradients(options: ContrastConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Of one anchor's cost by cosines, with the other view as positive: by the positive's, by the negatives',
    and the negatives' P_j by their definition after Eq. 5, with the exponent that Eq. 4 gives."""
    features, targets = batch()
    targets[:, 0] = torch.tensor([1, 0, 1, 0, 0, 1, 0])
    samples = features.flatten(0, 1)
    cosine = torch.einsum("iac,jac->aij", samples, samples).requires_grad_()
    labels = targets.repeat(2, 1).T
    cost = loss_of(options).cost(cosine / TAU, labels, torch.full((14, 1), VIEW))
    (gradient,) = torch.autograd.grad(cost[0, 2], cosine)  # has the action unit, which is rare
    negative = labels[0] == 0
    exponent = options.exponents[1]
    sims = torch.exp(cosine[0, 2, negative].detach() / TAU) ** exponent
    share = sims / (torch.exp(cosine[0, 2, 9].detach() / TAU) + sims.sum())
    assert gradient.count_nonzero() == 1 + negative.sum()
    return gradient[0, 2, 9], gradient[0, 2, negative], share


def test_gradients_are_those_of_equations_5_to_7_where_the_weights_are_constant() -> None:
    by_positive, by_negative, share = gradients(replace(PAPER, constant_weights=True))
    torch.testing.assert_close(by_positive, -share.sum() / TAU, rtol=1e-12, atol=0)  # Eq. 5
    torch.testing.assert_close(by_negative, share / TAU, rtol=1e-12, atol=0)  # Eq. 6
    torch.testing.assert_close(
        (by_negative / by_positive).abs(), share / share.sum(), rtol=1e-12, atol=0
    )  # Eq. 7


def test_the_gradient_of_equation_4_itself_is_beta_plus_1_times_equation_6() -> None:
    by_positive, by_negative, share = gradients(PAPER)
    torch.testing.assert_close(by_positive, -share.sum() / TAU, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_negative, PAPER.exponents[1] * share / TAU, rtol=1e-12, atol=0)


def test_a_higher_exponent_looks_at_hard_negatives() -> None:
    """The ratio of Eq. 7 follows a Boltzmann distribution, whose entropy falls with beta."""
    shares = [
        gradients(replace(PAPER, exponents=(1.0, beta), constant_weights=True))[1] for beta in (1.0, 3.0)
    ]
    assert torch.equal(shares[0].argsort(), shares[1].argsort())
    low, high = ((share / share.sum()) for share in shares)
    assert -(high * high.log()).sum() < -(low * low.log()).sum()


def test_the_rarer_class_is_that_of_the_training_fold() -> None:
    assert loss_of(PAPER).rarer[:, 0].tolist() == [1, 1, 0]
    assert loss_of(RELEASED).rarer[:, 0].tolist() == [1, 1, 1], "whatever the rate"
    features, targets = batch()
    lots = torch.full((14, 1), VIEW)
    found = [loss_of(PAPER, rates)(features, targets, lots) for rates in (RATES, 1 - RATES)]
    assert found[0] != found[1]


def test_positives_are_drawn_for_each_sample_and_not_for_the_batch() -> None:
    features, targets = batch()
    targets = targets.nan_to_num()
    labels = targets.repeat(2, 1).T
    samples = features.flatten(0, 1)
    similarity = torch.einsum("iac,jac->aij", samples, samples) / TAU
    loss = loss_of(PAPER)
    by_kind = [loss.cost(similarity, labels, torch.full((14, 1), lot)) for lot in (NEAREST, VIEW, CENTROID)]
    mixed = loss.cost(
        similarity, labels, torch.tensor([NEAREST, VIEW, CENTROID] * 4 + [VIEW, NEAREST])[:, None]
    )
    for sample, kind in enumerate([0, 1, 2] * 4 + [1, 0]):
        assert torch.equal(mixed[:, sample], by_kind[kind][:, sample])
    lots = torch.rand(100_000)
    first, second, third = PAPER.positives
    assert (lots < first).float().mean() == pytest.approx(first, abs=0.01)
    assert (lots >= first + second).float().mean() == pytest.approx(third, abs=0.01)


def test_the_most_similar_sample_is_another_picture() -> None:
    """Neither the anchor, whose similarity is a constant without gradient, nor its other view (Eq. 9's)."""
    features, targets = batch()
    labels = targets.nan_to_num().repeat(2, 1).T
    samples = features.flatten(0, 1)
    similarity = torch.einsum("iac,jac->aij", samples, samples) / TAU
    same = labels[:, :, None] == labels[:, None, :]
    nearest, view, _ = loss_of(PAPER).positives(similarity, same)
    assert (nearest < 1 / TAU - 1e-6).all()
    assert torch.equal(nearest[0, [2, 9]], view[0, [2, 9]]), "nobody else has it: the other view stands in"
    own = torch.arange(14)
    assert (nearest[1] != view[1]).all() and torch.equal(view[1], similarity[1, own, (own + 7) % 14])
    constant, *_ = loss_of(RELEASED).positives(similarity, same)
    torch.testing.assert_close(constant, torch.full_like(constant, 1 / TAU))


def test_it_falls_as_samples_of_a_class_come_together() -> None:
    """Eq. 2 and 4 print a double minus, which would drive them apart."""
    features, targets = batch()
    targets = targets.nan_to_num()
    targets[:, 0] = targets[:, 1]
    centre = functional.normalize(torch.randn(2, 1, 1, 5, dtype=torch.float64), dim=-1)
    together = functional.normalize(features + 3 * centre[targets.long()][None, ..., 0, 0, :], dim=-1)
    lots = torch.rand(14, 1)
    loss = loss_of(PAPER)
    assert loss(together, targets, lots) < loss(features, targets, lots)


@pytest.mark.parametrize("options", [PAPER, RELEASED], ids=["paper", "released"])
def test_what_is_not_coded_and_a_class_alone_give_finite_gradients(options: ContrastConfig) -> None:
    features, targets = batch()
    features.requires_grad_()
    targets[:, 2] = 1.0  # no negatives at all
    targets[:, 0] = torch.nan  # nothing coded
    shape = (1, 3) if options is RELEASED else (14, 1)
    loss_of(options)(features, targets, torch.rand(shape)).backward()
    assert features.grad is not None and features.grad.isfinite().all()
    assert features.grad[:, :, [0, 2]].abs().max() == 0 and features.grad[:, 3, 1].abs().max() == 0
    assert features.grad[:, 0, 1].abs().max() > 0


def test_refusals() -> None:
    with pytest.raises(
        UserError, match=r"contrast.positives=0.5,0.5,0.5; give three shares that add up to 1"
    ):
        override(finetuning_recipe("aunce", "disfa"), ["contrast.positives=0.5,0.5,0.5"])
    with pytest.raises(UserError, match="aunc: there is no such loss; did you mean 'aunce'"):
        CONTRASTIVE.get("aunc")
    with pytest.raises(UserError, match=r"data.randaugment=none and data.erasing, data.mixup"):
        override(finetuning_recipe("aunce", "disfa"), ["data.mixup=0.2"])
    tuned = override(finetuning_recipe("aunce", "disfa"), ["train.accumulate=2"])
    with pytest.raises(UserError, match="AUNCE contrasts all pictures of a step"):
        tuned.before()
