"""What counts as a duplicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from facecorpus.typed import Check, Checked, Positive

Radius = Annotated[int, Check(lambda v: 0 <= v <= 63, "0 to 63 bits, or none to turn it off")]


@dataclass(frozen=True)
class DedupRules(Checked):
    """Rules of one dedup run. Distances are bits of 256.

    The default radii were measured on 2,029 photographs of 400 people, 420 other photographs and transformed
    copies of them: all pairs within them are edits of one photograph. The nearest different photographs lie
    at 44 bits (whole image) and 48 bits (crop), both of the same person a moment later, and the nearest of
    different people at 64 and 66.
    """

    group = "dedup"
    image_radius: Radius | None = 31
    """Two whole images this near show the same picture. None: whole images are not compared."""
    crop_radius: Radius | None = 39
    """Two face crops this near show the same face in the same picture, however the picture was framed. None:
    crops are not compared. Turn both off for video, where neighbouring frames are near-duplicates by
    nature."""
    min_quality: Annotated[int, Check(lambda v: 0 <= v <= 100, "0 to 100")] = 50
    """A hash of lower quality (0 flat to 100 textured) is not compared."""
    same_face_radius: Annotated[int, Check(lambda v: 0 <= v <= 256, "0 to 256 bits")] = 80
    """Where a picture is already known to be the same (by its bytes, its photo id or its image hash), crops
    this near show the same face of it and others show different faces."""
    use_photo_id: bool = True
    """Join rows of one source that have the same photo id and the same face."""
    identity_veto: bool = True
    """Never join rows of one source that have different identities, unless bytes or pixels are equal."""
    max_cluster: Positive = 50
    """A larger cluster holds only direct neighbours of its kept record. Copies of equal bytes or pixels count
    once."""
    source_priority: Annotated[tuple[str, ...], Check(lambda v: len({*v}) == len(v), "each source once")] = ()
    """Sources from the most to the least preferred to keep; the ones not named come after these and tie."""
    max_pairs: int = 300_000_000
    """Refuse to continue when more near pairs of distinct hashes are found (about 26 bytes of memory
    each)."""
