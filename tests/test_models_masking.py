"""Random masking: how many, how even, and a function of nothing but seed, epoch and sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facecorpus.errors import UserError
from fautrain.models.masking import kept_patches, random_mask
from fautrain.noise import uniform_noise

torch.set_num_threads(1)
CHI_SQUARE_195_999 = 262.4
"""99.9 % quantile of chi-square with 195 degrees of freedom."""


@pytest.mark.parametrize(
    ("patches", "ratio", "kept"),
    [(196, 0.75, 49), (256, 0.75, 64), (196, 0.9, 19), (100, 0.9, 10), (49, 0.75, 12), (10, 0.7, 3)],
)
def test_kept_is_the_floor(patches: int, ratio: float, kept: int) -> None:
    assert kept_patches(patches, ratio) == kept


@given(st.integers(2, 1024), st.integers(1, 99))
def test_kept_is_the_floor_in_whole_numbers(patches: int, percent: int) -> None:
    expected = patches * (100 - percent) // 100
    if expected == 0:
        with pytest.raises(UserError, match="mask_ratio"):
            kept_patches(patches, percent / 100)
    else:
        assert kept_patches(patches, percent / 100) == expected


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5, 0.999, float("nan")])
def test_ratio_that_hides_nothing_or_everything_is_refused(ratio: float) -> None:
    with pytest.raises(UserError, match="mask_ratio"):
        kept_patches(196, ratio)


def test_masking_keeps_the_least_noise() -> None:
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.2, 0.2, 0.2, 0.1]])
    masking = random_mask(noise, 2)
    assert masking.kept.tolist() == [[1, 3], [3, 0]]  # equal noise: the first of them
    assert masking.mask.tolist() == [[1, 0, 1, 0], [0, 1, 1, 0]]


def test_restore_undoes_the_shuffle() -> None:
    noise = torch.rand(5, 30, generator=torch.Generator().manual_seed(0))
    masking = random_mask(noise, 8)
    hidden = [[p for p in range(30) if masking.mask[i, p] == 1] for i in range(5)]
    assert all(len(row) == 22 for row in hidden)
    for i in range(5):
        place = {int(p): k for k, p in enumerate(masking.kept[i])}
        assert all(int(masking.restore[i, p]) == k for p, k in place.items())
        assert sorted(int(masking.restore[i, p]) for p in hidden[i]) == list(range(8, 30))


def test_every_patch_is_kept_equally_often() -> None:
    """Chi-square of 4,000 masks, of all samples of one epoch and of one sample over all epochs."""
    draws, kept, patches = 4000, 49, 196
    noises = [
        uniform_noise(7, 3, torch.arange(draws), patches),
        torch.cat([uniform_noise(7, epoch, torch.tensor([5]), patches) for epoch in range(draws)]),
    ]
    for noise in noises:
        counts = (1 - random_mask(noise, kept).mask).sum(0).numpy()
        assert counts.sum() == draws * kept
        expected = draws * kept / patches
        # Drawing without replacement shrinks a count's variance by (1 - kept / patches) and couples the
        # counts, which this factor makes up for.
        statistic = ((counts - expected) ** 2 / expected).sum() * (patches - 1) / (patches - kept)
        assert statistic < CHI_SQUARE_195_999


def test_pairs_of_patches_are_kept_independently() -> None:
    """Two given patches are both kept with the chance that drawing without replacement gives."""
    mask = random_mask(uniform_noise(1, 0, torch.arange(20000), 16), 4).mask
    shown = 1 - mask
    both = (shown.T @ shown / len(shown))[~torch.eye(16, dtype=torch.bool)]
    chance = 4 / 16 * 3 / 15
    assert (both - chance).abs().max().item() < 5 * (chance * (1 - chance) / 20000) ** 0.5


def splitmix(value: int) -> int:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014), in whole numbers."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def noise_in_whole_numbers(seed: int, epoch: int, sample: int, patches: int) -> list[float]:
    golden, key = 0x9E3779B97F4A7C15, 0
    for part in (seed, epoch, sample):
        key = splitmix(((key + part) * golden + 1) % 2**64)
    return [(splitmix((key + (p + 1) * golden) % 2**64) >> 40) / 2**24 for p in range(patches)]


@pytest.mark.parametrize(("seed", "epoch", "sample"), [(0, 0, 0), (1, 2, 3), (2**40, 799, 2**62), (5, 0, -9)])
def test_noise_is_the_stated_function(seed: int, epoch: int, sample: int) -> None:
    noise = uniform_noise(seed, epoch, torch.tensor([sample]), 50)[0]
    assert noise.tolist() == noise_in_whole_numbers(seed, epoch, sample, 50)


def test_noise_does_not_depend_on_the_batch() -> None:
    samples = torch.tensor([4, 8, 15, 16, 23, 42])
    together = uniform_noise(3, 1, samples, 196)
    for i in range(len(samples)):
        assert torch.equal(uniform_noise(3, 1, samples[i : i + 1], 196)[0], together[i])
    assert torch.equal(uniform_noise(3, 1, samples.flip(0), 196), together.flip(0))


def test_noise_differs_by_seed_epoch_and_sample() -> None:
    rows = torch.cat([uniform_noise(s, e, torch.arange(10), 64) for s in range(10) for e in range(10)])
    assert len(rows.unique(dim=0)) == 1000
    flat = rows.flatten().double().numpy()
    assert flat.min() >= 0
    assert flat.max() < 1
    assert flat.mean() == pytest.approx(0.5, abs=0.005)
    assert np.abs(np.corrcoef(rows.numpy())[np.triu_indices(1000, 1)]).max() < 0.75
    assert np.corrcoef(flat[:-1], flat[1:])[0, 1] == pytest.approx(0, abs=0.02)
