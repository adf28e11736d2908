"""Contrastive losses of action units: AUNCE (Shang et al., arXiv 2402.06165), as printed and as released.

Shapes: B pictures in two views, M = 2 B samples, A outputs. All is computed as logarithms of sim; gradients
are those of Eq. 4.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from facecorpus.plugins import Registry
from fautrain.config.aunce import ContrastConfig
from fautrain.losses.coded import class_weights, coded_mean


class ContrastiveLoss(Protocol):
    """A loss of the features of two views."""

    lots_per_output: bool
    """Whether a step draws one lot for each output (1, A), or one for each sample (M, 1)."""

    def __call__(self, features: Tensor, targets: Tensor, lots: Tensor) -> Tensor:
        """A scalar of unit vectors (2, B, A, C), labels (B, A), nan where not coded, and uniform lots."""
        ...


class ContrastiveFactory(Protocol):
    """What is registered."""

    def __call__(self, options: ContrastConfig, rates: Tensor, /) -> ContrastiveLoss:
        """The loss, for outputs that are positive as often as `rates` (A,) says."""
        ...


CONTRASTIVE: Registry[ContrastiveFactory] = Registry("contrast.kind={}: there is no such loss")


@CONTRASTIVE.register("aunce")
class Aunce(nn.Module):
    """Eq. 4 with the positives of Eq. 8-10, one of which is drawn for each sample (Algorithm 1).

    Positives are other pictures of the batch with the anchor's label, in both views; where there is none, the
    anchor's other view stands in. The sign is that of a loss to be minimised: Eq. 2 and 4 print a minus too
    many.
    """

    weights: Tensor
    rarer: Tensor
    lots_per_output = False

    def __init__(self, options: ContrastConfig, rates: Tensor) -> None:
        super().__init__()
        self.options = options
        weights = class_weights(rates) if options.class_weights else torch.ones_like(rates)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("rarer", self.rarer_label(rates)[:, None], persistent=False)

    def rarer_label(self, rates: Tensor) -> Tensor:
        """(A,): the label, 1 or 0, that fewer training frames have."""
        return (rates <= 0.5).float()

    def forward(self, features: Tensor, targets: Tensor, lots: Tensor) -> Tensor:
        """See `ContrastiveLoss`."""
        samples = features.flatten(0, 1)
        similarity = torch.einsum("iac,jac->aij", samples, samples) / self.options.temperature
        labels = targets.repeat(2, 1).T
        return coded_mean(self.weights[:, None] * self.cost(similarity, labels, lots), labels.isfinite())

    def cost(self, similarity: Tensor, labels: Tensor, lots: Tensor) -> Tensor:
        """What each sample costs as anchor, (A, M), before weights.

        similarity: (A, M, M) logarithms of sim, f . f' / temperature. labels: (A, M). lots: as for `forward`.
        """
        coded = labels.isfinite()
        same = labels[:, :, None] == labels[:, None, :]
        different = (coded[:, :, None] & coded[:, None, :]) & ~same
        positive = self._drawn(similarity, same, lots.T)
        negative = _log_sum(self._weighed(similarity, labels), different)
        return functional.softplus(negative - positive)  # -log(e^p / (e^p + e^n))

    def positives(self, similarity: Tensor, same: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log sim (A, M) of Eq. 8, 9 and 10, of log sims (A, M, M) and who has the anchor's label."""
        view = _other_view(similarity)
        others = same & ~torch.eye(view.shape[1] // 2, dtype=torch.bool, device=same.device).repeat(2, 2)
        alone = ~others.any(dim=2)
        nearest = similarity.masked_fill(~others, -torch.inf).amax(dim=2)
        # The mean is linear: f . mean(f_j) = mean(f . f_j).
        centroid = (similarity * others).sum(dim=2) / others.sum(dim=2).clamp(min=1)
        return torch.where(alone, view, nearest), view, torch.where(alone, view, centroid)

    def _drawn(self, similarity: Tensor, same: Tensor, lots: Tensor) -> Tensor:
        nearest, view, centroid = self.positives(similarity, same)
        first, second, _ = self.options.positives
        return torch.where(lots < first, nearest, torch.where(lots < first + second, view, centroid))

    def _weighed(self, similarity: Tensor, labels: Tensor) -> Tensor:
        """Log of omega_j sim_j (Eq. 3): the exponent times the log sim."""
        rare, common = self.options.exponents
        chosen = labels == self.rarer
        if self.options.exponents_of == "negatives":  # two classes: a negative is of the other one
            chosen = ~chosen
        exponent = (common + (rare - common) * chosen.to(similarity.dtype))[:, :, None]
        if self.options.constant_weights:
            return (exponent - 1) * similarity.detach() + similarity
        return exponent * similarity


@CONTRASTIVE.register("aunce-released")
class AunceReleased(Aunce):
    """As the released code computes it.

    One draw for each output and step, not for each sample. The most similar sample of the class is the anchor
    itself: a constant. The mean is one of sims, not of features, over the samples of the class, the anchor
    among them, divided by all M. The rarer class is that with the action unit, whatever its rate.
    """

    lots_per_output = True

    def rarer_label(self, rates: Tensor) -> Tensor:
        """1 for all."""
        return torch.ones_like(rates)

    def positives(self, similarity: Tensor, same: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log sim (A, M) of the three."""
        mean = _log_sum(similarity, same) - math.log(similarity.shape[2])
        return similarity.diagonal(dim1=1, dim2=2), _other_view(similarity), mean


def _other_view(similarity: Tensor) -> Tensor:
    """(A, M) of (A, M, M): each sample with the other view of its picture."""
    return similarity.roll(similarity.shape[2] // 2, dims=2).diagonal(dim1=1, dim2=2)


def _log_sum(logarithms: Tensor, chosen: Tensor) -> Tensor:
    """Log of the sum of what is chosen along the last dimension; where nothing is, very low, not infinite,
    which would have no gradient."""
    return logarithms.masked_fill(~chosen, torch.finfo(logarithms.dtype).min / 4).logsumexp(dim=-1)
