"""What the kept frames of annotated recordings are labelled with: by label, and by person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from facecorpus import storage
from facecorpus.phases import select
from facecorpus.phases.corpus import Corpus
from facecorpus.record import label_order

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

UNKNOWN = 9
"""Level of what could not be coded; counted as not coded."""


class Cell(NamedTuple):
    """One label in some frames."""

    coded: int
    """Frames that have a level."""
    positive: int
    """Of these, the frames at or above the label's threshold."""

    @property
    def share(self) -> float:
        """Positive of coded, 0 to 1."""
        return self.positive / self.coded if self.coded else 0.0


@dataclass(slots=True)
class SourceLabels:
    """The labels of one source."""

    source: str
    frames: Counter[str] = field(default_factory=Counter[str])
    """Person -> kept frames."""
    levels: dict[str, Counter[tuple[str, int]]] = field(default_factory=dict[str, Counter[tuple[str, int]]])
    """Label -> (person, level) -> kept frames."""

    @property
    def labels(self) -> list[str]:
        """The action units', in their order."""
        return sorted((label for label in self.levels if label.startswith("AU")), key=label_order)

    @property
    def classes(self) -> dict[str, dict[int, int]]:
        """Of labels that name a class (an expression) rather than a level: class -> kept frames."""
        found: dict[str, Counter[int]] = {}
        for label in sorted(self.levels.keys() - set(self.labels)):
            for (_, level), count in self.levels[label].items():
                found.setdefault(label, Counter())[level] += count
        return {label: dict(sorted(counts.items())) for label, counts in found.items()}

    @property
    def people(self) -> int:
        """How many people are known to be shown."""
        return sum(person != "" for person in self.frames)

    def threshold(self, label: str) -> int:
        """Level from which a label counts: 2 for intensities (as DISFA's benchmark does), 1 for occurrences.

        A second coding is one of intensities by its name; the main one, of all labels alike, by its levels.
        """
        main = {level for name in self.labels if "_" not in name for _, level in self.levels[name]}
        return 2 if "_" in label or {level for level in main if _coded(level)} - {0, 1} else 1

    def cell(self, label: str, person: str | None = None) -> Cell:
        """Counts of a label, of one person or of all."""
        threshold, coded, positive = self.threshold(label), 0, 0
        for (who, level), count in self.levels[label].items():
            if _coded(level) and person in (None, who):
                coded += count
                positive += count * (level >= threshold)
        return Cell(coded, positive)


def _coded(level: int) -> bool:
    """Whether a code is a level: GFT and Aff-Wild2 write -999 and -1 where BP4D writes `UNKNOWN`."""
    return level >= 0 and level != UNKNOWN


def labels_of(corpus: Corpus) -> list[SourceLabels]:
    """The labels of every source that has some, in one pass over the kept rows; none before `select`."""
    url = storage.join(corpus.out, select.PLACEMENT)
    found: dict[str, SourceLabels] = {}
    if not storage.exists(url):
        return []
    with storage.open_read(url) as file, storage.whole_parquet(url):
        for batch in pq.ParquetFile(file).iter_batches(
            columns=["source", "identity", "labels"], use_threads=False
        ):
            for source, person, label, level, count in _counted(batch):
                entry = found.setdefault(source, SourceLabels(source))
                if label is None:
                    entry.frames[person] += count
                else:
                    entry.levels.setdefault(label, Counter())[person, level] += count
    return [found[name] for name in sorted(found)]


def _counted(batch: pa.RecordBatch) -> Iterator[tuple[str, str, str | None, int, int]]:
    """(source, person, label, level, frames), and (source, person, None, 0, frames) for each person."""
    labels = batch.column("labels")
    starts = labels.offsets.to_numpy()
    sizes = np.diff(starts)
    whole = {name: pc.fill_null(batch.column(name), "") for name in ("source", "identity")}
    entries = slice(int(starts[0]), int(starts[-1]))
    rows = pa.array(np.repeat(np.arange(len(batch)), sizes))
    flat = {name: column.take(rows) for name, column in whole.items()}
    flat |= {"label": labels.keys[entries], "level": labels.items[entries]}
    for group in pa.table(flat).group_by(list(flat)).aggregate([([], "count_all")]).to_pylist():
        yield group["source"], group["identity"], group["label"], group["level"], group["count_all"]
    people = pa.table(whole).filter(pa.array(sizes > 0)).group_by(list(whole)).aggregate([([], "count_all")])
    for group in people.to_pylist():
        yield group["source"], group["identity"], None, 0, group["count_all"]


def labels_text(found: Sequence[SourceLabels]) -> str:
    """A table for each source, for a terminal, each line on a new one."""
    lines: list[str] = []
    for entry in found:
        of = f" of {entry.people:,} people" if entry.people else ""
        lines += ["", f"{entry.source}: {sum(entry.frames.values()):,} labelled frames{of}"]
        for label in entry.labels:
            cell, threshold = entry.cell(label), entry.threshold(label)
            at = ">= 2" if threshold == 2 else "== 1"
            lines.append(f"  {label:15s} {cell.coded:>9,} coded {100 * cell.share:6.1f} % {at}")
        for label, counts in entry.classes.items():
            lines.append(f"  {label:15s} " + ", ".join(f"{level}: {n:,}" for level, n in counts.items()))
    return "".join(f"\n{line}" for line in lines)


def labels_json(found: Sequence[SourceLabels]) -> dict[str, Any]:
    """{source: {"frames": {person: frames}, "labels": {label: {"coded", "positive", "threshold"}}, "classes":
    {label: {class: frames}}}}."""
    return {
        entry.source: {
            "frames": dict(sorted(entry.frames.items())),
            "labels": {
                label: {**entry.cell(label)._asdict(), "threshold": entry.threshold(label)}
                for label in entry.labels
            },
            "classes": entry.classes,
        }
        for entry in found
    }
