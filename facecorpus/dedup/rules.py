"""What counts as a duplicate."""

from __future__ import annotations

from dataclasses import dataclass

from facecorpus.errors import UserError

_MAX_RADIUS = 63


@dataclass(frozen=True, slots=True)
class DedupRules:
    """Rules of one dedup run. Distances are bits of 256.

    The default radii were measured on 2,029 photographs of 400 people, 420 other photographs and transformed
    copies of them: all pairs within them are edits of one photograph. The nearest different photographs lie
    at 44 bits (whole image) and 48 bits (crop), both of the same person a moment later, and the nearest of
    different people at 64 and 66.
    """

    image_radius: int | None = 31
    """Two whole images this near show the same picture. None: whole images are not compared."""
    crop_radius: int | None = 39
    """Two face crops this near show the same face in the same picture, however the picture was framed. None:
    crops are not compared. Turn both off for video, where neighbouring frames are near-duplicates by
    nature."""
    min_quality: int = 50
    """A hash of lower quality (0 flat to 100 textured) is not compared."""
    same_face_radius: int = 80
    """Where a picture is already known to be the same (by its bytes, its photo id or its image hash), crops
    this near show the same face of it and others show different faces."""
    use_photo_id: bool = True
    """Join rows of one source that have the same photo id and the same face."""
    identity_veto: bool = True
    """Never join rows of one source that have different identities, unless bytes or pixels are equal."""
    max_cluster: int = 50
    """A larger cluster holds only direct neighbours of its kept record. Copies of equal bytes or pixels count
    once."""
    source_priority: tuple[str, ...] = ()
    """Sources from the most to the least preferred to keep; the ones not named come after these and tie."""
    max_pairs: int = 300_000_000
    """Refuse to continue when more near pairs of distinct hashes are found (about 26 bytes of memory
    each)."""

    def __post_init__(self) -> None:
        for name in ("image_radius", "crop_radius"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _MAX_RADIUS:
                raise UserError(
                    f"dedup rule {name} is {value}; give 0 to {_MAX_RADIUS} bits, or none to turn it off."
                )
        if not 0 <= self.min_quality <= 100:
            raise UserError(f"dedup rule min_quality is {self.min_quality}; give 0 to 100.")
        if not 0 <= self.same_face_radius <= 256:
            raise UserError(f"dedup rule same_face_radius is {self.same_face_radius}; give 0 to 256 bits.")
        if self.max_cluster < 1:
            raise UserError(f"dedup rule max_cluster is {self.max_cluster}; give at least 1.")
        if len(set(self.source_priority)) != len(self.source_priority):
            raise UserError("dedup rule source_priority names a source twice; name each source once.")
