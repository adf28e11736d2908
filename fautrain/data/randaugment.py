"""RandAugment (Cubuk et al., 2020) as timm implements it, made a pure function of (seed, epoch, sample).

Its operations work on arrays: what timm does through Pillow, several times faster. A picture is contiguous
RGB uint8 (height, width, 3). All give Pillow's pixels to the bit but `rotate`, where OpenCV's bicubic kernel
is softer than Pillow's (a = -0.75 against -1) and rounds where Pillow cuts: 0.7 levels apart in the mean over
photographs, 0.3 % of the values by more than 16. After shears and shifts one value in a hundred may differ by
1.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import get_worker_info

from facecorpus.errors import UserError
from fautrain.data.order import RANDAUGMENT, generator

Pixels: TypeAlias = NDArray[np.uint8]

_LEVELS: Final = np.arange(256)
_BLOCK: Final = 16
"""Rows computed at a time: 44 KB of float32 at 224 px, which stay in the cache."""
_CUT: Final = 1e-3
"""Added before the fraction is cut off, as Pillow does: what is whole but for rounding stays so."""
_SMOOTH: Final = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
_LUMA: Final = np.array([[19595, 38470, 7471, 0x8000]], np.float32) / 65536
"""Weights of red, green and blue (ITU-R 601) and a half; sums with 8-bit values are exact in float32."""


def _look_up(image: Pixels, table: NDArray[Any]) -> Pixels:
    """Replace every value by `table`, (256,) for all channels or (256, 3)."""
    return np.asarray(cv2.LUT(image, np.ascontiguousarray(table, np.uint8).reshape(1, 256, -1)), np.uint8)


def _histograms(image: Pixels) -> NDArray[np.int64]:
    """(256, 3)."""
    counts = [cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel() for channel in range(3)]
    return np.stack(counts, 1).astype(np.int64)


def auto_contrast(image: Pixels, **_: object) -> Pixels:
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255."""
    tables = [_LEVELS] * 3
    for channel, counts in enumerate(_histograms(image).T):
        least, most = np.flatnonzero(counts)[[0, -1]].tolist()
        if most > least:
            scale = 255.0 / (most - least)
            # In Pillow's order of operations, for the last bit.
            tables[channel] = np.clip((_LEVELS * scale + -least * scale).astype(np.int64), 0, 255)
    return _look_up(image, np.stack(tables, 1))


