"""BP4D+ (MMSE): 140 people, of whom four tasks are annotated; laid out as BP4D, with other columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from facecorpus.sources.bp4d import AUS, BP4D
from facecorpus.sources.source import adapter


@adapter("bp4d_plus")
class BP4DPlus(BP4D):
    """As `BP4D`, but a table's first line names its columns; without it only the benchmark's are known."""

    columns: ClassVar[Mapping[int, int]] = dict(
        zip((1, 2, 3, 5, 6, 8, 10, 12, 13, 15, 20, 21), AUS, strict=True)
    )
