"""How an adapter lays out a miniature of its data set, for `facecorpus synth` and the tests of adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drawn:
    """One input that was drawn; some are damaged, show nobody, or show what another shows."""

    place: int
    """In the data set, from 0."""
    person: int
    """From 0."""
    number: int
    """Of the input among the person's, from 1."""
    data: bytes
    """An encoded picture, whole or cut short."""
    box_xyxy_px: tuple[float, float, float, float] | None
    points_px: tuple[float, ...] | None
    """As `Record.given_points_px`; where there is one person."""
    levels: Mapping[int, float]
    """Action unit -> intensity, 0 to 5; empty where there is not one person."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The miniature."""

    inputs: list[tuple[str, str | None]]
    """Of each drawn input, in their order: what its id holds after the source's name, and the identity that
    the adapter must find."""
    files: Mapping[str, bytes]
    """Path below the location -> contents: pictures, archives, annotations."""
