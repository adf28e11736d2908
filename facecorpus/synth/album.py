"""Keeps different pictures of a drawn data set clearly different, and copies clearly the same.

Perceptual hashes decide which pictures a corpus builder takes for duplicates; the planted ones must lie far
inside its radius and all others far outside, or the truth about a drawn data set would depend on luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecorpus.dedup.hashes import perceptual_hash
from facecorpus.faces.align import align_similarity
from facecorpus.faces.warp import warp
from facecorpus.synth.paint import Array

APART_IMAGE_BITS = 46
"""Different pictures are redrawn until their whole-image hashes are further apart than this (of 256 bits)."""
APART_CROP_BITS = 60
"""Likewise for aligned crops of faces that are to be kept. A detector's landmarks are a little off, and its
crops of two pictures up to 20 bits nearer than these."""
APART_PERSON_BITS = 72
"""Likewise for two pictures of one person, which are few; a bit less after every attempt."""
WITHIN_BITS = 22
"""A near duplicate is redrawn (with its original) until it is this close."""
MIN_QUALITY = 55
"""Least quality of a picture's and a crop's hash, 0 to 100."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The hashes of one picture and its variants."""

    hashes: Array
    """(pictures, 4) uint64: the original and its variants."""
    crop: Array | None
    """(4,) uint64, where there is one face to be kept."""
    quality: int
    """The least quality of any of them, 0 to 100."""
    person: int
    """Index of the first person shown, -1 for nobody."""


def sign(pictures: Sequence[Array], points_px: Array | None, person: int) -> Signature:
    """The signature of a picture and its variants.

    Args:
        pictures: RGB uint8, the original first; may be empty.
        points_px: landmarks (5, 2) in the original, where there is one face to be kept.
        person: who is shown.
    """
    codes = [perceptual_hash(picture) for picture in pictures]
    quality, crop = min((q for _, q in codes), default=100), None
    if points_px is not None:
        pixels = warp(pictures[0], align_similarity(points_px, 224).matrix, 224)
        digest, crop_quality = perceptual_hash(pixels)
        crop, quality = _words(digest), min(quality, crop_quality)
    words = np.array([_words(code) for code, _ in codes], dtype=np.uint64).reshape(-1, 4)
    return Signature(words, crop, quality, person)


def _words(digest: bytes) -> Array:
    return np.frombuffer(digest, dtype=np.uint64)


class Album:
    """The hashes of the pictures accepted so far."""

    def __init__(self) -> None:
        self.images = np.zeros((0, 4), dtype=np.uint64)
        self.crops = np.zeros((0, 4), dtype=np.uint64)
        self.people = np.zeros(0, dtype=np.int64)

    def accepts(self, new: Signature, attempt: int) -> bool:
        """Whether a picture is clearly different from all others, and its variants clearly the same."""
        if new.quality < MIN_QUALITY:
            return False
        if len(new.hashes) and int(_distances(new.hashes[:1], new.hashes).max()) > WITHIN_BITS:
            return False
        if _nearest(new.hashes, self.images) <= APART_IMAGE_BITS:
            return False
        if new.crop is None:
            return True
        same_person = self.crops[self.people == new.person]
        return (
            _nearest(new.crop[None], self.crops) > APART_CROP_BITS
            and _nearest(new.crop[None], same_person) > APART_PERSON_BITS - attempt
        )

    def add(self, new: Signature) -> None:
        """Remember an accepted picture."""
        self.images = np.concatenate([self.images, new.hashes])
        if new.crop is not None:
            self.crops = np.concatenate([self.crops, new.crop[None]])
            self.people = np.append(self.people, new.person)


def _distances(a: Array, b: Array) -> Array:
    return np.bitwise_count(a[:, None] ^ b[None]).sum(axis=2, dtype=np.int64)


def _nearest(a: Array, b: Array) -> int:
    return int(_distances(a, b).min()) if len(a) and len(b) else 256
