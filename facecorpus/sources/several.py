"""Several annotated faces in one picture: each is an input of its own, told from the others by its box."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from facecorpus.record import Record


@dataclass(frozen=True, slots=True)
class GivenFace:
    """What a source says of one face."""

    identity: str | None
    box_xyxy_px: tuple[float, float, float, float] | None
    points_px: tuple[float, ...] | None
    """Ten numbers, as `Record.given_points_px`."""


def a_record_each(record: Record, faces: Sequence[GivenFace]) -> list[Record]:
    """The record of a picture, once for each of its annotated faces; `ID#f1`, `ID#f2` where several.

    A picture of which nothing is said, or one face, keeps its id.
    """
    several = len(faces) > 1
    return [
        dataclasses.replace(
            record,
            id=f"{record.id}#f{number}" if several else record.id,
            identity=face.identity,
            given_box_xyxy_px=face.box_xyxy_px,
            given_points_px=face.points_px,
        )
        for number, face in enumerate(faces, 1)
    ] or [record]
