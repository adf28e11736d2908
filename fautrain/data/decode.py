"""From the bytes of a picture to a square of RGB uint8: decode, crop, resize, flip, RandAugment, all in
uint8.

Memory is reused throughout: a fresh 224 px image is 37 pages, and touching them for the first time costs
about as much as decoding into them.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
import simplejpeg
import torch
from PIL import Image, UnidentifiedImageError
from torch import nn

from fautrain.data.order import AUGMENT, generator
from fautrain.data.randaugment import Pixels, RandAugment, check_policy

TRIES = 10
"""Crops drawn before the central one is taken, as torchvision's RandomResizedCrop does."""
_DRAWS = 3 + 2 * TRIES
MAX_PIXELS = 1 << 27
"""Larger pictures (134 megapixels) are refused: their decoded form alone is 400 MB."""


class UndecodableError(Exception):
    """These bytes are no picture that can be decoded; the message says why."""


@dataclass(frozen=True, slots=True)
class Augment:
    """What happens to a decoded picture. `none`: resize; `resize-flip`: resize, flip half of them (what
    FMAE's released code does); `rrc-flip`: random resized crop and flip (MAE, section A.1)."""

    kind: str = "resize-flip"
    image_px: int = 224
    rrc_scale: tuple[float, float] = (0.2, 1.0)
    """Range of the crop's share of the area."""
    rrc_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Range of width / height of the crop, uniform in its logarithm."""
    randaugment: str | None = None
    """RandAugment thereafter, in timm's notation, or None; see `randaugment.RandAugment`."""

    def __post_init__(self) -> None:
        if self.randaugment is not None:
            check_policy(self.randaugment)


def crop_box(
    draws: Sequence[float], height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random crop: area uniform in `scale`, log ratio uniform in `ratio`,
    place uniform; the largest central crop of a permitted ratio after TRIES misfits.

    `draws`: 2 + 2 x TRIES numbers in [0, 1): vertical place, horizontal place, then (area, ratio) of each
    try.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for i in range(2, 2 + 2 * TRIES, 2):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[i])
        aspect = math.exp(low + (high - low) * draws[i + 1])
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(draws[0] * (height - h + 1)), int(draws[1] * (width - w + 1)), h, w
    h = min(height, max(1, round(width / ratio[0])))
    w = min(width, max(1, round(height * ratio[1])))
    return (height - h) // 2, (width - w) // 2, h, w


