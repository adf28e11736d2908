"""Data sets whose layout their adapters draw (`Source.lay_out`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from facecorpus.sources.base import SOURCES, Drawn, Source
from facecorpus.synth.entry import Entry, put


def own_layouts() -> list[str]:
    """Their names, sorted."""
    return sorted(name for name in SOURCES if SOURCES.get(name).lay_out is not Source.lay_out)


def lay_out(
    source: str, folder: Path, entries: Sequence[Entry], levels: Sequence[Mapping[int, float] | None]
) -> list[Entry]:
    """Write a data set into an empty `folder`.

    Args:
        source: its name.
        folder: where.
        entries: what was drawn, not yet named.
        levels: action units of each.

    Returns:
        The entries by the names that the adapter gave them.
    """
    count: Counter[int] = Counter()
    drawn: list[Drawn] = []
    for place, (entry, coded) in enumerate(zip(entries, levels, strict=True)):
        count[entry.item.person] += 1
        whole = coded if entry.item.damage is None and coded else {}
        given = (entry.box_xyxy_px, entry.points_px, whole)
        drawn.append(Drawn(place, entry.item.person, count[entry.item.person], entry.data, *given))
    layout = SOURCES.get(source).lay_out(drawn)
    for path, data in layout.files.items():
        put(folder / path, data)
    return [
        replace(entry, member=member, identity=identity, labels=(identity,))
        for entry, (member, identity) in zip(entries, layout.inputs, strict=True)
    ]
