"""Counted arithmetic against torch's own counter, and the table of peaks."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fautrain.models.flops import (
    PEAK_FLOPS,
    mae_forward_flops,
    mae_training_flops,
    peak_flops,
    vit_training_flops,
)
from fautrain.models.heads import ActionUnitModel
from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.vit import size_of

torch.set_num_threads(1)


def counted(model: MaskedAutoencoder, images: int, backward: bool) -> float:
    """FLOPs per image as torch counts them, on tensors without storage."""
    with FlopCounterMode(display=False) as counter:
        output = model(torch.empty(images, 3, model.image_px, model.image_px, device="meta"))
        if backward:
            output.prediction.sum().backward()
    return counter.get_total_flops() / images


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large", "huge"])
def test_forward_against_torch(size: str) -> None:
    with torch.device("meta"):
        model = MaskedAutoencoder(size_of(size))
    assert mae_forward_flops(model) == pytest.approx(counted(model, 2, backward=False), rel=0.02)


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_training_against_torch(size: str) -> None:
    with torch.device("meta"):
        model = MaskedAutoencoder(size_of(size))
    assert mae_training_flops(model) == pytest.approx(counted(model, 2, backward=True), rel=0.02)


@pytest.mark.parametrize(
    ("size", "gigaflops"), [("small", 39.0), ("base", 58.7), ("large", 124.5), ("huge", 291.4)]
)
def test_known_training_costs(size: str, gigaflops: float) -> None:
    with torch.device("meta"):
        assert mae_training_flops(MaskedAutoencoder(size_of(size))) / 1e9 == pytest.approx(gigaflops, abs=0.1)


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_whole_images_against_torch(size: str) -> None:
    with torch.device("meta"):
        model = ActionUnitModel(size_of(size), 12, subjects=41)
    with FlopCounterMode(display=False) as counter:
        logits, identity, *_ = model(torch.empty(2, 3, 224, 224, device="meta"), 1.0)
        (logits.sum() + identity.sum()).backward()
    assert vit_training_flops(model) == pytest.approx(counter.get_total_flops() / 2, rel=0.02)


def test_free_decoder_and_mask_ratio_count() -> None:
    with torch.device("meta"):
        model = MaskedAutoencoder(
            size_of("tiny"), image_px=112, mask_ratio=0.9, decoder_width=128, decoder_depth=2, decoder_heads=4
        )
    assert mae_forward_flops(model) == pytest.approx(counted(model, 1, backward=False), rel=0.02)


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA A10G", 70),
    ],
)
def test_peaks_by_device_name(name: str, tera: float) -> None:
    assert peak_flops(name) == tera * 1e12


@pytest.mark.parametrize("name", ["cpu", "AMD EPYC", "NVIDIA GeForce GTX 1080", ""])
def test_unknown_device_has_no_peak(name: str) -> None:
    assert peak_flops(name) is None


def test_peaks_are_in_flops_per_second() -> None:
    assert all(50e12 < peak < 5000e12 for peak in PEAK_FLOPS.values())
