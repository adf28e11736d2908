"""Which pictures a drawn data set may hold beside one another."""

from __future__ import annotations

import numpy as np
import pytest

from facecorpus.synth.album import (
    APART_CROP_BITS,
    APART_IMAGE_BITS,
    APART_PERSON_BITS,
    MIN_QUALITY,
    WITHIN_BITS,
    Album,
    Signature,
)


def code(bits: int) -> np.ndarray:
    """256 bits, the first `bits` of them set, as (4,) uint64."""
    return np.packbits(np.arange(256) < bits).view(np.uint64)


def signature(
    image: int, crop: int | None, *, person: int = 0, quality: int = 100, variant: int = 0
) -> Signature:
    hashes = np.stack([code(image), code(image + variant)])
    return Signature(hashes, None if crop is None else code(crop), quality, person)


@pytest.mark.parametrize(
    ("new", "accepted"),
    [
        (signature(APART_IMAGE_BITS + 1, APART_CROP_BITS + 1), True),
        (signature(APART_IMAGE_BITS, APART_CROP_BITS + 1), False),
        (signature(200, APART_CROP_BITS), False),
        (signature(200, None), True),
        (signature(200, APART_PERSON_BITS, person=7), False),
        (signature(200, APART_PERSON_BITS + 1, person=7), True),
        (signature(200, 200, quality=MIN_QUALITY - 1), False),
        (signature(200, 200, variant=WITHIN_BITS), True),
        (signature(200, 200, variant=WITHIN_BITS + 1), False),
    ],
)
def test_album_refuses_what_could_be_mistaken(new: Signature, accepted: bool) -> None:
    album = Album()
    album.add(signature(0, 0, person=7))
    assert album.accepts(new, 0) == accepted