def equalize(image: Pixels, **_: object) -> Pixels:
    """Make the values of each channel equally frequent, as far as a table can."""
    tables = [_LEVELS] * 3
    for channel, counts in enumerate(_histograms(image).T):
        present = counts[counts > 0]
        step = (int(counts.sum()) - int(present[-1])) // 255
        if len(present) > 1 and step:
            before = np.concatenate([[0], np.cumsum(counts)[:-1]])
            tables[channel] = np.minimum((before + step // 2) // step, 255)
    return _look_up(image, np.stack(tables, 1))


def invert(image: Pixels, **_: object) -> Pixels:
    """255 less each value."""
    return np.asarray(cv2.bitwise_not(image), np.uint8)


def solarize(image: Pixels, thresh: int, **_: object) -> Pixels:
    """Invert values from `thresh` on."""
    return _look_up(image, np.where(thresh > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(image: Pixels, add: int, thresh: int = 128, **_: object) -> Pixels:
    """Add to values below `thresh`."""
    return _look_up(image, np.where(thresh > _LEVELS, np.minimum(255, _LEVELS + add), _LEVELS))


def posterize(image: Pixels, bits_to_keep: int, **_: object) -> Pixels:
    """Keep the highest bits. For magnitude 10, 1 of 44 draws of N(9, 0.5^2), timm asks for 0 bits: a black
    picture until Pillow 12, whose later versions raise an error."""
    return _look_up(image, _LEVELS & -(256 >> min(max(bits_to_keep, 0), 8)))


def _blocks(height: int) -> Iterator[slice]:
    return (slice(top, top + _BLOCK) for top in range(0, height, _BLOCK))


def _mixed(first: NDArray[Any], second: NDArray[Any], factor: float) -> NDArray[np.uint8]:
    """first + factor (second - first) in float32, cut down to whole values within 0 to 255."""
    out = np.empty(second.shape, np.uint8)
    for block in _blocks(len(second)) if second.ndim == 3 else (slice(None),):
        mixed = second[block].astype(np.float32)
        mixed -= first[block]
        mixed *= np.float32(factor)
        mixed += first[block]
        np.copyto(out[block], np.clip(mixed, 0, 255, out=mixed), casting="unsafe")
    return out


def _grey(image: Pixels) -> NDArray[np.uint8]:
    """(height, width): luminance as Pillow rounds it."""
    return cv2.transform(image.astype(np.float32), _LUMA).astype(np.uint8)


def brightness(image: Pixels, factor: float, **_: object) -> Pixels:
    """Mix with black: 0 gives black, 1 the picture, 2 twice its values."""
    return _look_up(image, _mixed(np.zeros(256), _LEVELS, factor))


def contrast(image: Pixels, factor: float, **_: object) -> Pixels:
    """Mix with the mean luminance."""
    mean = int(float(_grey(image).mean()) + 0.5)
    return _look_up(image, _mixed(np.full(256, mean), _LEVELS, factor))


def color(image: Pixels, factor: float, **_: object) -> Pixels:
    """Mix with the picture in grey."""
    return _mixed(_grey(image)[..., None], image, factor)


def sharpness(image: Pixels, factor: float, **_: object) -> Pixels:
    """Mix with the picture smoothed; its outermost pixels stay."""
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    smooth[[0, -1]], smooth[:, [0, -1]] = image[[0, -1]], image[:, [0, -1]]
    return _mixed(smooth, image, factor)


def _shifted(image: Pixels, shifts: NDArray[np.float64], fillcolor: Sequence[int]) -> Pixels:
    """Each row r moved left by `shifts[r]` px, bicubic, `fillcolor` where nothing comes from."""
    height, width, channels = image.shape
    whole = np.floor(shifts).astype(np.int64)
    before, after = max(1, 1 - int(whole.min())), max(2, 2 + int(whole.max()))
    padded = cv2.copyMakeBorder(image, 0, 0, before, after, cv2.BORDER_REPLICATE)
    rows = np.empty((height, width + 3, channels), np.uint8)
    for row, start in enumerate((before - 1 + whole).tolist()):
        rows[row] = padded[row, start : start + width + 3]
    d = (shifts - whole)[:, None]
    weights = (d * (2 * d - d * d - 1), 1 + d * d * (d - 2), d * (1 + d - d * d), d * d * (d - 1))
    weights = np.stack(weights, 0, dtype=np.float32)
    if (shifts == shifts[0]).all():
        out = cv2.filter2D(rows, -1, weights[:, 0].T, anchor=(1, 0), delta=_CUT - 0.5)[:, 1:-2]
        out = np.ascontiguousarray(out, np.uint8)
    else:
        out = np.empty_like(image)
        for block in _blocks(height):
            _tapped(rows[block], weights[:, block], out[block])
    begin = np.clip(np.ceil(-0.5 - shifts), 0, width).astype(int).tolist()
    end = np.clip(np.ceil(width - 0.5 - shifts), 0, width).astype(int).tolist()
    for row in range(height):
        if begin[row] > 0 or end[row] < width:
            out[row, : begin[row]] = out[row, end[row] :] = fillcolor
    return out


def _tapped(rows: Pixels, weights: NDArray[np.float32], out: Pixels) -> None:
    """Weighted sums of four neighbours: rows (h, w + 3, 3), weights (4, h, 1), out (h, w, 3)."""
    height, width, channels = out.shape
    taps = rows.reshape(height, -1).astype(np.float32)
    values = np.full((height, width * channels), _CUT, np.float32)
    term = np.empty_like(values)
    for tap, weight in enumerate(weights):
        values += np.multiply(taps[:, tap * channels : (tap + width) * channels], weight, out=term)
    np.copyto(out, np.clip(values, 0, 255, out=values).reshape(out.shape), casting="unsafe")


def _turned(image: Pixels) -> Pixels:
    return np.asarray(cv2.transpose(image), np.uint8)


def shear_x(image: Pixels, factor: float, fillcolor: Sequence[int], **_: object) -> Pixels:
    """Shift each row by `factor` times its number."""
    return _shifted(image, factor * (np.arange(image.shape[0]) + 0.5), fillcolor)


def shear_y(image: Pixels, factor: float, fillcolor: Sequence[int], **_: object) -> Pixels:
    """Shift each column by `factor` times its number."""
    return _turned(shear_x(_turned(image), factor, fillcolor))


def translate_x_rel(image: Pixels, pct: float, fillcolor: Sequence[int], **_: object) -> Pixels:
    """Shift by a share of the width."""
    return _shifted(image, np.full(image.shape[0], pct * image.shape[1]), fillcolor)


def translate_y_rel(image: Pixels, pct: float, fillcolor: Sequence[int], **_: object) -> Pixels:
    """Shift by a share of the height."""
    return _turned(translate_x_rel(_turned(image), pct, fillcolor))


def rotate(image: Pixels, degrees: float, fillcolor: Sequence[int], **_: object) -> Pixels:
    """Turn about the middle, anticlockwise, bicubic; `fillcolor` where nothing comes from."""
    height, width = image.shape[:2]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = (width - 1) / 2, (height - 1) / 2
    source = np.array([[cosine, -sine, x - cosine * x + sine * y], [sine, cosine, y - sine * x - cosine * y]])
    out = np.empty_like(image)
    out[...] = np.array(fillcolor, np.uint8)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(image, source, (width, height), dst=out, flags=flags, borderMode=cv2.BORDER_TRANSPARENT)
    return out


OPERATIONS: Final[Mapping[str, Callable[..., Pixels]]] = {
    function.__name__: function
    for function in (
        *(auto_contrast, equalize, invert, rotate, posterize, solarize, solarize_add, color, contrast),
        *(brightness, sharpness, shear_x, shear_y, translate_x_rel, translate_y_rel),
    )
}
"""By the name of timm's function."""


FILL = (124, 116, 104)
"""RGB of what turning and shifting bring into the picture: the mean colour of ImageNet."""
_POLICY = re.compile(r"rand(-(m\d+|n\d+|p(0|1|0?\.\d+)|mstd\d+(\.\d+)?|mmax\d+|inc[01]))*")


def check_policy(policy: str) -> None:
    """Refuse what is no RandAugment policy; timm itself passes over a part that it does not know.

    Raises:
        UserError: it is none.
    """
    if not _POLICY.fullmatch(policy):
        raise UserError(
            f"data.randaugment = {policy!r} is no RandAugment policy; write it like 'rand-m9-mstd0.5-inc1'"
        )


@final
class RandAugment:
    """Two operations (or `n`) drawn with replacement, each then applied with probability 0.5 (or `p`).
    Not for several threads.

    `rand-m9-mstd0.5-inc1` (MAE, FMAE and others in fine-tuning): magnitude from N(9, 0.5^2), clipped to 0..10
    for each operation applied; `inc1` takes those that grow stronger with it. Of 15 operations: AutoContrast,
    Equalize and Invert without strength; at magnitude m Rotate +-3 m degrees, ShearX and ShearY +-0.03 m,
    TranslateXRel and TranslateYRel +-0.045 m of the width, Color, Contrast, Brightness and Sharpness by the
    factor 1 +- 0.09 m, PosterizeIncreasing to 4 - floor(0.4 m) bits, SolarizeIncreasing from 256 - floor(25.6
    m), SolarizeAdd of floor(11 m) below 128. Bicubic, bare areas filled with FILL. The draws are timm's, the
    operations those of OPERATIONS.

    timm 1.0.31 and 0.3.2, the version that MAE and FMAE name, draw the same and give the same pixels for this
    policy. (They differ elsewhere: `inc0` is `inc1` in 0.3.2, which knows neither `p` nor `mmax`.)
    """

    def __init__(self, policy: str, seed: int) -> None:
        """Takes seconds where timm has not been imported yet; do it before workers fork."""
        from timm.data.auto_augment import rand_augment_transform

        hparams = {"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
        transform = rand_augment_transform(policy, hparams)
        for operation in transform.ops:
            operation.aug_fn = OPERATIONS[operation.aug_fn.__name__]
        self.transform: Callable[[Pixels], Pixels] = transform
        self.seed = seed

    def __call__(self, image: Pixels, epoch: int, sample: int) -> None:
        """Change an RGB (height, width, 3) picture in place; it must be contiguous."""
        words = generator(self.seed, RANDAUGMENT, epoch, sample).random_raw(2)
        with _global_draws(int(words[0]), words[1:]):
            changed = self.transform(image)
        if changed is not image:
            image[...] = changed


@contextmanager
def _global_draws(first: int, second: NDArray[np.uint64]) -> Generator[None]:
    """Seed the global generators of Python and numpy, which timm draws from, and restore them. Without
    workers this is the training process, and they are others'; a worker's are nobody's."""
    if get_worker_info() is not None:
        random.seed(first)
        np.random.seed(second.view(np.uint32))
        yield
        return
    python, legacy = random.getstate(), np.random.get_state()
    random.seed(first)
    np.random.seed(second.view(np.uint32))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