@final
class Decoder:
    """Decodes and augments one sample at a time into memory the caller provides. Not for several threads."""

    def __init__(self, augment: Augment, seed: int) -> None:
        self.augment, self.seed = augment, seed
        px = augment.image_px
        self._resized: Pixels = np.empty((px, px, 3), np.uint8)
        self._decoded: Pixels = np.empty(px * px * 3, np.uint8)
        self._bits = generator(seed, AUGMENT, 0, 0)
        self._start = self._bits.state
        self._randaugment = RandAugment(augment.randaugment, seed) if augment.randaugment else None

    def _draws(self, epoch: int, sample: int) -> list[float]:
        """The sample's own numbers in [0, 1): a pure function of (seed, epoch, sample)."""
        self._start["state"]["counter"][:] = (0, 0, epoch, sample)
        self._bits.state = self._start
        count = _DRAWS if self.augment.kind == "rrc-flip" else 1
        return ((self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53).tolist()

    def __call__(self, data: bytes, out: Pixels, epoch: int, sample: int) -> None:
        """Write the picture as (image_px, image_px, 3) RGB into `out`, which must be contiguous.

        Raises:
            UndecodableError: `data` is no whole picture. `out` may then hold anything.
        """
        kind, px = self.augment.kind, self.augment.image_px
        draws = [1.0] if kind == "none" else self._draws(epoch, sample)
        flip = draws[0] < 0.5
        target = self._resized if flip else out
        jpeg = _jpeg_size(data)
        if jpeg is None:
            picture = _decode_other(data)
            height, width = picture.shape[:2]
        else:
            picture, (height, width) = None, jpeg
        if kind == "rrc-flip":
            box = crop_box(draws[1:], height, width, self.augment.rrc_scale, self.augment.rrc_ratio)
        else:
            box = (0, 0, height, width)
        if picture is None and box == (0, 0, px, px) and (height, width) == (px, px):
            _decode_jpeg(data, target, px, px)
        else:
            picture = self._scaled(data, height, width, box) if picture is None else picture
            _crop_resize(picture, box, height, width, target)
        if flip:
            cv2.flip(target, 1, dst=out)
        if self._randaugment is not None:
            self._randaugment(out, epoch, sample)

    def _scaled(self, data: bytes, height: int, width: int, box: tuple[int, int, int, int]) -> Pixels:
        """The JPEG decoded at the smallest DCT scale whose crop is not smaller than the output."""
        px = self.augment.image_px
        least = (-(-px * height // box[2]), -(-px * width // box[3]))
        if least[0] < height and least[1] < width:
            tall, wide, *_ = simplejpeg.decode_jpeg_header(data, min_height=least[0], min_width=least[1])
            size = int(tall), int(wide)
        else:
            least, size = (0, 0), (height, width)
        need = size[0] * size[1] * 3
        if need > self._decoded.size:
            self._decoded = np.empty(need, np.uint8)
        whole = self._decoded[:need].reshape(*size, 3)
        _decode_jpeg(data, whole, *least)
        return whole


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG that libjpeg-turbo turns into RGB; None for anything else.

    Raises:
        UndecodableError: no header, or more than MAX_PIXELS.
    """
    if data[:2] != b"\xff\xd8":
        return None
    try:
        tall, wide, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise UndecodableError(str(error)) from error
    height, width = int(tall), int(wide)
    if height * width > MAX_PIXELS:
        raise UndecodableError(f"{width}x{height} pixels are more than {MAX_PIXELS}")
    return None if colours in ("CMYK", "YCCK") else (height, width)


def _decode_jpeg(data: bytes, out: Pixels, min_height: int, min_width: int) -> None:
    try:
        simplejpeg.decode_jpeg(data, "RGB", min_height=min_height, min_width=min_width, buffer=out)
    except ValueError as error:
        raise UndecodableError(str(error)) from error


def _decode_other(data: bytes) -> Pixels:
    """PNG, WebP, CMYK JPEG and what else Pillow reads, as RGB; EXIF orientation is left alone, as for
    JPEG."""
    # Pillow raises a dozen kinds of exception on damaged bytes; whichever it is, the sample is undecodable.
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")
            if image.width * image.height > MAX_PIXELS:
                raise UndecodableError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}")
            return np.asarray(image.convert("RGB"))
    except UndecodableError:
        raise
    except Exception as error:
        known = isinstance(error, UnidentifiedImageError)  # whose message holds an address in memory
        reason = "no picture of a known format" if known else f"{type(error).__name__}: {error}"
        raise UndecodableError(reason if data else "no bytes") from error


def _crop_resize(
    picture: Pixels, box: tuple[int, int, int, int], height: int, width: int, out: Pixels
) -> None:
    """Crop `box`, given in pixels of the (height, width) original, from the possibly smaller `picture`, and
    resize it into `out`: by area where it shrinks, so without aliasing; bicubic, as MAE, where it grows."""
    v, h = picture.shape[0] / height, picture.shape[1] / width
    top, left = round(box[0] * v), round(box[1] * h)
    bottom, right = max(top + 1, round((box[0] + box[2]) * v)), max(left + 1, round((box[1] + box[3]) * h))
    crop = picture[top:bottom, left:right]
    shrinks = crop.shape[0] >= out.shape[0] and crop.shape[1] >= out.shape[1]
    if crop.shape == out.shape:
        out[...] = crop
    else:
        size = (out.shape[1], out.shape[0])
        cv2.resize(crop, size, dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


@final
class Normalise(nn.Module):
    """uint8 images (N, 3, H, W), any strides, as (images / 255 - mean) / std: float32, contiguous."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """mean, std: of each channel, in units of [0, 1]."""
        super().__init__()
        m = torch.tensor(mean, dtype=torch.float64).view(1, -1, 1, 1)
        s = torch.tensor(std, dtype=torch.float64).view(1, -1, 1, 1)
        # Buffers lie where the model does; made of Python numbers in a step, they would wait for the device.
        self.register_buffer("scale", (1 / (255 * s)).float(), persistent=False)
        self.register_buffer("shift", (m / s).float(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The normalised images."""
        return (images.float() * self.scale - self.shift).contiguous()
