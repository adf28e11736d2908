"""RandAugment (Cubuk et al., 2020) as timm implements it, made a pure function of (seed, epoch, sample)."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import get_worker_info

from fautrain.data.operations import OPERATIONS, Pixels
from fautrain.data.order import RANDAUGMENT, generator
from fautrain.errors import UserError

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
    operations those of `operations`.

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
