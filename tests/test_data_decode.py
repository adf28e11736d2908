"""From bytes to uint8 squares: against Pillow and torchvision's definitions, and on damaged bytes."""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from fautrain.data.decode import TRIES, Augment, Decoder, Normalise, UndecodableError, crop_box


def scene(height: int, width: int) -> np.ndarray:
    """A smooth picture with a different ramp in each channel and direction."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return np.stack([255 * x, 255 * y, 255 * (x + y) / 2], 2).astype(np.uint8)


def encoded(image: np.ndarray, kind: str = "jpeg", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes, augment: Augment, sample: int = 0, epoch: int = 0, seed: int = 0) -> np.ndarray:
    out = np.zeros((augment.image_px, augment.image_px, 3), np.uint8)
    Decoder(augment, seed)(data, out, epoch, sample)
    return out


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_picture_of_the_right_size_is_what_pillow_decodes(kind: str) -> None:
    data = encoded(scene(64, 64), kind)
    truth = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decoded(data, Augment("none", 64)) - truth).max() <= 2


def test_other_sizes_are_resized_whole_and_without_aliasing() -> None:
    for shape in ((640, 480), (300, 900), (40, 50)):
        image = scene(*shape)
        data = encoded(image, quality=95, subsampling=0)
        truth = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(decoded(data, Augment("none", 64)) - truth).mean() < 2.5
    # Stripes finer than the output average out instead of making new ones.
    stripes = np.repeat((np.arange(640) % 2 * 255).astype(np.uint8)[None, :, None], 640, 0).repeat(3, 2)
    assert decoded(encoded(stripes, quality=95), Augment("none", 64)).std() < 4


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA"])
def test_other_colour_models_become_rgb(mode: str) -> None:
    image = Image.fromarray(scene(64, 64)).convert(mode)
    file = io.BytesIO()
    image.save(file, "jpeg" if mode in ("L", "CMYK") else "png")
    truth = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB")).astype(int)
    assert np.abs(decoded(file.getvalue(), Augment("none", 64)) - truth).max() <= 2


def test_randomness_belongs_to_seed_epoch_and_sample() -> None:
    data, augment = encoded(scene(80, 80)), Augment("rrc-flip", 64)
    decoder, outs = Decoder(augment, 5), []
    for epoch, sample in ((0, 1), (0, 2), (1, 1), (0, 1)):
        out = np.zeros((64, 64, 3), np.uint8)
        decoder(data, out, epoch, sample)
        outs.append(out)
    assert (outs[0] == outs[3]).all() and (outs[0] == decoded(data, augment, 1, 0, 5)).all()
    for other in (outs[1], outs[2], decoded(data, augment, 1, 0, 6)):
        assert (outs[0] != other).any()


def test_half_are_flipped_and_the_rest_untouched() -> None:
    data = encoded(scene(64, 64))
    plain = decoded(data, Augment("none", 64))
    flips = 0
    for sample in range(400):
        image = decoded(data, Augment("resize-flip", 64), sample)
        flipped = bool((image == plain[:, ::-1]).all())
        assert flipped or (image == plain).all()
        flips += flipped
    assert 160 < flips < 240  # 4 standard deviations


def test_crops_have_the_stated_areas_ratios_and_places() -> None:
    """What torchvision's RandomResizedCrop promises: area uniform in scale, log ratio uniform, place
    uniform."""
    rng = np.random.default_rng(0)
    boxes = [
        crop_box(rng.random(2 + 2 * TRIES).tolist(), 1000, 1000, (0.2, 0.5), (3 / 4, 4 / 3))
        for _ in range(4000)
    ]
    top, left, h, w = np.array(boxes).T
    area, ratio = h * w / 1e6, np.log(w / h)
    assert area.min() > 0.199 and area.max() < 0.501 and area.mean() == pytest.approx(0.35, abs=0.006)
    assert np.abs(ratio).max() < math.log(4 / 3) + 0.01 and ratio.mean() == pytest.approx(0, abs=0.01)
    assert ratio.std() == pytest.approx(2 * math.log(4 / 3) / math.sqrt(12), rel=0.03)
    for start, room in ((top, 1000 - h), (left, 1000 - w)):
        assert start.min() >= 0 and (start <= room).all()
        assert (start / (room + 1)).mean() == pytest.approx(0.5, abs=0.02)
    assert np.corrcoef(top / (1001 - h), left / (1001 - w))[0, 1] == pytest.approx(0, abs=0.05)


def test_a_picture_too_narrow_for_any_crop_gives_its_centre() -> None:
    draws = [0.5] * (2 + 2 * TRIES)
    assert crop_box(draws, 1000, 10, (0.9, 1.0), (3 / 4, 4 / 3)) == (493, 0, 13, 10)
    assert crop_box(draws, 10, 1000, (0.9, 1.0), (3 / 4, 4 / 3)) == (0, 493, 10, 13)


@pytest.mark.parametrize("sample", range(6))
def test_crop_of_a_scaled_decode_shows_what_the_full_decode_shows(sample: int) -> None:
    """Large JPEGs are decoded at 1/2, 1/4 ...; the part they show stays the same."""
    data, scale = encoded(scene(1200, 900), quality=95), (0.2, 0.4)
    bits = np.random.Philox(key=[9, 3], counter=[0, 0, 0, sample]).random_raw(3 + 2 * TRIES)
    draws = ((bits >> np.uint64(11)) * 2.0**-53).tolist()
    top, left, h, w = crop_box(draws[1:], 1200, 900, scale, (3 / 4, 4 / 3))
    whole = simplejpeg.decode_jpeg(data)[top : top + h, left : left + w]
    truth = cv2.resize(whole, (64, 64), interpolation=cv2.INTER_AREA)
    truth = truth[:, ::-1] if draws[0] < 0.5 else truth
    assert np.abs(decoded(data, Augment("rrc-flip", 64, scale), sample, 0, 9).astype(int) - truth).mean() < 1


def test_crops_reach_every_edge() -> None:
    last = [1 - 2**-53] * (2 + 2 * TRIES)
    top, left, h, w = crop_box(last, 224, 224, (0.2, 0.5), (1.0, 1.0))
    assert (top + h, left + w) == (224, 224) and h == w == 158
    assert crop_box([0.0] * (2 + 2 * TRIES), 224, 224, (0.2, 0.5), (1.0, 1.0)) == (0, 0, 100, 100)


NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
JPEG, PNG = encoded(NOISE, quality=95), encoded(NOISE, "png")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no bytes"),
        (b"<html>not found</html>", "no picture of a known format"),
        (JPEG[: len(JPEG) // 2], "(?i)premature|end of"),
        (JPEG[:3], "."),
        (JPEG[: len(JPEG) // 4] + bytes(400) + JPEG[len(JPEG) // 2 :], "."),
        (PNG[:3000], "truncated|OSError"),
        (b"\xff\xd8\xff\xd9", "."),
    ],
)
def test_what_is_no_whole_picture_is_undecodable(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableError, match=reason):
        decoded(data, Augment("none", 64))


def test_a_giant_is_refused_before_memory_is_taken() -> None:
    sof = JPEG.index(b"\xff\xc0")
    giant = JPEG[: sof + 5] + (60000).to_bytes(2, "big") * 2 + JPEG[sof + 9 :]
    with pytest.raises(UndecodableError, match="60000x60000 pixels"):
        decoded(giant, Augment("none", 64))


def test_normalise_is_torchvisions_arithmetic() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(2 * 3 * 2).reshape(2, 16, 32, 3).permute(0, 3, 1, 2)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    truth = (images.double() / 255 - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(
        std
    ).double().view(3, 1, 1)
    got = Normalise(mean, std)(images)
    assert got.dtype == torch.float32 and got.is_contiguous() and got.shape == images.shape
    torch.testing.assert_close(got.double(), truth, atol=1e-6, rtol=1e-6)
    assert Normalise((0, 0, 0), (1, 1, 1))(images).amax().item() == 1.0
